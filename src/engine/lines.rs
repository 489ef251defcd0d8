//! The jobs that may be started now, in the order in which they are chosen.
//!
//! Strict priority between lanes; inside a lane the kind whose foremost job came first; between the
//! queues of a kind in turn, one job each; FIFO inside a queue. A job that leaves (started,
//! cancelled, other lane) stays behind as a stale item and is passed over: its stamp has moved on.
//! Keeps INV-7: paused queues, kinds without a runner and suspects are never in another's way.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::model::Lane;

use super::segment::JobRef;

/// A job's turn in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub job: JobRef,
    /// Valid as long as the job's entry has the same.
    pub stamp: u16,
    order: u64,
}

/// Jobs of one kind in one lane; suspects (an earlier attempt was interrupted) apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LineKey {
    kind: u32,
    suspect: bool,
}

#[derive(Debug, Default)]
struct Line {
    /// Queues with items that are not paused, next first.
    turns: VecDeque<u32>,
    queues: HashMap<u32, VecDeque<Item>>,
}

/// All lines of a partition.
#[derive(Debug)]
pub(crate) struct Lines {
    lanes: [BTreeMap<LineKey, Line>; Lane::COUNT],
    paused: BTreeSet<u32>,
    next_order: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { lanes: std::array::from_fn(|_| BTreeMap::new()), paused: BTreeSet::new(), next_order: 0 }
    }
}

impl Lines {
    /// Puts a job at the end of its line.
    pub fn push(&mut self, lane: Lane, kind: u32, suspect: bool, queue: u32, job: JobRef, stamp: u16) {
        let line = self.lanes[lane.index()].entry(LineKey { kind, suspect }).or_default();
        let items = line.queues.entry(queue).or_default();
        if items.is_empty() && !self.paused.contains(&queue) {
            line.turns.push_back(queue);
        }
        items.push_back(Item { job, stamp, order: self.next_order });
        self.next_order += 1;
    }

    /// Takes the job whose turn it is among the kinds that `allowed` names.
    pub fn pop(
        &mut self,
        allowed: impl Fn(u32) -> bool,
        suspects: bool,
        valid: impl Fn(&Item) -> bool,
    ) -> Option<JobRef> {
        for lane in self.lanes.iter_mut().rev() {
            let mut best: Option<(u64, LineKey)> = None;
            let mut empty = Vec::new();
            for (key, line) in lane.iter_mut() {
                if !allowed(key.kind) || key.suspect && !suspects {
                    continue;
                }
                match line.front(&valid) {
                    Some(order) if best.is_none_or(|(other, _)| order < other) => best = Some((order, *key)),
                    Some(_) => {}
                    None if line.queues.is_empty() => empty.push(*key),
                    None => {}
                }
            }
            empty.iter().for_each(|key| drop(lane.remove(key)));
            if let Some((_, key)) = best {
                return lane.get_mut(&key).and_then(Line::take);
            }
        }
        None
    }

    /// Whether a job of that kind waits (stale items count: a hint).
    pub fn has_kind(&self, allowed: impl Fn(u32) -> bool) -> bool {
        self.lanes.iter().flatten().any(|(key, line)| allowed(key.kind) && !line.turns.is_empty())
    }

    /// How many items could be started if there was room for all, up to `enough`.
    pub fn startable(&self, allowed: impl Fn(u32) -> bool, enough: usize) -> usize {
        let mut count = 0;
        for (_, line) in self.lanes.iter().flatten().filter(|(key, _)| allowed(key.kind)) {
            count +=
                line.turns.iter().map(|queue| line.queues.get(queue).map_or(0, VecDeque::len)).sum::<usize>();
            if count >= enough {
                break;
            }
        }
        count
    }

    /// The highest lane (its index) with an item that could be started.
    pub fn highest_lane(&self, allowed: impl Fn(u32) -> bool) -> Option<usize> {
        (0..Lane::COUNT).rev().find(|&lane| {
            self.lanes[lane].iter().any(|(key, line)| allowed(key.kind) && !line.turns.is_empty())
        })
    }

    /// The foremost items of a queue, one per line: the oldest waiting job is among them.
    pub fn fronts(&self, queue: u32, valid: impl Fn(&Item) -> bool) -> Vec<JobRef> {
        let lines = self.lanes.iter().flatten().filter_map(|(_, line)| line.queues.get(&queue));
        lines.filter_map(|items| items.iter().find(|item| valid(item))).map(|item| item.job).collect()
    }

    /// A paused queue gets no turns.
    pub fn pause(&mut self, queue: u32) {
        self.paused.insert(queue);
        for line in self.lanes.iter_mut().flat_map(BTreeMap::values_mut) {
            line.turns.retain(|&other| other != queue);
        }
    }

    /// It gets them again.
    pub fn resume(&mut self, queue: u32) {
        if !self.paused.remove(&queue) {
            return;
        }
        for line in self.lanes.iter_mut().flat_map(BTreeMap::values_mut) {
            if line.queues.contains_key(&queue) {
                line.turns.push_back(queue);
            }
        }
    }

    /// Drops the items of a segment that leaves memory.
    pub fn forget_segment(&mut self, segment: u32) {
        for lane in &mut self.lanes {
            for line in lane.values_mut() {
                line.queues.retain(|_, items| {
                    items.retain(|item| item.job.segment != segment);
                    !items.is_empty()
                });
                let Line { turns, queues } = line;
                turns.retain(|queue| queues.contains_key(queue));
            }
            lane.retain(|_, line| !line.queues.is_empty());
        }
    }
}

impl Line {
    /// Order of the foremost valid item, after passing over stale ones.
    fn front(&mut self, valid: impl Fn(&Item) -> bool) -> Option<u64> {
        while let Some(&queue) = self.turns.front() {
            let Some(items) = self.queues.get_mut(&queue) else {
                self.turns.pop_front();
                continue;
            };
            while items.front().is_some_and(|item| !valid(item)) {
                items.pop_front();
            }
            match items.front() {
                Some(item) => return Some(item.order),
                None => {
                    self.queues.remove(&queue);
                    self.turns.pop_front();
                }
            }
        }
        None
    }

    /// Takes the foremost item; its queue goes to the end of the turns.
    fn take(&mut self) -> Option<JobRef> {
        let queue = self.turns.pop_front()?;
        let items = self.queues.get_mut(&queue)?;
        let item = items.pop_front()?;
        if items.is_empty() {
            self.queues.remove(&queue);
        } else {
            self.turns.push_back(queue);
        }
        Some(item.job)
    }
}
