//! The rows of one replica. Rows are written once and deletions only grow, so copies of them are
//! merged by taking everything from both: the order of writes decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::Epoch;
use crate::store::{Claim, CommitKey, SegmentKey, StoredCommit};

/// One write, as a replica sees it. All are of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A claim.
    Claim(Claim),
    /// A commit's row.
    Commit(SegmentKey, u64, Bytes),
    /// A summary.
    Summary(SegmentKey, CommitKey, Bytes),
    /// A progress row.
    Progress(CommitKey, Bytes),
    /// A segment is deleted, and whatever of it comes later.
    Drop(SegmentKey),
    /// Older progress, claims and summaries are deleted, and whatever of them comes later.
    Prune(CommitKey, Vec<(SegmentKey, CommitKey)>),
}

/// What a replica has.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    claims: BTreeMap<Epoch, Bytes>,
    commits: BTreeMap<SegmentKey, BTreeMap<u64, Bytes>>,
    summaries: BTreeMap<(SegmentKey, CommitKey), Bytes>,
    progress: BTreeMap<CommitKey, Bytes>,
    dropped: BTreeSet<SegmentKey>,
    /// Progress below this, and claims below its epoch, are deleted.
    pruned: Option<CommitKey>,
    /// Summaries below these are deleted.
    pruned_summaries: BTreeMap<SegmentKey, CommitKey>,
}

impl Rows {
    /// Takes a write in, however late or often.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Claim(claim) => {
                if self.pruned.is_none_or(|keep| claim.epoch >= keep.epoch) {
                    self.claims.insert(claim.epoch, claim.owner.clone());
                }
            }
            Write::Commit(segment, commit, row) => {
                if !self.dropped.contains(segment) {
                    self.commits.entry(*segment).or_default().entry(*commit).or_insert_with(|| row.clone());
                }
            }
            Write::Summary(segment, as_of, bytes) => {
                let kept = self.pruned_summaries.get(segment).is_none_or(|last| as_of >= last);
                if kept && !self.dropped.contains(segment) {
                    self.summaries.insert((*segment, *as_of), bytes.clone());
                }
            }
            Write::Progress(as_of, bytes) => {
                if self.pruned.is_none_or(|keep| *as_of >= keep) {
                    self.progress.insert(*as_of, bytes.clone());
                }
            }
            Write::Drop(segment) => {
                self.dropped.insert(*segment);
                self.commits.remove(segment);
                self.summaries.retain(|(of, _), _| of != segment);
            }
            Write::Prune(keep, summaries) => self.prune(*keep, summaries),
        }
    }

    fn prune(&mut self, keep: CommitKey, summaries: &[(SegmentKey, CommitKey)]) {
        if self.pruned.is_none_or(|other| other < keep) {
            self.pruned = Some(keep);
            self.progress.retain(|as_of, _| *as_of >= keep);
            self.claims.retain(|epoch, _| *epoch >= keep.epoch);
        }
        for &(segment, last) in summaries {
            if self.pruned_summaries.get(&segment).is_none_or(|other| *other < last) {
                self.pruned_summaries.insert(segment, last);
                self.summaries.retain(|(of, as_of), _| *of != segment || *as_of >= last);
            }
        }
    }

    /// True if it has the row, or knows that it is deleted.
    pub fn has(&self, write: &Write) -> bool {
        match write {
            Write::Claim(claim) => {
                self.claims.contains_key(&claim.epoch)
                    || self.pruned.is_some_and(|keep| claim.epoch < keep.epoch)
            }
            Write::Commit(segment, commit, _) => {
                self.dropped.contains(segment)
                    || self.commits.get(segment).is_some_and(|rows| rows.contains_key(commit))
            }
            Write::Summary(segment, as_of, _) => self.summaries.contains_key(&(*segment, *as_of)),
            Write::Progress(as_of, _) => {
                self.progress.contains_key(as_of) || self.pruned.is_some_and(|keep| *as_of < keep)
            }
            Write::Drop(segment) => self.dropped.contains(segment),
            Write::Prune(keep, _) => self.pruned.is_some_and(|other| other >= *keep),
        }
    }

    /// Everything of `what`, as writes: what a read of it brings, deletions too.
    pub fn read(&self, what: &What) -> Vec<Write> {
        let mut writes = Vec::new();
        match what {
            What::Claims => {
                writes.extend(self.pruned.map(|keep| Write::Prune(keep, Vec::new())));
                let claims = self.claims.iter();
                writes.extend(
                    claims.map(|(&epoch, owner)| Write::Claim(Claim { epoch, owner: owner.clone() })),
                );
            }
            What::Commits(segment, from) => {
                if self.dropped.contains(segment) {
                    writes.push(Write::Drop(*segment));
                }
                let rows = self.commits.get(segment).into_iter().flat_map(|rows| rows.range(from..));
                writes.extend(rows.map(|(&commit, row)| Write::Commit(*segment, commit, row.clone())));
            }
            What::Summary(segment, as_of) => {
                if self.dropped.contains(segment) {
                    writes.push(Write::Drop(*segment));
                }
                if let Some(&last) = self.pruned_summaries.get(segment) {
                    let nothing = CommitKey { epoch: Epoch { number: 0, incarnation: 0 }, commit: 0 };
                    writes.push(Write::Prune(nothing, vec![(*segment, last)]));
                }
                let bytes = self.summaries.get(&(*segment, *as_of));
                writes.extend(bytes.map(|bytes| Write::Summary(*segment, *as_of, bytes.clone())));
            }
            What::Progress(epoch) => {
                writes.extend(self.pruned.map(|keep| Write::Prune(keep, Vec::new())));
                let of_epoch =
                    CommitKey { epoch: *epoch, commit: 0 }..=CommitKey { epoch: *epoch, commit: u64::MAX };
                let rows = self.progress.range(of_epoch);
                writes.extend(rows.map(|(&as_of, bytes)| Write::Progress(as_of, bytes.clone())));
            }
        }
        writes
    }

    /// Claims, newest first.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        self.claims.iter().rev().map(|(&epoch, owner)| Claim { epoch, owner: owner.clone() })
    }

    /// Commits of a segment.
    pub fn commits(&self, segment: SegmentKey, from: u64, limit: usize) -> Vec<StoredCommit> {
        let rows = self.commits.get(&segment).into_iter().flat_map(|rows| rows.range(from..));
        rows.take(limit).map(|(&commit, row)| StoredCommit { commit, row: row.clone() }).collect()
    }

    /// A summary.
    pub fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Option<Bytes> {
        self.summaries.get(&(segment, as_of)).cloned()
    }

    /// Progress of an epoch, newest first.
    pub fn progress(&self, epoch: Epoch, limit: usize) -> Vec<(u64, Bytes)> {
        let of_epoch = self.progress.iter().rev().filter(|(as_of, _)| as_of.epoch == epoch);
        of_epoch.take(limit).map(|(as_of, bytes)| (as_of.commit, bytes.clone())).collect()
    }
}

/// What a read is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// All claims.
    Claims,
    /// Commits of a segment, from a number on.
    Commits(SegmentKey, u64),
    /// A summary.
    Summary(SegmentKey, CommitKey),
    /// Progress of an epoch.
    Progress(Epoch),
}
