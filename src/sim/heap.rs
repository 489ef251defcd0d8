//! What is going to happen: a heap of (time, sequence, event). Of two events at one time the one that
//! was planned first happens first, so a run is the same each time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Microseconds since the run began.
pub(crate) type Time = u64;

/// One millisecond.
pub(crate) const MS: Time = 1_000;
/// One second.
pub(crate) const SECOND: Time = 1_000 * MS;

#[derive(Debug)]
struct Planned<E> {
    at: Time,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    /// The earliest is the greatest: [`BinaryHeap`] gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// Time, and what is planned.
#[derive(Debug)]
pub(crate) struct Heap<E> {
    now: Time,
    sequence: u64,
    planned: BinaryHeap<Planned<E>>,
}

impl<E> Heap<E> {
    pub fn new() -> Self {
        Self { now: 0, sequence: 0, planned: BinaryHeap::new() }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// Plans an event, not before now.
    pub fn at(&mut self, at: Time, event: E) {
        self.sequence += 1;
        self.planned.push(Planned { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// Plans an event so much later.
    pub fn after(&mut self, delay: Time, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// The next event; time is now its time.
    pub fn next(&mut self) -> Option<E> {
        let Planned { at, event, .. } = self.planned.pop()?;
        self.now = at;
        Some(event)
    }
}
