//! What every part of the simulation shares: time, chance, what is to come, faults and the trace.

use std::fmt;
use std::hash::Hasher;

use super::heap::Heap;
use super::plan::Plan;
use super::rng::Rng;
use super::world::Event;

/// Kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A message was lost.
    Lost,
    /// A write came much later.
    Late,
    /// A write came twice.
    Twice,
    /// A coordinator gave up, or ran out of time.
    Unknown,
    /// A store refused a write.
    Refused,
    /// A replica was lost for a while.
    ReplicaDown,
    /// A coordinator was cut off from all replicas but one.
    Cut,
    /// A worker crashed.
    Crash,
    /// A worker was paused.
    Pause,
    /// A worker's clock was set.
    Clock,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Lost,
        Self::Late,
        Self::Twice,
        Self::Unknown,
        Self::Refused,
        Self::ReplicaDown,
        Self::Cut,
        Self::Crash,
        Self::Pause,
        Self::Clock,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Twice => "twice",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::ReplicaDown => "replica-down",
            Self::Cut => "cut",
            Self::Crash => "crash",
            Self::Pause => "pause",
            Self::Clock => "clock",
        }
    }
}

/// How many faults of each kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults([u64; Fault::ALL.len()]);

impl Faults {
    /// Counts one.
    pub fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, other)| *mine += other);
    }

    /// How many of that kind.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", fault.name(), self.of(fault))?;
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Env {
    /// Simulated time, ms.
    pub now_ms: u64,
    /// Counts events: the order in which things happened.
    pub step: u64,
    /// The plan.
    pub plan: Plan,
    /// Chance.
    pub rng: Rng,
    /// What is to come.
    pub heap: Heap<Event>,
    /// Faults so far.
    pub faults: Faults,
    /// Faults happen.
    pub chaos: bool,
    /// The story, if somebody wants it.
    pub story: Option<Vec<String>>,
    hash: std::hash::DefaultHasher,
}

impl Env {
    /// The start of a run.
    pub fn new(plan: Plan, story: bool) -> Self {
        Self {
            now_ms: 0,
            step: 0,
            plan,
            rng: Rng::new(plan.seed),
            heap: Heap::default(),
            faults: Faults::default(),
            chaos: true,
            story: story.then(Vec::new),
            hash: std::hash::DefaultHasher::new(),
        }
    }

    /// Lets an event happen after a delay.
    pub fn after(&mut self, delay_ms: u64, event: Event) {
        self.heap.push(self.now_ms + delay_ms, event);
    }

    /// True if a fault with that chance happens now.
    pub fn fault(&mut self, per_mille: u32, fault: Fault) -> bool {
        let happens = self.chaos && per_mille > 0 && self.rng.chance(per_mille);
        if happens {
            self.faults.count(fault);
        }
        happens
    }

    /// A message's delay, ms.
    pub fn delay(&mut self) -> u64 {
        if self.chaos { self.rng.delay(self.plan.delay_ms) } else { 1 + self.rng.below(self.plan.delay_ms) }
    }

    /// Takes something into the trace's hash.
    pub fn hash(&mut self, what: &[u64]) {
        what.iter().for_each(|&number| self.hash.write_u64(number));
    }

    /// The trace's hash so far.
    pub fn trace_hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("{:>7} ms  {}", self.now_ms, line()));
        }
    }
}
