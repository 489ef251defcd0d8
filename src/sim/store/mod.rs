//! The simulated store: three replicas with rows of their own behind coordinators that fail, or one
//! file whose appends check the claim in the same atomic step.
//!
//! A write is durable once two replicas have it (one, for a file), which the caller may or may not
//! come to know. A quorum read puts together what two replicas say, each at its own time. What is
//! late, lost, doubled or refused is drawn from the run's chance; promises hold all the same: no row
//! that was durable is lost, and a read that begins after a write was durable sees it.

mod op;
mod replica;

use std::collections::BTreeMap;

use crate::model::Epoch;
use crate::store::{CommitKey, SegmentKey};

use super::heap::Time;

pub(crate) use op::{Answered, Around, Caller, Ops, Said, StoreStep, full, unavailable};
pub(crate) use replica::{Answer, Change, Query};

/// Which kind of store a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// Three replicas; appends are answered `Durable`.
    Cluster,
    /// One file; appends are answered `Fenced` or `Superseded`.
    File,
}

impl StoreKind {
    pub fn replicas(self) -> usize {
        match self {
            StoreKind::Cluster => 3,
            StoreKind::File => 1,
        }
    }

    pub fn quorum(self) -> usize {
        self.replicas() / 2 + 1
    }
}

/// What can become durable, for the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    Claim(Epoch),
    Row(Epoch, u64),
    Progress(CommitKey),
    Summary(SegmentKey, CommitKey),
}

impl Fact {
    pub fn of(change: &Change) -> Option<Self> {
        match change {
            Change::Claim(epoch, _) => Some(Fact::Claim(*epoch)),
            Change::Row(segment, commit, _) | Change::Again(segment, commit, _) => {
                Some(Fact::Row(segment.epoch, *commit))
            }
            Change::Progress(as_of, _) => Some(Fact::Progress(*as_of)),
            Change::Summary(segment, as_of, _) => Some(Fact::Summary(*segment, *as_of)),
            Change::Drop(_) | Change::Prune(..) => None,
        }
    }
}

/// When facts came to be on a quorum: known to the oracle, to nobody inside.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    replicas: BTreeMap<Fact, u8>,
    since: BTreeMap<Fact, Time>,
}

impl Durable {
    /// A replica has it now that had not.
    pub fn arrived(&mut self, now: Time, fact: Fact, quorum: usize) {
        let replicas = self.replicas.entry(fact).or_insert(0);
        *replicas += 1;
        if usize::from(*replicas) == quorum {
            self.since.entry(fact).or_insert(now);
        }
    }

    /// A replica has lost it.
    pub fn lost(&mut self, fact: Fact) {
        if let Some(replicas) = self.replicas.get_mut(&fact) {
            *replicas = replicas.saturating_sub(1);
        }
    }

    pub fn since(&self, fact: Fact) -> Option<Time> {
        self.since.get(&fact).copied()
    }

    /// Claims that were durable at that time and are higher.
    pub fn higher_claim(&self, than: Epoch, at: Time) -> Option<Epoch> {
        let above = Fact::Claim(Epoch { number: than.number, incarnation: than.incarnation });
        self.since
            .range(above..=Fact::Claim(Epoch { number: u32::MAX, incarnation: u64::MAX }))
            .filter_map(|(fact, since)| match fact {
                Fact::Claim(epoch) if *epoch > than && *since < at => Some(*epoch),
                _ => None,
            })
            .next()
    }
}
