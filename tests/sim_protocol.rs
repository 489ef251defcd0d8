//! The protocol in the simulator: it holds, and a planted bug does not get through.
//!
//! `QDO_SIM_SECONDS` says for how long fresh seeds are run (default 5).

use std::time::{Duration, Instant, SystemTime};

use qdo::sim::{Plan, run};

/// Every seed that ever failed, and why.
const CORPUS: &str = include_str!("sim_corpus.txt");

fn corpus() -> impl Iterator<Item = u64> {
    let lines = CORPUS.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).map(|line| line.parse().expect("a line begins with a seed"))
}

#[test]
fn one_seed_is_one_trace() {
    for seed in 0..20 {
        let (once, again) = (run(Plan::new(seed), false), run(Plan::new(seed), true));
        assert_eq!(once.trace_hash, again.trace_hash, "seed {seed}");
        assert_eq!(once.steps, again.steps, "seed {seed}");
        assert!(!again.story.is_empty());
    }
    assert_ne!(run(Plan::new(1), false).trace_hash, run(Plan::new(2), false).trace_hash);
}

#[test]
fn every_seed_that_ever_failed_holds() {
    for seed in corpus() {
        assert_eq!(run(Plan::new(seed), false).violation, None, "qdo sim --seed {seed} --trace");
    }
}

#[test]
fn fresh_seeds_hold() {
    let seconds = std::env::var("QDO_SIM_SECONDS").ok().map_or(5, |text| text.parse().expect("seconds"));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let first = since.as_millis() as u64 * 1_000;
    let (begun, mut runs, mut simulated_ms) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let seed = first + runs;
        let outcome = run(Plan::new(seed), false);
        assert_eq!(outcome.violation, None, "qdo sim --seed {seed} --trace");
        runs += 1;
        simulated_ms += outcome.simulated_ms;
    }
    println!("{runs} runs from seed {first}, {} simulated minutes", simulated_ms / 60_000);
}

#[cfg(feature = "mutations")]
mod planted {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use qdo::sim::mutation::{Mutation, plant};
    use qdo::sim::{Invariant, Plan, run};

    /// Seeds within which each planted bug is to be found.
    const SEEDS: u64 = 20_000;
    const THREADS: usize = 2;

    /// The first seed that finds it, and by which invariant.
    fn find(mutation: Mutation) -> Option<(u64, Invariant)> {
        plant(Some(mutation));
        let found = (0..SEEDS).find_map(|seed| {
            let caught = std::panic::catch_unwind(|| run(Plan::new(seed), false).violation);
            match caught {
                Ok(violation) => violation.map(|violation| (seed, violation.invariant)),
                Err(_) => panic!("{mutation:?} panics with seed {seed}: a panic is no finding"),
            }
        });
        plant(None);
        found
    }

    #[test]
    fn every_planted_bug_is_found() {
        let next = AtomicUsize::new(0);
        let table = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(&mutation) = Mutation::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let found = find(mutation);
                        table.lock().expect("no panic").push((mutation, found));
                    }
                });
            }
        });
        let mut table = table.into_inner().expect("no panic");
        table.sort_by_key(|(mutation, _)| *mutation as usize);
        for (mutation, found) in &table {
            match found {
                Some((seed, invariant)) => {
                    println!("| {} | {} | {invariant:?} |", mutation.text(), seed + 1);
                }
                None => println!("| {} | SURVIVES {SEEDS} | |", mutation.text()),
            }
        }
        assert_eq!(table.len(), Mutation::ALL.len());
        let survivors: Vec<_> = table.iter().filter(|(_, found)| found.is_none()).collect();
        assert!(survivors.is_empty(), "the simulator has holes: {survivors:?}");
    }
}
