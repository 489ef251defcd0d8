//! Stored rows as JSON. What has its default value is left out, so that lines stay short.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::model::row::{
    AgainRow, BlobRef, ChainLink, CommitRef, CommitRow, JobRow, MarkerKind, MarkerRow, Place, ProgressRow,
    SegmentName, SegmentRow, SlotsRow, StateRow, SummaryRow, TallyRow, TokensRow,
};
use crate::model::{JobId, JobState};

type Fields = Map<String, Value>;

/// Bytes, as far as they are no text.
pub(super) fn base64(bytes: &[u8]) -> Value {
    json!({ "base64": BASE64_STANDARD.encode(bytes) })
}

/// Text if it is that, JSON if it is that.
fn content(bytes: &[u8]) -> Value {
    match (serde_json::from_slice::<Value>(bytes), std::str::from_utf8(bytes)) {
        (Ok(value), _) => value,
        (Err(_), Ok(text)) => text.into(),
        (Err(_), Err(_)) => base64(bytes),
    }
}

/// An object without the members that say nothing.
fn fields<const N: usize>(members: [(&str, Value); N]) -> Fields {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    members
        .into_iter()
        .filter(|(_, value)| !empty(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Value) -> Value {
    items.iter().map(one).collect()
}

/// A commit's row; `id` gives the id of the job at a place.
pub(super) fn commit_row(row: &[u8], id: &dyn Fn(u16) -> Option<JobId>) -> Option<Fields> {
    let row = CommitRow::decode(row).ok()?;
    let head = row.origin.as_ref().and_then(|origin| origin.head.as_ref()).map(link);
    let jobs = row.jobs.iter().enumerate().map(|(at, job)| {
        let own = u16::try_from(at).ok().and_then(id).map(|id| id.to_string());
        job_row(job, own, &row.strings)
    });
    Some(fields([
        ("time_ms", json!(row.time_ms)),
        ("origin", row.origin.as_ref().map(|_| json!({ "head": head })).into()),
        ("jobs", jobs.collect()),
        ("markers", list(&row.markers, |marker| marker_row(marker, &row.strings))),
        ("condemned", list(&row.condemned, segment_name)),
        ("closed_slots", json!(row.closed_slots)),
    ]))
}

fn job_row(job: &JobRow, id: Option<String>, strings: &[String]) -> Value {
    let string = |index: Option<usize>| index.and_then(|index| strings.get(index)).map(String::as_str);
    let backoff = job.backoff.map(|backoff| {
        json!({
            "base_ms": backoff.base_ms,
            "factor_percent": backoff.factor_percent,
            "cap_ms": backoff.cap_ms,
            "jitter_percent": backoff.jitter_percent,
        })
    });
    let headers: Fields =
        job.headers.iter().map(|header| (header.name.clone(), json!(header.value))).collect();
    let inline = job.payload_blob.is_none();
    Value::Object(fields([
        ("id", id.into()),
        ("queue", json!(job.queue)),
        ("kind", string(Some(job.kind as usize)).into()),
        ("payload", if inline && !job.payload.is_empty() { content(&job.payload) } else { Value::Null }),
        ("payload_blob", job.payload_blob.as_ref().map(blob_ref).into()),
        ("content_type", string((job.content_type as usize).checked_sub(1)).into()),
        ("key", json!(job.key)),
        ("priority", json!(job.priority)),
        ("run_at_ms", json!(job.run_at_ms)),
        ("enqueued_ms", json!(job.enqueued_ms)),
        ("deadline_ms", json!(job.deadline_ms)),
        ("timeout_ms", json!(job.timeout_ms)),
        ("max_attempts", json!(job.max_attempts)),
        ("backoff", backoff.into()),
        ("headers", Value::Object(headers)),
        ("tags", json!(job.tags)),
        ("again", job.again.as_ref().map(again_row).into()),
        ("token", if job.token.is_empty() { Value::Null } else { base64(&job.token) }),
        ("slot", json!(job.slot)),
    ]))
}

fn again_row(again: &AgainRow) -> Value {
    Value::Object(fields([
        ("id", JobId::from_slice(&again.id).map(|id| id.to_string()).into()),
        ("from", again.from.as_ref().map(place).into()),
        ("state", again.state.as_ref().map(state_row).into()),
        ("history", list(&again.history, |marker| marker_row(marker, &again.strings))),
    ]))
}

fn marker_row(marker: &MarkerRow, strings: &[String]) -> Value {
    let kind = MarkerKind::try_from(marker.kind)
        .map_or_else(|_| json!(marker.kind), |kind| json!(format!("{kind:?}").to_lowercase()));
    let runner = (marker.runner as usize).checked_sub(1).and_then(|index| strings.get(index));
    Value::Object(fields([
        ("kind", kind),
        ("job", marker.job.as_ref().map(place).into()),
        ("attempt", json!(marker.attempt)),
        ("previous", marker.previous.as_ref().map(commit_ref).into()),
        ("time_ms", json!(marker.time_ms)),
        ("due_ms", json!(marker.due_ms)),
        ("runner", json!(runner)),
        ("error", json!(marker.error)),
        ("error_class", json!(marker.error_class)),
        ("result", if marker.result.is_empty() { Value::Null } else { content(&marker.result) }),
        ("result_blob", marker.result_blob.as_ref().map(blob_ref).into()),
        ("output", list(&marker.output, blob_ref)),
        ("output_dropped_bytes", json!(marker.output_dropped_bytes)),
        ("priority", json!(marker.priority)),
        ("moved_to", marker.moved_to.as_ref().map(place).into()),
        ("exit_code", marker.exit_code.map(|code| code.to_string()).into()),
        ("process", json!(marker.process)),
    ]))
}

/// A segment's summary.
pub(super) fn summary_row(row: &[u8]) -> Option<Fields> {
    let row = SummaryRow::decode(row).ok()?;
    let foreign = |foreign: &crate::model::row::ForeignId| json!({ "index": foreign.index, "id": JobId::from_slice(&foreign.id).map(|id| id.to_string()) });
    Some(fields([
        ("jobs_per_commit", json!(row.jobs_per_commit)),
        ("queues", json!(row.queues)),
        ("kinds", list(&row.kinds, |&kind| json!(row.strings.get(kind as usize)))),
        ("states", list(&row.states, state_row)),
        ("foreign_ids", list(&row.foreign_ids, foreign)),
        ("deadlines_ms", json!(row.deadlines_ms)),
        ("slots", json!(row.slots)),
        ("slots_alike", json!(row.slots_alike)),
    ]))
}

/// A partition's progress.
pub(super) fn progress_row(row: &[u8]) -> Option<Fields> {
    let row = ProgressRow::decode(row).ok()?;
    Some(fields([
        ("min_reader", json!(row.min_reader)),
        ("chain", list(&row.chain, link)),
        ("time_ms", json!(row.time_ms)),
        ("segments", list(&row.segments, segment_row)),
        ("tallies", list(&row.tallies, tally)),
        ("slots", row.slots.as_ref().map(slots_row).into()),
    ]))
}

fn slots_row(row: &SlotsRow) -> Value {
    let open: Fields =
        row.slots.iter().zip(&row.open).map(|(slot, open)| (slot.to_string(), json!(open))).collect();
    json!({ "open": open, "unknown": row.unknown, "closed": row.closed })
}

/// What an entry of the `token` scope holds.
pub(super) fn tokens_row(row: &[u8]) -> Option<Fields> {
    let row = TokensRow::decode(row).ok()?;
    let hashes: Value = row.hashes.chunks(16).map(base64).collect();
    Some(fields([("time_ms", json!(row.time_ms)), ("hashes", hashes), ("places", json!(row.places))]))
}

fn segment_row(segment: &SegmentRow) -> Value {
    let younger = |younger: &crate::model::row::YoungerState| json!({ "index": younger.index, "state": younger.state.as_ref().map(state_row) });
    Value::Object(fields([
        ("name", segment.name.as_ref().map(segment_name).into()),
        ("first_commit", json!(segment.first_commit)),
        ("commits", json!(segment.commits)),
        ("jobs", json!(segment.jobs)),
        ("bytes", json!(segment.bytes)),
        ("summary", segment.summary.as_ref().map(commit_ref).into()),
        ("younger", list(&segment.younger, younger)),
        ("tallies", list(&segment.tallies, tally)),
        ("earliest_due_ms", json!(segment.earliest_due_ms)),
        ("last_end_ms", json!(segment.last_end_ms)),
        ("sealed", json!(segment.sealed)),
        ("condemned", json!(segment.condemned)),
        ("slots_counted", json!(segment.slots_counted)),
    ]))
}

fn state_row(state: &StateRow) -> Value {
    let name =
        JobState::from_number(state.state).map_or_else(|| json!(state.state), |state| json!(state.name()));
    Value::Object(fields([
        ("state", name),
        ("attempt", json!(state.attempt)),
        ("failures", json!(state.failures)),
        ("interruptions", json!(state.interruptions)),
        ("time_ms", json!(state.time_ms)),
        ("priority", json!(state.priority)),
        ("last", state.last.as_ref().map(commit_ref).into()),
        ("moved_to", state.moved_to.as_ref().map(place).into()),
        ("order", json!(state.order)),
    ]))
}

fn tally(tally: &TallyRow) -> Value {
    let named = tally.by_state.iter().enumerate().filter(|(_, count)| **count > 0).map(|(state, count)| {
        let name =
            JobState::ALL.get(state).map_or_else(|| state.to_string(), |state| state.name().to_owned());
        (name, json!(count))
    });
    let mut line: Fields = named.collect();
    line.insert("queue".to_owned(), json!(tally.queue));
    Value::Object(line)
}

fn link(link: &ChainLink) -> Value {
    json!({ "epoch": format!("{}-{:016x}", link.epoch_number, link.incarnation), "cut": link.cut })
}

fn segment_name(name: &SegmentName) -> Value {
    json!(format!("{}-{:016x}/{}", name.epoch_number, name.incarnation, name.segment))
}

fn commit_ref(commit: &CommitRef) -> Value {
    json!(format!("{}/{}", commit.epoch_number, commit.commit))
}

fn place(place: &Place) -> Value {
    json!(format!("{}/{}/{}", place.epoch_number, place.commit, place.place))
}

fn blob_ref(blob: &BlobRef) -> Value {
    json!({
        "segment": blob.segment.as_ref().map(segment_name),
        "blob": blob.blob,
        "chunks": blob.chunks,
        "bytes": blob.bytes,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_commit_says_what_is_in_it_and_leaves_out_the_rest() {
        let job = JobRow { queue: 3, payload: "{\"a\":1}".into(), ..JobRow::default() };
        let row =
            CommitRow { time_ms: 5, strings: vec!["send".into()], jobs: vec![job], ..CommitRow::default() };
        let fields = commit_row(&row.encode_to_vec(), &|_| None).expect("a row");
        let expected =
            json!({ "time_ms": 5, "jobs": [{ "queue": 3, "kind": "send", "payload": { "a": 1 } }] });
        assert_eq!(Value::Object(fields), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_none(bytes: Vec<u8>) {
            let _ = commit_row(&bytes, &|_| None);
            let _ = summary_row(&bytes);
            let _ = progress_row(&bytes);
            let _ = tokens_row(&bytes);
        }
    }
}
