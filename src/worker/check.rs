//! Whether a store has all that its partitions need: each is read as a new owner would read it, and
//! then every row of its live segments, with the blobs that they name. Nothing is written.
//!
//! An owner may be at work meanwhile, and drop what was just going to be read. So what looks wrong is
//! looked at again, from the start, and only what is wrong both times is a problem.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prost::Message;

use super::catalog::Catalog;
use super::owner::core::{decode_summary, segment_key};
use super::protocol::{Accepted, look};
use crate::coordination::PartitionName;
use crate::model::row::{BlobRef, ChainLink, CommitRef, CommitRow, SegmentName, SegmentRow};
use crate::model::{Epoch, PartitionId};
use crate::store::{CommitKey, Store, StoreError, StoreErrorKind};

/// Partitions that are read at once.
const PARTITIONS_AT_ONCE: usize = 8;
/// Chunks of one blob that are read at once.
const CHUNKS_AT_ONCE: usize = 8;
/// Rows and bytes of a page.
const PAGE_ROWS: usize = 1_024;
const PAGE_BYTES: usize = 4 << 20;
/// Problems of one partition that are told.
const PROBLEMS_MAX: usize = 20;

/// What there is of a partition, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionReport {
    pub name: PartitionName,
    /// Who has claimed it last; empty if nobody has.
    pub claimed_by: String,
    pub segments: usize,
    pub commits: u64,
    pub jobs: u64,
    pub blobs: u64,
    pub bytes: u64,
    pub problems: Vec<String>,
}

/// Reports on every partition of every group with a queue.
pub(crate) async fn check(store: Arc<dyn Store>) -> Result<Vec<PartitionReport>, StoreError> {
    let names = Catalog::open(store.clone()).await?.partition_names();
    let reports = stream::iter(names).map(|name| {
        let store = store.clone();
        async move { partition(&*store, name).await }
    });
    let reports: Vec<_> = reports.buffered(PARTITIONS_AT_ONCE).collect().await;
    reports.into_iter().collect()
}

async fn partition(store: &dyn Store, name: PartitionName) -> Result<PartitionReport, StoreError> {
    let first = partition_once(store, &name).await?;
    if first.problems.is_empty() {
        return Ok(first);
    }
    let mut second = partition_once(store, &name).await?;
    second.problems.retain(|problem| first.problems.contains(problem));
    Ok(second)
}

async fn partition_once(store: &dyn Store, name: &PartitionName) -> Result<PartitionReport, StoreError> {
    let id = name.id;
    let claim = store.highest_claim(id).await?;
    let mut report = PartitionReport {
        name: name.clone(),
        claimed_by: claim.map(|claim| String::from_utf8_lossy(&claim.owner).into_owned()).unwrap_or_default(),
        segments: 0,
        commits: 0,
        jobs: 0,
        blobs: 0,
        bytes: 0,
        problems: Vec::new(),
    };
    match look(store, id).await {
        Ok(accepted) => {
            Check { store, id, live: live(&accepted), report: &mut report }.run(&accepted).await?
        }
        Err(error) => report.problem(error)?,
    }
    Ok(report)
}

impl PartitionReport {
    /// Damage is a problem of the partition, all else the end of the check.
    fn problem(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error.kind {
            StoreErrorKind::Damaged | StoreErrorKind::NewerFormat => self.say(error.message),
            _ => return Err(error),
        }
        Ok(())
    }

    fn say(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// What a segment must have.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    first_commit: u64,
    commits: u64,
    jobs: u64,
    summary: Option<CommitRef>,
}

/// Segments that are not condemned, by the latest progress and what came after it.
fn live(accepted: &Accepted) -> BTreeMap<SegmentName, Expected> {
    let progress = accepted.progress.iter().flat_map(|(_, progress)| &progress.segments);
    let mut condemned: BTreeSet<SegmentName> =
        progress.clone().filter(|segment| segment.condemned).filter_map(|segment| segment.name).collect();
    let told = progress.filter_map(|segment: &SegmentRow| {
        let (first_commit, commits) = (segment.first_commit, segment.commits);
        let (jobs, summary) = (u64::from(segment.jobs), segment.summary);
        Some((segment.name?, Expected { first_commit, commits, jobs, summary }))
    });
    let mut live: BTreeMap<SegmentName, Expected> = told.collect();
    for commit in &accepted.tail {
        let new = Expected { first_commit: commit.commit, ..Expected::default() };
        let segment = live.entry(commit.segment).or_insert(new);
        segment.commits += 1;
        segment.jobs += commit.row.jobs.len() as u64;
        condemned.extend(&commit.row.condemned);
    }
    live.retain(|name, _| !condemned.contains(name));
    live
}

/// One look at one partition.
struct Check<'a> {
    store: &'a dyn Store,
    id: PartitionId,
    live: BTreeMap<SegmentName, Expected>,
    report: &'a mut PartitionReport,
}

impl Check<'_> {
    async fn run(mut self, accepted: &Accepted) -> Result<(), StoreError> {
        for (name, expected) in self.live.clone() {
            self.report.segments += 1;
            if let Some(as_of) = expected.summary
                && let Err(error) = self.summary(name, as_of, &accepted.chain).await
            {
                self.report.problem(error)?;
            }
            if let Err(error) = self.segment(name, expected).await {
                self.report.problem(error)?;
            }
        }
        Ok(())
    }

    fn damaged(&self, name: SegmentName, what: &str) -> StoreError {
        let epoch = Epoch { number: name.epoch_number, incarnation: name.incarnation };
        let message = format!("segment {} of epoch {epoch} of partition {}: {what}", name.segment, self.id);
        StoreError::new(StoreErrorKind::Damaged, message)
    }

    async fn summary(
        &self,
        name: SegmentName,
        as_of: CommitRef,
        chain: &[ChainLink],
    ) -> Result<(), StoreError> {
        let told = format!("{}/{}", as_of.epoch_number, as_of.commit);
        let link = chain.iter().find(|link| link.epoch_number == as_of.epoch_number);
        let Some(link) = link else {
            return Err(self.damaged(name, &format!("its summary is of {told}, which is not in the chain")));
        };
        let epoch = Epoch { number: link.epoch_number, incarnation: link.incarnation };
        let at = CommitKey { epoch, commit: as_of.commit };
        let Some(bytes) = self.store.summary(segment_key(self.id, name), at).await? else {
            return Err(self.damaged(name, &format!("its summary as of {told} is missing")));
        };
        let summary = decode_summary(&bytes).map_err(|error| self.damaged(name, &error.message))?;
        let jobs: u64 = summary.jobs_per_commit.iter().map(|&jobs| u64::from(jobs)).sum();
        if jobs != summary.states.len() as u64 {
            let states = summary.states.len();
            return Err(self.damaged(name, &format!("its summary has {states} states of {jobs} jobs")));
        }
        Ok(())
    }

    /// Reads its rows, and the blobs that they name.
    async fn segment(&mut self, name: SegmentName, expected: Expected) -> Result<(), StoreError> {
        let key = segment_key(self.id, name);
        let end = expected.first_commit.saturating_add(expected.commits);
        let (mut next, mut jobs) = (expected.first_commit, 0);
        while next < end {
            let page = self.store.commits(key, next, PAGE_ROWS, PAGE_BYTES).await?;
            for stored in page.iter().take_while(|stored| stored.commit < end) {
                if stored.commit != next {
                    break;
                }
                let row = CommitRow::decode(stored.row.clone());
                let row = row
                    .map_err(|error| self.damaged(name, &format!("commit {next} can't be read: {error}")))?;
                jobs += row.jobs.len() as u64;
                self.report.commits += 1;
                self.report.jobs += row.jobs.len() as u64;
                self.report.bytes += stored.row.len() as u64;
                self.blobs(name, next, &row).await?;
                next += 1;
            }
            // Of a page that begins with another commit nothing was taken.
            if page.first().is_none_or(|first| first.commit + page.len() as u64 != next) && next < end {
                return Err(
                    self.damaged(name, &format!("commit {next} is missing, and it has {}", expected.commits))
                );
            }
        }
        if jobs != expected.jobs {
            let told = expected.jobs;
            return Err(self.damaged(name, &format!("its commits have {jobs} jobs, and {told} were counted")));
        }
        Ok(())
    }

    async fn blobs(&mut self, name: SegmentName, commit: u64, row: &CommitRow) -> Result<(), StoreError> {
        let payloads = row.jobs.iter().filter_map(|job| job.payload_blob);
        let results = row.markers.iter().filter_map(|marker| marker.result_blob);
        let outputs = row.markers.iter().flat_map(|marker| marker.output.iter().copied());
        for blob in payloads.chain(results).chain(outputs) {
            let segment = blob.segment.unwrap_or(name);
            // It may have gone with its own segment.
            if !self.live.contains_key(&segment) {
                continue;
            }
            self.report.blobs += 1;
            if let Some(what) = self.blob(segment, blob).await? {
                let what = format!("blob {} of commit {commit} {what}", blob.blob);
                self.report.problem(self.damaged(name, &what))?;
            }
        }
        Ok(())
    }

    /// What is wrong with a blob.
    async fn blob(&mut self, segment: SegmentName, blob: BlobRef) -> Result<Option<String>, StoreError> {
        let key = segment_key(self.id, segment);
        let chunks = stream::iter(0..blob.chunks).map(|chunk| self.store.blob(key, blob.blob, chunk));
        let mut chunks = chunks.buffered(CHUNKS_AT_ONCE).enumerate();
        let mut bytes = 0;
        while let Some((at, chunk)) = chunks.next().await {
            let chunk: Option<Bytes> = chunk?;
            let Some(chunk) = chunk else {
                return Ok(Some(format!("has no chunk {at} of {}", blob.chunks)));
            };
            bytes += chunk.len() as u64;
        }
        drop(chunks);
        self.report.bytes += bytes;
        Ok((bytes != blob.bytes).then(|| format!("has {bytes} bytes of {}", blob.bytes)))
    }
}
