//! What a partition knows of its queues: settings, counts per state, what happened lately.

use std::collections::HashMap;

use crate::model::view::{Counts, Rates};
use crate::model::{JobState, QueueNumber, QueueSettings};

use super::segment::Phase;

/// Length of one slot of the rates, ms; six slots make the last minute.
const SLOT_MS: u64 = 10_000;
const SLOTS: usize = 6;

/// What is counted for the rates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Enqueued,
    Started,
    Succeeded,
    Failed,
}

/// Counts by slot of ten seconds.
#[derive(Clone, Copy, Debug, Default)]
struct RateRing {
    slots: [(u64, [u64; 4]); SLOTS],
}

impl RateRing {
    fn add(&mut self, now_ms: u64, what: Happening, count: u64) {
        let number = now_ms / SLOT_MS;
        let slot = &mut self.slots[(number % SLOTS as u64) as usize];
        if slot.0 != number {
            *slot = (number, [0; 4]);
        }
        slot.1[what as usize] += count;
    }

    fn last_minute(&self, now_ms: u64) -> Rates {
        let number = now_ms / SLOT_MS;
        let mut sums = [0u64; 4];
        for (slot, counts) in &self.slots {
            if number.saturating_sub(*slot) < SLOTS as u64 {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        let [enqueued, started, succeeded, failed] = sums;
        Rates { enqueued, started, succeeded, failed }
    }
}

/// One queue in this partition.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub number: QueueNumber,
    pub settings: QueueSettings,
    pub paused: bool,
    /// Settings have been given; until then only what the journal says is known.
    pub known: bool,
    pub by_state: [u64; JobState::COUNT],
    rates: RateRing,
}

impl QueueState {
    pub fn happened(&mut self, now_ms: u64, what: Happening, count: u64) {
        self.rates.add(now_ms, what, count);
    }

    pub fn rates(&self, now_ms: u64) -> Rates {
        self.rates.last_minute(now_ms)
    }

    pub fn counts(&self) -> Counts {
        Counts::from_array(self.by_state)
    }

    pub fn finished(&self) -> u64 {
        self.by_state[JobState::Succeeded as usize..].iter().sum()
    }

    pub fn backlog(&self) -> u64 {
        self.by_state[..JobState::Running as usize].iter().sum()
    }
}

/// The queues of a partition, under dense indexes.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    list: Vec<QueueState>,
    indexes: HashMap<QueueNumber, u32>,
}

impl Queues {
    pub fn index(&mut self, number: QueueNumber) -> u32 {
        *self.indexes.entry(number).or_insert_with(|| {
            self.list.push(QueueState {
                number,
                settings: QueueSettings::default(),
                paused: false,
                known: false,
                by_state: [0; JobState::COUNT],
                rates: RateRing::default(),
            });
            self.list.len() as u32 - 1
        })
    }

    pub fn find(&self, number: QueueNumber) -> Option<u32> {
        self.indexes.get(&number).copied()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn get(&self, index: u32) -> &QueueState {
        &self.list[index as usize]
    }

    pub fn get_mut(&mut self, index: u32) -> &mut QueueState {
        &mut self.list[index as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = &QueueState> {
        self.list.iter()
    }

    /// Some jobs of a queue turn out to be in other states than was thought.
    pub fn recounted(&mut self, queue: u32, less: [u64; JobState::COUNT], more: [u64; JobState::COUNT]) {
        let by_state = &mut self.list[queue as usize].by_state;
        for (count, (less, more)) in by_state.iter_mut().zip(less.into_iter().zip(more)) {
            *count = (*count + more).saturating_sub(less);
        }
    }

    /// Moves one job from phase to phase in its queue's counts; a forgotten job is not counted.
    pub fn moved(&mut self, queue: u32, from: Option<Phase>, to: Option<Phase>) {
        let by_state = &mut self.list[queue as usize].by_state;
        if let Some(Phase::Is(state)) = from {
            debug_assert!(by_state[state as usize] > 0, "a count may not fall below zero");
            by_state[state as usize] -= 1;
        }
        if let Some(Phase::Is(state)) = to {
            by_state[state as usize] += 1;
        }
    }
}
