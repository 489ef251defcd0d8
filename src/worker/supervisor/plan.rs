//! Who should own what, as of the last look.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordination::{Member, PartitionName, View, WorkerId};
use crate::model::PartitionId;

use super::types::{Pattern, Policy};

/// Members that join one after another put off moves for at most so many settle times.
const SETTLES_MAX: u64 = 10;
/// The plan is made anew for changed owners at most once in so many ms, and one more for every
/// [`PARTITIONS_PER_MS`]: it looks at all partitions.
const PLAN_EVERY_MS: u64 = 20;
/// See [`PLAN_EVERY_MS`].
const PARTITIONS_PER_MS: u64 = 20;

impl Pattern {
    /// Whether a partition is meant.
    pub fn matches(&self, partition: &PartitionName) -> bool {
        let namespace = self.namespace.as_deref().is_none_or(|namespace| namespace == &*partition.namespace);
        let group = self.group == "*" || self.group == *partition.group;
        let index = self.indexes.is_none_or(|(from, to)| (from..=to).contains(&partition.id.index));
        namespace && group && index
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Owners wanted.
    pub wanted: BTreeMap<PartitionId, WorkerId>,
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
        policy: &Policy,
        members: &BTreeMap<WorkerId, Member>,
        partitions: &BTreeMap<PartitionId, PartitionName>,
        view: &View,
    ) {
        (self.made_ms, self.due_ms) = (now_ms, None);
        self.wanted = match policy {
            Policy::Automatic => propose(members, partitions, &view.owners),
            Policy::Manual(patterns) => {
                let meant = |name: &&PartitionName| patterns.iter().any(|pattern| pattern.matches(name));
                partitions.values().filter(meant).map(|name| (name.id, me.clone())).collect()
            }
        };
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

fn propose(
    members: &BTreeMap<WorkerId, Member>,
    partitions: &BTreeMap<PartitionId, PartitionName>,
    owners: &BTreeMap<PartitionId, WorkerId>,
) -> BTreeMap<PartitionId, WorkerId> {
    let able = |id: &WorkerId, partition: &PartitionId| {
        members.get(id).is_some_and(|m| {
            m.capacity > 0 && !m.draining && !m.cannot_serve.contains(&partition.to_string())
        })
    };
    let mut held: BTreeMap<&WorkerId, usize> = members
        .iter()
        .filter(|(_, m)| m.capacity > 0 && !m.draining)
        .map(|(id, _)| (id, 0))
        .collect();
    for (partition, owner) in owners {
        if partitions.contains_key(partition) && able(owner, partition) {
            *held.get_mut(owner).expect("able") += 1;
        }
    }
    let mut order: Vec<(&WorkerId, usize)> = held.iter().map(|(id, n)| (*id, *n)).collect();
    order.sort_by_key(|(id, n)| (std::cmp::Reverse(*n), (*id).clone()));
    let (least, more) = (partitions.len() / order.len().max(1), partitions.len() % order.len().max(1));
    let mut room: BTreeMap<&WorkerId, usize> =
        order.iter().enumerate().map(|(at, (id, _))| (*id, least + usize::from(at < more))).collect();
    let mut wanted: BTreeMap<PartitionId, WorkerId> = BTreeMap::new();
    let mut homeless = Vec::new();
    for partition in partitions.keys() {
        match owners.get(partition).filter(|id| able(id, partition) && room[*id] > 0) {
            Some(id) => {
                *room.get_mut(id).expect("able") -= 1;
                wanted.insert(*partition, id.clone());
            }
            None => homeless.push(*partition),
        }
    }
    for partition in homeless {
        let most = room.iter().filter(|(id, _)| able(id, &partition)).max_by_key(|(id, n)| (**n, (*id).clone()));
        if let Some(id) = most.map(|(id, _)| (*id).clone()) {
            let left = room.get_mut(&id).expect("able");
            *left = left.saturating_sub(1);
            wanted.insert(partition, id);
        }
    }
    wanted
}
