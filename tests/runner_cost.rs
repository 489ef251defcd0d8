//! What an attempt costs. A process of its own: it takes much memory.

mod runner_kit;

use std::time::{Duration, Instant};

use runner_kit::*;

#[tokio::test]
async fn starting_a_program_costs_the_same_however_much_memory_the_worker_has() {
    let memory = std::hint::black_box(vec![1u8; 512 << 20]);
    let bench = Bench::new();
    let mut fastest = Duration::MAX;
    for number in 0..20 {
        let start = Instant::now();
        bench.attempt_again(number).run(&["true"]).await;
        fastest = fastest.min(start.elapsed());
    }
    drop(memory);
    // A fork takes 50 ms and more to copy the page tables; this takes about one.
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}
