//! Counters that threads share.

use std::sync::atomic::{AtomicU64, Ordering};

use super::StoreCounters;

/// [`StoreCounters`] as they are counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) calls: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commit_bytes: AtomicU64,
    pub(super) transactions: AtomicU64,
    pub(super) fsyncs: AtomicU64,
    pub(super) fence_reads: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn read(&self) -> StoreCounters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            calls: get(&self.calls),
            commits: get(&self.commits),
            commit_bytes: get(&self.commit_bytes),
            transactions: get(&self.transactions),
            fsyncs: get(&self.fsyncs),
            fence_reads: get(&self.fence_reads),
        }
    }
}
