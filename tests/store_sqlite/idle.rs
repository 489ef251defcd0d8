//! A store that nobody asks does nothing.

use std::fs;
use std::time::Duration;

use qdo::store::Store;

use crate::content::{append, claim, count_gapless, open};

/// How long the store is watched.
const WATCHED: Duration = Duration::from_millis(500);

/// The store's threads of this process: whether they sleep, and how often they have run.
fn threads() -> Vec<(bool, String)> {
    let mut threads = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // Threads of other tests may end meanwhile.
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        if status.starts_with("Name:\tqdo-store\n") {
            let switches = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            threads.push((status.contains("\nState:\tS"), switches.to_owned()));
        }
    }
    threads
}

#[test]
fn an_idle_store_does_nothing() {
    // Other tests of this program have stores of their own, so this one runs where it is alone.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "idle::is_watched"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "run by an_idle_store_does_nothing"]
async fn is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jobs.db")).unwrap();
    claim(&*store, 0).await;
    for number in 0..20 {
        append(&*store, 0, number, 100_000).await;
    }
    count_gapless(&*store, 0).await.unwrap();
    // What the writer does after an answer is over when it makes the next write, which changes nothing.
    append(&*store, 0, 19, 100_000).await;
    while threads().iter().any(|(asleep, _)| !asleep) {
        std::thread::yield_now();
    }
    let (counters, before) = (store.counters(), threads());
    assert_eq!(before.len(), 1, "{before:?}");
    // Nothing can be waited for where the promise is that nothing happens.
    std::thread::sleep(WATCHED);
    assert_eq!(threads(), before);
    assert_eq!(store.counters(), counters);
}
