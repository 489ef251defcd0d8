//! One write, inside the writer's transaction.
//!
//! Each either does all of it or fails, and then the whole transaction is rolled back: nothing here
//! cleans up after itself.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::checks::other_bytes;
use super::super::{Append, BlobChunk, Claim, CommitKey, Document, IndexEntry, SegmentKey, StoreError};
use super::read;
use super::schema::{as_of, bits, epoch, ordered, partition, read_epoch, segment, sum};
use crate::model::{Epoch, PartitionId};

/// Bytes of rows that one slice of a drop deletes; the first row is deleted whatever its size.
const SLICE_BYTES: usize = 4 << 20;
/// Rows that one slice of a drop deletes.
const SLICE_ROWS: usize = 1_024;

/// What can be written.
#[derive(Debug)]
pub(super) enum Write {
    Append(Append),
    Claim(PartitionId, Claim),
    Document {
        key: String,
        expected: Option<u64>,
        value: Option<Bytes>,
    },
    Blobs(SegmentKey, Vec<BlobChunk>),
    Summary(SegmentKey, CommitKey, Bytes),
    Progress(PartitionId, CommitKey, Bytes),
    Entries(Vec<IndexEntry>),
    /// One slice of a segment.
    DropSegment(SegmentKey),
    /// One slice of a bucket.
    DropBucket(String, u64),
    Prune(PartitionId, CommitKey, Vec<(SegmentKey, CommitKey)>),
}

impl Write {
    /// About how many bytes it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        let blobs = |blobs: &[BlobChunk]| blobs.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        let entries = |entries: &[IndexEntry]| {
            entries.iter().map(|entry| entry.term.len() + entry.value.len()).sum::<usize>()
        };
        match self {
            Self::Append(append) => append.row.len() + blobs(&append.blobs) + entries(&append.entries),
            Self::Claim(_, claim) => claim.owner.len(),
            Self::Document { value, .. } => value.as_ref().map_or(0, Bytes::len),
            Self::Blobs(_, chunks) => blobs(chunks),
            Self::Summary(_, _, value) | Self::Progress(_, _, value) => value.len(),
            Self::Entries(list) => entries(list),
            Self::DropSegment(_) | Self::DropBucket(..) => SLICE_BYTES,
            Self::Prune(..) => 0,
        }
    }
}

/// What a write came to, once its transaction is durable.
#[derive(Debug)]
pub(super) enum Applied {
    Done,
    /// An append whose epoch is the highest claimed.
    Fenced,
    /// An append whose epoch nobody claimed, nor a higher one.
    Unfenced,
    /// An append that was not made.
    Superseded(Epoch),
    /// A document's new version.
    Version(u64),
    /// A document that was not written.
    Conflict(Option<Document>),
    /// A slice was deleted, and there is more.
    More,
}

/// Why a write was not made.
#[derive(Debug)]
pub(super) enum ApplyError {
    Sqlite(rusqlite::Error),
    Refused(StoreError),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Makes one write.
pub(super) fn apply(connection: &Connection, write: &Write) -> Result<Applied, ApplyError> {
    match write {
        Write::Append(append) => append_commit(connection, append),
        Write::Claim(partition, claim) => insert_claim(connection, *partition, claim),
        Write::Document { key, expected, value } => swap(connection, key, *expected, value.as_deref()),
        Write::Blobs(segment, chunks) => {
            chunks.iter().try_for_each(|chunk| insert_chunk(connection, *segment, chunk))?;
            Ok(Applied::Done)
        }
        Write::Summary(segment, commit, value) => insert_summary(connection, *segment, *commit, value),
        Write::Progress(partition, commit, value) => insert_progress(connection, *partition, *commit, value),
        Write::Entries(list) => {
            insert_entries(connection, list)?;
            Ok(Applied::Done)
        }
        Write::DropSegment(segment) => drop_slice(connection, *segment),
        Write::DropBucket(scope, bucket) => drop_bucket_slice(connection, scope, *bucket),
        Write::Prune(partition, keep, summaries) => prune(connection, *partition, *keep, summaries),
    }
}

fn append_commit(connection: &Connection, append: &Append) -> Result<Applied, ApplyError> {
    let highest = highest_epoch(connection, append.segment.partition)?;
    if let Some(higher) = highest.filter(|&highest| highest > append.segment.epoch) {
        return Ok(Applied::Superseded(higher));
    }
    append.blobs.iter().try_for_each(|chunk| insert_chunk(connection, append.segment, chunk))?;
    insert_entries(connection, &append.entries)?;
    let (group, part, epoch, segment) = segment(append.segment);
    let row = &append.row[..];
    let inserted = connection
        .prepare_cached("INSERT INTO commits VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING")?
        .execute(params![group, part, epoch, segment, ordered(append.commit), row, sum(row)])?;
    if inserted == 0 {
        let same = connection
            .prepare_cached(
                "SELECT row = ?6 FROM commits
                 WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4 AND number = ?5",
            )?
            .query_row(params![group, part, epoch, segment, ordered(append.commit), row], |row| row.get(0))?;
        must_be_same(same, || format!("commit {}", append.commit))?;
    }
    Ok(if highest == Some(append.segment.epoch) { Applied::Fenced } else { Applied::Unfenced })
}

/// The highest claimed epoch: what a fence reads.
fn highest_epoch(connection: &Connection, id: PartitionId) -> rusqlite::Result<Option<Epoch>> {
    let (group, part) = partition(id);
    connection
        .prepare_cached("SELECT epoch FROM claims WHERE grp = ?1 AND part = ?2 ORDER BY epoch DESC LIMIT 1")?
        .query_row(params![group, part], |row| row.get(0))
        .optional()
        .map(|bytes| bytes.map(read_epoch))
}

fn must_be_same(same: bool, what: impl FnOnce() -> String) -> Result<(), ApplyError> {
    if same { Ok(()) } else { Err(ApplyError::Refused(other_bytes(what()))) }
}

fn insert_claim(connection: &Connection, id: PartitionId, claim: &Claim) -> Result<Applied, ApplyError> {
    let (group, part) = partition(id);
    let row = params![group, part, epoch(claim.epoch), &claim.owner[..]];
    let inserted = connection
        .prepare_cached("INSERT INTO claims VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(row)?;
    if inserted == 0 {
        let same = connection
            .prepare_cached("SELECT owner = ?4 FROM claims WHERE grp = ?1 AND part = ?2 AND epoch = ?3")?
            .query_row(row, |row| row.get(0))?;
        must_be_same(same, || format!("claim {} of {id}", claim.epoch))?;
    }
    Ok(Applied::Done)
}

fn swap(
    connection: &Connection,
    key: &str,
    expected: Option<u64>,
    value: Option<&[u8]>,
) -> Result<Applied, ApplyError> {
    let there = read::document(connection, key)?;
    if there.as_ref().map(|document| document.version) != expected {
        return Ok(Applied::Conflict(there));
    }
    // One counter for all documents: one that is deleted and made again never has an old version.
    let version: i64 = connection
        .prepare_cached(
            "UPDATE settings SET value = value + 1 WHERE name = 'document_version' RETURNING value",
        )?
        .query_row([], |row| row.get(0))?;
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key, version, value, sum(value)])?,
        None => connection.prepare_cached("DELETE FROM documents WHERE key = ?1")?.execute(params![key])?,
    };
    Ok(Applied::Version(version.cast_unsigned()))
}

fn insert_chunk(connection: &Connection, key: SegmentKey, chunk: &BlobChunk) -> Result<(), ApplyError> {
    let (group, part, epoch, segment) = segment(key);
    let (blob, bytes) = (bits(chunk.blob), &chunk.bytes[..]);
    let inserted = connection
        .prepare_cached("INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING")?
        .execute(params![group, part, epoch, segment, blob, chunk.chunk, bytes, sum(bytes)])?;
    if inserted == 0 {
        let same = connection
            .prepare_cached(
                "SELECT bytes = ?7 FROM blobs WHERE grp = ?1 AND part = ?2 AND epoch = ?3
                 AND segment = ?4 AND blob = ?5 AND chunk = ?6",
            )?
            .query_row(params![group, part, epoch, segment, blob, chunk.chunk, bytes], |row| row.get(0))?;
        must_be_same(same, || format!("chunk {} of blob {}", chunk.chunk, chunk.blob))?;
    }
    Ok(())
}

fn insert_summary(
    connection: &Connection,
    key: SegmentKey,
    commit: CommitKey,
    summary: &[u8],
) -> Result<Applied, ApplyError> {
    let (group, part, epoch, segment) = segment(key);
    let inserted = connection
        .prepare_cached("INSERT INTO summaries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING")?
        .execute(params![group, part, epoch, segment, as_of(commit), summary, sum(summary)])?;
    if inserted == 0 {
        let same = connection
            .prepare_cached(
                "SELECT summary = ?6 FROM summaries
                 WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4 AND as_of = ?5",
            )?
            .query_row(params![group, part, epoch, segment, as_of(commit), summary], |row| row.get(0))?;
        must_be_same(same, || format!("the summary as of commit {}", commit.commit))?;
    }
    Ok(Applied::Done)
}

fn insert_progress(
    connection: &Connection,
    id: PartitionId,
    commit: CommitKey,
    progress: &[u8],
) -> Result<Applied, ApplyError> {
    let (group, part) = partition(id);
    let (epoch, number) = (epoch(commit.epoch), ordered(commit.commit));
    let inserted = connection
        .prepare_cached("INSERT INTO progress VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING")?
        .execute(params![group, part, epoch, number, progress, sum(progress)])?;
    if inserted == 0 {
        let same = connection
            .prepare_cached(
                "SELECT progress = ?5 FROM progress
                 WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND number = ?4",
            )?
            .query_row(params![group, part, epoch, number, progress], |row| row.get(0))?;
        must_be_same(same, || format!("the progress as of commit {}", commit.commit))?;
    }
    Ok(Applied::Done)
}

fn insert_entries(connection: &Connection, entries: &[IndexEntry]) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?;
    for entry in entries {
        insert.execute(params![entry.scope, bits(entry.bucket), &entry.term[..], &entry.value[..]])?;
    }
    Ok(())
}

/// How much of a slice is left.
struct Slice {
    rows: usize,
    bytes: usize,
}

impl Slice {
    /// Counts a row; whether the slice is full with it.
    fn take(&mut self, bytes: usize) -> bool {
        self.rows += 1;
        self.bytes += bytes;
        self.rows >= SLICE_ROWS || self.bytes >= SLICE_BYTES
    }
}

/// Deletes the first rows of a segment. The commits go last: while there is one, the segment is there.
fn drop_slice(connection: &Connection, key: SegmentKey) -> Result<Applied, ApplyError> {
    let mut slice = Slice { rows: 0, bytes: 0 };
    for (columns, value, table) in [
        ("blob, chunk", "bytes", "blobs"),
        ("as_of, 0", "summary", "summaries"),
        ("number, 0", "row", "commits"),
    ] {
        if drop_rows(connection, key, (columns, value, table), &mut slice)? {
            return Ok(Applied::More);
        }
    }
    Ok(Applied::Done)
}

/// Deletes rows of one table until the slice is full (true) or the table holds none (false).
fn drop_rows(
    connection: &Connection,
    key: SegmentKey,
    (columns, value, table): (&str, &str, &str),
    slice: &mut Slice,
) -> rusqlite::Result<bool> {
    const OF_SEGMENT: &str = "grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4";
    let (group, part, epoch, segment) = segment(key);
    let mut last = None;
    let mut full = false;
    let mut select = connection.prepare_cached(&format!(
        "SELECT {columns}, length({value}) FROM {table} WHERE {OF_SEGMENT} ORDER BY 1, 2"
    ))?;
    let mut rows = select.query(params![group, part, epoch, segment])?;
    while let Some(row) = rows.next()? {
        last = Some((row.get::<_, rusqlite::types::Value>(0)?, row.get::<_, i64>(1)?));
        full = slice.take(row.get::<_, i64>(2)?.unsigned_abs() as usize);
        if full {
            break;
        }
    }
    drop(rows);
    if let Some((first_column, second_column)) = last {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE {OF_SEGMENT} AND ({columns}) <= (?5, ?6)"))?
            .execute(params![group, part, epoch, segment, first_column, second_column])?;
    }
    Ok(full)
}

fn drop_bucket_slice(connection: &Connection, scope: &str, bucket: u64) -> Result<Applied, ApplyError> {
    let mut slice = Slice { rows: 0, bytes: 0 };
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    let mut full = false;
    let mut select = connection.prepare_cached(
        "SELECT term, value FROM entries WHERE scope = ?1 AND bucket = ?2 ORDER BY term, value",
    )?;
    let mut rows = select.query(params![scope, bits(bucket)])?;
    while let Some(row) = rows.next()? {
        let (term, value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        full = slice.take(term.len() + value.len());
        last = Some((term, value));
        if full {
            break;
        }
    }
    drop(rows);
    if let Some((term, value)) = last {
        connection
            .prepare_cached(
                "DELETE FROM entries WHERE scope = ?1 AND bucket = ?2 AND (term, value) <= (?3, ?4)",
            )?
            .execute(params![scope, bits(bucket), term, value])?;
    }
    Ok(if full { Applied::More } else { Applied::Done })
}

fn prune(
    connection: &Connection,
    id: PartitionId,
    keep: CommitKey,
    summaries: &[(SegmentKey, CommitKey)],
) -> Result<Applied, ApplyError> {
    let (group, part) = partition(id);
    let keep_epoch = epoch(keep.epoch);
    connection
        .prepare_cached("DELETE FROM progress WHERE grp = ?1 AND part = ?2 AND (epoch, number) < (?3, ?4)")?
        .execute(params![group, part, keep_epoch, ordered(keep.commit)])?;
    for (key, last) in summaries {
        let (group, part, epoch, segment) = segment(*key);
        connection
            .prepare_cached(
                "DELETE FROM summaries
                 WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4 AND as_of < ?5",
            )?
            .execute(params![group, part, epoch, segment, as_of(*last)])?;
    }
    connection
        .prepare_cached(
            "DELETE FROM claims WHERE grp = ?1 AND part = ?2 AND epoch < ?3
             AND epoch < (SELECT max(epoch) FROM claims WHERE grp = ?1 AND part = ?2)",
        )?
        .execute(params![group, part, keep_epoch])?;
    Ok(Applied::Done)
}
