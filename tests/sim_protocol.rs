//! The protocol under the simulator.

use qdo::sim::{RunOptions, run};

#[test]
fn fresh_seeds() {
    let mut take_overs = 0;
    let mut events = 0;
    for seed in 0..300 {
        let report = run(seed, RunOptions::default());
        take_overs += report.take_overs;
        events += report.events;
        if let Some(violation) = report.violation {
            let story = run(seed, RunOptions { trace: true, ..RunOptions::default() });
            let from = story.lines.len().saturating_sub(60);
            panic!("seed {seed}: {violation}\n{}", story.lines[from..].join("\n"));
        }
    }
    println!("{take_overs} take-overs, {events} events");
}
