//! What a run is made of, drawn from its seed. `--minimize` shrinks a plan.

use super::rng::Rng;

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Three replicas; writes and reads at quorum (Cassandra).
    Quorum,
    /// One place; every call is one atomic step (SQLite).
    Atomic,
}

/// A run's parameters. Chances are per thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that the plan leaves open.
    pub seed: u64,
    /// Which store.
    pub store: StoreKind,
    /// Workers that may claim the partition.
    pub workers: u64,
    /// Length of the phase with faults, ms.
    pub chaos_ms: u64,
    /// Facts that producers bring in that phase.
    pub facts: u64,
    /// Time between two attempts of somebody to claim, on average, ms.
    pub claim_every_ms: u64,
    /// Somebody else tries to claim at the same time.
    pub together: u32,
    /// A message between worker, coordinator and replica is lost.
    pub lost: u32,
    /// A write reaches a replica much later (hinted hand-off).
    pub late: u32,
    /// A write reaches a replica twice.
    pub twice: u32,
    /// A coordinator gives up early: the outcome is not known.
    pub given_up: u32,
    /// A coordinator crashes over a row of the tail that is written again, having reached nobody.
    pub repeat_given_up: u32,
    /// A worker crashes before an effect.
    pub crash: u32,
    /// A worker is paused before an effect.
    pub pause: u32,
    /// Longest pause, ms.
    pub pause_ms: u64,
    /// Replicas that differ are mended before a read is answered; else a row of a minority is seen
    /// by one read and not by the next.
    pub read_repair: bool,
    /// Time between two losses of a replica, on average, ms; 0 is never.
    pub replica_down_every_ms: u64,
    /// Time between two cuts that leave a worker's coordinator alone with one replica, on average,
    /// ms; 0 is never.
    pub cut_every_ms: u64,
    /// Usual delay of a message, ms.
    pub delay_ms: u64,
    /// Commits of one segment.
    pub segment_commits: u64,
    /// Commits between two progress rows.
    pub progress_commits: u64,
    /// Appends in flight.
    pub in_flight: usize,
    /// Rows of one page at a take-over.
    pub page_rows: usize,
}

impl Plan {
    /// The plan of a seed: some runs are calm, some wild, most in between.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed_0f1a_77ab_1e00);
        let wild = rng.below(4) as u32;
        let delay_ms = *rng.pick(&[2, 5, 20]).unwrap_or(&5);
        let chaos_ms = rng.between(300, 2_500) * delay_ms / 5;
        let rarely = |rng: &mut Rng, most: u64| {
            if rng.below(3) == 0 { 0 } else { rng.below(most * u64::from(wild) + 1) as u32 }
        };
        Self {
            seed,
            store: if rng.below(5) == 0 { StoreKind::Atomic } else { StoreKind::Quorum },
            workers: rng.between(2, 5),
            chaos_ms,
            facts: rng.between(5, 60),
            claim_every_ms: chaos_ms / rng.between(2, 14),
            together: rarely(&mut rng, 300),
            lost: rarely(&mut rng, 60),
            late: rarely(&mut rng, 100),
            twice: rarely(&mut rng, 50),
            given_up: rarely(&mut rng, 60),
            repeat_given_up: rarely(&mut rng, 150),
            crash: rarely(&mut rng, 8),
            pause: rarely(&mut rng, 15),
            pause_ms: chaos_ms / 2,
            read_repair: rng.below(2) == 0,
            replica_down_every_ms: if rng.below(2) == 0 { 0 } else { chaos_ms / rng.between(1, 5) },
            cut_every_ms: if rng.below(2) == 0 { 0 } else { chaos_ms / rng.between(2, 12) },
            delay_ms,
            segment_commits: rng.between(1, 5),
            progress_commits: rng.between(2, 12),
            in_flight: rng.between(1, 6) as usize,
            page_rows: rng.between(1, 8) as usize,
        }
    }

    /// Simpler plans that may still fail, simplest first.
    pub fn simpler(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        let mut add = |plan: Self| {
            if plan != *self {
                plans.push(plan);
            }
        };
        add(Self { workers: (self.workers - 1).max(2), ..*self });
        add(Self { facts: self.facts / 2, ..*self });
        add(Self { facts: self.facts.saturating_sub(1), ..*self });
        add(Self { chaos_ms: self.chaos_ms * 3 / 4, ..*self });
        add(Self { claim_every_ms: (self.claim_every_ms * 2).min(self.chaos_ms), ..*self });
        add(Self { together: 0, ..*self });
        add(Self { lost: 0, ..*self });
        add(Self { late: 0, ..*self });
        add(Self { twice: 0, ..*self });
        add(Self { given_up: 0, ..*self });
        add(Self { repeat_given_up: 0, ..*self });
        add(Self { crash: 0, ..*self });
        add(Self { pause: 0, ..*self });
        add(Self { replica_down_every_ms: 0, ..*self });
        add(Self { cut_every_ms: 0, ..*self });
        add(Self { in_flight: 1, ..*self });
        add(Self { page_rows: 8, ..*self });
        plans
    }
}
