//! Claims, commits, blobs, summaries and progress.

use bytes::Bytes;
use futures_util::future::try_join;
use scylla::statement::prepared::PreparedStatement;

use super::super::{
    Append, BlobChunk, Claim, CommitKey, SegmentKey, StoreError, StoreErrorKind, StoredCommit,
};
use super::link::{Link, batches, first_row, rows};
use super::parts::{Joined, Part, join, split};
use super::schema::{BLOB_SHARDS, as_of, bits, epoch, ordered, partition, read_epoch, segment, shard};
use crate::model::{Epoch, PartitionId};

/// Rows of the first page of commits or progress, which may be large.
const FIRST_PAGE_ROWS: usize = 8;
/// Claims of the first page of a list.
const CLAIMS_PAGE_ROWS: usize = 256;

/// The columns of a part after the key of its value.
pub(super) type PartRow<'a> = (i32, i32, &'a [u8], &'a [u8]);
/// The same after a number.
type NumberedPartRow<'a> = (i64, i32, i32, &'a [u8], &'a [u8]);

pub(super) fn part((part, parts, hash, bytes): PartRow<'_>) -> Part {
    Part { part, parts, hash: hash.to_vec(), bytes: bytes.to_vec() }
}

fn damaged(what: &str, why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("{what} is damaged in Cassandra: {why}"))
}

impl Link {
    // Claims.

    pub(super) async fn insert_claim(&self, id: PartitionId, claim: &Claim) -> Result<(), StoreError> {
        let values = (partition(id), epoch(claim.epoch), claim.owner.as_ref());
        self.write(&self.connected.statements.insert_claim, values).await
    }

    pub(super) async fn highest_claim(&self, id: PartitionId) -> Result<Option<Claim>, StoreError> {
        let result = self.read(&self.connected.statements.highest_claim, (partition(id),)).await?;
        first_row("a claim", &result)?.map(to_claim).transpose()
    }

    pub(super) async fn claims(
        &self,
        id: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let statements = &self.connected.statements;
        let (statement, values) = match below {
            Some(below) => (&statements.claims_below, vec![partition(id), epoch(below)]),
            None => (&statements.claims, vec![partition(id)]),
        };
        let mut found = Vec::new();
        let mut pages = self.pages(statement, values, limit.min(CLAIMS_PAGE_ROWS));
        while found.len() < limit {
            let Some(page) = pages.next().await? else { break };
            for row in rows::<(&str, &[u8])>("a claim", &page)? {
                found.push(to_claim(row)?);
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    // Commits.

    /// Blobs and entries first, at once; then the row.
    pub(super) async fn write_commit(&self, append: &Append) -> Result<(), StoreError> {
        try_join(self.put_blobs(append.segment, &append.blobs), self.put_entries(&append.entries)).await?;
        let (partition, epoch, segment) = segment(append.segment);
        let number = ordered(append.commit);
        let statement = &self.connected.statements.insert_commit;
        for (part, parts, hash, bytes) in split(&append.row) {
            let values = (&partition, &epoch, segment, number, part, parts, hash, bytes);
            self.write(statement, values).await?;
        }
        Ok(())
    }

    pub(super) async fn commits(
        &self,
        key: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        let (partition, epoch, segment) = segment(key);
        let values = (&partition, &epoch, segment, ordered(from));
        let statement = &self.connected.statements.commits;
        let again = &self.connected.statements.commit;
        let mut pages = self.pages(statement, values, limit.min(FIRST_PAGE_ROWS));
        let mut found = Vec::new();
        let mut found_bytes = 0;
        let mut open: Option<(i64, Vec<Part>)> = None;
        loop {
            let page = match limit {
                0 => None,
                _ => pages.next().await?,
            };
            let read = match &page {
                Some(page) => rows::<NumberedPartRow<'_>>("a commit", page)?,
                None => Vec::new(),
            };
            // A commit is complete when the next one begins, or when there is no more.
            let numbered = read.into_iter().map(|(number, part, parts, hash, bytes)| {
                Some((number, self::part((part, parts, hash, bytes))))
            });
            for next in numbered.chain(page.is_none().then_some(None)) {
                match (&mut open, next) {
                    (Some((number, parts)), Some((next, part))) if *number == next => parts.push(part),
                    (done, next) => {
                        let next = next.map(|(number, part)| (number, vec![part]));
                        let Some((number, parts)) = std::mem::replace(done, next) else { continue };
                        let key = (&partition, &epoch, segment, number);
                        let Some(row) = self.whole("a commit", parts, again, key).await? else { continue };
                        found_bytes += row.len();
                        if found_bytes > bytes_max && !found.is_empty() {
                            return Ok(found);
                        }
                        found.push(StoredCommit { commit: number.cast_unsigned(), row });
                        if found.len() == limit {
                            return Ok(found);
                        }
                    }
                }
            }
            if page.is_none() {
                return Ok(found);
            }
        }
    }

    /// The value of parts that were read. Part 0 of a page may be younger than the rest of the page:
    /// the parts that it counts were durable before it was sent, so they are seen by another read.
    pub(super) async fn whole(
        &self,
        what: &str,
        parts: Vec<Part>,
        again: &PreparedStatement,
        key: impl scylla::serialize::row::SerializeRow,
    ) -> Result<Option<Bytes>, StoreError> {
        let joined = match join(parts) {
            Joined::Missing => {
                let result = self.read(again, key).await?;
                join(rows::<PartRow<'_>>(what, &result)?.into_iter().map(part).collect())
            }
            joined => joined,
        };
        match joined {
            Joined::Whole(value) => Ok(Some(value)),
            Joined::Absent => Ok(None),
            Joined::Missing => Err(damaged(what, "not all of its parts are there")),
            Joined::Damaged => Err(damaged(what, "its bytes are not those that were written")),
        }
    }

    // Blobs.

    pub(super) async fn put_blobs(&self, key: SegmentKey, blobs: &[BlobChunk]) -> Result<(), StoreError> {
        let (partition, epoch, segment) = segment(key);
        let mut chunks: Vec<&BlobChunk> = blobs.iter().collect();
        chunks.sort_by_key(|chunk| shard(chunk.blob));
        let rows = chunks.into_iter().map(|chunk| {
            let shard = shard(chunk.blob);
            let row = (
                partition.as_str(),
                epoch.as_str(),
                segment,
                shard,
                bits(chunk.blob),
                i64::from(chunk.chunk),
                chunk.bytes.as_ref(),
            );
            (shard, chunk.bytes.len(), row)
        });
        self.write_batches(&self.connected.statements.insert_blob, batches(rows)).await
    }

    pub(super) async fn blob(
        &self,
        key: SegmentKey,
        blob: u64,
        chunk: u32,
    ) -> Result<Option<Bytes>, StoreError> {
        let (partition, epoch, segment) = segment(key);
        let values = (partition, epoch, segment, shard(blob), bits(blob), i64::from(chunk));
        let result = self.read(&self.connected.statements.blob, values).await?;
        let row = first_row::<(&[u8],)>("a blob", &result)?;
        Ok(row.map(|(bytes,)| Bytes::copy_from_slice(bytes)))
    }

    // Summaries and progress.

    pub(super) async fn put_summary(
        &self,
        key: SegmentKey,
        commit: CommitKey,
        summary: &[u8],
    ) -> Result<(), StoreError> {
        let (partition, epoch, segment) = segment(key);
        let as_of = as_of(commit);
        let statement = &self.connected.statements.insert_summary;
        for (part, parts, hash, bytes) in split(summary) {
            let values = (&partition, &epoch, segment, &as_of, part, parts, hash, bytes);
            self.write(statement, values).await?;
        }
        Ok(())
    }

    pub(super) async fn summary(
        &self,
        key: SegmentKey,
        commit: CommitKey,
    ) -> Result<Option<Bytes>, StoreError> {
        let (partition, epoch, segment) = segment(key);
        let values = (partition, epoch, segment, as_of(commit));
        let statement = &self.connected.statements.summary;
        let result = self.read(statement, &values).await?;
        let parts = rows::<PartRow<'_>>("a summary", &result)?.into_iter().map(part).collect();
        self.whole("a summary", parts, statement, &values).await
    }

    pub(super) async fn put_progress(
        &self,
        id: PartitionId,
        commit: CommitKey,
        progress: &[u8],
    ) -> Result<(), StoreError> {
        let (partition, epoch, number) = (partition(id), epoch(commit.epoch), ordered(commit.commit));
        let statement = &self.connected.statements.insert_progress;
        for (part, parts, hash, bytes) in split(progress) {
            self.write(statement, (&partition, &epoch, number, part, parts, hash, bytes)).await?;
        }
        Ok(())
    }

    pub(super) async fn progress(
        &self,
        id: PartitionId,
        of: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let (partition, epoch) = (partition(id), epoch(of));
        let statements = &self.connected.statements;
        if limit == 0 {
            return Ok(Vec::new());
        }
        // Twice, because a row may have two parts.
        let first = limit.saturating_mul(2).min(FIRST_PAGE_ROWS);
        let mut pages = self.pages(&statements.progress, (&partition, &epoch), first);
        let mut found = Vec::new();
        let mut open: Option<(i64, Vec<Part>)> = None;
        loop {
            let page = pages.next().await?;
            let read = match &page {
                Some(page) => rows::<NumberedPartRow<'_>>("progress", page)?,
                None => Vec::new(),
            };
            let numbered = read.into_iter().map(|(number, part, parts, hash, bytes)| {
                Some((number, self::part((part, parts, hash, bytes))))
            });
            for next in numbered.chain(page.is_none().then_some(None)) {
                match (&mut open, next) {
                    (Some((number, parts)), Some((next, part))) if *number == next => parts.push(part),
                    (done, next) => {
                        let next = next.map(|(number, part)| (number, vec![part]));
                        let Some((number, parts)) = std::mem::replace(done, next) else { continue };
                        let key = (&partition, &epoch, number);
                        let whole = self.whole("progress", parts, &statements.progress_row, key).await?;
                        let Some(row) = whole else { continue };
                        found.push((number.cast_unsigned(), row));
                        if found.len() == limit {
                            return Ok(found);
                        }
                    }
                }
            }
            if page.is_none() {
                break;
            }
        }
        Ok(found)
    }

    // What goes away.

    /// Commits first, so that no row is seen whose blobs are gone already.
    pub(super) async fn drop_segment(&self, key: SegmentKey) -> Result<(), StoreError> {
        let (partition, epoch, segment) = segment(key);
        let statements = &self.connected.statements;
        self.write(&statements.drop_commits, (&partition, &epoch, segment)).await?;
        let shards = (0..BLOB_SHARDS).map(|shard| vec![(&partition, &epoch, segment, shard)]).collect();
        let blobs = self.write_batches(&statements.drop_blobs, shards);
        let summaries = self.write(&statements.drop_summaries, (&partition, &epoch, segment));
        try_join(blobs, summaries).await.map(|((), ())| ())
    }

    pub(super) async fn prune(
        &self,
        id: PartitionId,
        keep: CommitKey,
        summaries: &[(SegmentKey, CommitKey)],
    ) -> Result<(), StoreError> {
        let statements = &self.connected.statements;
        let (partition, kept_epoch) = (partition(id), epoch(keep.epoch));
        let older = summaries.iter().map(|(key, last)| {
            let (partition, epoch, segment) = segment(*key);
            vec![(partition, epoch, segment, as_of(*last))]
        });
        self.write_batches(&statements.drop_summaries_before, older.collect()).await?;
        self.write(&statements.drop_progress_of, (&partition, &kept_epoch, ordered(keep.commit))).await?;
        // Of earlier epochs, and their claims, there is seldom anything: a look is cheaper than a tombstone.
        let newest = self.claims(id, None, 1).await?;
        let Some(highest) = newest.first() else { return Ok(()) };
        let below = keep.epoch.min(highest.epoch);
        if self.claims(id, Some(below), 1).await?.is_empty() {
            return Ok(());
        }
        self.write(&statements.drop_progress, (&partition, &kept_epoch)).await?;
        self.write(&statements.drop_claims, (&partition, epoch(below))).await
    }
}

fn to_claim((epoch, owner): (&str, &[u8])) -> Result<Claim, StoreError> {
    Ok(Claim { epoch: read_epoch(epoch)?, owner: Bytes::copy_from_slice(owner) })
}
