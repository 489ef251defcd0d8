//! Every row of a store, in the order of the tables and their keys, as of one moment.

use bytes::Bytes;
use rusqlite::{Connection, Row};

use super::super::{Claim, CommitKey, Document, IndexEntry, SegmentKey, StoreError, StoredRow};
use super::SqliteStore;
use super::schema::read_epoch;
use crate::model::PartitionId;

type Read = fn(&Row<'_>) -> rusqlite::Result<StoredRow>;

const SELECTS: [(&str, Read); 7] = [
    ("SELECT key, version, value FROM documents ORDER BY key", document),
    ("SELECT grp, part, epoch, owner FROM claims ORDER BY grp, part, epoch", claim),
    (
        "SELECT grp, part, epoch, segment, number, row FROM commits ORDER BY grp, part, epoch, segment, number",
        commit,
    ),
    (
        "SELECT grp, part, epoch, segment, blob, chunk, bytes FROM blobs ORDER BY grp, part, epoch, segment, blob, chunk",
        blob,
    ),
    (
        "SELECT grp, part, epoch, segment, as_of, summary FROM summaries ORDER BY grp, part, epoch, segment, as_of",
        summary,
    ),
    ("SELECT grp, part, epoch, number, progress FROM progress ORDER BY grp, part, epoch, number", progress),
    ("SELECT scope, bucket, term, value FROM entries ORDER BY scope, bucket, term, value", entry),
];

impl SqliteStore {
    /// Shows every row to `visit`, until it says that it has seen enough by returning false. Blocks.
    /// One read transaction is held: the write-ahead log of a running owner grows meanwhile.
    pub fn dump(&self, mut visit: impl FnMut(StoredRow) -> bool) -> Result<(), StoreError> {
        self.readers.read_now(|connection| all(connection, &mut visit))
    }
}

fn all(connection: &Connection, visit: &mut dyn FnMut(StoredRow) -> bool) -> rusqlite::Result<()> {
    // Ended when it is dropped, however this ends.
    let transaction = connection.unchecked_transaction()?;
    for (select, read) in SELECTS {
        let mut statement = transaction.prepare(select)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !visit(read(row)?) {
                return Ok(());
            }
        }
    }
    Ok(())
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
    let document = Document { version: number(row, 1)?, value: bytes(row, 2)? };
    Ok(StoredRow::Document(row.get(0)?, document))
}

fn claim(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    let claim = Claim { epoch: read_epoch(row.get(2)?), owner: bytes(row, 3)? };
    Ok(StoredRow::Claim(partition(row)?, claim))
}

fn commit(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Commit(segment(row)?, number(row, 4)?, bytes(row, 5)?))
}

fn blob(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Blob(segment(row)?, number(row, 4)?, row.get(5)?, bytes(row, 6)?))
}

fn summary(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow::Summary(segment(row)?, as_of_key(row.get(4)?), bytes(row, 5)?))
}

/// A commit of any epoch, from how the tables hold it.
pub(super) fn as_of_key(as_of: [u8; 20]) -> CommitKey {
    let [epoch @ .., c0, c1, c2, c3, c4, c5, c6, c7] = as_of;
    CommitKey { epoch: read_epoch(epoch), commit: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]) }
}

fn progress(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    let as_of = CommitKey { epoch: read_epoch(row.get(2)?), commit: number(row, 3)? };
    Ok(StoredRow::Progress(partition(row)?, as_of, bytes(row, 4)?))
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
    use super::super::super::{Append, BlobChunk, Store, WriteOutcome};
    use super::super::SqliteOptions;
    use super::*;
    use crate::model::Epoch;

    #[tokio::test]
    async fn a_dump_shows_every_row_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&folder.path().join("s"), SqliteOptions::default()).expect("a store");
        let partition = PartitionId { group: 7, index: 3 };
        let epoch = Epoch { number: 1, incarnation: u64::MAX };
        let segment = SegmentKey { partition, epoch, segment: 2 };
        let as_of = CommitKey { epoch, commit: 9 };
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let claim = Claim { epoch, owner: text("me") };
        let entry =
            IndexEntry { scope: "token/7/3".into(), bucket: u64::MAX, term: text("t"), value: text("v") };
        let chunk = BlobChunk { blob: u64::MAX, chunk: 1, bytes: text("blob") };
        store.swap_document("queue/a", None, Some(text("{}"))).await;
        assert_eq!(store.insert_claim(partition, claim.clone()).await, WriteOutcome::Durable);
        let append =
            Append { segment, commit: 9, row: text("row"), blobs: vec![chunk], entries: vec![entry.clone()] };
        store.append(append).await;
        store.put_summary(segment, as_of, text("summary")).await;
        store.put_progress(partition, as_of, text("progress")).await;

        let mut seen = Vec::new();
        store
            .dump(|row| {
                seen.push(row);
                true
            })
            .expect("readable");
        let StoredRow::Document(key, _) = seen.remove(0) else { panic!("documents come first") };
        assert_eq!(key, "queue/a");
        let expected = [
            StoredRow::Claim(partition, claim),
            StoredRow::Commit(segment, 9, text("row")),
            StoredRow::Blob(segment, u64::MAX, 1, text("blob")),
            StoredRow::Summary(segment, as_of, text("summary")),
            StoredRow::Progress(partition, as_of, text("progress")),
            StoredRow::Entry(entry),
        ];
        assert_eq!(seen, expected);

        let mut count = 0;
        store
            .dump(|_| {
                count += 1;
                count < 2
            })
            .expect("readable");
        assert_eq!(count, 2, "it stops when it is told to");
    }
}
