//! `qdo sim`: many runs, one run as a story, or a failing run made small.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::bail;

use super::env::Faults;
use super::minimize::minimize;
use super::plan::Plan;
use super::world::{Outcome, run as run_plan};

/// Failures that are printed.
const FAILURES_MAX: usize = 10;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  qdo sim --seconds 60
  qdo sim --seed 4711 --trace
  qdo sim --seed 4711 --minimize")]
pub struct SimArgs {
    /// Run this seed, or begin with it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Tell the story of the run
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// Make a failing run smaller, and tell its story
    #[arg(long, requires = "seed")]
    pub minimize: bool,
    /// Number of runs; without --runs and --seconds, 1 if there is a seed, else 1000
    #[arg(long, value_name = "N")]
    pub runs: Option<u64>,
    /// Run new seeds for so long
    #[arg(long, value_name = "N", conflicts_with = "runs")]
    pub seconds: Option<u64>,
}

/// What came of many runs.
#[derive(Debug, Default)]
struct Totals {
    runs: u64,
    simulated_ms: u64,
    steps: u64,
    taken_over: u64,
    acknowledged: u64,
    stale_damage: u64,
    faults: Faults,
    failures: Vec<(u64, String)>,
    failed: u64,
}

impl Totals {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.runs += 1;
        self.simulated_ms += outcome.simulated_ms;
        self.steps += outcome.steps;
        self.taken_over += outcome.taken_over;
        self.acknowledged += outcome.acknowledged;
        self.stale_damage += outcome.stale_damage;
        self.faults.add(&outcome.faults);
        if let Some(violation) = outcome.violation {
            self.failed += 1;
            if self.failures.len() < FAILURES_MAX {
                self.failures.push((seed, violation.to_string()));
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.runs += other.runs;
        self.simulated_ms += other.simulated_ms;
        self.steps += other.steps;
        self.taken_over += other.taken_over;
        self.acknowledged += other.acknowledged;
        self.stale_damage += other.stale_damage;
        self.faults.add(&other.faults);
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
    }
}

/// Runs what the arguments say, and prints what came of it. An error if an invariant did not hold.
pub fn run(args: &SimArgs) -> anyhow::Result<()> {
    match args.seed {
        Some(seed) if args.minimize => smaller(seed),
        Some(seed) if args.trace => told(Plan::new(seed)),
        seed => many(args, seed),
    }
}

fn told(plan: Plan) -> anyhow::Result<()> {
    let outcome = run_plan(plan, true);
    println!("{plan:#?}");
    outcome.story.iter().for_each(|line| println!("{line}"));
    println!("{} events, trace {:016x}", outcome.steps, outcome.trace_hash);
    match outcome.violation {
        Some(violation) => bail!("seed {}: {violation}", plan.seed),
        None => Ok(()),
    }
}

fn smaller(seed: u64) -> anyhow::Result<()> {
    let Some(violation) = run_plan(Plan::new(seed), false).violation else {
        println!("seed {seed} holds");
        return Ok(());
    };
    let (plan, steps) = minimize(Plan::new(seed), violation.invariant);
    println!(
        "seed {seed} breaks in {steps} events with this plan; repeat with: qdo sim --seed {seed} --minimize"
    );
    told(plan)
}

fn many(args: &SimArgs, seed: Option<u64>) -> anyhow::Result<()> {
    let first = seed.unwrap_or_else(seed_of_now);
    let most = match (args.runs, args.seconds, seed) {
        (Some(runs), ..) => runs,
        (None, Some(_), _) => u64::MAX,
        (None, None, Some(_)) => 1,
        (None, None, None) => 1_000,
    };
    let totals = in_parallel(first, most, args.seconds);
    println!(
        "{} runs from seed {first}: {:.1} simulated hours, {} events, {} take-overs, {} facts acknowledged",
        totals.runs,
        totals.simulated_ms as f64 / 3_600_000.0,
        totals.steps,
        totals.taken_over,
        totals.acknowledged
    );
    println!("faults: {}", totals.faults);
    println!("take-overs that were overtaken and saw it: {}", totals.stale_damage);
    for (seed, text) in &totals.failures {
        println!("FAILED {text}\n  repeat with: qdo sim --seed {seed} --trace");
    }
    if totals.failed > 0 {
        bail!("{} of {} runs failed", totals.failed, totals.runs);
    }
    Ok(())
}

/// Each thread takes the next seed; a run itself knows nothing of threads.
fn in_parallel(first: u64, most: u64, seconds: Option<u64>) -> Totals {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Totals::default();
                while !over.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= most {
                        break;
                    }
                    let seed = first.wrapping_add(index);
                    mine.add(seed, run_plan(Plan::new(seed), false));
                }
                totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join(mine);
            });
        }
        if let Some(seconds) = seconds {
            std::thread::sleep(Duration::from_secs(seconds));
            over.store(true, Ordering::Relaxed);
        }
    });
    totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A seed that nobody has had, if none is given.
#[expect(clippy::disallowed_methods, reason = "the seed comes from outside, the runs follow from it")]
fn seed_of_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64 * 1_000)
}
