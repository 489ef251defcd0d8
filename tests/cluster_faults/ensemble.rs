//! ZooKeeper that dies, freezes, forgets, or cannot be reached.

use tokio::time::sleep;

use crate::common::servers::Servers;
use crate::kit::cluster::{Cluster, SESSION_TIMEOUT, Setup};
use crate::kit::story::{Story, more};

#[tokio::test]
async fn zookeeper_may_die_freeze_forget_and_be_out_of_reach() {
    let mut cluster = Cluster::start(Setup::new("ensemble"), &["a", "b", "c", "d"]).await;
    a_follower_fails(&mut cluster).await;
    the_leader_fails(&mut cluster).await;
    everything_is_wiped(&mut cluster).await;
    nobody_reaches_it(&mut cluster).await;
    one_does_not_reach_it(&mut cluster).await;
}

/// Controls the servers, which takes its time.
pub async fn control<T: Send + 'static>(
    cluster: &Cluster,
    control: impl FnOnce(&Servers) -> T + Send + 'static,
) -> T {
    let servers = cluster.servers;
    tokio::task::spawn_blocking(move || control(servers)).await.unwrap()
}

async fn a_follower_fails(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "a ZooKeeper follower frozen, killed, back").await;
    let follower = control(cluster, |servers| {
        servers.wait_for("a follower", |all| all.iter().find(|one| one.role == "follower").cloned()).name
    });
    let follower = follower.await;
    fail(cluster, follower).await;
    story.end(cluster).await.row.print();
}

async fn the_leader_fails(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "the ZooKeeper leader frozen, killed, back").await;
    let leader = control(cluster, Servers::zookeeper_leader).await;
    fail(cluster, leader).await;
    story.end(cluster).await.row.print();
}

/// No fault to any attempt: no worker fails.
async fn fail(cluster: &mut Cluster, server: String) {
    cluster.fault(&[]);
    let name = server.clone();
    control(cluster, move |servers| servers.pause(&[&name])).await;
    more(cluster).await;
    let name = server.clone();
    control(cluster, move |servers| {
        servers.resume(&[&name]);
        servers.kill(&[&name]);
    })
    .await;
    more(cluster).await;
    control(cluster, move |servers| servers.start_again(&[&server])).await;
    cluster.healed().await;
}

async fn everything_is_wiped(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "all of ZooKeeper wiped and started again").await;
    cluster.fault(&[]);
    control(cluster, Servers::wipe_zookeeper).await;
    cluster.healed().await;
    story.end(cluster).await.row.print();
}

/// Whatever runs goes on, and its owner is the same afterwards.
async fn nobody_reaches_it(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "all workers cut off from ZooKeeper for two session timeouts").await;
    cluster.fault(&[]);
    cluster.all_ways().for_each(|ways| ways.zookeeper.silence());
    sleep(2 * SESSION_TIMEOUT).await;
    cluster.all_ways().for_each(|ways| ways.zookeeper.open());
    cluster.healed().await;
    story.end(cluster).await.row.print();
}

async fn one_does_not_reach_it(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "one worker cut off from ZooKeeper for two session timeouts").await;
    cluster.fault(&["b"]);
    cluster.ways("b").zookeeper.silence();
    sleep(2 * SESSION_TIMEOUT).await;
    cluster.ways("b").zookeeper.open();
    cluster.healed().await;
    story.end(cluster).await.row.print();
}
