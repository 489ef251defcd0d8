//! The jobs that may be started now, in the order in which they are chosen.
//!
//! Strict priority between lanes; inside a lane the kind whose foremost job has waited longest;
//! between the queues of a kind in turn, one job each; inside a queue by how long a job has waited,
//! so first in, first out. A job is in exactly one line or in none, and leaves it when it is
//! started, cancelled, moved to another lane. Keeps INV-7: paused queues, kinds without a runner and
//! suspects are never in another's way, and choosing costs the logarithm of what waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::Lane;

use super::segment::{Entry, JobRef};

/// A job's turn in a line: since when it has waited, Unix ms; of equals, the first written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub since_ms: u64,
    pub job: JobRef,
}

/// Jobs of one kind in one lane; suspects (an earlier attempt was interrupted) apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LineKey {
    kind: u32,
    suspect: bool,
}

impl LineKey {
    fn of(entry: &Entry) -> Self {
        Self { kind: entry.kind, suspect: entry.interruptions > 0 }
    }
}

#[derive(Debug, Default)]
struct Line {
    queues: BTreeMap<u32, Waiting>,
    /// Queues that get turns, next first; some may have nothing left.
    turns: VecDeque<u32>,
    /// What the lane knows as this line's foremost job.
    front: Option<Turn>,
}

/// Waiting jobs of one queue in one line.
#[derive(Debug, Default)]
struct Waiting {
    turns: BTreeSet<Turn>,
    has_turns: bool,
}

#[derive(Debug, Default)]
struct LaneLines {
    lines: BTreeMap<LineKey, Line>,
    /// The foremost job of every line that has one.
    fronts: BTreeSet<(Turn, LineKey)>,
}

/// For each lane, the foremost job that is not in memory, or [`NONE_AHEAD`].
pub(crate) type Ahead = [Turn; Lane::COUNT];
/// No job.
pub(crate) const NONE_AHEAD: Turn =
    Turn { since_ms: u64::MAX, job: JobRef { segment: u32::MAX, index: u32::MAX } };

/// What is next for a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Job(JobRef),
    /// What is next is in that segment, which is not in memory.
    Behind(u32),
    Nothing,
}

/// All lines of a partition.
#[derive(Debug)]
pub(crate) struct Lines {
    lanes: [LaneLines; Lane::COUNT],
    paused: BTreeSet<u32>,
    len: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { lanes: std::array::from_fn(|_| LaneLines::default()), paused: BTreeSet::new(), len: 0 }
    }
}

impl Lines {
    /// Waiting jobs, those of paused queues too.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts a waiting job into its line.
    pub fn push(&mut self, job: JobRef, entry: &Entry) {
        let key = LineKey::of(entry);
        let lane = &mut self.lanes[entry.lane.index()];
        let line = lane.lines.entry(key).or_default();
        let waiting = line.queues.entry(entry.queue).or_default();
        let turn = Turn { since_ms: entry.time_ms, job };
        self.len += usize::from(waiting.turns.insert(turn));
        if !waiting.has_turns && !self.paused.contains(&entry.queue) {
            waiting.has_turns = true;
            line.turns.push_back(entry.queue);
        }
        // Behind its queue's foremost job, it changes nothing about who is next.
        if waiting.turns.first() == Some(&turn) {
            lane.refresh(key);
        }
    }

    /// Takes a job out of its line, wherever in it it is.
    pub fn remove(&mut self, job: JobRef, entry: &Entry) {
        let key = LineKey::of(entry);
        let lane = &mut self.lanes[entry.lane.index()];
        let Some(line) = lane.lines.get_mut(&key) else { return };
        let Some(waiting) = line.queues.get_mut(&entry.queue) else { return };
        let turn = Turn { since_ms: entry.time_ms, job };
        let first = waiting.turns.first() == Some(&turn);
        self.len -= usize::from(waiting.turns.remove(&turn));
        if waiting.turns.is_empty() && !waiting.has_turns {
            line.queues.remove(&entry.queue);
        }
        if first {
            lane.refresh(key);
        }
    }

    /// Takes the job whose turn it is among `kinds`, unless what is not in memory comes first.
    pub fn choose(&mut self, kinds: &BTreeSet<u32>, suspects: bool, ahead: Option<&Ahead>) -> Choice {
        for (number, lane) in self.lanes.iter_mut().enumerate().rev() {
            let ahead = ahead.map_or(NONE_AHEAD, |ahead| ahead[number]);
            let best = lane.best(kinds, suspects);
            let best =
                if best.is_some_and(|(turn, _)| turn > ahead) { lane.first(kinds, suspects) } else { best };
            match best {
                Some((turn, key)) if turn < ahead => {
                    lane.take(key, turn);
                    self.len -= 1;
                    return Choice::Job(turn.job);
                }
                None if ahead == NONE_AHEAD => {}
                _ => return Choice::Behind(ahead.job.segment),
            }
        }
        Choice::Nothing
    }

    /// Whether a job of one of those kinds waits, and would be started if there was room.
    pub fn has_any(&self, kinds: &BTreeSet<u32>) -> bool {
        self.lanes.iter().any(|lane| lane.best(kinds, true).is_some())
    }

    /// Since when the longest waiting job of a queue has waited, Unix ms.
    pub fn oldest_ms(&self, queue: u32) -> Option<u64> {
        let lines = self.lanes.iter().flat_map(|lane| lane.lines.values());
        lines.filter_map(|line| line.queues.get(&queue)?.turns.first()).map(|turn| turn.since_ms).min()
    }

    pub fn is_paused(&self, queue: u32) -> bool {
        self.paused.contains(&queue)
    }

    /// A paused queue gets no turns.
    pub fn pause(&mut self, queue: u32) {
        if self.paused.insert(queue) {
            self.each_line_of(queue, |line| {
                line.turns.retain(|&other| other != queue);
                line.queues.retain(|&other, waiting| {
                    waiting.has_turns &= other != queue;
                    other != queue || !waiting.turns.is_empty()
                });
            });
        }
    }

    /// It gets them again.
    pub fn resume(&mut self, queue: u32) {
        if self.paused.remove(&queue) {
            self.each_line_of(queue, |line| {
                line.turns.push_back(queue);
                line.queues.get_mut(&queue).into_iter().for_each(|waiting| waiting.has_turns = true);
            });
        }
    }

    fn each_line_of(&mut self, queue: u32, change: impl Fn(&mut Line)) {
        for lane in &mut self.lanes {
            let of_queue = lane.lines.iter_mut().filter(|(_, line)| line.queues.contains_key(&queue));
            let changed: Vec<LineKey> = of_queue
                .map(|(key, line)| {
                    change(line);
                    *key
                })
                .collect();
            changed.into_iter().for_each(|key| lane.refresh(key));
        }
    }
}

impl LaneLines {
    /// The foremost job that may be taken.
    fn best(&self, kinds: &BTreeSet<u32>, suspects: bool) -> Option<(Turn, LineKey)> {
        if self.fronts.len() <= kinds.len() {
            let may = |key: &LineKey| (suspects || !key.suspect) && kinds.contains(&key.kind);
            return self.fronts.iter().find(|(_, key)| may(key)).copied();
        }
        let keys = kinds.iter().flat_map(|&kind| [false, true].map(|suspect| LineKey { kind, suspect }));
        let front = |key: LineKey| Some((self.lines.get(&key)?.front?, key));
        keys.filter(|key| suspects || !key.suspect).filter_map(front).min()
    }

    /// The job that has waited longest, whoever's turn it is.
    fn first(&self, kinds: &BTreeSet<u32>, suspects: bool) -> Option<(Turn, LineKey)> {
        let may = |key: &LineKey| (suspects || !key.suspect) && kinds.contains(&key.kind);
        let lines = self.lines.iter().filter(|(key, _)| may(key));
        lines.filter_map(|(key, line)| Some((line.first()?, *key))).min()
    }

    /// Takes a job; its queue goes to the end of the turns.
    fn take(&mut self, key: LineKey, turn: Turn) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let is_first =
            |queue: &u32| line.queues.get(queue).is_some_and(|waiting| waiting.turns.first() == Some(&turn));
        let Some(position) = line.turns.iter().position(is_first) else { return };
        let Some(queue) = line.turns.remove(position) else { return };
        if let Some(waiting) = line.queues.get_mut(&queue) {
            waiting.turns.pop_first();
            if waiting.turns.is_empty() {
                line.queues.remove(&queue);
            } else {
                line.turns.push_back(queue);
            }
        }
        self.refresh(key);
    }

    /// Brings what the lane knows of a line's foremost job up to date.
    fn refresh(&mut self, key: LineKey) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let front = line.next();
        let before = std::mem::replace(&mut line.front, front);
        if before != front {
            before.map(|before| self.fronts.remove(&(before, key)));
            front.map(|front| self.fronts.insert((front, key)));
        }
        if line.queues.is_empty() {
            self.lines.remove(&key);
        }
    }
}

impl Line {
    /// The job that has waited longest, of the queues that get turns.
    fn first(&self) -> Option<Turn> {
        let of_queue = |queue: &u32| self.queues.get(queue)?.turns.first().copied();
        self.turns.iter().filter_map(of_queue).min()
    }

    /// The first job of the queue whose turn it is.
    fn next(&mut self) -> Option<Turn> {
        while let Some(&queue) = self.turns.front() {
            if let Some(turn) = self.queues.get(&queue).and_then(|waiting| waiting.turns.first()) {
                return Some(*turn);
            }
            self.queues.remove(&queue);
            self.turns.pop_front();
        }
        None
    }
}
