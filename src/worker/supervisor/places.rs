//! What this worker has of each partition, with what is in flight counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordination::PartitionName;
use crate::model::PartitionId;

use super::types::Call;

/// How far this worker is with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its lock was asked for.
    Locking { call: Call, tries: u32 },
    /// Whether the lock is held is not known: it is asked for again, or given up.
    Doubtful { tries: u32, again_ms: u64 },
    /// Its owner is here. A lock that no view has shown is asked for once more, to be sure.
    Owned { seen: bool, confirm_ms: u64, confirming: Option<Call> },
    /// Its owner is ending gently; the lock is held.
    HandingOver { call: Call, seen: bool },
    /// It has no owner here any more, and its lock is to be given up.
    Unlocking { call: Option<Call>, tries: u32, again_ms: u64 },
}

impl Place {
    /// Its lock is to be given up now.
    pub fn unlocking(now_ms: u64) -> Self {
        Self::Unlocking { call: None, tries: 0, again_ms: now_ms }
    }

    /// When something is to be done about it, if nothing is told before.
    fn due_ms(&self) -> Option<u64> {
        match *self {
            Self::Doubtful { again_ms, .. } | Self::Unlocking { call: None, again_ms, .. } => Some(again_ms),
            Self::Owned { seen: false, confirm_ms, confirming: None } => Some(confirm_ms),
            _ => None,
        }
    }

    fn is_locking(&self) -> bool {
        matches!(self, Self::Locking { .. } | Self::Owned { confirming: Some(_), .. })
    }

    fn is_owned(&self) -> bool {
        matches!(self, Self::Owned { .. } | Self::HandingOver { .. })
    }

    fn is_leaving(&self) -> bool {
        matches!(self, Self::HandingOver { .. } | Self::Unlocking { call: Some(_), .. })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: BTreeMap<PartitionId, (PartitionName, Place)>,
    due: BTreeSet<(u64, PartitionId)>,
    locking: usize,
    leaving: usize,
    owned: usize,
}

impl Places {
    pub fn get(&self, partition: PartitionId) -> Option<Place> {
        self.all.get(&partition).map(|(_, place)| *place)
    }

    pub fn name(&self, partition: PartitionId) -> Option<&PartitionName> {
        self.all.get(&partition).map(|(name, _)| name)
    }

    pub fn contains(&self, partition: PartitionId) -> bool {
        self.all.contains_key(&partition)
    }

    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, Place)> + '_ {
        self.all.iter().map(|(partition, (_, place))| (*partition, *place))
    }

    /// A partition gets a place that had none.
    pub fn insert(&mut self, name: PartitionName, place: Place) {
        let partition = name.id;
        self.remove(partition);
        self.count(partition, place);
        self.all.insert(partition, (name, place));
    }

    /// A partition that has a place gets another.
    pub fn set(&mut self, partition: PartitionId, place: Place) {
        let Some((name, _)) = self.all.get(&partition) else { return };
        let name = name.clone();
        self.insert(name, place);
    }

    pub fn remove(&mut self, partition: PartitionId) {
        let Some((_, place)) = self.all.remove(&partition) else { return };
        if let Some(due_ms) = place.due_ms() {
            self.due.remove(&(due_ms, partition));
        }
        self.locking -= usize::from(place.is_locking());
        self.leaving -= usize::from(place.is_leaving());
        self.owned -= usize::from(place.is_owned());
    }

    /// All of them, which are then forgotten.
    pub fn take_all(&mut self) -> Vec<(PartitionId, Place)> {
        let all = self.iter().collect();
        *self = Self::default();
        all
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Locks asked for and not answered.
    pub fn locking(&self) -> usize {
        self.locking
    }

    /// Partitions with an owner here.
    pub fn owned(&self) -> usize {
        self.owned
    }

    /// Hand-overs and unlocks under way.
    pub fn leaving(&self) -> usize {
        self.leaving
    }

    /// Partitions that something is to be done about by now.
    pub fn due(&self, now_ms: u64) -> Vec<PartitionId> {
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        due.map(|(_, partition)| *partition).collect()
    }

    /// When something is to be done next, after now.
    pub fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let from = (now_ms + 1, PartitionId { group: 0, index: 0 });
        self.due.range(from..).next().map(|(due_ms, _)| *due_ms)
    }

    fn count(&mut self, partition: PartitionId, place: Place) {
        if let Some(due_ms) = place.due_ms() {
            self.due.insert((due_ms, partition));
        }
        self.locking += usize::from(place.is_locking());
        self.leaving += usize::from(place.is_leaving());
        self.owned += usize::from(place.is_owned());
    }
}
