//! Reading: a few connections apart from the writer's, lent to the runtime's threads for blocking.
//!
//! Each read is one statement, so it sees one moment (*whole*), holds the write-ahead log for a
//! page's length only, and, beginning after a commit was answered, sees that commit (*fresh*).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, ffi, params};
use tokio::sync::Semaphore;

use super::super::{
    Claim, CommitKey, Document, SegmentKey, StoreError, StoreErrorKind, StoredCommit, paging,
};
use super::error::{describe, spoils_connection};
use super::open::Source;
use super::schema::{as_of, bits, epoch, ordered, partition, read_epoch, segment, sum};
use crate::model::{Epoch, PartitionId};

/// Connections for reading.
pub(super) struct Readers {
    source: Source,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(source: Source, idle: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(source.options.readers.max(1)));
        Self { source, permits, idle: Mutex::new(idle) }
    }

    /// Closes what is idle.
    pub(super) fn close(&self) {
        self.permits.close();
        self.lock().clear();
    }

    /// Reads with one of the connections.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = |_| StoreError::new(StoreErrorKind::Unavailable, "the store is closed");
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            readers.read_now(read)
        });
        task.await.unwrap_or_else(|error| {
            Err(StoreError::new(StoreErrorKind::Unavailable, format!("a read was broken off ({error})")))
        })
    }

    pub(super) fn read_now<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.source.reader()?,
        };
        let result = read(&connection);
        let described =
            result.as_ref().err().map(|error| describe(&self.source.path, Some(&connection), error));
        if !result.as_ref().is_err_and(spoils_connection) && !self.permits.is_closed() {
            self.lock().push(connection);
        }
        result.map_err(|error| described.unwrap_or_else(|| describe(&self.source.path, None, &error)))
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list of connections is sound whatever panicked beside it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A limit as SQLite takes it.
fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::from(row.get::<_, Vec<u8>>(column)?))
}

/// A value whose sum is in the next column: what was written, or an error.
pub(super) fn value(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    let value = bytes(row, column)?;
    if sum(&value) == row.get::<_, u32>(column + 1)? {
        return Ok(value);
    }
    let message = "the bytes of a row are not those that were written".to_owned();
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(message)))
}

fn to_document(row: &Row<'_>, column: usize) -> rusqlite::Result<Document> {
    Ok(Document { version: row.get::<_, i64>(column)?.cast_unsigned(), value: value(row, column + 1)? })
}

pub(super) fn document(connection: &Connection, key: &str) -> rusqlite::Result<Option<Document>> {
    connection
        .prepare_cached("SELECT version, value, sum FROM documents WHERE key = ?1")?
        .query_row(params![key], |row| to_document(row, 0))
        .optional()
}

pub(super) fn documents(
    connection: &Connection,
    prefix: &str,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<(String, Document)>> {
    let mut select = connection.prepare_cached(
        "SELECT key, version, value, sum FROM documents WHERE key >= ?1 AND key > ?2 ORDER BY key LIMIT ?3",
    )?;
    let mut rows = select.query(params![prefix, after, limited(limit)])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        page.push((key, to_document(row, 1)?));
    }
    Ok(page)
}

pub(super) fn claims(
    connection: &Connection,
    id: PartitionId,
    below: Option<Epoch>,
    limit: usize,
) -> rusqlite::Result<Vec<Claim>> {
    let (group, part) = partition(id);
    let mut select = connection.prepare_cached(
        "SELECT epoch, owner FROM claims WHERE grp = ?1 AND part = ?2 AND (?3 IS NULL OR epoch < ?3)
         ORDER BY epoch DESC LIMIT ?4",
    )?;
    let rows = select.query_map(params![group, part, below.map(epoch), limited(limit)], |row| {
        Ok(Claim { epoch: read_epoch(row.get(0)?), owner: bytes(row, 1)? })
    })?;
    rows.collect()
}

pub(super) fn commits(
    connection: &Connection,
    key: SegmentKey,
    from: u64,
    limit: usize,
    bytes_max: usize,
) -> rusqlite::Result<Vec<StoredCommit>> {
    let (group, part, epoch, segment) = segment(key);
    let mut select = connection.prepare_cached(
        "SELECT number, row, sum FROM commits
         WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4 AND number >= ?5
         ORDER BY number LIMIT ?6",
    )?;
    let mut rows = select.query(params![group, part, epoch, segment, ordered(from), limited(limit)])?;
    let mut page = Vec::new();
    let mut page_bytes = 0;
    while let Some(row) = rows.next()? {
        page_bytes += row.get_ref(1)?.as_blob()?.len();
        if page_bytes > bytes_max && !page.is_empty() {
            break;
        }
        let commit = row.get::<_, i64>(0)?.cast_unsigned();
        page.push(StoredCommit { commit, row: value(row, 1)? });
    }
    Ok(page)
}

pub(super) fn blob(
    connection: &Connection,
    key: SegmentKey,
    blob: u64,
    chunk: u32,
) -> rusqlite::Result<Option<Bytes>> {
    let (group, part, epoch, segment) = segment(key);
    connection
        .prepare_cached(
            "SELECT bytes, sum FROM blobs WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4
             AND blob = ?5 AND chunk = ?6",
        )?
        .query_row(params![group, part, epoch, segment, bits(blob), chunk], |row| value(row, 0))
        .optional()
}

pub(super) fn summary(
    connection: &Connection,
    key: SegmentKey,
    commit: CommitKey,
) -> rusqlite::Result<Option<Bytes>> {
    let (group, part, epoch, segment) = segment(key);
    connection
        .prepare_cached(
            "SELECT summary, sum FROM summaries
             WHERE grp = ?1 AND part = ?2 AND epoch = ?3 AND segment = ?4 AND as_of = ?5",
        )?
        .query_row(params![group, part, epoch, segment, as_of(commit)], |row| value(row, 0))
        .optional()
}

pub(super) fn progress(
    connection: &Connection,
    id: PartitionId,
    of: Epoch,
    limit: usize,
) -> rusqlite::Result<Vec<(u64, Bytes)>> {
    let (group, part) = partition(id);
    let mut select = connection.prepare_cached(
        "SELECT number, progress, sum FROM progress WHERE grp = ?1 AND part = ?2 AND epoch = ?3
         ORDER BY number DESC LIMIT ?4",
    )?;
    let rows = select.query_map(params![group, part, epoch(of), limited(limit)], |row| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), value(row, 1)?))
    })?;
    rows.collect()
}

pub(super) fn entries(
    connection: &Connection,
    scope: &str,
    bucket: u64,
    term: &[u8],
    limit: usize,
) -> rusqlite::Result<Vec<Bytes>> {
    let mut select = connection.prepare_cached(
        "SELECT value FROM entries WHERE scope = ?1 AND bucket = ?2 AND term = ?3 ORDER BY value LIMIT ?4",
    )?;
    let rows = select.query_map(params![scope, bits(bucket), term, limited(limit)], |row| bytes(row, 0))?;
    rows.collect()
}

pub(super) fn scan_entries(
    connection: &Connection,
    scope: &str,
    bucket: u64,
    after: &[u8],
    limit: usize,
) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
    let mut select = connection.prepare_cached(
        "SELECT term, value FROM entries WHERE scope = ?1 AND bucket = ?2 AND term > ?3
         ORDER BY term, value",
    )?;
    let rows =
        select.query_map(params![scope, bits(bucket), after], |row| Ok((bytes(row, 0)?, bytes(row, 1)?)))?;
    paging::whole_terms(rows, limit)
}
