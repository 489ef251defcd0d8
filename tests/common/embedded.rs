//! A worker inside the test, again and again on one store, and what must hold in the end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use qdo::model::view::{Counts, JobView};
use qdo::model::{Backoff, Due, JobId, JobState, Lane, NewJob, Span};
use qdo::store::Store;
use qdo::worker::{JobCommand, JobFilter, RequestError, Requests, Worker, WorkerSettings};
use serde_json::json;

use super::PATIENCE;
use super::jobs::recount;
use super::random::Random;

pub const QUEUES: [&str; 2] = ["one", "two"];
const MAX_ATTEMPTS: u32 = 3;
const SLOTS: usize = 4;
/// Pause of a producer that was refused.
const PAUSE: Duration = Duration::from_millis(2);

/// One request, repeated with the same tokens until it is acknowledged.
#[derive(Clone, Debug)]
struct Order {
    queue: &'static str,
    jobs: Vec<NewJob>,
    cancel: bool,
}

#[derive(Clone, Debug)]
struct Acknowledged {
    id: JobId,
    cancel: bool,
}

/// What was asked for, acknowledged and run: it outlives every worker.
#[derive(Default)]
pub struct Ledger {
    serial: AtomicU64,
    open: Mutex<BTreeMap<u64, Order>>,
    acknowledged: Mutex<HashMap<String, Acknowledged>>,
    runs: Mutex<HashMap<JobId, HashSet<u32>>>,
    twice: Mutex<Vec<(JobId, u32)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// An attempt begins to run.
    fn note(&self, job: JobId, attempt: u32) {
        if !lock(&self.runs).entry(job).or_default().insert(attempt) {
            lock(&self.twice).push((job, attempt));
        }
    }

    fn order(&self, random: &mut Random) -> u64 {
        let number = self.serial.fetch_add(1, Ordering::Relaxed);
        let cancel = random.one_in(8);
        let count = if random.one_in(3) { 1 + random.below(6) } else { 1 };
        let job = |place| {
            let token = format!("{number}-{place}");
            let kind =
                ["note", "note", "note", "slow", "failing", "flaky", "panicking"][random.below(7) as usize];
            let payload = json!({"token": token, "batch": number, "of": count}).to_string();
            let due = match random.below(6) {
                _ if cancel => Due::After(3_600_000),
                0 => Due::After(1 + random.below(100)),
                _ => Due::Now,
            };
            let backoff = Backoff { base: Span::from_ms(2), cap: Span::from_ms(20), ..Backoff::default() };
            NewJob {
                token: Some(token),
                due,
                lane: Lane::new(1 + random.below(9) as u8).unwrap(),
                max_attempts: Some(MAX_ATTEMPTS),
                backoff: Some(backoff),
                ..NewJob::new(kind, payload)
            }
        };
        let jobs = (0..count).map(job).collect();
        let order = Order { queue: QUEUES[random.below(2) as usize], jobs, cancel };
        lock(&self.open).insert(number, order);
        number
    }

    /// Sends an order; false if it must be repeated.
    async fn send(&self, requests: &Arc<dyn Requests>, number: u64) -> bool {
        let Some(order) = lock(&self.open).get(&number).cloned() else { return true };
        let answers = match requests.enqueue("default", order.queue, order.jobs.clone()).await {
            Ok(answers) => answers,
            Err(RequestError::Unavailable { .. } | RequestError::Overloaded { .. }) => return false,
            Err(other) => panic!("an enqueue was answered: {other}"),
        };
        assert_eq!(answers.len(), order.jobs.len());
        let mut acknowledged = lock(&self.acknowledged);
        for (job, answer) in order.jobs.into_iter().zip(answers) {
            let taken = Acknowledged { id: answer.id, cancel: order.cancel };
            let before = acknowledged.insert(job.token.unwrap(), taken);
            assert!(
                before.is_none_or(|before| before.id == answer.id),
                "one token was answered with two jobs"
            );
        }
        lock(&self.open).remove(&number);
        true
    }

    /// Makes so many orders, each once.
    pub async fn produce(&self, requests: &Arc<dyn Requests>, random: &mut Random, orders: u64) {
        for _ in 0..orders {
            let number = self.order(random);
            if !self.send(requests, number).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Repeats what is not acknowledged, once each.
    pub async fn repeat(&self, requests: &Arc<dyn Requests>) {
        let open: Vec<u64> = lock(&self.open).keys().copied().collect();
        for number in open {
            self.send(requests, number).await;
        }
    }

    /// Has everything acknowledged and ended, on a store that works.
    pub async fn drain(&self, requests: &Arc<dyn Requests>) {
        while !lock(&self.open).is_empty() {
            self.repeat(requests).await;
            tokio::time::sleep(PAUSE).await;
        }
        let acknowledged = lock(&self.acknowledged).clone();
        for taken in acknowledged.values().filter(|taken| taken.cancel) {
            let done = patient(|| requests.command("default", taken.id, JobCommand::Cancel)).await;
            assert!(matches!(done, Ok(_) | Err(RequestError::Conflict(_))), "{done:?}");
        }
        for taken in acknowledged.values() {
            let job = patient(|| requests.wait("default", taken.id, PATIENCE)).await.unwrap();
            assert!(job.state.is_final(), "it does not end: {job:?}");
        }
        for queue in QUEUES {
            for job in list(requests, queue).await.iter().filter(|job| !job.state.is_final()) {
                let job = patient(|| requests.wait("default", job.id, PATIENCE)).await.unwrap();
                assert!(job.state.is_final(), "it does not end: {job:?}");
            }
        }
    }

    /// All that must hold once everything has ended.
    pub async fn check(&self, requests: &Arc<dyn Requests>) {
        assert_eq!(*lock(&self.twice), [], "attempts that ran twice");
        let mut by_token = HashMap::new();
        let mut batches: HashMap<u64, (u64, u64)> = HashMap::new();
        for queue in QUEUES {
            let jobs = list(requests, queue).await;
            let counts = match patient(|| requests.queue("default", queue)).await {
                Ok(queue) => queue.counts,
                Err(RequestError::NotFound(_)) => Counts::default(),
                Err(error) => panic!("queue {queue} can't be looked at: {error}"),
            };
            assert_eq!(counts, recount(&jobs), "counts of queue {queue} and its jobs");
            for job in jobs {
                self.check_job(&job);
                self.check_attempts(requests, &job).await;
                let payload = job.payload.as_ref().unwrap();
                let token = payload["token"].as_str().unwrap().to_owned();
                assert_eq!(by_token.insert(token, job.id), None, "one token made two jobs: {job:?}");
                let batch = payload["batch"].as_u64().unwrap();
                batches.entry(batch).or_insert((0, payload["of"].as_u64().unwrap())).0 += 1;
            }
        }
        for (batch, (there, of)) in batches {
            assert_eq!(there, of, "batch {batch} was enqueued in part");
        }
        for (token, taken) in &*lock(&self.acknowledged) {
            assert_eq!(by_token.get(token), Some(&taken.id), "acknowledged and lost: {token} {taken:?}");
        }
    }

    fn check_job(&self, job: &JobView) {
        let ran = lock(&self.runs).get(&job.id).cloned().unwrap_or_default();
        assert!(ran.iter().all(|attempt| (1..=job.attempt).contains(attempt)), "{ran:?}: {job:?}");
        match job.state {
            JobState::Succeeded => {
                let works = job.kind != "failing" && job.kind != "panicking";
                assert!(works && ran.contains(&job.attempt), "it did not run: {job:?}");
            }
            JobState::Failed => {
                let by_limit = job.failures == MAX_ATTEMPTS || job.interruptions >= 3;
                assert!(by_limit, "failed without reaching a limit: {job:?}");
            }
            JobState::Cancelled => assert!(ran.is_empty(), "it was due in an hour: {job:?}"),
            other => panic!("{other:?}: {job:?}"),
        }
    }

    /// Attempts that did not run were interrupted, or given back since they were never handed out.
    async fn check_attempts(&self, requests: &Arc<dyn Requests>, job: &JobView) {
        let ran = lock(&self.runs).get(&job.id).cloned().unwrap_or_default();
        if job.attempt as usize == ran.len() {
            return;
        }
        let job = patient(|| requests.job("default", job.id)).await.unwrap();
        let outcomes: HashMap<u32, &str> =
            job.attempts.iter().map(|attempt| (attempt.attempt, &*attempt.outcome)).collect();
        for attempt in (1..=job.attempt).filter(|attempt| !ran.contains(attempt)) {
            let outcome = outcomes.get(&attempt).copied();
            // The last interruption that a job may have is written down as its failure.
            let excused = matches!(outcome, Some("released" | "interrupted"))
                || outcome == Some("failed") && job.interruptions >= 3;
            assert!(excused, "attempt {attempt} did not run, and is {outcome:?}: {job:?}");
        }
    }

    /// Nothing was interrupted: no worker has died.
    pub async fn check_uninterrupted(&self, requests: &Arc<dyn Requests>) {
        for queue in QUEUES {
            for job in list(requests, queue).await {
                assert_eq!(job.interruptions, 0, "{job:?}");
            }
        }
    }

    /// Jobs acknowledged and attempts run.
    pub fn done(&self) -> (usize, usize) {
        (lock(&self.acknowledged).len(), lock(&self.runs).values().map(HashSet::len).sum())
    }
}

/// Starts a worker whose functions note what they run. A store that fails is tried again.
pub async fn start(store: &Arc<dyn Store>, ledger: &Arc<Ledger>) -> Worker {
    loop {
        match try_start(store, ledger).await {
            Ok(worker) => return worker,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The same, once.
pub async fn try_start(
    store: &Arc<dyn Store>,
    ledger: &Arc<Ledger>,
) -> Result<Worker, qdo::worker::StartError> {
    let mut builder =
        Worker::builder(store.clone()).settings(WorkerSettings { slots: SLOTS, ..WorkerSettings::default() });
    for kind in ["note", "slow", "failing", "flaky", "panicking"] {
        let ledger = ledger.clone();
        builder = builder.handler(kind, move |context| {
            ledger.note(context.attempt.job, context.attempt.attempt);
            async move {
                match kind {
                    "slow" => tokio::time::sleep(Duration::from_millis(5)).await,
                    "failing" => anyhow::bail!("it never works"),
                    "flaky" if context.attempt.attempt == 1 => anyhow::bail!("not at first"),
                    "panicking" => std::panic::resume_unwind(Box::new("on purpose")),
                    _ => {}
                }
                context.output.write(b"it ran\n").await;
                Ok(Bytes::new())
            }
        });
    }
    builder.start().await
}

/// Asks again while the answer is that the store is in trouble: the last fault is still being mended.
/// Whoever calls it bounds it.
async fn patient<T, F: Future<Output = Result<T, RequestError>>>(
    ask: impl Fn() -> F,
) -> Result<T, RequestError> {
    loop {
        match ask().await {
            Err(RequestError::Unavailable { .. } | RequestError::Overloaded { .. }) => {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

async fn list(requests: &Arc<dyn Requests>, queue: &str) -> Vec<JobView> {
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let ask = || requests.jobs("default", queue, JobFilter::default(), cursor.clone(), 1_000);
        let page = match patient(ask).await {
            Ok(page) => page,
            // Nothing came to be enqueued there.
            Err(RequestError::NotFound(_)) => return jobs,
            Err(error) => panic!("queue {queue} can't be listed: {error}"),
        };
        jobs.extend(page.jobs);
        cursor = page.cursor;
        if cursor.is_none() {
            return jobs;
        }
    }
}
