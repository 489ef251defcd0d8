//! Who should own what, as of the last look.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordination::assign::{AssignSettings, Question, Wanted, assign};
use crate::coordination::{Member, PartitionName, View, WorkerId};
use crate::model::PartitionId;

/// Members that join one after another put off moves for at most so many settle times.
const SETTLES_MAX: u64 = 10;
/// The plan is made anew for changed owners at most once in so many ms, and one more for every
/// [`PARTITIONS_PER_MS`]: it looks at all partitions.
const PLAN_EVERY_MS: u64 = 20;
/// See [`PLAN_EVERY_MS`].
const PARTITIONS_PER_MS: u64 = 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Owners wanted.
    pub wanted: Wanted,
    /// Those that this worker should own.
    pub mine: Vec<PartitionId>,
    made_ms: u64,
    /// When it is to be made again.
    pub due_ms: Option<u64>,
}

impl Plan {
    /// Members or partitions have changed.
    pub fn members_changed(&mut self, now_ms: u64) {
        self.due_ms = Some(now_ms);
    }

    /// Only owners have changed: what was wanted is mostly still right.
    pub fn owners_changed(&mut self, partitions: usize) {
        let due_ms = self.made_ms + PLAN_EVERY_MS + partitions as u64 / PARTITIONS_PER_MS;
        self.due_ms = Some(self.due_ms.map_or(due_ms, |known| known.min(due_ms)));
    }

    pub fn is_due(&self, now_ms: u64) -> bool {
        self.due_ms.is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// Evaluates it.
    pub fn make(
        &mut self,
        now_ms: u64,
        me: &WorkerId,
        settings: &AssignSettings,
        members: &BTreeMap<WorkerId, Member>,
        partitions: &[PartitionName],
        view: &View,
    ) {
        (self.made_ms, self.due_ms) = (now_ms, None);
        // Those that were asked to drain are shown as draining here.
        self.wanted = assign(&Question { members, drained: &[], partitions, owners: &view.owners, settings });
        let mine = self.wanted.iter().filter(|(_, worker)| *worker == me);
        self.mine = mine.map(|(partition, _)| *partition).collect();
    }
}

/// Whether members have been the same for long enough that partitions may move.
#[derive(Debug, Default)]
pub(super) struct Settling {
    known: BTreeSet<WorkerId>,
    /// First and last time that somebody came, while that is not over.
    unsettled: Option<(u64, u64)>,
}

impl Settling {
    /// Those that may be given partitions now. Somebody who goes is no reason to wait.
    pub fn members(&mut self, now_ms: u64, settle_ms: u64, active: BTreeSet<WorkerId>) {
        if active.iter().any(|id| !self.known.contains(id)) {
            let unsettled = self.unsettled.filter(|_| self.until_ms(now_ms, settle_ms).is_some());
            let since_ms = unsettled.map_or(now_ms, |(since_ms, _)| since_ms);
            self.unsettled = Some((since_ms, now_ms));
        }
        self.known = active;
    }

    /// When it will have been long enough; none if it has.
    pub fn until_ms(&self, now_ms: u64, settle_ms: u64) -> Option<u64> {
        let (since_ms, last_ms) = self.unsettled?;
        let until_ms = (last_ms + settle_ms).min(since_ms + settle_ms * SETTLES_MAX);
        Some(until_ms).filter(|until_ms| *until_ms > now_ms)
    }
}
