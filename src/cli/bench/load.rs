//! Load: enqueueing, and running what was enqueued.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::super::exit::Failure;
use super::{Bench, NO_HANDLER};
use crate::client::{Client, JobSpec};

/// Jobs of one batch.
const BATCH_JOBS: usize = 1_000;
/// Connections that enqueue batches while jobs run.
const FEEDERS: usize = 2;
/// Jobs that may be open while jobs run: more would only measure the backlog.
const OPEN_MAX: u64 = 10_000;
/// How long what was enqueued may take to be run.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// Pause between two looks at a queue's counts.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What a measurement took.
pub(super) struct Taken {
    pub jobs: u64,
    pub time: Duration,
    /// Microseconds of each call, or of each job.
    pub latency: Histogram<u64>,
}

/// Up to an hour in microseconds, three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(3_600_000_000, 3).expect("the bounds are constants")
}

pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_micros() as u64);
}

/// A small job. Without a token: its index is not what is measured.
pub(super) fn job(kind: &str) -> JobSpec {
    JobSpec { kind: kind.to_owned(), ..JobSpec::default() }
}

fn batch(kind: &str) -> Bytes {
    let line = format!("{{\"kind\":{kind:?},\"payload\":{{\"bench\":true}}}}\n");
    Bytes::from(line.repeat(BATCH_JOBS))
}

impl Bench {
    /// Each connection enqueues one job after another.
    pub(super) async fn one_by_one(&self, queue: &str, connections: usize) -> Result<Taken, Failure> {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let (client, queue, time) = (self.client.clone(), queue.to_owned(), self.time);
            tasks.spawn(async move {
                let mut latency = histogram();
                let spec = job(NO_HANDLER);
                while began.elapsed() < time {
                    let sent = Instant::now();
                    client.enqueue(&queue, &spec).await?;
                    record(&mut latency, sent.elapsed());
                }
                Ok::<_, Failure>(latency)
            });
        }
        let mut latency = histogram();
        while let Some(ended) = tasks.join_next().await {
            let part =
                ended.map_err(|error| Failure::failed(format!("a connection's task broke: {error}")))??;
            latency.add(part).map_err(|error| Failure::failed(error.to_string()))?;
        }
        Ok(Taken { jobs: latency.len(), time: began.elapsed(), latency })
    }

    /// One connection enqueues batches.
    pub(super) async fn batches(&self, queue: &str) -> Result<Taken, Failure> {
        let began = Instant::now();
        let (latency, jobs) = feed(&self.client, queue, NO_HANDLER, || began.elapsed() < self.time).await?;
        Ok(Taken { jobs, time: began.elapsed(), latency })
    }

    /// Batches are enqueued while their jobs run; the time ends when all have ended.
    pub(super) async fn enqueue_and_run(&self, queue: &str) -> Result<Taken, Failure> {
        let began = Instant::now();
        let full = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..FEEDERS {
            let (client, queue, kind) = (self.client.clone(), queue.to_owned(), self.kind.clone());
            let (time, full) = (self.time, full.clone());
            tasks.spawn(async move {
                let mut jobs = 0;
                while began.elapsed() < time {
                    if full.load(Ordering::Relaxed) {
                        tokio::time::sleep(LOOK_PAUSE).await;
                        continue;
                    }
                    jobs += client.enqueue_lines(&queue, batch(&kind), false).await?.len() as u64;
                }
                Ok::<_, Failure>(jobs)
            });
        }
        let mut jobs = 0;
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => break,
                    Some(ended) => {
                        jobs += ended.map_err(|error| Failure::failed(format!("a connection's task broke: {error}")))??;
                    }
                },
                () = tokio::time::sleep(LOOK_PAUSE) => {
                    let open = match self.client.queue(queue).await {
                        Ok(view) => view.counts.open(),
                        // The first batch has yet to make the queue.
                        Err(error) if error.status() == Some(404) => 0,
                        Err(error) => return Err(error.into()),
                    };
                    full.store(open > OPEN_MAX, Ordering::Relaxed);
                }
            }
        }
        self.drained(queue, jobs).await?;
        Ok(Taken { jobs, time: began.elapsed(), latency: histogram() })
    }

    /// Waits until all jobs have succeeded.
    async fn drained(&self, queue: &str, jobs: u64) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let counts = self.client.queue(queue).await?.counts;
            if counts.open() == 0 {
                let ended = counts.succeeded + counts.failed + counts.cancelled;
                if counts.failed + counts.cancelled > 0 || ended > jobs {
                    let message = format!("{} of {jobs} jobs succeeded: {counts:?}", counts.succeeded);
                    return Err(Failure::failed(message));
                }
                return Ok(());
            }
            if began.elapsed() > DRAIN_MAX {
                return Err(Failure::failed(format!(
                    "{} jobs are still open after {DRAIN_MAX:?}",
                    counts.open()
                )));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

/// Enqueues batches as long as `more` says so.
async fn feed(
    client: &Client,
    queue: &str,
    kind: &str,
    more: impl Fn() -> bool,
) -> Result<(Histogram<u64>, u64), Failure> {
    let lines = batch(kind);
    let mut latency = histogram();
    let mut jobs = 0;
    while more() {
        let sent = Instant::now();
        jobs += client.enqueue_lines(queue, lines.clone(), false).await?.len() as u64;
        record(&mut latency, sent.elapsed());
    }
    Ok((latency, jobs))
}
