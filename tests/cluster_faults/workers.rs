//! Workers that die or freeze.

use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::kit::cluster::{Cluster, SESSION_TIMEOUT, Setup};
use crate::kit::story::Story;

#[tokio::test]
async fn workers_that_die_or_freeze_lose_no_job_and_no_attempt_runs_twice() {
    let mut cluster = Cluster::start(Setup::new("workers"), &["a", "b", "c", "d"]).await;
    one_dies(&mut cluster).await;
    two_die(&mut cluster).await;
    one_freezes(&mut cluster).await;
}

async fn one_dies(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "kill -9 of one of four workers").await;
    cluster.fault(&["a"]);
    cluster.kill("a");
    cluster.healed().await;
    story.end(cluster).await.row.print();
    cluster.add(&["a"]).await;
    cluster.settled().await;
}

async fn two_die(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "kill -9 of two of four workers").await;
    cluster.fault(&["b", "c"]);
    cluster.kill("b");
    cluster.kill("c");
    cluster.healed().await;
    story.end(cluster).await.row.print();
    cluster.add(&["b", "c"]).await;
    cluster.settled().await;
}

/// What it does late is refused, or known to its successor.
async fn one_freezes(cluster: &mut Cluster) {
    let story = Story::begin(cluster, "SIGSTOP of an owner for three session timeouts, SIGCONT").await;
    cluster.fault(&["d"]);
    cluster.worker("d").signal(Signal::SIGSTOP);
    sleep(3 * SESSION_TIMEOUT).await;
    cluster.worker("d").signal(Signal::SIGCONT);
    cluster.healed().await;
    story.end(cluster).await.row.print();
}
