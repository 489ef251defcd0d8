//! The store port: where facts live.
//!
//! One small trait with four kinds of thing: documents, claims, the journal and the
//! index. Every backend passes the same suite ([`conformance`]). Nothing in the port decides by a
//! clock, and no row is ever changed: a row is written once, repeated with the same bytes if its
//! outcome is not known, and dropped with its segment.
//!
//! Safety rests on three promises of a backend, named where they are used:
//! *durable* (an acknowledged write survives the loss of what the backend says it survives),
//! *fresh* (a read that begins after a write was acknowledged sees it) and *whole* (a row is seen
//! with all of its bytes or not at all).

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{Epoch, PartitionId};

mod checks;
mod count;
mod paging;
mod stored;
mod types;
pub use stored::StoredRow;
pub use types::*;

#[cfg(feature = "cassandra")]
pub mod cassandra;

#[doc(hidden)]
pub mod conformance;
#[cfg(feature = "sqlite")]
#[doc(hidden)]
pub mod copy;
pub mod faulty;
pub mod memory;
#[cfg(all(feature = "sqlite", any(test, feature = "testing")))]
pub mod powercut;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "cassandra")]
pub use cassandra::{CassandraOptions, CassandraStore, Replication};
pub use faulty::{FaultPlan, FaultyStore};
pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore, Synchronous};

/// Where facts live.
///
/// For this crate's backends; not meant to be implemented elsewhere.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // Documents: namespaces, groups, queues, schedules, tokens. Few, small, rarely written.

    /// The document of that key.
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError>;

    /// Documents whose key starts with `prefix`, in the order of keys, after `after`, at most
    /// `limit` of them.
    async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError>;

    /// Compare-and-set: writes `value` (or deletes, if none) if the document's version is
    /// `expected` (none: if there is no document).
    async fn swap_document(&self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome;

    // Claims.

    /// Adds a claim. Repeating it with the same bytes changes nothing.
    async fn insert_claim(&self, partition: PartitionId, claim: Claim) -> WriteOutcome;

    /// The highest claim: what a fence read is.
    async fn highest_claim(&self, partition: PartitionId) -> Result<Option<Claim>, StoreError>;

    /// Claims, newest first, lower than `below` if it is given, at most `limit`.
    async fn claims(
        &self,
        partition: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError>;

    // The journal.

    /// Writes one commit's row, after its blobs and index entries; the commit counts as durable
    /// only when those are. Repeating it with the same bytes changes nothing; other bytes under
    /// the same key are [`AppendOutcome::Refused`] where the backend can tell.
    async fn append(&self, append: Append) -> AppendOutcome;

    /// Writes a row again that was read at a take-over, so that it is known to be durable. Never
    /// fenced: the rows of an accepted epoch may be repeated by whoever accepts them. Backends whose
    /// reads show only what is durable have nothing to do.
    async fn repeat_commit(&self, _append: Append) -> WriteOutcome {
        WriteOutcome::Durable
    }

    /// Commits of one segment, from `from` on, in order, at most `limit` rows and about
    /// `bytes_max` bytes (at least one row if there is one).
    async fn commits(
        &self,
        segment: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError>;

    /// Writes blob chunks before the commit that names them (output while a job runs).
    async fn put_blobs(&self, segment: SegmentKey, blobs: Vec<BlobChunk>) -> WriteOutcome;

    /// One chunk of a blob.
    async fn blob(&self, segment: SegmentKey, blob: u64, chunk: u32) -> Result<Option<Bytes>, StoreError>;

    /// Writes a segment's summary as of a released commit. Immutable.
    async fn put_summary(&self, segment: SegmentKey, as_of: CommitKey, summary: Bytes) -> WriteOutcome;

    /// A segment's summary as of a commit.
    async fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Result<Option<Bytes>, StoreError>;

    /// Writes progress as of a released commit. Immutable.
    async fn put_progress(&self, partition: PartitionId, as_of: CommitKey, progress: Bytes) -> WriteOutcome;

    /// Progress rows of one epoch, highest commit first, at most `limit`.
    async fn progress(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError>;

    /// Deletes a segment: its commits, blobs and summaries. Only after the conditions of
    /// `docs/proof.md` (5). Repeating it changes nothing.
    async fn drop_segment(&self, segment: SegmentKey) -> WriteOutcome;

    /// Deletes superseded progress rows, summaries and claims of a partition: progress older than
    /// `keep` (and, of `keep`'s epoch, older than its commit), summaries as of commits before those
    /// in `summaries`, claims lower than `keep`'s epoch. The highest claim is never deleted.
    async fn prune(
        &self,
        partition: PartitionId,
        keep: CommitKey,
        summaries: Vec<(SegmentKey, CommitKey)>,
    ) -> WriteOutcome;

    // The index.

    /// Adds entries. Repeating it changes nothing.
    async fn put_entries(&self, entries: Vec<IndexEntry>) -> WriteOutcome;

    /// The values under one term, at most `limit`.
    async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError>;

    /// Entries of a bucket in the order of terms, after the term `after`, at most `limit`. A page
    /// ends where a term ends; a term with more values than `limit` comes with all of them.
    async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Deletes a whole bucket.
    async fn drop_bucket(&self, scope: &str, bucket: u64) -> WriteOutcome;

    // The store itself.

    /// The store's clock, Unix milliseconds.
    async fn clock_ms(&self) -> Result<u64, StoreError>;

    /// Copies the whole store, consistently, while it runs. Backends without a way of their own
    /// refuse with a sentence that says what to use instead.
    async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError>;

    /// Shows every row to `visit`, table by table in the order of [`StoredRow`], until it has seen enough
    /// and returns false. As of one moment only where the backend can do that.
    async fn dump(&self, visit: &mut (dyn FnMut(StoredRow) -> bool + Send)) -> Result<(), StoreError>;

    /// How the store is, and what its acknowledgements are worth.
    async fn health(&self) -> Result<StoreHealth, StoreError>;

    /// Whether rows are written without a look at what is there: then other bytes under a known key go
    /// unnoticed, and an append is neither fenced nor superseded, only durable.
    fn writes_blind(&self) -> bool {
        false
    }

    /// What the backend has done so far, for metrics and benchmarks.
    fn counters(&self) -> StoreCounters;
}
