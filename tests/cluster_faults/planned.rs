//! Workers that come and go as planned: no fault, so that nothing runs twice.

use crate::kit::cluster::{Cluster, Setup};
use crate::kit::ledger::now_ms;
use crate::kit::pauses::{longest, percentile};
use crate::kit::probe::Probe;
use crate::kit::story::{Story, Told, more};

/// Enough that a partition that starts nothing has something to start.
const PER_SECOND: u32 = 50;
/// Against hanging; what is to be reached is printed.
const PAUSE_MAX_MS: u64 = 10_000;

#[tokio::test]
async fn workers_that_come_and_go_interrupt_nothing() {
    let mut cluster = Cluster::start(Setup::new("planned"), &["a", "b", "c", "d"]).await;
    undisturbed(&mut cluster).await;
    two_come_and_go(&mut cluster).await;
    rolling_restart(&mut cluster).await;
}

/// What the others are to be compared with.
async fn undisturbed(cluster: &mut Cluster) {
    let probe = Probe::start(cluster).await;
    let story = Story::begin_at(cluster, "nothing", PER_SECOND).await;
    let from_ms = now_ms();
    for _ in 0..3 {
        more(cluster).await;
    }
    let moves = [(from_ms, now_ms())];
    finish(cluster, story, probe, &moves).await;
}

async fn two_come_and_go(cluster: &mut Cluster) {
    let probe = Probe::start(cluster).await;
    let story = Story::begin_at(cluster, "two workers added and removed", PER_SECOND).await;
    let mut moves = Vec::new();
    let from_ms = now_ms();
    cluster.add(&["e", "f"]).await;
    cluster.settled().await;
    moves.push((from_ms, now_ms()));
    more(cluster).await;
    for name in ["e", "f"] {
        let from_ms = now_ms();
        cluster.stop(name).await;
        cluster.settled().await;
        moves.push((from_ms, now_ms()));
    }
    finish(cluster, story, probe, &moves).await;
}

async fn rolling_restart(cluster: &mut Cluster) {
    let probe = Probe::start(cluster).await;
    let story = Story::begin_at(cluster, "rolling restart of all workers", PER_SECOND).await;
    let mut moves = Vec::new();
    for name in cluster.names() {
        let from_ms = now_ms();
        cluster.stop(&name).await;
        cluster.add(&[&name]).await;
        cluster.settled().await;
        moves.push((from_ms, now_ms()));
    }
    finish(cluster, story, probe, &moves).await;
}

/// Prints the pauses of partitions, each move and partition for itself.
async fn finish(cluster: &mut Cluster, story: Story, probe: Probe, moves: &[(u64, u64)]) {
    let Told { pauses, mut row } = story.end(cluster).await;
    let (write_ms, read_ms) = probe.stop().await;
    let of_moves: Vec<u64> =
        moves.iter().flat_map(|(from, to)| longest(&pauses, *from, *to).into_values()).collect();
    let [p50, p99] = [50, 99].map(|part| percentile(of_moves.iter().copied(), part));
    row.more += &format!(
        ", pause per partition p50 {p50} p99 {p99} ms; the store's own p99: write {write_ms}, read {read_ms} ms"
    );
    row.print();
    assert_eq!(row.duplicates, 0);
    assert!(row.longest_pause_ms < PAUSE_MAX_MS, "a partition paused {} ms", row.longest_pause_ms);
}
