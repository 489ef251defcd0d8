//! Makes a failing run smaller: a simpler plan that still breaks the same invariant.

use super::oracle::Invariant;
use super::plan::Plan;
use super::world::run;

/// Seeds that are tried for each simpler plan.
const SEEDS_PER_PLAN: u64 = 20;
/// Simpler plans that are tried in all.
const PLANS_MAX: usize = 400;

/// The smallest plan found that breaks that invariant, and how many events it takes.
pub fn minimize(plan: Plan, invariant: Invariant) -> (Plan, u64) {
    let mut best = (plan, run(plan, false).steps);
    let mut tried = 0;
    loop {
        let mut better = None;
        for simpler in best.0.simpler() {
            tried += 1;
            better = (0..SEEDS_PER_PLAN).find_map(|offset| {
                let plan = Plan { seed: plan.seed.wrapping_add(offset), ..simpler };
                let outcome = run(plan, false);
                let same = outcome.violation.is_some_and(|violation| violation.invariant == invariant);
                (same && outcome.steps <= best.1).then_some((plan, outcome.steps))
            });
            if better.is_some() || tried >= PLANS_MAX {
                break;
            }
        }
        match better {
            Some(smaller) if tried < PLANS_MAX => best = smaller,
            Some(smaller) => return smaller,
            None => return best,
        }
    }
}
