//! When a failed attempt is followed by another.

use crate::model::limits::DURATION_MS_MAX;
use crate::model::{Backoff, JobId};

/// Delay before the next attempt after `failures` failures, ms: see [`Backoff`] for the formula.
///
/// The jitter is a hash of job and attempt, so that every reader computes the same delay.
pub fn delay_ms(backoff: &Backoff, job: JobId, attempt: u32, failures: u32) -> u64 {
    let exponent = failures.saturating_sub(1).min(1_000) as i32;
    let cap = (backoff.cap.ms as f64).min(DURATION_MS_MAX as f64);
    let full = (backoff.base.ms as f64 * backoff.factor.max(1.0).powi(exponent)).min(cap);
    let jitter = backoff.jitter.clamp(0.0, 1.0);
    let delay = full * (1.0 - jitter + jitter * unit_hash(job, attempt));
    delay.round() as u64
}

/// Delay before an interrupted job is tried again, ms: 1 s, 4 s, 16 s … capped at 5 minutes.
pub fn interruption_delay_ms(interruptions: u32) -> u64 {
    let steps = interruptions.saturating_sub(1).min(8);
    (1_000u64 << (2 * steps)).min(300_000)
}

/// A hash of job and attempt in 0 … 1: the finaliser of SplitMix64
/// (<https://prng.di.unimi.it/splitmix64.c>).
fn unit_hash(job: JobId, attempt: u32) -> f64 {
    let bytes = job.to_bytes();
    let (high, low) = bytes.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mut x =
        word(high) ^ word(low).rotate_left(17) ^ u64::from(attempt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PartitionId, Span};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_keeps_between_jitter_and_cap(
            base in 0u64..1_000_000, cap in 0u64..10_000_000, factor in 1.0f64..10.0, jitter in 0.0f64..=1.0,
            failures in 1u32..2_000, commit in 0u64..1_000,
        ) {
            let backoff = Backoff { base: Span::from_ms(base), factor, cap: Span::from_ms(cap), jitter };
            let job = JobId::new(PartitionId { group: 1, index: 0 }, 1, commit, 0);
            let delay = delay_ms(&backoff, job, failures, failures);
            let full = (base as f64 * factor.powi(failures as i32 - 1)).min(cap as f64);
            prop_assert!(delay as f64 <= full + 1.0);
            prop_assert!(delay as f64 >= full * (1.0 - jitter) - 1.0);
            prop_assert_eq!(delay, delay_ms(&backoff, job, failures, failures));
        }
    }

    #[test]
    fn delays_double_and_differ_between_jobs() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let job = |commit| JobId::new(PartitionId { group: 1, index: 0 }, 1, commit, 0);
        let delays: Vec<u64> = (1..=4).map(|n| delay_ms(&backoff, job(1), n, n)).collect();
        assert_eq!(delays, [1_000, 2_000, 4_000, 8_000]);
        let jittered = Backoff::default();
        assert_ne!(delay_ms(&jittered, job(1), 1, 1), delay_ms(&jittered, job(2), 1, 1));
    }
}
