//! The port's methods: check, send, say what came of it. A write that was sent and failed is unknown,
//! whatever the error says: the driver may have tried other nodes before.

use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;

use super::super::count::add;
use super::super::{
    Append, AppendOutcome, BlobChunk, Claim, CommitKey, Document, IndexEntry, SegmentKey, Store,
    StoreCounters, StoreError, StoreErrorKind, StoreHealth, StoredCommit, StoredRow, SwapOutcome,
    WriteOutcome, checks,
};
use super::link::{Link, first_row};
use super::{CassandraStore, error};
use crate::model::{Epoch, PartitionId};

impl CassandraStore {
    /// Counts a call.
    fn call(&self) -> &Link {
        add(&self.link.counters.calls, 1);
        &self.link
    }

    /// A write, if it makes sense.
    async fn put<F: Future<Output = Result<(), StoreError>>>(
        &self,
        checked: Result<(), StoreError>,
        write: impl FnOnce() -> F,
    ) -> WriteOutcome {
        if let Err(error) = checked {
            return WriteOutcome::Refused(error);
        }
        match write().await {
            Ok(()) => WriteOutcome::Durable,
            Err(error) => WriteOutcome::Unknown(error),
        }
    }
}

#[async_trait]
impl Store for CassandraStore {
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        if checks::document(key, None).is_err() {
            return Ok(None);
        }
        self.call().document(key).await
    }

    async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        self.call().documents(prefix, after, limit).await
    }

    async fn swap_document(&self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome {
        let link = self.call();
        match checks::document(key, value.as_deref()) {
            Ok(()) => link.swap_document(key, expected, value).await,
            Err(error) => SwapOutcome::Refused(error),
        }
    }

    async fn insert_claim(&self, partition: PartitionId, claim: Claim) -> WriteOutcome {
        let link = self.call();
        self.put(checks::claim(&claim), || link.insert_claim(partition, &claim)).await
    }

    async fn highest_claim(&self, partition: PartitionId) -> Result<Option<Claim>, StoreError> {
        let link = self.call();
        add(&link.counters.fence_reads, 1);
        link.highest_claim(partition).await
    }

    async fn claims(
        &self,
        partition: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.call().claims(partition, below, limit).await
    }

    async fn append(&self, append: Append) -> AppendOutcome {
        let link = self.call();
        if let Err(error) = checks::append(&append) {
            return AppendOutcome::Refused(error);
        }
        match link.write_commit(&append).await {
            Ok(()) => {
                add(&link.counters.commits, 1);
                add(&link.counters.commit_bytes, append.row.len() as u64);
                AppendOutcome::Durable
            }
            Err(error) => AppendOutcome::Unknown(error),
        }
    }

    async fn repeat_commit(&self, append: Append) -> WriteOutcome {
        let link = self.call();
        self.put(checks::append(&append), || link.write_commit(&append)).await
    }

    async fn commits(
        &self,
        segment: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        self.call().commits(segment, from, limit, bytes_max).await
    }

    async fn put_blobs(&self, segment: SegmentKey, blobs: Vec<BlobChunk>) -> WriteOutcome {
        let link = self.call();
        self.put(checks::blobs(&blobs), || link.put_blobs(segment, &blobs)).await
    }

    async fn blob(&self, segment: SegmentKey, blob: u64, chunk: u32) -> Result<Option<Bytes>, StoreError> {
        self.call().blob(segment, blob, chunk).await
    }

    async fn put_summary(&self, segment: SegmentKey, as_of: CommitKey, summary: Bytes) -> WriteOutcome {
        let link = self.call();
        let checked = checks::value("a summary", as_of.commit, &summary);
        self.put(checked, || link.put_summary(segment, as_of, &summary)).await
    }

    async fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Result<Option<Bytes>, StoreError> {
        self.call().summary(segment, as_of).await
    }

    async fn put_progress(&self, partition: PartitionId, as_of: CommitKey, progress: Bytes) -> WriteOutcome {
        let link = self.call();
        let checked = checks::value("a progress row", as_of.commit, &progress);
        self.put(checked, || link.put_progress(partition, as_of, &progress)).await
    }

    async fn progress(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.call().progress(partition, epoch, limit).await
    }

    async fn drop_segment(&self, segment: SegmentKey) -> WriteOutcome {
        let link = self.call();
        self.put(Ok(()), || link.drop_segment(segment)).await
    }

    async fn prune(
        &self,
        partition: PartitionId,
        keep: CommitKey,
        summaries: Vec<(SegmentKey, CommitKey)>,
    ) -> WriteOutcome {
        let link = self.call();
        self.put(Ok(()), || link.prune(partition, keep, &summaries)).await
    }

    async fn put_entries(&self, entries: Vec<IndexEntry>) -> WriteOutcome {
        let link = self.call();
        self.put(checks::entries(&entries), || link.put_entries(&entries)).await
    }

    async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.call().entries(scope, bucket, term, limit).await
    }

    async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.call().scan_entries(scope, bucket, after, limit).await
    }

    async fn drop_bucket(&self, scope: &str, bucket: u64) -> WriteOutcome {
        let link = self.call();
        self.put(Ok(()), || link.drop_bucket(scope, bucket)).await
    }

    async fn clock_ms(&self) -> Result<u64, StoreError> {
        let link = self.call();
        let result = link.read(&link.connected.statements.clock, ()).await?;
        let now = first_row::<(i64,)>("the clock", &result)?.map(|(ms,)| u64::try_from(ms));
        match now {
            Some(Ok(ms)) => Ok(ms),
            _ => Err(error::unreadable("the clock", "it is before 1970; set the clocks of the nodes")),
        }
    }

    async fn backup(&self, _to: &std::path::Path) -> Result<(), StoreError> {
        Err(StoreError::new(
            StoreErrorKind::Unsupported,
            "a store in Cassandra is backed up with its own tools: take a snapshot with nodetool on every node",
        ))
    }

    async fn dump(&self, visit: &mut (dyn FnMut(StoredRow) -> bool + Send)) -> Result<(), StoreError> {
        self.call().dump(visit).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        self.call().health().await
    }

    fn writes_blind(&self) -> bool {
        true
    }

    fn counters(&self) -> StoreCounters {
        self.link.counters.read()
    }
}
