//! The only source of chance in a run: splitmix64 (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", 2014), from one seed.

/// A seeded generator.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A generator of its own for one part of the run: what that part draws changes nothing elsewhere.
    pub fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    /// 0 … `end` − 1; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.bits() % end }
    }

    /// `from` … `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True so many times in a million.
    pub fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// One of them; none if there are none.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len() as u64) as usize).copied()
    }

    /// A duration that is mostly short and now and then very long: 1 … `longest`, log-uniform.
    pub fn spread(&mut self, longest: u64) -> u64 {
        let digits = 64 - longest.max(1).leading_zeros() as u64;
        let top = 1u64 << self.below(digits);
        (top + self.below(top)).min(longest.max(1))
    }
}
