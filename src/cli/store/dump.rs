//! `qdo store dump`: every row as a line of JSON, with readable keys.

use serde_json::{Map, Value, json};

use super::super::exit::{Exit, Failure};
use super::super::out::{Out, say_warning};
use super::rows::{base64, commit_row, progress_row, summary_row, tokens_row};
use crate::model::{JobId, PartitionId};
use crate::store::{SegmentKey, Store, StoredRow};

pub(super) async fn run(store: &dyn Store, out: &Out) -> Result<Exit, Failure> {
    let mut stopped = None;
    let mut unreadable: u64 = 0;
    let mut show = |row| {
        let line = line(&row);
        unreadable += u64::from(line.get("unreadable").is_some() || line["table"] == "damaged");
        match out.line(&line.to_string()) {
            Ok(()) => true,
            Err(failure) => {
                stopped = Some(failure);
                false
            }
        }
    };
    store.dump(&mut show).await?;
    if let Some(failure) = stopped {
        return Err(failure);
    }
    if unreadable > 0 {
        say_warning(&format!(
            "{unreadable} rows are damaged or cannot be decoded by this version: look for \"damaged\" and \"unreadable\" in the dump"
        ));
    }
    Ok(Exit::Ok)
}

fn line(row: &StoredRow) -> Value {
    match row {
        StoredRow::Document(key, document) => {
            let value = serde_json::from_slice(&document.value).unwrap_or_else(|_| base64(&document.value));
            json!({ "table": "documents", "key": key, "version": document.version, "value": value })
        }
        StoredRow::Claim(partition, claim) => json!({
            "table": "claims",
            "partition": partition.to_string(),
            "epoch": claim.epoch.to_string(),
            "owner": String::from_utf8_lossy(&claim.owner),
        }),
        StoredRow::Commit(segment, number, row) => {
            let id = |place: u16| job_id(segment.partition, segment.epoch.number, *number, place);
            let decoded = commit_row(row, &id);
            with_segment("commits", segment, [("commit", json!(number))], decoded, row)
        }
        StoredRow::Blob(segment, blob, chunk, bytes) => {
            let key = [("blob", json!(blob)), ("chunk", json!(chunk))];
            let fields = Map::from_iter([
                ("bytes".to_owned(), json!(bytes.len())),
                ("base64".to_owned(), base64(bytes)),
            ]);
            with_segment("blobs", segment, key, Some(fields), bytes)
        }
        StoredRow::Summary(segment, as_of, row) => {
            let key = [("as_of", json!(format!("{}/{}", as_of.epoch, as_of.commit)))];
            with_segment("summaries", segment, key, summary_row(row), row)
        }
        StoredRow::Progress(partition, as_of, row) => {
            let mut line = Map::new();
            line.insert("table".to_owned(), "progress".into());
            line.insert("partition".to_owned(), partition.to_string().into());
            line.insert("epoch".to_owned(), as_of.epoch.to_string().into());
            line.insert("commit".to_owned(), as_of.commit.into());
            decoded(line, progress_row(row), row)
        }
        StoredRow::Damaged(why) => json!({ "table": "damaged", "why": why }),
        StoredRow::Entry(entry) => {
            let value = match entry.scope.starts_with("token/") {
                true => tokens_row(&entry.value).map_or_else(|| base64(&entry.value), Value::Object),
                false => base64(&entry.value),
            };
            let term = base64(&entry.term);
            json!({ "table": "entries", "scope": entry.scope, "bucket": entry.bucket, "term": term, "value": value })
        }
    }
}

fn with_segment<const N: usize>(
    table: &str,
    segment: &SegmentKey,
    key: [(&str, Value); N],
    fields: Option<Map<String, Value>>,
    raw: &[u8],
) -> Value {
    let mut line = Map::new();
    line.insert("table".to_owned(), table.into());
    line.insert("partition".to_owned(), segment.partition.to_string().into());
    line.insert("epoch".to_owned(), segment.epoch.to_string().into());
    line.insert("segment".to_owned(), segment.segment.into());
    line.extend(key.map(|(name, value)| (name.to_owned(), value)));
    decoded(line, fields, raw)
}

/// The line with what the row says, or with its bytes if it can't be decoded.
fn decoded(mut line: Map<String, Value>, fields: Option<Map<String, Value>>, raw: &[u8]) -> Value {
    match fields {
        Some(fields) => line.extend(fields),
        None => {
            line.insert("unreadable".to_owned(), base64(raw));
        }
    }
    Value::Object(line)
}

/// The id of a job by its place, if the numbers can be one: a damaged row may say anything.
fn job_id(partition: PartitionId, epoch_number: u32, commit: u64, place: u16) -> Option<JobId> {
    let fits = partition.index <= PartitionId::INDEX_MAX
        && epoch_number <= crate::model::Epoch::NUMBER_MAX
        && commit <= JobId::COMMIT_MAX;
    fits.then(|| JobId::new(partition, epoch_number, commit, place))
}
