//! `qdo sim`: runs of the simulator from the command line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::faults::{ALL_FAULTS, Fault};
use super::{RunOptions, RunReport, run as run_seed};

/// What can be asked of `qdo sim`.
#[derive(clap::Args, Clone, Debug)]
pub struct SimArgs {
    /// The seed of the first run; without it, one drawn by the system
    #[arg(long)]
    pub seed: Option<u64>,
    /// Tell the story of the run
    #[arg(long)]
    pub trace: bool,
    /// If the run fails: look for a smaller one that fails too, and print how to repeat it
    #[arg(long)]
    pub minimize: bool,
    /// How many runs, with one seed after another
    #[arg(long, default_value_t = 1, conflicts_with = "seconds")]
    pub runs: u64,
    /// Runs for so long instead
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Runs at a time; the seeds are shared out
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: u8,
    /// Workers at most
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub workers: u8,
    /// Facts at most
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub facts: u64,
    /// A broken rule of the protocol counts only if harm comes of it
    #[arg(long)]
    pub outcomes_only: bool,
    /// Kinds of fault that may happen, as bits in the order of the table
    #[arg(long, default_value_t = ALL_FAULTS)]
    pub faults: u32,
}

/// What many runs amounted to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Events.
    pub events: u64,
    /// Take-overs.
    pub take_overs: u64,
    faults: [u64; Fault::ALL.len()],
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, report: &RunReport) {
        self.runs += 1;
        self.simulated_us += report.simulated_us;
        self.events += report.events;
        self.take_overs += report.take_overs;
        for (total, count) in self.faults.iter_mut().zip(report.faults) {
            *total += count;
        }
    }

    fn join(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.simulated_us += other.simulated_us;
        self.events += other.events;
        self.take_overs += other.take_overs;
        for (total, count) in self.faults.iter_mut().zip(other.faults) {
            *total += count;
        }
    }

    /// All faults, of whatever kind.
    pub fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.simulated_us as f64 / 3.6e9;
        writeln!(
            f,
            "{} runs, {hours:.1} simulated hours, {} events, {} take-overs, {} faults:",
            self.runs,
            self.events,
            self.take_overs,
            self.faults()
        )?;
        for (bit, (fault, count)) in Fault::ALL.iter().zip(self.faults).enumerate() {
            writeln!(f, "{count:>12}  {bit:>2}  {}", fault.text())?;
        }
        Ok(())
    }
}

/// Runs what is asked for; an error is a violation.
pub fn run(args: &SimArgs) -> Result<()> {
    let options = RunOptions {
        trace: args.trace,
        nodes_max: args.workers.into(),
        fault_mask: args.faults,
        facts_max: args.facts,
        outcomes_only: args.outcomes_only,
    };
    let first = match args.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let many = Many { first, options, threads: args.threads.into(), until: Until::new(args) };
    let (totals, failed) = many.run();
    if let Some((seed, violation)) = failed {
        print!("{totals}");
        let smallest = if args.minimize { minimize(seed, options) } else { options };
        bail!("seed {seed}: {violation}; to repeat it: {}", command(seed, smallest));
    }
    println!("seeds from {first}: nothing was violated");
    print!("{totals}");
    Ok(())
}

/// When to end.
#[derive(Clone, Copy)]
enum Until {
    Runs(u64),
    Time(Instant),
}

impl Until {
    fn new(args: &SimArgs) -> Self {
        match args.seconds {
            Some(seconds) => Self::Time(now() + Duration::from_secs(seconds)),
            None => Self::Runs(args.runs),
        }
    }
}

/// Runs of many seeds, shared out among threads: the n-th takes every n-th seed.
struct Many {
    first: u64,
    options: RunOptions,
    threads: u64,
    until: Until,
}

impl Many {
    /// What they amounted to, and the first that failed.
    fn run(&self) -> (Totals, Option<(u64, String)>) {
        let failed = AtomicBool::new(false);
        let shares: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|share| {
                    scope.spawn({
                        let failed = &failed;
                        move || self.share(share, failed)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut totals = Totals::default();
        shares.iter().for_each(|(share, _)| totals.join(share));
        (totals, shares.into_iter().filter_map(|(_, failed)| failed).min())
    }

    fn share(&self, share: u64, failed: &AtomicBool) -> (Totals, Option<(u64, String)>) {
        let mut totals = Totals::default();
        for offset in (share..).step_by(self.threads as usize) {
            let over = match self.until {
                Until::Runs(runs) => offset >= runs,
                Until::Time(deadline) => now() >= deadline,
            };
            if over || failed.load(Ordering::Relaxed) {
                break;
            }
            let seed = self.first.wrapping_add(offset);
            let options = self.options;
            let Ok(report) = std::panic::catch_unwind(|| run_seed(seed, options)) else {
                failed.store(true, Ordering::Relaxed);
                return (totals, Some((seed, "it panicked, see above".into())));
            };
            totals.add(&report);
            report.lines.iter().for_each(|line| println!("{line}"));
            if let Some(violation) = report.violation {
                failed.store(true, Ordering::Relaxed);
                return (totals, Some((seed, violation)));
            }
        }
        (totals, None)
    }
}

/// A run that fails too, with fewer kinds of fault, workers and facts.
fn minimize(seed: u64, options: RunOptions) -> RunOptions {
    let fails = |options: RunOptions| run_seed(seed, options).violation.is_some();
    let mut smallest = RunOptions { trace: false, ..options };
    loop {
        let before = (smallest.fault_mask, smallest.nodes_max, smallest.facts_max);
        for bit in 0..Fault::ALL.len() {
            let fewer = RunOptions { fault_mask: smallest.fault_mask & !(1 << bit), ..smallest };
            if fewer.fault_mask != smallest.fault_mask && fails(fewer) {
                smallest = fewer;
            }
        }
        for nodes_max in 1..smallest.nodes_max {
            let fewer = RunOptions { nodes_max, ..smallest };
            if fails(fewer) {
                smallest = fewer;
                break;
            }
        }
        for facts_max in [5, 10, 20, 40, 80] {
            let fewer = RunOptions { facts_max, ..smallest };
            if facts_max < smallest.facts_max && fails(fewer) {
                smallest = fewer;
                break;
            }
        }
        if before == (smallest.fault_mask, smallest.nodes_max, smallest.facts_max) {
            return smallest;
        }
    }
}

fn command(seed: u64, options: RunOptions) -> String {
    format!(
        "qdo sim --seed {seed} --trace --workers {} --facts {} --faults {}",
        options.nodes_max, options.facts_max, options.fault_mask
    )
}

#[expect(clippy::disallowed_methods, reason = "how long to go on is the caller's time, not the run's")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the seed is the only thing that comes from outside")]
fn random_seed() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random seed: {error}"))?;
    // Short enough to be typed.
    Ok(u64::from_le_bytes(bytes) >> 16)
}
