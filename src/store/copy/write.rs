//! Writing rows, again and again until they are durable.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::super::{
    Append, AppendOutcome, BlobChunk, IndexEntry, Store, StoreError, StoreErrorKind, StoredRow, WriteOutcome,
};
use super::CopyError;

/// Rows that are written at once.
const WRITES_AT_ONCE: usize = 64;
/// Index entries of one write.
const ENTRIES_AT_ONCE: usize = 64;
/// First pause before a write is tried again; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Writes into the target.
pub(super) struct Writer<'a> {
    pub store: &'a dyn Store,
    patience: Duration,
}

/// One write of one or more rows.
enum Write {
    Row(StoredRow),
    Entries(Vec<IndexEntry>),
}

/// What came of one try.
enum Tried {
    Done,
    Again(StoreError),
    Failed(CopyError),
}

impl<'a> Writer<'a> {
    pub fn new(store: &'a dyn Store, patience: Duration) -> Self {
        Self { store, patience }
    }

    /// Writes all of them, in any order.
    pub async fn rows(&self, rows: Vec<StoredRow>) -> Result<(), CopyError> {
        let mut writes = Vec::new();
        for row in rows {
            match row {
                StoredRow::Entry(entry) => match writes.last_mut() {
                    Some(Write::Entries(entries)) if entries.len() < ENTRIES_AT_ONCE => entries.push(entry),
                    _ => writes.push(Write::Entries(vec![entry])),
                },
                other => writes.push(Write::Row(other)),
            }
        }
        let write = |write: Write| async move { self.repeated(|| self.write(&write)).await };
        stream::iter(writes).map(Ok).try_for_each_concurrent(WRITES_AT_ONCE, write).await
    }

    /// Tries until it is done, failed, or has taken too long.
    pub async fn repeated<F: Future<Output = T>, T: Into<Trial>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<(), CopyError> {
        let begun = Instant::now();
        let mut pause = PAUSE;
        loop {
            match attempt().await.into().0 {
                Tried::Done => return Ok(()),
                Tried::Failed(error) => return Err(error),
                Tried::Again(error) if begun.elapsed() >= self.patience => return Err(error.into()),
                Tried::Again(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn write(&self, write: &Write) -> Trial {
        let row = match write {
            Write::Entries(entries) => return self.store.put_entries(entries.clone()).await.into(),
            Write::Row(row) => row,
        };
        match row.clone() {
            StoredRow::Claim(partition, claim) => self.store.insert_claim(partition, claim).await.into(),
            StoredRow::Commit(segment, commit, row) => {
                let append = Append { segment, commit, row, blobs: Vec::new(), entries: Vec::new() };
                match self.store.append(append).await {
                    AppendOutcome::Fenced | AppendOutcome::Durable => Trial(Tried::Done),
                    AppendOutcome::Superseded(_) => {
                        Trial(Tried::Failed(CopyError::Claimed { partition: segment.partition }))
                    }
                    AppendOutcome::Unknown(error) => Trial(Tried::Again(error)),
                    AppendOutcome::Refused(error) => refused(error),
                }
            }
            StoredRow::Blob(segment, blob, chunk, bytes) => {
                self.store.put_blobs(segment, vec![BlobChunk { blob, chunk, bytes }]).await.into()
            }
            StoredRow::Summary(segment, as_of, summary) => {
                self.store.put_summary(segment, as_of, summary).await.into()
            }
            StoredRow::Progress(partition, as_of, progress) => {
                self.store.put_progress(partition, as_of, progress).await.into()
            }
            StoredRow::Entry(entry) => self.store.put_entries(vec![entry]).await.into(),
            // They are not rows of a partition, or not read as such.
            StoredRow::Document(..) => Trial(Tried::Done),
            StoredRow::Damaged(what) => Trial::failed(StoreError::new(StoreErrorKind::Damaged, what).into()),
        }
    }
}

/// See [`Tried`].
pub(super) struct Trial(Tried);

impl Trial {
    /// It is done.
    pub const DONE: Self = Self(Tried::Done);

    /// It can't be done.
    pub fn failed(error: CopyError) -> Self {
        Self(Tried::Failed(error))
    }
}

impl From<WriteOutcome> for Trial {
    fn from(outcome: WriteOutcome) -> Self {
        match outcome {
            WriteOutcome::Durable => Self(Tried::Done),
            WriteOutcome::Unknown(error) => Self(Tried::Again(error)),
            WriteOutcome::Refused(error) => refused(error),
        }
    }
}

impl From<Result<Trial, StoreError>> for Trial {
    fn from(result: Result<Trial, StoreError>) -> Self {
        result.unwrap_or_else(refused)
    }
}

/// Only what may pass by itself is tried again.
pub(super) fn refused(error: StoreError) -> Trial {
    Trial(match error.kind {
        StoreErrorKind::Unavailable => Tried::Again(error),
        _ => Tried::Failed(error.into()),
    })
}

/// An outcome that is not known.
pub(super) fn unknown(error: StoreError) -> Trial {
    Trial(Tried::Again(error))
}
