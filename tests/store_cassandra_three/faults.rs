//! Nodes that freeze, die and come back while rows are written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qdo::model::{Epoch, PartitionId};
use qdo::store::{CassandraOptions, CassandraStore, Claim, Store, StoreErrorKind, WriteOutcome};

use super::{alone, harm, options};
use crate::cassandra_kit::{Isolated, Writers, fresh};
use crate::common::PATIENCE;

/// A pause of writes is no longer, or somebody would take it for an outage: about as long as a
/// request may take, and a little for a busy machine.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Keepalives go out every three seconds, and are waited for as long.
const HEDGED_PAUSE_MAX: Duration = Duration::from_millis(2_900);
const PAUSE: Duration = Duration::from_millis(100);

async fn open(servers: &crate::common::servers::Servers) -> Arc<Isolated> {
    let store = CassandraStore::open(options(servers)).await.expect("it opens");
    Arc::new(Isolated { store, number: fresh() })
}

/// Waits until the store is connected to so many nodes.
async fn connected_to(store: &dyn Store, nodes: usize) {
    let begun = Instant::now();
    loop {
        let health = store.health().await;
        let up = health.as_ref().map(|health| health.nodes.iter().filter(|node| node.up).count());
        if up == Ok(nodes) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "not connected to {nodes} nodes: {health:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Of any two nodes that die one after the other, the first must be back in the quorum when the
/// second dies: so recovered nodes are used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_dies_in_turn_and_comes_back_and_no_acknowledged_row_is_lost() {
    let (servers, _alone) = alone().await;
    let store = open(servers).await;
    connected_to(&*store, 3).await;
    let writers = Writers::start(store.clone());
    writers.go_on("all nodes are there", 50).await;
    for node in ["cassandra-1", "cassandra-2", "cassandra-3"] {
        harm(move |servers| servers.kill(&[node])).await;
        writers.go_on(&format!("{node} is dead"), 100).await;
        let contact_points = servers.contact_points();
        let another = CassandraStore::open(CassandraOptions { contact_points, ..options(servers) }).await;
        another.expect("it opens without the dead node").document("queue/a").await.expect("it reads");
        harm(move |servers| servers.start_again(&[node])).await;
        connected_to(&*store, 3).await;
        writers.go_on(&format!("{node} is back"), 50).await;
    }
    let pause = writers.end("each node was killed").await;
    assert!(pause < PAUSE_MAX, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_freezes_and_goes_on_and_no_acknowledged_row_is_lost() {
    let (servers, _alone) = alone().await;
    let store = open(servers).await;
    connected_to(&*store, 3).await;
    let writers = Writers::start(store.clone());
    writers.go_on("all nodes are there", 50).await;
    harm(|servers| servers.pause(&["cassandra-1"])).await;
    writers.go_on("cassandra-1 is frozen", 50).await;
    // Nobody tells: it is noticed, and its connections are given up.
    connected_to(&*store, 2).await;
    writers.go_on("it is given up", 200).await;
    harm(|servers| servers.resume(&["cassandra-1"])).await;
    connected_to(&*store, 3).await;
    // Now it is needed.
    harm(|servers| servers.pause(&["cassandra-3"])).await;
    writers.go_on("cassandra-3 is frozen, cassandra-1 is back", 200).await;
    harm(|servers| servers.resume(&["cassandra-3"])).await;
    connected_to(&*store, 3).await;
    let pause = writers.end("two nodes were frozen").await;
    // It takes longer until a connection to a frozen node is given up; who waits for that is not hedged.
    assert!(pause < HEDGED_PAUSE_MAX, "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_it_says_how_many_are_missing_and_goes_on_when_they_are_back() {
    let (servers, _alone) = alone().await;
    let store = open(servers).await;
    connected_to(&*store, 3).await;
    let claim = Claim { epoch: Epoch { number: 1, incarnation: 1 }, owner: "somebody".into() };
    let partition = PartitionId { group: 1, index: 0 };
    let insert = || store.insert_claim(partition, claim.clone());
    assert_eq!(insert().await, WriteOutcome::Durable);

    harm(|servers| servers.kill(&["cassandra-2", "cassandra-3"])).await;
    let told = "1 of 3 nodes of data centre datacenter1 can be reached";
    let begun = Instant::now();
    // Until their connections have broken it knows no better than to wait.
    let error = loop {
        let WriteOutcome::Unknown(error) = insert().await else { panic!("two of three are dead") };
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
        if error.message.contains(told) {
            break error;
        }
        assert!(begun.elapsed() < PATIENCE, "{error}");
    };
    println!("told: {error}");
    let unread = store.highest_claim(partition).await.expect_err("two of three are dead");
    assert!(unread.message.contains(told), "{unread}");
    let unopened = CassandraStore::open(options(servers)).await.err().expect("two of three are dead");
    println!("told on opening: {unopened}");
    assert!(unopened.kind == StoreErrorKind::Unavailable && unopened.message.contains(told), "{unopened}");

    harm(|servers| servers.start_again(&["cassandra-2", "cassandra-3"])).await;
    connected_to(&*store, 3).await;
    assert_eq!(store.highest_claim(partition).await, Ok(Some(claim.clone())));
    assert_eq!(insert().await, WriteOutcome::Durable);
}

/// With one request at a time, those that are not answered follow each other; all at once, they would
/// all be given up at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_bounded_in_number_and_in_time() {
    const REQUESTS: u32 = 5;
    let (servers, _alone) = alone().await;
    let request_timeout = Duration::from_millis(300);
    let with = CassandraOptions { request_timeout, concurrency: 1, ..options(servers) };
    let store = CassandraStore::open(with).await.expect("it opens");
    let partition = PartitionId { group: fresh() * 1_000, index: 0 };
    let claim = |number| Claim { epoch: Epoch { number, incarnation: 1 }, owner: "somebody".into() };
    harm(|servers| servers.pause(&["cassandra"])).await;
    let begun = Instant::now();
    let writes = (1..=REQUESTS).map(|number| store.insert_claim(partition, claim(number)));
    for outcome in futures_util::future::join_all(writes).await {
        let WriteOutcome::Unknown(error) = outcome else { panic!("all nodes are frozen: {outcome:?}") };
        assert!(error.message.contains("has not answered within 300 ms"), "{error}");
    }
    let took = begun.elapsed();
    assert!(took >= request_timeout * REQUESTS, "{took:?}");
    assert!(took < PATIENCE, "{took:?}");
    harm(|servers| servers.resume(&["cassandra"])).await;
    connected_to(&store, 3).await;
    let begun = Instant::now();
    while store.insert_claim(partition, claim(9)).await != WriteOutcome::Durable {
        assert!(begun.elapsed() < PATIENCE, "it does not go on");
    }
}
