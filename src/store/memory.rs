//! A store in memory, for tests and the simulation.
//!
//! Everything is behind one mutex, so each call is one atomic step: *fresh* and *whole* hold by
//! themselves. It is *durable* as long as the value lives: "crash" a worker by dropping all but the
//! store, and open another one on it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;

use super::count::{Counters, add};
use super::*;

/// The store's clock, Unix milliseconds.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A store in memory.
pub struct MemoryStore {
    clock: Clock,
    counters: Counters,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    /// Of all documents: a document that is deleted and made again never has an old version.
    version: u64,
    documents: BTreeMap<String, Document>,
    claims: BTreeMap<PartitionId, BTreeMap<Epoch, Bytes>>,
    segments: BTreeMap<SegmentKey, Segment>,
    progress: BTreeMap<PartitionId, BTreeMap<CommitKey, Bytes>>,
    entries: BTreeMap<(String, u64), BTreeSet<(Bytes, Bytes)>>,
}

#[derive(Default)]
struct Segment {
    commits: BTreeMap<u64, Bytes>,
    blobs: BTreeMap<(u64, u32), Bytes>,
    summaries: BTreeMap<CommitKey, Bytes>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store with the system's clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64)
        }))
    }

    /// An empty store whose clock is `clock_ms`, Unix milliseconds.
    pub fn with_clock(clock_ms: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { clock: clock_ms, counters: Counters::default(), tables: Mutex::default() }
    }

    fn call(&self) -> MutexGuard<'_, Tables> {
        add(&self.counters.calls, 1);
        // No step below leaves the tables half changed, so a panic elsewhere spoils nothing.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, change: impl FnOnce(&mut Tables) -> Result<(), StoreError>) -> WriteOutcome {
        match change(&mut self.call()) {
            Ok(()) => {
                add(&self.counters.transactions, 1);
                WriteOutcome::Durable
            }
            Err(error) => WriteOutcome::Refused(error),
        }
    }
}

/// Inserts a row, or finds it there with the same bytes.
fn insert<K: Ord>(
    rows: &mut BTreeMap<K, Bytes>,
    key: K,
    bytes: Bytes,
    what: impl FnOnce() -> String,
) -> Result<(), StoreError> {
    match rows.get(&key) {
        Some(there) if *there != bytes => Err(checks::other_bytes(what())),
        Some(_) => Ok(()),
        None => {
            rows.insert(key, bytes);
            Ok(())
        }
    }
}

impl Tables {
    fn rows(&self) -> Vec<StoredRow> {
        let documents = self.documents.iter().map(|(key, document)| (key.clone(), document.clone()));
        let claims = self.claims.iter().flat_map(|(id, claims)| {
            claims.iter().map(|(&epoch, owner)| StoredRow::Claim(*id, Claim { epoch, owner: owner.clone() }))
        });
        let commits = self.segments.iter().flat_map(|(key, segment)| {
            segment.commits.iter().map(|(number, row)| StoredRow::Commit(*key, *number, row.clone()))
        });
        let blobs = self.segments.iter().flat_map(|(key, segment)| {
            let chunks = segment.blobs.iter();
            chunks.map(|(&(blob, chunk), bytes)| StoredRow::Blob(*key, blob, chunk, bytes.clone()))
        });
        let summaries = self.segments.iter().flat_map(|(key, segment)| {
            segment.summaries.iter().map(|(as_of, row)| StoredRow::Summary(*key, *as_of, row.clone()))
        });
        let progress = self.progress.iter().flat_map(|(id, rows)| {
            rows.iter().map(|(as_of, row)| StoredRow::Progress(*id, *as_of, row.clone()))
        });
        let entries = self.entries.iter().flat_map(|((scope, bucket), entries)| {
            entries.iter().map(|(term, value)| {
                let (scope, bucket, term, value) = (scope.clone(), *bucket, term.clone(), value.clone());
                StoredRow::Entry(IndexEntry { scope, bucket, term, value })
            })
        });
        let documents = documents.map(|(key, document)| StoredRow::Document(key, document));
        documents
            .chain(claims)
            .chain(commits)
            .chain(blobs)
            .chain(summaries)
            .chain(progress)
            .chain(entries)
            .collect()
    }

    fn highest_claim(&self, partition: PartitionId) -> Option<Claim> {
        let (&epoch, owner) = self.claims.get(&partition)?.last_key_value()?;
        Some(Claim { epoch, owner: owner.clone() })
    }

    /// All of the chunks, or none.
    fn put_blobs(&mut self, segment: SegmentKey, blobs: &[BlobChunk]) -> Result<(), StoreError> {
        let there = self.segments.get(&segment).map(|segment| &segment.blobs);
        let mut new = BTreeMap::new();
        for chunk in blobs {
            let key = (chunk.blob, chunk.chunk);
            let known = new.get(&key).or_else(|| there.and_then(|there| there.get(&key)));
            if known.is_some_and(|known| *known != chunk.bytes) {
                return Err(checks::other_bytes(format!("chunk {} of blob {}", chunk.chunk, chunk.blob)));
            }
            new.insert(key, chunk.bytes.clone());
        }
        if !new.is_empty() {
            self.segments.entry(segment).or_default().blobs.extend(new);
        }
        Ok(())
    }

    fn put_entries(&mut self, entries: Vec<IndexEntry>) {
        for entry in entries {
            self.entries.entry((entry.scope, entry.bucket)).or_default().insert((entry.term, entry.value));
        }
    }

    fn append(&mut self, append: Append) -> Result<AppendOutcome, StoreError> {
        let highest = self.highest_claim(append.segment.partition).map(|claim| claim.epoch);
        if let Some(higher) = highest.filter(|&highest| highest > append.segment.epoch) {
            return Ok(AppendOutcome::Superseded(higher));
        }
        let own = highest == Some(append.segment.epoch);
        let there = self.segments.get(&append.segment).and_then(|s| s.commits.get(&append.commit));
        if there.is_some_and(|there| *there != append.row) {
            return Err(checks::other_bytes(format!("commit {}", append.commit)));
        }
        self.put_blobs(append.segment, &append.blobs)?;
        self.put_entries(append.entries);
        self.segments.entry(append.segment).or_default().commits.insert(append.commit, append.row);
        Ok(if own { AppendOutcome::Fenced } else { AppendOutcome::Durable })
    }

    fn swap(&mut self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome {
        let there = self.documents.get(key);
        if there.map(|document| document.version) != expected {
            return SwapOutcome::Conflict(there.cloned());
        }
        self.version += 1;
        match value {
            Some(value) => {
                self.documents.insert(key.to_owned(), Document { version: self.version, value });
            }
            None => {
                self.documents.remove(key);
            }
        }
        SwapOutcome::Applied(self.version)
    }

    fn prune(&mut self, partition: PartitionId, keep: CommitKey, summaries: &[(SegmentKey, CommitKey)]) {
        if let Some(progress) = self.progress.get_mut(&partition) {
            progress.retain(|&as_of, _| as_of >= keep);
        }
        for (segment, last) in summaries {
            if let Some(segment) = self.segments.get_mut(segment) {
                segment.summaries.retain(|as_of, _| as_of >= last);
            }
        }
        let Some(highest) = self.highest_claim(partition) else { return };
        if let Some(claims) = self.claims.get_mut(&partition) {
            claims.retain(|&epoch, _| epoch >= keep.epoch || epoch == highest.epoch);
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        Ok(self.call().documents.get(key).cloned())
    }

    async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let start = if after >= prefix && !after.is_empty() { Excluded(after) } else { Included(prefix) };
        Ok(self
            .call()
            .documents
            .range::<str, _>((start, Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, document)| (key.clone(), document.clone()))
            .collect())
    }

    async fn swap_document(&self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome {
        if let Err(error) = checks::document(key, value.as_deref()) {
            return SwapOutcome::Refused(error);
        }
        let outcome = self.call().swap(key, expected, value);
        if matches!(outcome, SwapOutcome::Applied(_)) {
            add(&self.counters.transactions, 1);
        }
        outcome
    }

    async fn insert_claim(&self, partition: PartitionId, claim: Claim) -> WriteOutcome {
        self.write(|tables| {
            checks::claim(&claim)?;
            let claims = tables.claims.entry(partition).or_default();
            insert(claims, claim.epoch, claim.owner, || format!("claim {} of {partition}", claim.epoch))
        })
    }

    async fn highest_claim(&self, partition: PartitionId) -> Result<Option<Claim>, StoreError> {
        add(&self.counters.fence_reads, 1);
        Ok(self.call().highest_claim(partition))
    }

    async fn claims(
        &self,
        partition: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let end = below.map_or(Unbounded, Excluded);
        let tables = self.call();
        let Some(claims) = tables.claims.get(&partition) else { return Ok(Vec::new()) };
        let newest_first = claims.range((Unbounded, end)).rev().take(limit);
        Ok(newest_first.map(|(&epoch, owner)| Claim { epoch, owner: owner.clone() }).collect())
    }

    async fn append(&self, append: Append) -> AppendOutcome {
        if let Err(error) = checks::append(&append) {
            return AppendOutcome::Refused(error);
        }
        let row_bytes = append.row.len() as u64;
        match self.call().append(append) {
            Ok(outcome) => {
                if !matches!(outcome, AppendOutcome::Superseded(_)) {
                    add(&self.counters.commits, 1);
                    add(&self.counters.commit_bytes, row_bytes);
                    add(&self.counters.transactions, 1);
                }
                outcome
            }
            Err(error) => AppendOutcome::Refused(error),
        }
    }

    async fn commits(
        &self,
        segment: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        let tables = self.call();
        let Some(segment) = tables.segments.get(&segment) else { return Ok(Vec::new()) };
        let mut bytes = 0;
        let mut page = Vec::new();
        for (&commit, row) in segment.commits.range(from..).take(limit) {
            bytes += row.len();
            if bytes > bytes_max && !page.is_empty() {
                break;
            }
            page.push(StoredCommit { commit, row: row.clone() });
        }
        Ok(page)
    }

    async fn put_blobs(&self, segment: SegmentKey, blobs: Vec<BlobChunk>) -> WriteOutcome {
        self.write(|tables| {
            checks::blobs(&blobs)?;
            tables.put_blobs(segment, &blobs)
        })
    }

    async fn blob(&self, segment: SegmentKey, blob: u64, chunk: u32) -> Result<Option<Bytes>, StoreError> {
        let tables = self.call();
        Ok(tables.segments.get(&segment).and_then(|segment| segment.blobs.get(&(blob, chunk)).cloned()))
    }

    async fn put_summary(&self, segment: SegmentKey, as_of: CommitKey, summary: Bytes) -> WriteOutcome {
        self.write(|tables| {
            checks::value("a summary", as_of.commit, &summary)?;
            let summaries = &mut tables.segments.entry(segment).or_default().summaries;
            insert(summaries, as_of, summary, || format!("the summary as of commit {}", as_of.commit))
        })
    }

    async fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Result<Option<Bytes>, StoreError> {
        let tables = self.call();
        Ok(tables.segments.get(&segment).and_then(|segment| segment.summaries.get(&as_of).cloned()))
    }

    async fn put_progress(&self, partition: PartitionId, as_of: CommitKey, progress: Bytes) -> WriteOutcome {
        self.write(|tables| {
            checks::value("a progress row", as_of.commit, &progress)?;
            let rows = tables.progress.entry(partition).or_default();
            insert(rows, as_of, progress, || format!("the progress as of commit {}", as_of.commit))
        })
    }

    async fn progress(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let tables = self.call();
        let Some(rows) = tables.progress.get(&partition) else { return Ok(Vec::new()) };
        let of_epoch = CommitKey { epoch, commit: 0 }..=CommitKey { epoch, commit: u64::MAX };
        let newest_first = rows.range(of_epoch).rev().take(limit);
        Ok(newest_first.map(|(as_of, row)| (as_of.commit, row.clone())).collect())
    }

    async fn drop_segment(&self, segment: SegmentKey) -> WriteOutcome {
        self.write(|tables| {
            tables.segments.remove(&segment);
            Ok(())
        })
    }

    async fn prune(
        &self,
        partition: PartitionId,
        keep: CommitKey,
        summaries: Vec<(SegmentKey, CommitKey)>,
    ) -> WriteOutcome {
        self.write(|tables| {
            tables.prune(partition, keep, &summaries);
            Ok(())
        })
    }

    async fn put_entries(&self, entries: Vec<IndexEntry>) -> WriteOutcome {
        self.write(|tables| {
            checks::entries(&entries)?;
            tables.put_entries(entries);
            Ok(())
        })
    }

    async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let tables = self.call();
        let Some(entries) = tables.entries.get(&(scope.to_owned(), bucket)) else { return Ok(Vec::new()) };
        let start = (Bytes::copy_from_slice(term), Bytes::new());
        let of_term = entries.range(start..).take_while(|(other, _)| other == term);
        Ok(of_term.take(limit).map(|(_, value)| value.clone()).collect())
    }

    async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let tables = self.call();
        let Some(entries) = tables.entries.get(&(scope.to_owned(), bucket)) else { return Ok(Vec::new()) };
        let start = (Bytes::copy_from_slice(after), Bytes::new());
        let beyond = entries.range(start..).skip_while(|(term, _)| term == after);
        Ok(paging::whole_terms(beyond.cloned().map(Ok::<_, StoreError>), limit)?)
    }

    async fn drop_bucket(&self, scope: &str, bucket: u64) -> WriteOutcome {
        self.write(|tables| {
            tables.entries.remove(&(scope.to_owned(), bucket));
            Ok(())
        })
    }

    async fn clock_ms(&self) -> Result<u64, StoreError> {
        add(&self.counters.calls, 1);
        Ok((self.clock)())
    }

    async fn backup(&self, _to: &std::path::Path) -> Result<(), StoreError> {
        Err(StoreError::new(
            StoreErrorKind::Unsupported,
            "a store in memory has no backup: it ends with its process; use a store in a file",
        ))
    }

    async fn dump(&self, visit: &mut (dyn FnMut(StoredRow) -> bool + Send)) -> Result<(), StoreError> {
        let rows = self.call().rows();
        rows.into_iter().all(visit);
        Ok(())
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        add(&self.counters.calls, 1);
        Ok(StoreHealth {
            backend: "memory".to_owned(),
            durability: Durability::Memory,
            durability_note: "a store in memory ends with its process; use a store in a file".to_owned(),
            replicas: None,
            nodes: Vec::new(),
        })
    }

    fn counters(&self) -> StoreCounters {
        self.counters.read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::store_conformance!(async { (Arc::new(MemoryStore::new()) as Arc<dyn Store>, ()) });

    #[tokio::test]
    async fn a_test_sets_the_clock() {
        let store = MemoryStore::with_clock(Arc::new(|| 42));
        assert_eq!(store.clock_ms().await, Ok(42));
    }
}
