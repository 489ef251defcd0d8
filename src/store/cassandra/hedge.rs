//! When a request is sent to a second node as well: once it takes longer than 99 of 100 do.
//!
//! The limit follows what was measured (a frugal estimate of the 99th percentile: up by 99 parts
//! when an answer came later, down by one when it came earlier), so about one request in a hundred
//! is hedged, whatever the servers' speed. Only idempotent statements are; the driver sees to that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scylla::policies::speculative_execution::{Context, SpeculativeExecutionPolicy};

/// Where the estimate begins.
const START_NS: u64 = 50_000_000;
/// A request is not hedged sooner.
const LEAST_NS: u64 = 2_000_000;
/// Nor much later.
const MOST_NS: u64 = 1_000_000_000;
/// By which share of itself the estimate rises.
const RISE: u64 = 8;

/// The estimate, shared by all requests of a kind.
#[derive(Debug)]
pub(super) struct Hedge {
    p99_ns: AtomicU64,
}

impl Default for Hedge {
    fn default() -> Self {
        Self { p99_ns: AtomicU64::new(START_NS) }
    }
}

impl Hedge {
    /// Takes in how long an answer took. Of two at the same moment one may be lost: it is an estimate.
    pub(super) fn observe(&self, took: Duration) {
        let estimate = self.p99_ns.load(Ordering::Relaxed);
        let later = took.as_nanos() > u128::from(estimate);
        let next = if later { estimate + estimate / RISE } else { estimate - estimate / (RISE * 99) };
        self.p99_ns.store(next.clamp(LEAST_NS, MOST_NS), Ordering::Relaxed);
    }
}

impl SpeculativeExecutionPolicy for Hedge {
    fn max_retry_count(&self, _: &Context) -> usize {
        1
    }

    fn retry_interval(&self, _: &Context) -> Duration {
        Duration::from_nanos(self.p99_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_in_a_hundred_is_later_than_the_estimate() {
        let hedge = Hedge::default();
        let mut hedged = 0;
        for request in 0..100_000u64 {
            // 5 to 105 ms, all as likely, in no order.
            let took = Duration::from_micros(5_000 + request.wrapping_mul(7_919) % 100_000);
            if request >= 50_000 {
                hedged += u32::from(took.as_nanos() > u128::from(hedge.p99_ns.load(Ordering::Relaxed)));
            }
            hedge.observe(took);
        }
        assert!((300..800).contains(&hedged), "{hedged} of 50,000");
    }

    #[test]
    fn the_estimate_stays_within_its_bounds() {
        let hedge = Hedge::default();
        (0..10_000).for_each(|_| hedge.observe(Duration::from_secs(60)));
        assert_eq!(hedge.p99_ns.load(Ordering::Relaxed), MOST_NS);
        (0..10_000).for_each(|_| hedge.observe(Duration::ZERO));
        assert_eq!(hedge.p99_ns.load(Ordering::Relaxed), LEAST_NS);
    }
}
