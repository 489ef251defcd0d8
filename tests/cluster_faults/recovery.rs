//! How soon the partitions of a dead worker start something again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use qdo::model::PartitionId;
use serde_json::json;
use tokio::task::JoinSet;

use crate::kit::check::check;
use crate::kit::cluster::{Cluster, QUEUE, SESSION_TIMEOUT, Setup};
use crate::kit::ledger::now_ms;
use crate::kit::load::{Answer, Order, enqueue};
use crate::kit::pauses::percentile;
use crate::kit::report::Row;
use crate::kit::until;

const PARTITIONS: u16 = 100;
/// Jobs are due so long after they were asked for: after the death, and before the locks are free.
const DUE_AFTER: Duration = Duration::from_secs(4);
/// What is to be reached after the session's end.
const WANTED_MS: u64 = 1_000;
/// Against hanging.
const LONGEST_MS: u64 = 30_000;

#[tokio::test]
async fn a_dead_workers_partitions_start_again_soon_after_its_session() {
    // Whoever joins takes nothing from the living, for as long as the test takes.
    let setup = Setup {
        partitions: PARTITIONS,
        slots: usize::from(PARTITIONS),
        settle: "10m",
        ..Setup::new("recovery")
    };
    let mut cluster = Cluster::start(setup, &["a"]).await;
    cluster.add(&["b"]).await;
    until("both are there", async || (cluster.tree().await?.members.len() == 2).then_some(())).await;
    one_job_in_each(&cluster).await;
    let before = cluster.ledger.read().len();
    assert_eq!(before, 0, "nothing was due yet");
    let calls_before = store_calls(&cluster).await;
    let dead_ms = now_ms();
    cluster.fault(&["a"]);
    cluster.kill("a");
    let first = first_starts(&mut cluster).await;
    let calls = (store_calls(&cluster).await - calls_before) / usize::from(PARTITIONS);
    cluster.healed().await;
    let after = |ms: &u64| ms.saturating_sub(dead_ms);
    let [p50, longest] = [50, 100].map(|part| percentile(first.values().map(after), part));
    let found = check(&mut cluster, "a worker with 100 partitions dies").await;
    let wanted = SESSION_TIMEOUT.as_millis() as u64 + WANTED_MS;
    Row {
        story: "kill -9 of the owner of 100 partitions: first start in each",
        jobs: cluster.book.acknowledged(),
        faults: 1,
        duplicates: found.duplicates.len(),
        longest_pause_ms: longest,
        more: format!("p50 {p50} ms; wanted: all within {wanted} ms; {calls} calls of the store for each"),
    }
    .print();
    assert!(longest < LONGEST_MS, "a partition started nothing for {longest} ms");
}

/// How often the successor has asked the store for anything.
async fn store_calls(cluster: &Cluster) -> usize {
    let url = cluster.worker("b").url();
    until("its metrics", async || cluster.metrics(url, ["qdo_store_calls_total"]).await).await[0]
}

/// Jobs without a key are taken by a worker's own partitions in turn.
async fn one_job_in_each(cluster: &Cluster) {
    let run_at = Timestamp::now() + DUE_AFTER;
    let owner = cluster.worker("a").url().to_owned();
    let mut asked = JoinSet::new();
    for _ in 0..PARTITIONS {
        let (client, owner) = (cluster.client.clone(), owner.clone());
        let job = json!({"kind": "work", "payload": 0, "run_at": run_at.to_string()});
        asked.spawn(async move { (now_ms(), enqueue(&client, &owner, QUEUE, &job).await) });
    }
    for (asked_ms, answer) in asked.join_all().await {
        let Ok(Answer::Taken(id)) = answer else { panic!("{answer:?}") };
        cluster.book.add(Order { id, asked_ms, acked_ms: now_ms(), undisturbed: true });
    }
}

/// When each partition started something.
async fn first_starts(cluster: &mut Cluster) -> BTreeMap<PartitionId, u64> {
    let ledger = &mut cluster.ledger;
    until("every partition starts something", async || {
        let mut first = BTreeMap::new();
        for (job, runs) in ledger.read() {
            let earliest = first.entry(job.partition()).or_insert(u64::MAX);
            *earliest = runs.iter().map(|run| run.start_ms).fold(*earliest, u64::min);
        }
        (first.len() == usize::from(PARTITIONS)).then_some(first)
    })
    .await
}
