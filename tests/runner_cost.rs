//! What an attempt costs. A process of its own: it takes much memory.

mod runner_kit;

use std::process::Command;
use std::time::{Duration, Instant};

use runner_kit::*;

/// An attempt costs so many bare starts of the same program at most. It is one or two; a fork of
/// this much memory, which copies the page tables, would be fifty and more.
const BARE_STARTS_MAX: u32 = 15;

#[tokio::test]
async fn starting_a_program_costs_the_same_however_much_memory_the_worker_has() {
    let memory = std::hint::black_box(vec![1u8; 512 << 20]);
    let bench = Bench::new();
    let (mut fastest, mut bare) = (Duration::MAX, Duration::MAX);
    for number in 0..20 {
        let start = Instant::now();
        assert!(Command::new("true").status().unwrap().success());
        bare = bare.min(start.elapsed());
        let start = Instant::now();
        bench.attempt_again(number).run(&["true"]).await;
        fastest = fastest.min(start.elapsed());
    }
    drop(memory);
    eprintln!("an attempt {fastest:?}, a bare start {bare:?}");
    assert!(fastest < bare * BARE_STARTS_MAX, "an attempt {fastest:?}, a bare start {bare:?}");
}
