//! What is going to happen, by time; what happens at one time happens in the order of asking.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Entry<T> {
    at: Reverse<(u64, u64)>,
    event: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// A heap of (time, sequence, event).
#[derive(Debug)]
pub struct Heap<T> {
    entries: BinaryHeap<Entry<T>>,
    sequence: u64,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> Heap<T> {
    /// Adds an event.
    pub fn push(&mut self, at_ms: u64, event: T) {
        self.sequence += 1;
        self.entries.push(Entry { at: Reverse((at_ms, self.sequence)), event });
    }

    /// The next event, with its time and its sequence.
    pub fn pop(&mut self) -> Option<(u64, u64, T)> {
        self.entries.pop().map(|Entry { at: Reverse((at_ms, sequence)), event }| (at_ms, sequence, event))
    }
}
