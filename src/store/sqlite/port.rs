//! The port's methods: check, hand to the writer or to a reader, say what came of it.

use async_trait::async_trait;

use super::*;
use bytes::Bytes;

#[async_trait]
impl Store for SqliteStore {
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let key = key.to_owned();
        self.get(move |connection| read::document(connection, &key)).await
    }

    async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.get(move |connection| read::documents(connection, &prefix, &after, limit)).await
    }

    async fn swap_document(&self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome {
        add(&self.counters.calls, 1);
        if let Err(error) = checks::document(key, value.as_deref()) {
            return SwapOutcome::Refused(error);
        }
        match self.submit(Write::Document { key: key.to_owned(), expected, value }).await {
            Ok(Applied::Version(version)) => SwapOutcome::Applied(version),
            Ok(Applied::Conflict(there)) => SwapOutcome::Conflict(there),
            Ok(other) => unreachable!("a document's write came to {other:?}"),
            Err(Failure::Unknown(error)) => SwapOutcome::Unknown(error),
            Err(Failure::Refused(error)) => SwapOutcome::Refused(error),
        }
    }

    async fn insert_claim(&self, partition: PartitionId, claim: Claim) -> WriteOutcome {
        self.put(checks::claim(&claim), Write::Claim(partition, claim)).await
    }

    async fn highest_claim(&self, partition: PartitionId) -> Result<Option<Claim>, StoreError> {
        add(&self.counters.fence_reads, 1);
        let newest = self.get(move |connection| read::claims(connection, partition, None, 1)).await?;
        Ok(newest.into_iter().next())
    }

    async fn claims(
        &self,
        partition: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.get(move |connection| read::claims(connection, partition, below, limit)).await
    }

    async fn append(&self, append: Append) -> AppendOutcome {
        add(&self.counters.calls, 1);
        if let Err(error) = checks::append(&append) {
            return AppendOutcome::Refused(error);
        }
        match self.submit(Write::Append(append)).await {
            Ok(Applied::Fenced) => AppendOutcome::Fenced,
            Ok(Applied::Unfenced) => AppendOutcome::Durable,
            Ok(Applied::Superseded(higher)) => AppendOutcome::Superseded(higher),
            Ok(other) => unreachable!("an append came to {other:?}"),
            Err(Failure::Unknown(error)) => AppendOutcome::Unknown(error),
            Err(Failure::Refused(error)) => AppendOutcome::Refused(error),
        }
    }

    async fn commits(
        &self,
        segment: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        self.get(move |connection| read::commits(connection, segment, from, limit, bytes_max)).await
    }

    async fn put_blobs(&self, segment: SegmentKey, blobs: Vec<BlobChunk>) -> WriteOutcome {
        self.put(checks::blobs(&blobs), Write::Blobs(segment, blobs)).await
    }

    async fn blob(&self, segment: SegmentKey, blob: u64, chunk: u32) -> Result<Option<Bytes>, StoreError> {
        self.get(move |connection| read::blob(connection, segment, blob, chunk)).await
    }

    async fn put_summary(&self, segment: SegmentKey, as_of: CommitKey, summary: Bytes) -> WriteOutcome {
        let checked = checks::value("a summary", as_of.commit, &summary);
        self.put(checked, Write::Summary(segment, as_of, summary)).await
    }

    async fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Result<Option<Bytes>, StoreError> {
        self.get(move |connection| read::summary(connection, segment, as_of)).await
    }

    async fn put_progress(&self, partition: PartitionId, as_of: CommitKey, progress: Bytes) -> WriteOutcome {
        let checked = checks::value("a progress row", as_of.commit, &progress);
        self.put(checked, Write::Progress(partition, as_of, progress)).await
    }

    async fn progress(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.get(move |connection| read::progress(connection, partition, epoch, limit)).await
    }

    async fn drop_segment(&self, segment: SegmentKey) -> WriteOutcome {
        self.put_slices(|| Write::DropSegment(segment)).await
    }

    async fn prune(
        &self,
        partition: PartitionId,
        keep: CommitKey,
        summaries: Vec<(SegmentKey, CommitKey)>,
    ) -> WriteOutcome {
        self.put(Ok(()), Write::Prune(partition, keep, summaries)).await
    }

    async fn put_entries(&self, entries: Vec<IndexEntry>) -> WriteOutcome {
        self.put(checks::entries(&entries), Write::Entries(entries)).await
    }

    async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let (scope, term) = (scope.to_owned(), term.to_owned());
        self.get(move |connection| read::entries(connection, &scope, bucket, &term, limit)).await
    }

    async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let (scope, after) = (scope.to_owned(), after.to_owned());
        self.get(move |connection| read::scan_entries(connection, &scope, bucket, &after, limit)).await
    }

    async fn drop_bucket(&self, scope: &str, bucket: u64) -> WriteOutcome {
        self.put_slices(|| Write::DropBucket(scope.to_owned(), bucket)).await
    }

    async fn clock_ms(&self) -> Result<u64, StoreError> {
        add(&self.counters.calls, 1);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map(|age| age.as_millis() as u64).map_err(|_| {
            StoreError::new(StoreErrorKind::Unavailable, "the system's clock is before 1970; set it")
        })
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        add(&self.counters.calls, 1);
        self.copy_to(to).await
    }

    async fn dump(&self, visit: &mut (dyn FnMut(StoredRow) -> bool + Send)) -> Result<(), StoreError> {
        self.dump_to(visit).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        add(&self.counters.calls, 1);
        // A read that succeeds: the file is there and can be read.
        self.get(|connection| read::document(connection, "health")).await?;
        let (durability, note) = match self.readers.source().options.synchronous {
            Synchronous::Full => (Durability::Power, "a commit is answered when it is on the disk"),
            _ => (
                Durability::Process,
                "a power cut may take the latest commits: set synchronous = \"full\" to have each on the disk",
            ),
        };
        Ok(StoreHealth {
            backend: format!("SQLite {}", rusqlite::version()),
            durability,
            durability_note: note.to_owned(),
            replicas: None,
            nodes: Vec::new(),
        })
    }

    fn counters(&self) -> StoreCounters {
        self.counters.read()
    }
}
