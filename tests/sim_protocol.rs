//! The protocol of claims, journal, fence and cut under the simulator: a fixed corpus, the same seed
//! twice, fresh seeds, and every planted bug.

use std::time::{Duration, Instant};

use qdo::sim::command::Totals;
use qdo::sim::{RunOptions, RunReport, run};

/// Seeds that have found something, or come close, one a line.
const CORPUS: &str = include_str!("sim_corpus.txt");

fn corpus() -> impl Iterator<Item = u64> {
    CORPUS
        .lines()
        .filter_map(|line| line.split('#').next().map(str::trim).filter(|seed| !seed.is_empty()))
        .map(|seed| seed.parse().expect("the corpus has a seed in each line"))
}

/// Runs a seed; a violation is told with the end of its story.
fn expect_nothing_violated(seed: u64) -> RunReport {
    let report = run(seed, RunOptions::default());
    if let Some(violation) = &report.violation {
        let story = run(seed, RunOptions { trace: true, ..RunOptions::default() }).lines;
        let end = &story[story.len().saturating_sub(60)..];
        panic!(
            "seed {seed}: {violation}\nqdo sim --seed {seed} --trace tells all; the end is\n{}",
            end.join("\n")
        );
    }
    report
}

#[test]
fn nothing_is_violated_in_the_corpus() {
    let mut totals = Totals::default();
    corpus().for_each(|seed| totals.add(&expect_nothing_violated(seed)));
    print!("{totals}");
    assert!(totals.runs >= 10, "the corpus has {} seeds", totals.runs);
    assert!(totals.take_overs > totals.runs, "take-overs are what is tested");
}

#[test]
fn one_seed_twice_is_one_story() {
    for seed in corpus().take(20) {
        let (once, twice) = (run(seed, RunOptions::default()), run(seed, RunOptions::default()));
        assert_eq!((once.hash, once.events), (twice.hash, twice.events), "seed {seed}");
        let told = run(seed, RunOptions { trace: true, ..RunOptions::default() });
        assert_eq!(once.hash, told.hash, "seed {seed} when its story is told");
        assert_ne!(once.hash, run(seed + 1, RunOptions::default()).hash, "another seed is another story");
    }
}

#[test]
fn nothing_is_violated_in_fresh_seeds() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = number("QDO_SIM_SEED").unwrap_or_else(|| since_1970.map_or(0, |age| age.as_millis() as u64));
    let long = Duration::from_secs(number("QDO_SIM_SECONDS").unwrap_or(15));
    let began = Instant::now();
    let mut totals = Totals::default();
    while began.elapsed() < long {
        totals.add(&expect_nothing_violated(first + totals.runs));
    }
    println!("seeds from {first}");
    print!("{totals}");
}

/// Each planted bug is found within so many seeds.
#[cfg(feature = "mutations")]
#[test]
fn every_planted_bug_is_found() {
    use qdo::sim::mutation::{Mutation, with};

    let seeds_max: u64 =
        std::env::var("QDO_SIM_MUTANT_SEEDS").map_or(1_000, |text| text.parse().expect("a number"));
    // How soon harm comes of it, if breaking the rule is not told at once.
    let outcomes_only = std::env::var("QDO_SIM_OUTCOMES_ONLY").is_ok();
    let options = RunOptions { outcomes_only, ..RunOptions::default() };
    let only = std::env::var("QDO_SIM_MUTANT").ok();
    let mut survivors = Vec::new();
    println!("| planted bug | found by seed | what the oracle said |\n| --- | ---: | --- |");
    for &mutation in Mutation::ALL {
        if only.as_ref().is_some_and(|only| *only != mutation.to_string()) {
            continue;
        }
        let found = with(Some(mutation), || {
            (0..seeds_max).find_map(|seed| run(seed, options).violation.map(|said| (seed, said)))
        });
        match found {
            Some((seed, said)) => println!("| {} | {seed} | {} |", mutation.text(), without_names(&said)),
            None => survivors.push(mutation),
        }
    }
    assert!(survivors.is_empty(), "not found within {seeds_max} seeds: {survivors:?}");
}

/// Epochs by number, so that the table can be read.
#[cfg(feature = "mutations")]
fn without_names(said: &str) -> String {
    let mut text = String::new();
    let mut rest = said;
    while let Some(at) = rest.find("incarnation: ") {
        text.push_str(&rest[..at]);
        rest = rest[at + 13..].trim_start_matches(|c: char| c.is_ascii_digit());
        text.push('…');
    }
    text.push_str(rest);
    text.chars().take(140).collect()
}
