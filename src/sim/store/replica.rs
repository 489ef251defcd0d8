//! One replica's rows, as Cassandra keeps them: a write never changes what is there, a deletion
//! outlives whatever arrives after it (rows are written with timestamp 1, drops with 2).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Fact;
use crate::model::Epoch;
use crate::store::{Claim, CommitKey, SegmentKey, StoredCommit};
use crate::worker::protocol::Request;

/// What a write does.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Claim(Epoch, Bytes),
    Row(SegmentKey, u64, Bytes),
    /// A row of another epoch, written again by whoever accepts it.
    Again(SegmentKey, u64, Bytes),
    Summary(SegmentKey, CommitKey, Bytes),
    Progress(CommitKey, Bytes),
    Drop(SegmentKey),
    Prune(CommitKey, Vec<(SegmentKey, CommitKey)>),
}

/// What is asked of replicas: the protocol's reads, and those of whoever drives it.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    Protocol(Request),
    Summary(SegmentKey, CommitKey),
}

/// What a replica answers, with the deletions that it knows of.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done,
    Claims(Vec<Claim>, Option<Epoch>),
    Progress(Vec<(u64, Bytes)>, Option<CommitKey>),
    Commits(Vec<StoredCommit>, bool),
    Value(Option<Bytes>, bool),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    pub claims: BTreeMap<Epoch, Bytes>,
    claims_from: Option<Epoch>,
    pub rows: BTreeMap<(SegmentKey, u64), Bytes>,
    summaries: BTreeMap<(SegmentKey, CommitKey), Bytes>,
    summaries_from: BTreeMap<SegmentKey, CommitKey>,
    pub progress: BTreeMap<CommitKey, Bytes>,
    progress_from: Option<CommitKey>,
    dropped: BTreeSet<SegmentKey>,
}

fn put<K: Ord>(rows: &mut BTreeMap<K, Bytes>, key: K, bytes: &Bytes) -> Result<bool, ()> {
    match rows.get(&key) {
        Some(there) if there != bytes => Err(()),
        Some(_) => Ok(false),
        None => {
            rows.insert(key, bytes.clone());
            Ok(true)
        }
    }
}

impl Replica {
    /// Applies a write. True if it was new here; an error if other bytes are under its key.
    pub fn apply(&mut self, change: &Change) -> Result<bool, ()> {
        match change {
            Change::Claim(epoch, owner) => {
                if self.claims_from.is_some_and(|from| *epoch < from) {
                    return Ok(false);
                }
                put(&mut self.claims, *epoch, owner)
            }
            Change::Row(segment, commit, row) | Change::Again(segment, commit, row) => {
                if self.dropped.contains(segment) {
                    return Ok(false);
                }
                put(&mut self.rows, (*segment, *commit), row)
            }
            Change::Summary(segment, as_of, summary) => {
                let gone = self.dropped.contains(segment)
                    || self.summaries_from.get(segment).is_some_and(|from| as_of < from);
                if gone { Ok(false) } else { put(&mut self.summaries, (*segment, *as_of), summary) }
            }
            Change::Progress(as_of, row) => {
                if self.progress_from.is_some_and(|from| *as_of < from) {
                    return Ok(false);
                }
                put(&mut self.progress, *as_of, row)
            }
            Change::Drop(segment) => {
                self.rows.retain(|(of, _), _| of != segment);
                self.summaries.retain(|(of, _), _| of != segment);
                Ok(self.dropped.insert(*segment))
            }
            Change::Prune(keep, summaries) => {
                self.prune(*keep, summaries);
                Ok(true)
            }
        }
    }

    fn prune(&mut self, keep: CommitKey, summaries: &[(SegmentKey, CommitKey)]) {
        self.progress_from = self.progress_from.max(Some(keep));
        self.progress = self.progress.split_off(&keep);
        self.claims_from = self.claims_from.max(Some(keep.epoch));
        let highest = self.claims.last_key_value().map(|(epoch, _)| *epoch);
        self.claims.retain(|epoch, _| *epoch >= keep.epoch || Some(*epoch) == highest);
        for (segment, last) in summaries {
            let from = self.summaries_from.entry(*segment).or_insert(*last);
            *from = (*from).max(*last);
            self.summaries.retain(|(of, as_of), _| of != segment || as_of >= last);
        }
    }

    /// Answers a read from what is here.
    pub fn read(&self, query: &Query) -> Answer {
        match query {
            Query::Protocol(Request::Highest { .. }) => self.claims_below(None, 1),
            Query::Protocol(Request::Claims { below, limit, .. }) => self.claims_below(*below, *limit),
            Query::Protocol(Request::Progress { epoch, limit, .. }) => {
                let of_epoch =
                    CommitKey { epoch: *epoch, commit: 0 }..=CommitKey { epoch: *epoch, commit: u64::MAX };
                let rows = self.progress.range(of_epoch).rev().take(*limit);
                Answer::Progress(
                    rows.map(|(as_of, row)| (as_of.commit, row.clone())).collect(),
                    self.progress_from,
                )
            }
            Query::Protocol(Request::Commits { segment, from, limit, .. }) => {
                let rows = self.rows.range((*segment, *from)..=(*segment, u64::MAX)).take(*limit);
                let rows = rows.map(|((_, commit), row)| StoredCommit { commit: *commit, row: row.clone() });
                Answer::Commits(rows.collect(), self.dropped.contains(segment))
            }
            Query::Protocol(_) => Answer::Done,
            Query::Summary(segment, as_of) => Answer::Value(
                self.summaries.get(&(*segment, *as_of)).cloned(),
                self.dropped.contains(segment)
                    || self.summaries_from.get(segment).is_some_and(|from| as_of < from),
            ),
        }
    }

    fn claims_below(&self, below: Option<Epoch>, limit: usize) -> Answer {
        let lower = self.claims.iter().rev().filter(|(epoch, _)| below.is_none_or(|below| **epoch < below));
        let claims = lower.take(limit).map(|(epoch, owner)| Claim { epoch: *epoch, owner: owner.clone() });
        Answer::Claims(claims.collect(), self.claims_from)
    }

    /// All that is here, for the oracle.
    pub fn facts(&self) -> BTreeSet<Fact> {
        let rows = self.rows.keys().map(|(segment, commit)| Fact::Row(segment.epoch, *commit));
        let claims = self.claims.keys().map(|epoch| Fact::Claim(*epoch));
        let progress = self.progress.keys().map(|as_of| Fact::Progress(*as_of));
        let summaries = self.summaries.keys().map(|(segment, as_of)| Fact::Summary(*segment, *as_of));
        rows.chain(claims).chain(progress).chain(summaries).collect()
    }

    pub fn highest_claim(&self) -> Option<Epoch> {
        self.claims.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// Takes over all that another replica has: how a lost replica is rebuilt.
    pub fn take_in(&mut self, other: &Replica) {
        self.dropped.extend(other.dropped.iter().copied());
        self.claims.extend(other.claims.iter().map(|(key, bytes)| (*key, bytes.clone())));
        self.rows.extend(other.rows.iter().map(|(key, bytes)| (*key, bytes.clone())));
        self.summaries.extend(other.summaries.iter().map(|(key, bytes)| (*key, bytes.clone())));
        self.progress.extend(other.progress.iter().map(|(key, bytes)| (*key, bytes.clone())));
        let dropped = &self.dropped;
        self.rows.retain(|(segment, _), _| !dropped.contains(segment));
        self.summaries.retain(|(segment, _), _| !dropped.contains(segment));
        for (segment, from) in &other.summaries_from {
            let here = self.summaries_from.entry(*segment).or_insert(*from);
            *here = (*here).max(*from);
        }
        let from = &self.summaries_from;
        self.summaries.retain(|(segment, as_of), _| from.get(segment).is_none_or(|from| as_of >= from));
        self.claims_from = self.claims_from.max(other.claims_from);
        self.progress_from = self.progress_from.max(other.progress_from);
        if let Some(keep) = self.progress_from {
            self.progress = self.progress.split_off(&keep);
        }
    }
}

/// Puts what two replicas said together.
pub(crate) fn merge(query: &Query, one: Answer, other: Answer) -> Answer {
    match (one, other) {
        (Answer::Claims(one, from), Answer::Claims(other, from_other)) => {
            let from = from.max(from_other);
            let mut claims: BTreeMap<Epoch, Bytes> =
                one.into_iter().chain(other).map(|claim| (claim.epoch, claim.owner)).collect();
            let highest = claims.last_key_value().map(|(epoch, _)| *epoch);
            claims.retain(|epoch, _| from.is_none_or(|from| *epoch >= from) || Some(*epoch) == highest);
            let limit = match query {
                Query::Protocol(Request::Claims { limit, .. }) => *limit,
                _ => 1,
            };
            let newest = claims.into_iter().rev().take(limit);
            Answer::Claims(newest.map(|(epoch, owner)| Claim { epoch, owner }).collect(), from)
        }
        (Answer::Progress(one, from), Answer::Progress(other, from_other)) => {
            let from = from.max(from_other);
            let Query::Protocol(Request::Progress { epoch, limit, .. }) = query else {
                return Answer::Progress(one, from);
            };
            let rows: BTreeMap<u64, Bytes> = one.into_iter().chain(other).collect();
            let kept = rows.into_iter().rev().filter(|(commit, _)| {
                from.is_none_or(|from| CommitKey { epoch: *epoch, commit: *commit } >= from)
            });
            Answer::Progress(kept.take(*limit).collect(), from)
        }
        (Answer::Commits(one, dropped), Answer::Commits(other, dropped_other)) => {
            let dropped = dropped || dropped_other;
            let Query::Protocol(Request::Commits { limit, .. }) = query else {
                return Answer::Commits(one, dropped);
            };
            let rows: BTreeMap<u64, Bytes> =
                one.into_iter().chain(other).map(|row| (row.commit, row.row)).collect();
            let rows = rows.into_iter().filter(|_| !dropped).take(*limit);
            Answer::Commits(rows.map(|(commit, row)| StoredCommit { commit, row }).collect(), dropped)
        }
        (Answer::Value(one, gone), Answer::Value(other, gone_other)) => {
            let gone = gone || gone_other;
            Answer::Value(one.or(other).filter(|_| !gone), gone)
        }
        (one, _) => one,
    }
}
