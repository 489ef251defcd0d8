//! Cassandra that dies, freezes, or cannot be reached. No worker fails, so that nothing runs twice.

use std::time::Duration;

use tokio::time::sleep;

use crate::ensemble::control;
use crate::kit::cluster::{Cluster, Setup};
use crate::kit::story::{Story, more};

/// Longer than a request to the store may take.
const CUT: Duration = Duration::from_secs(8);
const NODE: &str = "cassandra-2";

#[tokio::test]
async fn the_store_may_lose_a_node_and_be_out_of_reach() {
    let mut cluster = Cluster::start(Setup::new("store"), &["a", "b", "c", "d"]).await;
    one_does_not_reach_it(&mut cluster).await;
    nobody_reaches_it(&mut cluster).await;
    a_node_fails(&mut cluster).await;
}

async fn a_node_fails(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "one Cassandra node of three frozen, killed, back").await;
    cluster.fault(&[]);
    control(cluster, |servers| servers.pause(&[NODE])).await;
    more(cluster).await;
    control(cluster, |servers| {
        servers.resume(&[NODE]);
        servers.kill(&[NODE]);
    })
    .await;
    more(cluster).await;
    control(cluster, |servers| servers.start_again(&[NODE])).await;
    cluster.healed().await;
    story.end(cluster).await.row.print();
}

async fn one_does_not_reach_it(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "one worker cut off from the store").await;
    cluster.fault(&[]);
    cluster.ways("a").store.silence();
    sleep(CUT).await;
    cluster.ways("a").store.open();
    cluster.healed().await;
    story.end(cluster).await.row.print();
}

async fn nobody_reaches_it(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "all workers cut off from the store").await;
    cluster.fault(&[]);
    cluster.all_ways().for_each(|ways| ways.store.close());
    sleep(CUT).await;
    cluster.all_ways().for_each(|ways| ways.store.open());
    cluster.healed().await;
    story.end(cluster).await.row.print();
}
