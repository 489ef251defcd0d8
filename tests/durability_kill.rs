//! `kill -9` of the real server at random moments, again and again.
//!
//! Producers enqueue over HTTP and repeat with the same token what was not answered; programs note
//! each of their runs in a file. In the end all that was acknowledged must have ended, and nothing
//! may have happened twice.

mod common;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use common::random::Random;
use common::server::{Server, write_config};
use common::{PATIENCE, jobs, processes};
use qdo::api::EnqueuedMany;
use qdo::model::view::{Enqueued, JobView};
use qdo::model::{JobId, JobState};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;

const ROUNDS: u32 = 200;
const PRODUCERS: u32 = 4;
/// Requests that a producer makes in a round, at most: what is enqueued has to be run as well.
const REQUESTS_PER_ROUND_MAX: u64 = 6;
const BATCH_JOBS_MAX: u64 = 5;
const MAX_ATTEMPTS: u32 = 3;
/// Jobs of this queue are forgotten soon after their end, so that segments are dropped.
const SHORT: &str = "short";
const QUEUES: [&str; 3] = ["one", "two", SHORT];

/// What a producer asked for, in one request, until it is acknowledged.
#[derive(Clone, Debug)]
struct Order {
    queue: &'static str,
    jobs: Vec<Value>,
    cancel: bool,
}

/// What was acknowledged.
#[derive(Clone, Debug)]
struct Acknowledged {
    queue: &'static str,
    id: JobId,
    /// Its cancellation was acknowledged as well.
    cancelled: bool,
}

/// One producer, over all rounds.
struct Producer {
    number: u32,
    random: Random,
    serial: u64,
    /// Not acknowledged yet: repeated with the same tokens.
    open: Vec<Order>,
    /// To be cancelled, and not known to be.
    to_cancel: Vec<(String, JobId)>,
    acknowledged: HashMap<String, Acknowledged>,
    repeated: u32,
}

impl Producer {
    fn new(number: u32, random: Random) -> Self {
        Self {
            number,
            random,
            serial: 0,
            open: Vec::new(),
            to_cancel: Vec::new(),
            acknowledged: HashMap::new(),
            repeated: 0,
        }
    }

    fn order(&mut self) -> Order {
        let queue = QUEUES[self.random.below(3) as usize];
        let cancel = queue != SHORT && self.random.one_in(10);
        let jobs = if self.random.one_in(3) { 1 + self.random.below(BATCH_JOBS_MAX) } else { 1 };
        let batch = format!("{}.{}", self.number, self.serial);
        let jobs = (0..jobs).map(|_| self.job(&batch, jobs, cancel)).collect();
        Order { queue, jobs, cancel }
    }

    fn job(&mut self, batch: &str, batch_jobs: u64, cancel: bool) -> Value {
        self.serial += 1;
        let token = format!("p{}-{}", self.number, self.serial);
        let kind = match self.random.below(12) {
            0 => "slow",
            1 => "failing",
            2 => "flaky",
            3 => "forking",
            _ => "note",
        };
        let payload = json!({"token": token, "batch": batch, "of": batch_jobs});
        let mut job = json!({"kind": kind, "token": token, "payload": payload, "max_attempts": MAX_ATTEMPTS,
            "backoff": {"base": "5ms", "cap": "50ms"}, "priority": 1 + self.random.below(9)});
        if cancel {
            job["delay"] = json!("1h");
        } else if self.random.one_in(8) {
            job["delay"] = json!(format!("{}ms", 1 + self.random.below(800)));
        }
        job
    }

    /// Works until the server is gone, or it has done its share of the round.
    async fn work(&mut self, client: &Client, url: &str) {
        for order in std::mem::take(&mut self.open) {
            self.repeated += 1;
            self.send(client, url, order).await;
        }
        for _ in 0..1 + self.random.below(REQUESTS_PER_ROUND_MAX) {
            let order = self.order();
            self.send(client, url, order).await;
        }
        self.cancel(client, url).await;
    }

    async fn send(&mut self, client: &Client, url: &str, order: Order) {
        let request = client.post(format!("{url}/v1/default/queues/{}/jobs", order.queue));
        let request = match order.jobs.as_slice() {
            [job] => request.json(job),
            jobs => {
                let lines: String = jobs.iter().map(|job| format!("{job}\n")).collect();
                request.header("content-type", "application/x-ndjson").body(lines)
            }
        };
        let Ok(answer) = request.send().await else { return self.open.push(order) };
        let status = answer.status();
        let Ok(text) = answer.text().await else { return self.open.push(order) };
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            return self.open.push(order);
        }
        assert_eq!(status, StatusCode::CREATED, "{text}");
        let answers: Vec<Enqueued> = match order.jobs.len() {
            1 => vec![serde_json::from_str(&text).unwrap()],
            _ => serde_json::from_str::<EnqueuedMany>(&text).unwrap().jobs,
        };
        assert_eq!(answers.len(), order.jobs.len(), "{text}");
        for (job, answer) in order.jobs.iter().zip(answers) {
            let token = job["token"].as_str().unwrap().to_owned();
            if order.cancel {
                self.to_cancel.push((token.clone(), answer.id));
            }
            let taken = Acknowledged { queue: order.queue, id: answer.id, cancelled: false };
            assert!(self.acknowledged.insert(token, taken).is_none(), "acknowledged once");
        }
    }

    async fn cancel(&mut self, client: &Client, url: &str) {
        for (token, id) in std::mem::take(&mut self.to_cancel) {
            let answer = client.post(format!("{url}/v1/default/jobs/{id}/cancel")).send().await;
            let status = answer.map(|answer| answer.status());
            match status {
                // A conflict: an earlier request was done and not answered.
                Ok(StatusCode::OK | StatusCode::CONFLICT) => {
                    self.acknowledged.get_mut(&token).unwrap().cancelled = true;
                }
                Ok(StatusCode::SERVICE_UNAVAILABLE) | Err(_) => self.to_cancel.push((token, id)),
                Ok(other) => panic!("cancelling job {id} was answered {other}"),
            }
        }
    }
}

/// A server's config: each program notes `job attempt` in one write before anything else.
fn config(folder: &Path, noted: &Path) -> PathBuf {
    let note = format!("echo \"$QDO_JOB_ID $QDO_ATTEMPT\" >> {}", noted.display());
    let handlers = [
        ("note", note.clone()),
        ("slow", format!("{note}; sleep 0.08")),
        ("failing", format!("{note}; exit 1")),
        ("flaky", format!("{note}; test $QDO_ATTEMPT -gt 1")),
        // Leaves a process behind, which must not outlive the attempt.
        ("forking", format!("{note}; sleep 1000 > /dev/null 2>&1 & sleep 0.05")),
    ];
    let mut text = "[worker]\nslots = 4\n[log]\nfilter = \"warn\"\n".to_owned();
    for (kind, script) in handlers {
        text += &format!("[handlers.{kind}]\nexec = [\"sh\", \"-c\", '''{script}''']\n");
    }
    write_config(folder, &text)
}

/// What has run: every job with its attempts, none of them twice.
fn runs(noted: &Path) -> HashMap<JobId, HashSet<u32>> {
    let mut runs: HashMap<JobId, HashSet<u32>> = HashMap::new();
    for line in std::fs::read_to_string(noted).unwrap().lines() {
        let (job, attempt) = line.split_once(' ').unwrap();
        let (job, attempt) = (job.parse().unwrap(), attempt.parse().unwrap());
        assert!(runs.entry(job).or_default().insert(attempt), "attempt {attempt} of job {job} ran twice");
    }
    runs
}

/// One life of the server. True if it came to answer.
async fn round(data: &Path, config: &Path, random: &mut Random, producers: &mut Vec<Producer>) -> bool {
    let mut server = Server::spawn(data, config);
    if random.one_in(8) {
        let ready = server.ready_within(random.moment(80));
        server.kill();
        return ready;
    }
    let url = server.ready();
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    let mut tasks = JoinSet::new();
    for mut producer in std::mem::take(producers) {
        let (client, url) = (client.clone(), url.clone());
        tasks.spawn(async move {
            producer.work(&client, &url).await;
            producer
        });
    }
    // The moment of the kill, whatever goes on; it is no condition that is waited for.
    let moment = tokio::time::sleep(random.moment(300));
    moment.await;
    server.kill();
    *producers = tasks.join_all().await;
    producers.sort_by_key(|producer| producer.number);
    true
}

/// Has everything acknowledged and waits until all jobs have ended.
async fn drain(client: &Client, url: &str, producers: &mut [Producer]) {
    for producer in producers.iter_mut() {
        for order in std::mem::take(&mut producer.open) {
            producer.send(client, url, order).await;
        }
        producer.cancel(client, url).await;
        assert!(producer.open.is_empty() && producer.to_cancel.is_empty(), "the server is up");
    }
    for queue in QUEUES {
        jobs::drained(client, url, queue).await;
    }
}

/// A job's record must fit what its program noted.
fn check_job(job: &JobView, ran: Option<&HashSet<u32>>) {
    let none = HashSet::new();
    let ran = ran.unwrap_or(&none);
    assert!(job.state.is_final(), "{job:?}");
    assert!(ran.iter().all(|attempt| (1..=job.attempt).contains(attempt)), "{ran:?}: {job:?}");
    let unseen = job.attempt - ran.len() as u32;
    assert!(unseen <= job.interruptions, "attempts that did not run were interrupted: {ran:?}, {job:?}");
    match job.state {
        JobState::Succeeded => {
            assert!(ran.contains(&job.attempt) && job.kind != "failing", "it did not run: {job:?}");
        }
        JobState::Failed => {
            let by_limit = job.failures == MAX_ATTEMPTS || job.interruptions >= 3;
            assert!(by_limit, "failed without reaching a limit: {job:?}");
        }
        JobState::Cancelled => assert!(ran.is_empty(), "it was due in an hour: {job:?}"),
        other => panic!("not final: {other:?}"),
    }
}

/// No token made two jobs, no batch was enqueued in part, and all that was acknowledged is there.
fn check_all(
    listed: &HashMap<&'static str, Vec<JobView>>,
    acknowledged: &HashMap<String, Acknowledged>,
    runs: &HashMap<JobId, HashSet<u32>>,
) {
    let mut by_token = HashMap::new();
    let mut batches: HashMap<String, (u64, u64)> = HashMap::new();
    for (queue, job) in listed.iter().flat_map(|(queue, jobs)| jobs.iter().map(move |job| (*queue, job))) {
        let payload = job.payload.as_ref().unwrap();
        let token = payload["token"].as_str().unwrap().to_owned();
        let before = by_token.insert(token, job.id);
        assert_eq!(before, None, "one token made two jobs: {job:?}");
        if queue != SHORT {
            let batch = payload["batch"].as_str().unwrap().to_owned();
            batches.entry(batch).or_insert((0, payload["of"].as_u64().unwrap())).0 += 1;
        }
        check_job(job, runs.get(&job.id));
    }
    for (batch, (there, of)) in batches {
        assert_eq!(there, of, "batch {batch} was enqueued in part");
    }
    let mut ids = HashSet::new();
    for (token, taken) in acknowledged {
        assert!(ids.insert(taken.id), "two tokens were answered with one job: {taken:?}");
        match by_token.get(token) {
            Some(id) => assert_eq!(*id, taken.id, "{token} was answered with another job"),
            None => assert!(
                taken.queue == SHORT && (runs.contains_key(&taken.id)),
                "acknowledged and lost: {token} {taken:?}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_job_survives_kill_9() {
    let mut random = Random::announced();
    let folder = tempfile::tempdir().unwrap();
    let (data, noted) = (folder.path().join("data"), folder.path().join("noted"));
    let config = config(folder.path(), &noted);
    let mut producers: Vec<_> = (0..PRODUCERS).map(|number| Producer::new(number, random.fork())).collect();

    let client = Client::new();
    let server = Server::start(&data, &config);
    let settings = json!({"retention": "1s", "retention_count": 20, "failed_retention": "1s",
        "max_interruptions": 50});
    let made = client.put(format!("{}/v1/default/queues/{SHORT}", server.url())).json(&settings).send().await;
    assert!(made.as_ref().is_ok_and(|made| made.status().is_success()), "{made:?}");
    server.kill();

    let mut answered = 0;
    for _ in 0..ROUNDS {
        answered += u32::from(round(&data, &config, &mut random, &mut producers).await);
    }

    let server = Server::start(&data, &config);
    let url = server.url().to_owned();
    timeout(PATIENCE, drain(&client, &url, &mut producers)).await.expect("all jobs end in time");

    let mut listed = HashMap::new();
    for queue in QUEUES {
        let jobs = jobs::list(&client, &url, queue).await;
        let counts = jobs::queue(&client, &url, queue).await.counts;
        if queue != SHORT {
            assert_eq!(counts, jobs::recount(&jobs), "counts of queue {queue} and its jobs");
        }
        listed.insert(queue, jobs);
    }
    server.stop();
    assert_eq!(processes::with_path_in_environment(&data, &[]), [], "handlers of killed servers are left");
    let acknowledged: HashMap<_, _> =
        producers.iter().flat_map(|producer| producer.acknowledged.clone()).collect();
    let runs = runs(&noted);
    check_all(&listed, &acknowledged, &runs);

    let repeated: u32 = producers.iter().map(|producer| producer.repeated).sum();
    let interrupted = listed.values().flatten().filter(|job| job.interruptions > 0).count();
    eprintln!(
        "{answered} of {ROUNDS} lives answered, {} jobs acknowledged, {repeated} requests repeated, {interrupted} jobs interrupted",
        acknowledged.len()
    );
    assert!(acknowledged.len() > ROUNDS as usize && repeated > 10 && interrupted > 10, "too little happened");
}
