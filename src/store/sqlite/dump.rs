//! Every row of a store, in the order of the tables and their keys, as of one moment.

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use tokio::sync::mpsc;

use super::super::{Claim, CommitKey, Document, IndexEntry, SegmentKey, StoreError, StoredRow};
use super::SqliteStore;
use super::read::value;
use super::schema::read_epoch;
use crate::model::PartitionId;

/// Rows that are read before they are shown.
const ROWS_AHEAD: usize = 64;

/// A table, the columns of its key, those beside them, and what a row of them is.
type Table =
    (&'static str, &'static [&'static str], &'static str, fn(&Row<'_>) -> rusqlite::Result<StoredRow>);

const TABLES: [Table; 7] = [
    ("documents", &["key"], ", version, value, sum", document),
    ("claims", &["grp", "part", "epoch"], ", owner", claim),
    ("commits", &["grp", "part", "epoch", "segment", "number"], ", row, sum", commit),
    ("blobs", &["grp", "part", "epoch", "segment", "blob", "chunk"], ", bytes, sum", blob),
    ("summaries", &["grp", "part", "epoch", "segment", "as_of"], ", summary, sum", summary),
    ("progress", &["grp", "part", "epoch", "number"], ", progress, sum", progress),
    ("entries", &["scope", "bucket", "term", "value"], "", entry),
];

impl SqliteStore {
    /// One read transaction is held: the write-ahead log of a running owner grows meanwhile.
    pub(super) async fn dump_to(
        &self,
        visit: &mut (dyn FnMut(StoredRow) -> bool + Send),
    ) -> Result<(), StoreError> {
        let (rows, mut read) = mpsc::channel(ROWS_AHEAD);
        let reading = self.get(move |connection| all(connection, &mut |row| rows.blocking_send(row).is_ok()));
        let showing = async move {
            while let Some(row) = read.recv().await {
                if !visit(row) {
                    return;
                }
            }
        };
        tokio::join!(reading, showing).0
    }
}

fn all(connection: &Connection, visit: &mut dyn FnMut(StoredRow) -> bool) -> rusqlite::Result<()> {
    // Ended when it is dropped, however this ends.
    let transaction = connection.unchecked_transaction()?;
    for (table, key, others, read) in TABLES {
        let key = key.join(", ");
        let mut statement =
            transaction.prepare(&format!("SELECT {key}{others} FROM {table} ORDER BY {key}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let row = read(row).unwrap_or_else(|error| damaged(table, &key, row, &error));
            if !visit(row) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn damaged(table: &str, key: &str, row: &Row<'_>, error: &rusqlite::Error) -> StoredRow {
    let named = key.split(", ").map(|column| match row.get_ref(column) {
        Ok(ValueRef::Integer(number)) => format!("{column} {number}"),
        Ok(ValueRef::Text(text)) => format!("{column} {:?}", String::from_utf8_lossy(text)),
        Ok(ValueRef::Blob(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{column} {hex}")
        }
        _ => format!("{column} ?"),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    StoredRow::Damaged(format!("a row of {table} ({named}) can't be read: {error}"))
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    row.get::<_, Vec<u8>>(column).map(Bytes::from)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn partition(row: &Row<'_>) -> rusqlite::Result<PartitionId> {
    Ok(PartitionId { group: row.get(0)?, index: row.get(1)? })
}

fn segment(row: &Row<'_>) -> rusqlite::Result<SegmentKey> {
    Ok(SegmentKey { partition: partition(row)?, epoch: read_epoch(row.get(2)?), segment: row.get(3)? })
}

fn document(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    let document = Document { version: number(row, 1)?, value: value(row, 2)? };
    Ok(StoredRow::Document(row.get(0)?, document))
}

fn claim(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    let claim = Claim { epoch: read_epoch(row.get(2)?), owner: bytes(row, 3)? };
    Ok(StoredRow::Claim(partition(row)?, claim))
}

fn commit(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Commit(segment(row)?, number(row, 4)?, value(row, 5)?))
}

fn blob(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Blob(segment(row)?, number(row, 4)?, row.get(5)?, value(row, 6)?))
}

fn summary(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Summary(segment(row)?, as_of_key(row.get(4)?), value(row, 5)?))
}

/// A commit of any epoch, from how the tables hold it.
pub(super) fn as_of_key(as_of: [u8; 20]) -> CommitKey {
    let [epoch @ .., c0, c1, c2, c3, c4, c5, c6, c7] = as_of;
    CommitKey { epoch: read_epoch(epoch), commit: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]) }
}

fn progress(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    let as_of = CommitKey { epoch: read_epoch(row.get(2)?), commit: number(row, 3)? };
    Ok(StoredRow::Progress(partition(row)?, as_of, value(row, 4)?))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Entry(IndexEntry {
        scope: row.get(0)?,
        bucket: number(row, 1)?,
        term: bytes(row, 2)?,
        value: bytes(row, 3)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::super::{Append, Store};
    use super::super::SqliteOptions;
    use super::*;
    use crate::model::Epoch;

    #[tokio::test]
    async fn a_damaged_row_is_shown_as_that_among_the_others() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("s");
        let store = SqliteStore::open(&file, SqliteOptions::default()).expect("a store");
        let epoch = Epoch { number: 1, incarnation: u64::MAX };
        let segment = SegmentKey { partition: PartitionId { group: 7, index: 3 }, epoch, segment: 2 };
        for commit in 0..3 {
            let row = Bytes::from_static(b"row");
            store.append(Append { segment, commit, row, blobs: Vec::new(), entries: Vec::new() }).await;
        }
        let spoil = Connection::open(&file).expect("a connection");
        spoil.execute("UPDATE commits SET row = x'01' WHERE number = 1", ()).expect("it is spoilt");
        let mut seen = Vec::new();
        let mut see = |row| {
            seen.push(row);
            true
        };
        store.dump(&mut see).await.expect("readable");
        let [StoredRow::Commit(_, 0, _), StoredRow::Damaged(why), StoredRow::Commit(_, 2, _)] = &seen[..]
        else {
            panic!("{seen:?}")
        };
        assert!(why.contains("commits") && why.contains("grp 7") && why.contains("number 1"), "{why}");
    }
}
