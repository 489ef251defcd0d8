//! Several workers in this process, on one store in memory and one meeting place, with real links
//! between them: whoever is asked, the owner answers; whoever comes or goes, no job is lost or run
//! twice.

#[path = "worker_cluster/slots.rs"]
mod slots;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use qdo::api::{ApiSettings, router, serve_with_peers};
use qdo::coordination::assign::AssignSettings;
use qdo::coordination::{LocalCoordinator, View};
use qdo::model::{JobId, JobState, NewJob, QueueSettings};
use qdo::runner::Context;
use qdo::store::memory::MemoryStore;
use qdo::telemetry::{MetricsHandle, install_metrics};
use qdo::worker::{
    ClusterSecret, ClusterSettings, JobFilter, RequestError, Requests, Worker, WorkerSettings, new_worker_id,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A bound against hanging, not for speed.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: u16 = 8;
/// How long an attempt of the kind `work` takes.
const WORK: Duration = Duration::from_millis(10);

/// What ran, outside of qdo: attempts by job and number.
#[derive(Default)]
struct Ledger {
    runs: Mutex<HashMap<(JobId, u32), u32>>,
}

impl Ledger {
    fn ran(&self, context: &Context) {
        let attempt = (context.attempt.job, context.attempt.attempt);
        *self.runs.lock().unwrap().entry(attempt).or_default() += 1;
    }

    /// Every one of them ran, once, in its first attempt.
    fn holds_each_once(&self, jobs: &[JobId]) {
        let runs = self.runs.lock().unwrap();
        let wrong: Vec<_> =
            runs.iter().filter(|((_, attempt), times)| *attempt != 1 || **times != 1).collect();
        assert!(wrong.is_empty(), "ran twice: {wrong:?}");
        let ran: HashSet<JobId> = runs.keys().map(|(job, _)| *job).collect();
        let missing: Vec<_> = jobs.iter().filter(|job| !ran.contains(job)).collect();
        assert!(missing.is_empty(), "never ran: {missing:?}");
    }
}

impl Ledger {
    /// Every one of them ran, once. It may not have been its first attempt: one that was marked as started
    /// and never handed out, because its owner had lost its session, is given back.
    fn holds_one_run_of_each(&self, jobs: &[JobId]) {
        let runs = self.runs.lock().unwrap();
        let mut by_job: HashMap<JobId, u32> = HashMap::new();
        runs.iter().for_each(|((job, _), times)| *by_job.entry(*job).or_default() += times);
        let wrong: Vec<_> =
            jobs.iter().map(|job| (job, by_job.get(job))).filter(|(_, n)| *n != Some(&1)).collect();
        assert!(wrong.is_empty(), "did not run once: {wrong:?}");
    }
}

struct Cluster {
    store: Arc<MemoryStore>,
    meeting: LocalCoordinator,
    ledger: Arc<Ledger>,
    metrics: MetricsHandle,
}

struct Node {
    id: Arc<str>,
    worker: Worker,
    shutdown: CancellationToken,
}

impl Node {
    fn requests(&self) -> Arc<dyn Requests> {
        self.worker.requests()
    }

    async fn stop(self) {
        self.worker.stop(PATIENCE).await;
        self.shutdown.cancel();
    }
}

impl Cluster {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            meeting: LocalCoordinator::new(Duration::from_secs(2)),
            ledger: Arc::default(),
            metrics: install_metrics(),
        }
    }

    async fn node(&self, name: &str) -> Node {
        self.node_with(name, 4).await
    }

    async fn node_with(&self, name: &str, slots: usize) -> Node {
        self.node_as(name, slots, AssignSettings::default()).await
    }

    async fn node_as(&self, name: &str, slots: usize, assign: AssignSettings) -> Node {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let id = new_worker_id(name).unwrap();
        let settings = ClusterSettings {
            secret: Some(ClusterSecret::new("a secret of many letters").unwrap()),
            settle: Duration::from_millis(50),
            lease: Duration::from_secs(2),
            assign,
            ..ClusterSettings::new(id.clone(), name, address)
        };
        let (ledger, works) = (self.ledger.clone(), self.ledger.clone());
        let worker = Worker::builder(self.store.clone())
            .settings(WorkerSettings { partitions: PARTITIONS, slots, ..WorkerSettings::default() })
            .handler("note", move |context| {
                ledger.ran(&context);
                async move { Ok(context.attempt.payload.clone()) }
            })
            .handler("work", move |context| {
                works.ran(&context);
                async move {
                    tokio::time::sleep(WORK).await;
                    Ok(context.attempt.payload.clone())
                }
            })
            .coordinator(Arc::new(self.meeting.clone()), settings)
            .start()
            .await
            .unwrap();
        let api = router(worker.requests(), ApiSettings::default(), self.metrics.clone());
        let shutdown = CancellationToken::new();
        tokio::spawn(serve_with_peers(listener, api, worker.peers(), shutdown.clone()));
        Node { id, worker, shutdown }
    }
}

/// Waits until every partition has an owner, and each of these has its share.
async fn shared_out(nodes: &[&Node], partitions: usize) -> BTreeMap<Arc<str>, usize> {
    let mut view = nodes[0].worker.view().unwrap();
    let seen = view.wait_for(|view| {
        let shares = shares(view);
        let fair = nodes
            .iter()
            .all(|node| shares.get(&node.id).is_some_and(|owned| *owned >= partitions / nodes.len()));
        view.owners.len() == partitions && fair
    });
    let seen =
        tokio::time::timeout(PATIENCE, seen).await.expect("partitions are shared out in time").unwrap();
    shares(&seen)
}

fn shares(view: &View) -> BTreeMap<Arc<str>, usize> {
    let mut shares = BTreeMap::new();
    view.owners.values().for_each(|owner| *shares.entry(owner.clone()).or_default() += 1);
    shares
}

async fn enqueue(requests: &Arc<dyn Requests>, from: usize, jobs: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for number in 0..jobs {
        // A token makes a second try harmless, and spreads jobs over all partitions.
        let job =
            NewJob { token: Some(format!("{from}-{number}")), ..NewJob::new("note", number.to_string()) };
        ids.push(patient(requests, job).await);
    }
    ids
}

/// Asks again while partitions are on their way, as a client would.
async fn patient(requests: &Arc<dyn Requests>, job: NewJob) -> JobId {
    let accepted = async {
        loop {
            match requests.enqueue("default", "q", vec![job.clone()]).await {
                Ok(taken) => return taken[0].id,
                Err(RequestError::Moved(_) | RequestError::Unavailable { .. }) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, accepted).await.expect("a job is taken in time")
}

async fn all_done(requests: &Arc<dyn Requests>, jobs: &[JobId]) {
    for job in jobs {
        let view = requests.wait("default", *job, PATIENCE).await.unwrap();
        assert_eq!(view.state, JobState::Succeeded, "{view:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_answers_for_every_partition_and_each_job_runs_once() {
    let cluster = Cluster::new();
    let nodes = [cluster.node("a").await, cluster.node("b").await, cluster.node("c").await];
    nodes[0].requests().put_queue("default", "q", QueueSettings::default(), None).await.unwrap();
    shared_out(&nodes.each_ref(), PARTITIONS.into()).await;

    let requests: Vec<_> = nodes.iter().map(Node::requests).collect();
    let jobs = join_all(requests.iter().enumerate().map(|(at, requests)| enqueue(requests, at, 200))).await;
    let jobs = jobs.concat();
    // Each is asked for where it was not enqueued.
    all_done(&requests[2], &jobs[..400]).await;
    all_done(&requests[0], &jobs[400..]).await;
    cluster.ledger.holds_each_once(&jobs);
    for requests in &requests {
        let queue = requests.queue("default", "q").await.unwrap();
        assert_eq!((queue.counts.succeeded, queue.counts.open()), (600, 0));
        assert!(queue.missing_partitions.is_empty());
        let page = requests.jobs("default", "q", JobFilter::default(), None, 1_000).await.unwrap();
        assert_eq!(page.jobs.len(), 600);
    }
    join_all(nodes.map(Node::stop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_join_and_leave_under_load_and_nothing_runs_twice() {
    let cluster = Cluster::new();
    let a = cluster.node("a").await;
    a.requests().put_queue("default", "q", QueueSettings::default(), None).await.unwrap();
    shared_out(&[&a], PARTITIONS.into()).await;
    let load = {
        let requests = a.requests();
        tokio::spawn(async move { enqueue(&requests, 0, 2_000).await })
    };
    let b = cluster.node("b").await;
    let c = cluster.node("c").await;
    shared_out(&[&a, &b, &c], PARTITIONS.into()).await;
    b.stop().await;
    shared_out(&[&a, &c], PARTITIONS.into()).await;
    let d = cluster.node("d").await;
    shared_out(&[&a, &c, &d], PARTITIONS.into()).await;
    let jobs = load.await.unwrap();
    all_done(&d.requests(), &jobs).await;
    cluster.ledger.holds_each_once(&jobs);
    let counts = c.requests().queue("default", "q").await.unwrap().counts;
    assert_eq!((counts.succeeded, counts.open()), (2_000, 0));
    join_all([a, c, d].map(Node::stop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_and_a_wiped_meeting_place_cost_a_pause_and_no_job() {
    let cluster = Cluster::new();
    let nodes = [cluster.node("a").await, cluster.node("b").await];
    nodes[0].requests().put_queue("default", "q", QueueSettings::default(), None).await.unwrap();
    shared_out(&nodes.each_ref(), PARTITIONS.into()).await;
    let requests = nodes[1].requests();
    let load = tokio::spawn(async move { enqueue(&requests, 0, 1_500).await });

    cluster.meeting.expire(&nodes[0].id);
    shared_out(&nodes.each_ref(), PARTITIONS.into()).await;
    cluster.meeting.wipe();
    shared_out(&nodes.each_ref(), PARTITIONS.into()).await;
    cluster.meeting.wipe_tree();
    shared_out(&nodes.each_ref(), PARTITIONS.into()).await;
    let jobs = load.await.unwrap();
    all_done(&nodes[0].requests(), &jobs).await;
    cluster.ledger.holds_each_once(&jobs);
    join_all(nodes.map(Node::stop)).await;
}
