//! Jobs that flow in at several workers, each until it is acknowledged.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qdo::model::JobId;
use qdo::model::view::Enqueued;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ledger::now_ms;
use crate::common::PATIENCE;
use crate::common::random::Random;

/// Requests under way at once; while there are so many, no more are begun.
const IN_FLIGHT_MAX: usize = 256;
/// How long one try may take: longer than a worker takes to say that it can't.
const TRY_PATIENCE: Duration = Duration::from_secs(40);
/// Pause of whoever was refused.
const PAUSE: Duration = Duration::from_millis(100);

/// One job that was acknowledged.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: JobId,
    /// When it was first asked for.
    pub asked_ms: u64,
    /// When it was acknowledged.
    pub acked_ms: u64,
    /// Every try was answered by a worker that no fault was done to: what it took is the cluster's time.
    pub undisturbed: bool,
}

/// What a load has come to, while it goes on and after.
#[derive(Default)]
pub struct Book {
    workers: Mutex<Vec<String>>,
    victims: Mutex<HashSet<String>>,
    orders: Mutex<Vec<Order>>,
    wrong: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// Where jobs are enqueued from now on.
    pub fn set_workers(&self, urls: Vec<String>) {
        *lock(&self.workers) = urls;
    }

    /// A fault is done to these workers: what they take for their answers says nothing of the others.
    pub fn set_victims(&self, urls: impl IntoIterator<Item = String>) {
        *lock(&self.victims) = urls.into_iter().collect();
    }

    pub fn orders(&self) -> Vec<Order> {
        lock(&self.orders).clone()
    }

    pub fn acknowledged(&self) -> usize {
        lock(&self.orders).len()
    }

    /// Answers that no client should get.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// One that came another way.
    pub fn add(&self, order: Order) {
        lock(&self.orders).push(order);
    }

    /// None while all are dead.
    fn worker(&self, turn: usize) -> Option<String> {
        let workers = lock(&self.workers);
        workers.get(turn % workers.len().max(1)).cloned()
    }

    fn is_victim(&self, url: &str) -> bool {
        lock(&self.victims).contains(url)
    }
}

/// A running load.
pub struct Load {
    stop: CancellationToken,
    pacing: JoinHandle<()>,
}

impl Load {
    pub fn start(client: &Client, book: &Arc<Book>, queue: &str, per_second: u32, random: Random) -> Self {
        let stop = CancellationToken::new();
        let pacing = pace(client.clone(), book.clone(), queue.to_owned(), per_second, random, stop.clone());
        Self { stop, pacing: tokio::spawn(pacing) }
    }

    /// Begins no more, and waits until all that were begun are acknowledged.
    pub async fn stop(self) {
        self.stop.cancel();
        self.pacing.await.unwrap();
    }
}

async fn pace(
    client: Client,
    book: Arc<Book>,
    queue: String,
    per_second: u32,
    mut random: Random,
    stop: CancellationToken,
) {
    let mut tick = interval(Duration::from_secs(1) / per_second);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut orders = JoinSet::new();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        while orders.try_join_next().is_some() {}
        if orders.len() < IN_FLIGHT_MAX {
            // Most take no time; some are running whenever something happens.
            let seconds = ["0", "0", "0", "0", "0", "0", "0", "0.2", "0.2", "1.5"][random.below(10) as usize];
            let token = format!("{:016x}{:016x}", random.next(), random.next());
            let turn = random.below(1 << 16) as usize;
            orders.spawn(order(client.clone(), book.clone(), queue.clone(), token, seconds, turn));
        }
    }
    while orders.join_next().await.is_some() {}
}

/// Asks one worker after the other, with one token, until one has acknowledged the job.
async fn order(
    client: Client,
    book: Arc<Book>,
    queue: String,
    token: String,
    seconds: &'static str,
    turn: usize,
) {
    let payload: serde_json::Value = serde_json::from_str(seconds).unwrap();
    let job = json!({"kind": "work", "payload": payload, "token": token});
    let asked_ms = now_ms();
    let deadline = Instant::now() + PATIENCE;
    let mut undisturbed = true;
    let mut last = "no worker was there".to_owned();
    for turn in turn.. {
        if Instant::now() >= deadline {
            return lock(&book.wrong).push(format!("not acknowledged within {PATIENCE:?}: {last}"));
        }
        let Some(worker) = book.worker(turn) else {
            sleep(PAUSE).await;
            continue;
        };
        let tried = timeout(TRY_PATIENCE, enqueue(&client, &worker, &queue, &job)).await;
        undisturbed &= !book.is_victim(&worker);
        match tried {
            Ok(Ok(Answer::Taken(id))) => {
                return book.add(Order { id, asked_ms, acked_ms: now_ms(), undisturbed });
            }
            Ok(Ok(Answer::Later(what))) => last = format!("{worker}: {what}"),
            Ok(Ok(Answer::Wrong(what))) => return lock(&book.wrong).push(format!("{worker}: {what}")),
            Ok(Err(error)) => {
                undisturbed = false;
                last = format!("{worker}: {error:?}");
            }
            Err(_) => {
                undisturbed = false;
                last = format!("{worker}: no answer within {TRY_PATIENCE:?}");
            }
        }
        sleep(PAUSE).await;
    }
}

/// What a worker said.
#[derive(Debug)]
pub enum Answer {
    Taken(JobId),
    Later(String),
    Wrong(String),
}

/// Asks one worker once.
pub async fn enqueue(
    client: &Client,
    worker: &str,
    queue: &str,
    job: &serde_json::Value,
) -> reqwest::Result<Answer> {
    let url = format!("{worker}/v1/default/queues/{queue}/jobs");
    let answer = client.post(url).json(job).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    Ok(match status {
        StatusCode::CREATED | StatusCode::OK => match serde_json::from_str::<Enqueued>(&text) {
            Ok(enqueued) => Answer::Taken(enqueued.id),
            Err(error) => Answer::Wrong(format!("{error}: {text}")),
        },
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Answer::Later(text),
        _ => Answer::Wrong(format!("{status} {text}")),
    })
}
