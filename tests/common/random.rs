//! Randomness from a seed that is printed.

use std::time::Duration;

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `QDO_TEST_SEED`, or drawn; printed either way, which is shown if the test fails.
    pub fn announced() -> Self {
        let seed = match std::env::var("QDO_TEST_SEED") {
            Ok(text) => text.parse().expect("QDO_TEST_SEED is a number"),
            Err(_) => {
                let mut drawn = [0; 8];
                getrandom::fill(&mut drawn).unwrap();
                u64::from_le_bytes(drawn)
            }
        };
        eprintln!("QDO_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time below that many milliseconds, to the microsecond.
    pub fn moment(&mut self, below_ms: u64) -> Duration {
        Duration::from_micros(self.below(below_ms * 1_000))
    }

    /// Another one, for another task.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
