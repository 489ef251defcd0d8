//! Workers in this process, with real links between them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use qdo::api::{ApiSettings, router, serve_with_peers};
use qdo::coordination::LocalCoordinator;
use qdo::model::{NewJob, QueueSettings};
use qdo::runner::Context;
use qdo::store::memory::MemoryStore;
use qdo::telemetry::install_metrics;
use qdo::worker::{ClusterSecret, ClusterSettings, Worker, WorkerSettings, new_worker_id};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::cli_kit::{Ran, qdo, run};
use crate::common::PATIENCE;

const PARTITIONS: u16 = 6;

struct Node {
    id: String,
    url: String,
    worker: Worker,
    shutdown: CancellationToken,
}

struct Cluster {
    store: Arc<MemoryStore>,
    meeting: LocalCoordinator,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Workers with these names, and a queue `q` whose partitions they share.
    async fn of(names: &[&str]) -> Self {
        let store = Arc::new(MemoryStore::new());
        let meeting = LocalCoordinator::new(Duration::from_secs(2));
        let mut cluster = Self { store, meeting, nodes: Vec::new() };
        for name in names {
            cluster.add(name, "same").await;
        }
        let requests = cluster.nodes[0].worker.requests();
        let settings = QueueSettings::default();
        requests.put_queue("default", "q", settings, Some(PARTITIONS)).await.unwrap();
        let share = u64::from(PARTITIONS) / names.len() as u64;
        for name in names {
            cluster.until(|cluster| worker(cluster, name)["partitions"] == share).await;
        }
        cluster
    }

    async fn add(&mut self, name: &str, setting: &str) {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let id = new_worker_id(name).unwrap();
        let settings = ClusterSettings {
            secret: Some(ClusterSecret::new("a secret of many letters").unwrap()),
            settle: Duration::from_millis(50),
            equal: [("cluster.settle".to_owned(), setting.to_owned())].into(),
            ..ClusterSettings::new(id.clone(), name, url.clone())
        };
        let worker = Worker::builder(self.store.clone())
            .settings(WorkerSettings { slots: 4, ..WorkerSettings::default() })
            .handler("echo", |context: Context| async move { Ok(context.attempt.payload.clone()) })
            .coordinator(Arc::new(self.meeting.clone()), settings)
            .start()
            .await
            .unwrap();
        let api = router(worker.requests(), ApiSettings::default(), install_metrics());
        let shutdown = CancellationToken::new();
        tokio::spawn(serve_with_peers(listener, api, worker.peers(), shutdown.clone()));
        self.nodes.push(Node { id: id.to_string(), url, worker, shutdown });
    }

    /// Asks the first worker.
    fn run(&self, words: &[&str]) -> Ran {
        self.run_at(0, words)
    }

    fn run_at(&self, node: usize, words: &[&str]) -> Ran {
        block_in_place(|| run(qdo().args(words).args(["--address", &self.nodes[node].url])))
    }

    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["-o", "json"]].concat();
        self.run(&words).code(0).json()
    }

    /// Looks at the cluster until it is so.
    async fn until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let requests = self.nodes[0].worker.requests();
        let look = async {
            loop {
                let seen = serde_json::to_value(requests.cluster().await.unwrap()).unwrap();
                if holds(&seen) {
                    return seen;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it came to be so in time")
    }
}

/// What is said of the worker of that name.
fn worker<'a>(cluster: &'a Value, name: &str) -> &'a Value {
    let workers = cluster["workers"].as_array().unwrap();
    workers.iter().find(|worker| worker["name"] == name).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_worker_shows_all_workers_and_all_partitions() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let requests = cluster.nodes[0].worker.requests();
    for number in 0..30 {
        let job = NewJob { token: Some(number.to_string()), ..NewJob::new("echo", "x") };
        let job = requests.enqueue("default", "q", vec![job]).await.unwrap().remove(0);
        requests.wait("default", job.id, PATIENCE).await.unwrap();
    }
    for node in 0..3 {
        let seen = cluster.run_at(node, &["cluster", "-o", "json"]).code(0).json();
        assert_eq!(seen["answered_by"], cluster.nodes[node].id.as_str());
        assert_eq!((&seen["sure"], &seen["partitions"]), (&true.into(), &6.into()));
        assert_eq!(seen["partitions_without_owner"], 0);
        assert!(seen["missing"].is_null(), "{seen}");
        assert_eq!(seen["coordinator"]["session"], "sure");
        let mut started = 0;
        for (name, node) in ["a", "b", "c"].iter().zip(&cluster.nodes) {
            let worker = worker(&seen, name);
            assert_eq!(worker["address"], node.url.as_str());
            assert_eq!(
                (&worker["partitions"], &worker["slots"], &worker["running"]),
                (&2.into(), &4.into(), &0.into())
            );
            started += worker["last_minute"]["started"].as_u64().unwrap();
        }
        assert_eq!(started, 30, "what only its owner knows was asked of each: {seen}");
    }
    let all = cluster.run_at(1, &["partition", "list", "q", "-o", "json"]).code(0).json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 6);
    let done: u64 = all.iter().map(|one| one["counts"]["succeeded"].as_u64().unwrap()).sum();
    assert_eq!(done, 30);
    assert!(all.iter().all(|one| one["epoch"].is_string() && one["since"].is_string()), "{all:?}");
    let one = all[5]["partition"].as_str().unwrap();
    for node in 0..3 {
        let shown = cluster.run_at(node, &["partition", "show", one, "-o", "json"]).code(0).json();
        assert_eq!((&shown["owner"], &shown["epoch"]), (&all[5]["owner"], &all[5]["epoch"]));
    }
    let table = cluster.run(&["cluster"]).code(0).stdout;
    assert!(table.lines().filter(|line| line.ends_with("works")).count() == 3, "{table}");
    assert_eq!(cluster.run(&["partition", "list"]).code(0).stdout.lines().count(), 7);
    cluster.run(&["partition", "show", "99/0"]).code(3).says(&["there is no partition 99/0"]);
    cluster.run(&["partition", "show", "99"]).code(2).says(&["two numbers, like 3/0"]);
    cluster.run(&["partition", "list", "nobody"]).code(3).says(&["there is no queue"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_that_does_not_answer_is_named_and_so_are_its_partitions() {
    let cluster = Cluster::of(&["a", "b"]).await;
    // It is a member still, and nobody reaches it.
    cluster.nodes[1].shutdown.cancel();
    let silent = cluster.nodes[1].id.as_str();
    let seen = cluster.until(|seen| seen["missing"].is_array()).await;
    assert_eq!(seen["missing"], serde_json::json!([silent]));
    assert!(worker(&seen, "b")["running"].is_null() && worker(&seen, "b")["partitions"] == 3, "{seen}");
    let table = cluster.run(&["cluster"]).code(0).stdout;
    assert!(table.contains("does not answer") && table.contains(silent), "{table}");

    let partitions = cluster.json(&["partition", "list", "q"]);
    for one in partitions.as_array().unwrap() {
        assert_eq!(one["owner"] == silent, one["counts"].is_null(), "{one}");
    }
    assert_eq!(partitions.as_array().unwrap().iter().filter(|one| one["counts"].is_null()).count(), 3);
    let list = cluster.run(&["queue", "list"]).code(0).stdout;
    assert!(list.contains("3 of 6 partitions missing"), "{list}");
    let show = cluster.run(&["queue", "show", "q"]).code(0).stdout;
    assert!(show.contains("their owners did not answer in time"), "{show}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plan_says_what_moves_and_changes_nothing() {
    let cluster = Cluster::of(&["a", "b"]).await;
    let join = cluster.json(&["assignment", "plan", "--join", "c"]);
    let moves = join["moves"].as_array().unwrap();
    assert!(moves.len() == 2 && moves.iter().all(|moved| moved["to"] == "c"), "{join}");
    let leave = cluster.json(&["assignment", "plan", "--leave", "b"]);
    assert_eq!(leave["leave"], cluster.nodes[1].id.as_str());
    assert_eq!(leave["moves"].as_array().unwrap().len(), 3);
    let table = cluster.run(&["assignment", "plan", "--join", "c"]).code(0).stdout;
    assert!(table.contains("2 of 6 partitions would move"), "{table}");
    cluster.run(&["assignment", "plan", "--leave", "nobody"]).code(3).says(&["there is no worker", "a, b"]);
    cluster.run(&["assignment", "plan"]).code(2);
    let seen = cluster.json(&["cluster"]);
    assert!(["a", "b"].iter().all(|name| worker(&seen, name)["partitions"] == 3), "{seen}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
async fn any_worker_has_another_drained_and_undrained() {
    let cluster = Cluster::of(&["a", "b"]).await;
    let drained = cluster.run(&["worker", "drain", "b", "--wait=60s", "-o", "json"]).code(0);
    drained.says(&["b is drained: it can be stopped"]);
    assert_eq!(drained.json()["partitions"], 0);
    let seen = cluster.json(&["cluster"]);
    assert_eq!(worker(&seen, "a")["partitions"], 6);
    assert_eq!(worker(&seen, "b")["draining"], true);
    let id = cluster.nodes[1].id.as_str();
    cluster.run(&["worker", "undrain", id]).code(0).says(&["b takes partitions again"]);
    cluster
        .until(|seen| worker(seen, "b")["partitions"] == 3 && worker(seen, "b")["draining"] == false)
        .await;
    cluster.run(&["worker", "drain", "nobody"]).code(3).says(&["there is no worker"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_with_other_settings_is_shown_with_their_names() {
    let mut cluster = Cluster::of(&["a", "b"]).await;
    cluster.add("c", "other").await;
    let seen = cluster.until(|seen| worker(seen, "c")["settings_differ"].is_array()).await;
    assert_eq!(worker(&seen, "c")["settings_differ"], serde_json::json!(["cluster.settle"]));
    assert!(worker(&seen, "a")["settings_differ"].is_null(), "{seen}");
    let table = cluster.run(&["cluster"]).code(0).stdout;
    assert!(table.contains("has other settings: cluster.settle"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_watches_sees_changes_until_nobody_reads() {
    let cluster = Cluster::of(&["a"]).await;
    let mut command = qdo();
    command.args(["cluster", "--watch=1", "--address", &cluster.nodes[0].url]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = |words: &str| block_in_place(|| lines.any(|line| line.unwrap().contains(words)));
    assert!(seen("partitions  6"));
    cluster.nodes[0]
        .worker
        .requests()
        .put_queue("default", "more", QueueSettings::default(), Some(2))
        .await
        .unwrap();
    assert!(seen("partitions  8"), "it looked again");
    drop(lines);
    let ended = block_in_place(|| child.wait()).unwrap();
    assert_eq!(ended.code(), Some(0), "a closed pipe is no error");
}
