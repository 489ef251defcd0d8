//! The protocol in the simulator.

use qdo::sim::{Plan, run};

#[test]
fn one_seed_is_one_trace() {
    for seed in 0..20 {
        let (once, again) = (run(Plan::new(seed), false), run(Plan::new(seed), true));
        assert_eq!(once.trace_hash, again.trace_hash, "seed {seed}");
        assert_eq!(once.steps, again.steps, "seed {seed}");
        assert!(!again.story.is_empty());
    }
}

#[test]
fn fresh_seeds_hold() {
    for seed in 0..300 {
        let outcome = run(Plan::new(seed), false);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
}
