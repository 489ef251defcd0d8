//! One partition's rows, a page at a time, in the order of their keys: for whoever copies them.
//!
//! A cursor is the key of the last row of a page, as JSON. It stays good for ever, since rows are
//! never changed.

use rusqlite::types::Value as Column;
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::Value;

use super::super::stored::{RowPage, Table};
use super::super::{BlobChunk, Claim, CommitKey, IndexEntry, SegmentKey, StoreError, StoredRow};
use super::SqliteStore;
use super::dump::as_of_key;
use super::read::{bytes, value};
use super::schema::{TABLES, read_epoch};
use crate::model::{Epoch, PartitionId};

/// What a cursor that no page gave is refused with.
const NO_CURSOR: &str = "that is no place to go on from in this store";

/// How a table is read: columns of the key after the partition, then those of the value.
struct Layout {
    table: &'static str,
    key: &'static str,
    value: &'static str,
    /// A key before all others.
    start: fn() -> Vec<Column>,
}

fn no_epoch() -> Column {
    Column::Blob(Vec::new())
}

fn layout(table: Table) -> Layout {
    let read = |table, key, value, start| Layout { table, key, value, start };
    match table {
        Table::Blobs => read("blobs", "epoch, segment, blob, chunk", "bytes, sum", || {
            vec![no_epoch(), Column::Integer(0), Column::Integer(0), Column::Integer(0)]
        }),
        Table::Places | Table::Tokens => read("entries", "bucket, term, value", "value", || {
            vec![Column::Integer(i64::MIN), Column::Blob(Vec::new()), Column::Blob(Vec::new())]
        }),
        Table::Commits => read("commits", "epoch, segment, number", "row, sum", || {
            vec![no_epoch(), Column::Integer(0), Column::Integer(0)]
        }),
        Table::Summaries => read("summaries", "epoch, segment, as_of", "summary, sum", || {
            vec![no_epoch(), Column::Integer(0), Column::Blob(Vec::new())]
        }),
        Table::Progress => {
            read("progress", "epoch, number", "progress, sum", || vec![no_epoch(), Column::Integer(0)])
        }
        Table::Claims => read("claims", "epoch", "owner", || vec![no_epoch()]),
    }
}

impl SqliteStore {
    /// Rows of a partition in one table, after `after` (a cursor of an earlier page), at most `rows_max`
    /// and about `bytes_max` bytes of values, at least one if there is one.
    pub(in crate::store) async fn rows(
        &self,
        id: PartitionId,
        table: Table,
        after: Option<String>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<RowPage, StoreError> {
        let layout = layout(table);
        let start = match &after {
            Some(cursor) => read_cursor(cursor, &(layout.start)())?,
            None => (layout.start)(),
        };
        self.get(move |connection| page(connection, id, table, &layout, start, (rows_max, bytes_max))).await
    }

    /// How many rows there are in all tables of partitions. Reads all keys.
    pub(in crate::store) async fn count_rows(&self) -> Result<u64, StoreError> {
        self.get(|connection| {
            let of_partitions = TABLES.iter().filter(|(name, _)| !matches!(*name, "settings" | "documents"));
            let mut all = 0;
            for (name, _) in of_partitions {
                let count = connection
                    .query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get::<_, i64>(0))?;
                all += count.unsigned_abs();
            }
            Ok(all)
        })
        .await
    }
}

fn page(
    connection: &Connection,
    id: PartitionId,
    table: Table,
    layout: &Layout,
    start: Vec<Column>,
    (rows_max, bytes_max): (usize, usize),
) -> rusqlite::Result<RowPage> {
    let Layout { table: name, key, value, .. } = layout;
    let of_partition = match table.scope(id) {
        Some(_) => "scope = ?",
        None => "grp = ? AND part = ?",
    };
    let marks = vec!["?"; start.len()].join(", ");
    let mut select = connection.prepare_cached(&format!(
        "SELECT {key}, {value} FROM {name} WHERE {of_partition} AND ({key}) > ({marks}) ORDER BY {key}"
    ))?;
    let columns = start.len();
    let mut values = match table.scope(id) {
        Some(scope) => vec![Column::Text(scope)],
        None => vec![Column::Integer(id.group.into()), Column::Integer(id.index.into())],
    };
    values.extend(start);
    let mut rows = select.query(params_from_iter(values))?;
    let mut page = RowPage::default();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let length = row.get_ref(columns)?.as_blob()?.len();
        let full = page.rows.len() >= rows_max || page.bytes + length > bytes_max;
        if full && !page.rows.is_empty() {
            page.next = last.map(|key: Vec<Column>| cursor(&key));
            break;
        }
        page.bytes += length;
        page.rows.push(stored(row, id, table)?);
        last = Some((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
    }
    Ok(page)
}

fn stored(row: &Row<'_>, partition: PartitionId, table: Table) -> rusqlite::Result<StoredRow> {
    let epoch = || row.get(0).map(read_epoch);
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let segment =
        |epoch: Epoch| Ok::<_, rusqlite::Error>(SegmentKey { partition, epoch, segment: row.get(1)? });
    Ok(match table {
        Table::Blobs => {
            let chunk = BlobChunk { blob: number(2)?, chunk: row.get(3)?, bytes: value(row, 4)? };
            StoredRow::Blob(segment(epoch()?)?, chunk.blob, chunk.chunk, chunk.bytes)
        }
        Table::Places | Table::Tokens => StoredRow::Entry(IndexEntry {
            scope: table.scope(partition).unwrap_or_default(),
            bucket: number(0)?,
            term: bytes(row, 1)?,
            value: bytes(row, 2)?,
        }),
        Table::Commits => StoredRow::Commit(segment(epoch()?)?, number(2)?, value(row, 3)?),
        Table::Summaries => StoredRow::Summary(segment(epoch()?)?, as_of_key(row.get(2)?), value(row, 3)?),
        Table::Progress => {
            let as_of = CommitKey { epoch: epoch()?, commit: number(1)? };
            StoredRow::Progress(partition, as_of, value(row, 2)?)
        }
        Table::Claims => StoredRow::Claim(partition, Claim { epoch: epoch()?, owner: bytes(row, 1)? }),
    })
}

/// Integers as numbers, bytes as hexadecimal text.
fn cursor(key: &[Column]) -> String {
    let value = |column: &Column| match column {
        Column::Integer(number) => Value::from(*number),
        Column::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        // No key has another kind of column.
        _ => Value::Null,
    };
    Value::Array(key.iter().map(value).collect()).to_string()
}

/// The reverse; `like` has the same kinds of column.
fn read_cursor(text: &str, like: &[Column]) -> Result<Vec<Column>, StoreError> {
    let columns: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let column = |(value, like): (&Value, &Column)| match (value, like) {
        (Value::Number(number), Column::Integer(_)) => number.as_i64().map(Column::Integer),
        (Value::String(text), Column::Blob(_)) => unhex(text).map(Column::Blob),
        _ => None,
    };
    let read: Option<Vec<Column>> = columns.iter().zip(like).map(column).collect();
    read.filter(|read| read.len() == like.len() && columns.len() == like.len())
        .ok_or_else(|| super::super::checks::invalid(NO_CURSOR))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    digits
        .filter(|digits| digits.len() % 2 == 0)
        .map(|digits| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::super::{Append, Store, WriteOutcome};
    use super::super::SqliteOptions;
    use super::*;

    fn text(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[tokio::test]
    async fn pages_of_any_size_show_each_row_of_the_partition_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&folder.path().join("s"), SqliteOptions::default()).expect("a store");
        let own = PartitionId { group: 7, index: 3 };
        for (partition, epochs) in [(own, 3), (PartitionId { group: 7, index: 4 }, 1)] {
            for number in 1..=epochs {
                let epoch = Epoch { number, incarnation: u64::MAX - u64::from(number) };
                let claim = Claim { epoch, owner: text("me") };
                assert_eq!(store.insert_claim(partition, claim).await, WriteOutcome::Durable);
                for commit in 0..5 {
                    let segment = SegmentKey { partition, epoch, segment: commit as u32 / 2 };
                    let entry = |scope: &str, value: u64| IndexEntry {
                        scope: format!("{scope}/{partition}"),
                        bucket: u64::MAX - commit / 2,
                        term: text("term"),
                        value: text(&format!("{number} {value}")),
                    };
                    let append = Append {
                        segment,
                        commit,
                        row: text("row"),
                        blobs: vec![BlobChunk { blob: commit, chunk: 0, bytes: text("blob") }],
                        entries: vec![entry("token", commit), entry("place", commit), entry("place", 9)],
                    };
                    store.append(append).await;
                    store.put_summary(segment, CommitKey { epoch, commit }, text("summary")).await;
                    store.put_progress(partition, CommitKey { epoch, commit }, text("progress")).await;
                }
            }
        }
        let mut expected = Vec::new();
        store
            .dump(&mut |row| {
                let foreign = format!("{row:?}").contains("index: 4");
                let documents = matches!(row, StoredRow::Document(..));
                let foreign_entry = matches!(&row, StoredRow::Entry(entry) if !entry.scope.ends_with("/3"));
                expected.extend((!foreign && !documents && !foreign_entry).then(|| format!("{row:?}")));
                true
            })
            .await
            .expect("it can be read");
        expected.sort_unstable();
        assert!(expected.len() > 60);
        for (rows_max, bytes_max) in [(1, 1_000), (7, 1_000), (1_000, 1), (1_000, 10), (1_000, 1_000_000)] {
            let mut seen = Vec::new();
            for table in Table::ALL {
                let mut after = None;
                loop {
                    let page = store.rows(own, table, after, rows_max, bytes_max).await.expect("a page");
                    assert!(page.rows.len() <= rows_max);
                    seen.extend(page.rows.iter().map(|row| format!("{row:?}")));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, expected, "{rows_max} {bytes_max}");
        }
        assert_eq!(store.count_rows().await, Ok(expected.len() as u64 / 3 * 4));
        for wrong in ["", "[]", "[1]", "[\"0\"]", "[\"zz\", 0, 0]", "[\"00\", 0, 0, 0]", "{}"] {
            let after = Some(wrong.to_owned());
            assert!(store.rows(own, Table::Commits, after, 1, 1).await.is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(number: i64, bytes: Vec<u8>, any in "\\PC*") {
            let key = vec![Column::Integer(number), Column::Blob(bytes)];
            prop_assert_eq!(read_cursor(&cursor(&key), &key), Ok(key.clone()));
            let _ = read_cursor(&any, &key);
        }
    }
}
