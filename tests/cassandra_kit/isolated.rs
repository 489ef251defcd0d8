//! A part of a store that is empty for one test: tables are dear to make, so tests share a keyspace
//! and each has its own groups, documents and scopes in it.

use async_trait::async_trait;
use bytes::Bytes;
use qdo::model::{Epoch, PartitionId};
use qdo::store::*;

/// The store as one test sees it.
pub struct Isolated {
    pub store: CassandraStore,
    pub number: u32,
}

impl Isolated {
    fn partition(&self, id: PartitionId) -> PartitionId {
        PartitionId { group: id.group + 1_000 * self.number, ..id }
    }

    fn segment(&self, key: SegmentKey) -> SegmentKey {
        SegmentKey { partition: self.partition(key.partition), ..key }
    }

    /// Names that are refused stay as they are, and are refused.
    fn name(&self, name: &str) -> String {
        if name.is_empty() { String::new() } else { self.prefix(name) }
    }

    fn prefix(&self, name: &str) -> String {
        format!("{}~{name}", self.number)
    }

    fn entries_here(&self, entries: Vec<IndexEntry>) -> Vec<IndexEntry> {
        entries.into_iter().map(|entry| IndexEntry { scope: self.name(&entry.scope), ..entry }).collect()
    }

    fn own_partition(&self, id: PartitionId) -> Option<PartitionId> {
        (id.group / 1_000 == self.number).then_some(PartitionId { group: id.group % 1_000, ..id })
    }

    fn own_segment(&self, key: SegmentKey) -> Option<SegmentKey> {
        Some(SegmentKey { partition: self.own_partition(key.partition)?, ..key })
    }

    fn own_name(&self, name: &str) -> Option<String> {
        name.strip_prefix(&self.prefix("")).map(str::to_owned)
    }

    /// The row as the test knows it, if it is the test's.
    fn own_row(&self, row: StoredRow) -> Option<StoredRow> {
        Some(match row {
            StoredRow::Document(key, document) => StoredRow::Document(self.own_name(&key)?, document),
            StoredRow::Claim(id, claim) => StoredRow::Claim(self.own_partition(id)?, claim),
            StoredRow::Commit(key, number, row) => StoredRow::Commit(self.own_segment(key)?, number, row),
            StoredRow::Blob(key, blob, chunk, bytes) => {
                StoredRow::Blob(self.own_segment(key)?, blob, chunk, bytes)
            }
            StoredRow::Summary(key, as_of, row) => StoredRow::Summary(self.own_segment(key)?, as_of, row),
            StoredRow::Progress(id, as_of, row) => StoredRow::Progress(self.own_partition(id)?, as_of, row),
            StoredRow::Entry(entry) => {
                StoredRow::Entry(IndexEntry { scope: self.own_name(&entry.scope)?, ..entry })
            }
            StoredRow::Damaged(why) => panic!("{why}"),
        })
    }

    fn append_here(&self, append: Append) -> Append {
        let (segment, entries) = (self.segment(append.segment), self.entries_here(append.entries));
        Append { segment, entries, commit: append.commit, row: append.row, blobs: append.blobs }
    }
}

#[async_trait]
impl Store for Isolated {
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        self.store.document(&self.name(key)).await
    }
    async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let page = self.store.documents(&self.prefix(prefix), &self.name(after), limit).await?;
        let own = self.prefix("");
        Ok(page.into_iter().map(|(key, document)| (key[own.len()..].to_owned(), document)).collect())
    }
    async fn swap_document(&self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome {
        self.store.swap_document(&self.name(key), expected, value).await
    }
    async fn insert_claim(&self, partition: PartitionId, claim: Claim) -> WriteOutcome {
        self.store.insert_claim(self.partition(partition), claim).await
    }
    async fn highest_claim(&self, partition: PartitionId) -> Result<Option<Claim>, StoreError> {
        self.store.highest_claim(self.partition(partition)).await
    }
    async fn claims(
        &self,
        partition: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.store.claims(self.partition(partition), below, limit).await
    }
    async fn append(&self, append: Append) -> AppendOutcome {
        self.store.append(self.append_here(append)).await
    }
    async fn repeat_commit(&self, append: Append) -> WriteOutcome {
        self.store.repeat_commit(self.append_here(append)).await
    }
    async fn commits(
        &self,
        segment: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        self.store.commits(self.segment(segment), from, limit, bytes_max).await
    }
    async fn put_blobs(&self, segment: SegmentKey, blobs: Vec<BlobChunk>) -> WriteOutcome {
        self.store.put_blobs(self.segment(segment), blobs).await
    }
    async fn blob(&self, segment: SegmentKey, blob: u64, chunk: u32) -> Result<Option<Bytes>, StoreError> {
        self.store.blob(self.segment(segment), blob, chunk).await
    }
    async fn put_summary(&self, segment: SegmentKey, as_of: CommitKey, summary: Bytes) -> WriteOutcome {
        self.store.put_summary(self.segment(segment), as_of, summary).await
    }
    async fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Result<Option<Bytes>, StoreError> {
        self.store.summary(self.segment(segment), as_of).await
    }
    async fn put_progress(&self, partition: PartitionId, as_of: CommitKey, progress: Bytes) -> WriteOutcome {
        self.store.put_progress(self.partition(partition), as_of, progress).await
    }
    async fn progress(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.store.progress(self.partition(partition), epoch, limit).await
    }
    async fn drop_segment(&self, segment: SegmentKey) -> WriteOutcome {
        self.store.drop_segment(self.segment(segment)).await
    }
    async fn prune(
        &self,
        partition: PartitionId,
        keep: CommitKey,
        summaries: Vec<(SegmentKey, CommitKey)>,
    ) -> WriteOutcome {
        let summaries = summaries.into_iter().map(|(key, as_of)| (self.segment(key), as_of)).collect();
        self.store.prune(self.partition(partition), keep, summaries).await
    }
    async fn put_entries(&self, entries: Vec<IndexEntry>) -> WriteOutcome {
        self.store.put_entries(self.entries_here(entries)).await
    }
    async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.store.entries(&self.name(scope), bucket, term, limit).await
    }
    async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.store.scan_entries(&self.name(scope), bucket, after, limit).await
    }
    async fn drop_bucket(&self, scope: &str, bucket: u64) -> WriteOutcome {
        self.store.drop_bucket(&self.name(scope), bucket).await
    }
    async fn clock_ms(&self) -> Result<u64, StoreError> {
        self.store.clock_ms().await
    }
    async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError> {
        self.store.backup(to).await
    }
    async fn dump(&self, visit: &mut (dyn FnMut(StoredRow) -> bool + Send)) -> Result<(), StoreError> {
        self.store.dump(&mut |row| self.own_row(row).is_none_or(&mut *visit)).await
    }
    async fn health(&self) -> Result<StoreHealth, StoreError> {
        self.store.health().await
    }
    fn writes_blind(&self) -> bool {
        self.store.writes_blind()
    }
    fn counters(&self) -> StoreCounters {
        self.store.counters()
    }
}
