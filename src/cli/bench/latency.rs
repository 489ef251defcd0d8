//! How long an idle server takes from a job's sending to its start.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::super::exit::Failure;
use super::load::{Taken, histogram, job, record};
use super::{Bench, PROBE_KIND};
use crate::client::Wait;
use crate::model::Outcome;
use crate::runner::{Context, Handler, Report};

/// Pause between two jobs: what the one before left to do is done.
const IDLE: Duration = Duration::from_millis(10);
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(30);

/// A handler that tells when it is started.
#[derive(Debug, Default)]
pub(super) struct Probe {
    started: Notify,
}

#[async_trait]
impl Handler for Probe {
    async fn run(&self, _: Context) -> Report {
        self.started.notify_one();
        Report { outcome: Outcome::Succeeded { result: Bytes::new() }, exit_code: None }
    }
}

impl Bench {
    /// One job at a time.
    pub(super) async fn idle_latency(&self, queue: &str) -> Result<Taken, Failure> {
        let began = Instant::now();
        let mut latency = histogram();
        while began.elapsed() < self.time {
            tokio::time::sleep(IDLE).await;
            let sent = Instant::now();
            let late = || Failure::failed(format!("a job was not started within {START_MAX:?}"));
            match &self.probe {
                Some(probe) => {
                    let started = async {
                        probe.started.notified().await;
                        sent.elapsed()
                    };
                    let spec = job(PROBE_KIND);
                    let (enqueued, took) = tokio::join!(
                        self.client.enqueue(queue, &spec),
                        tokio::time::timeout(START_MAX, started)
                    );
                    enqueued?;
                    record(&mut latency, took.map_err(|_| late())?);
                }
                None => {
                    let enqueued = self.client.enqueue(queue, &job(&self.kind)).await?;
                    match self.client.wait(enqueued.id, Some(START_MAX)).await? {
                        Wait::Final(_) => record(&mut latency, sent.elapsed()),
                        Wait::TimedOut(_) => return Err(late()),
                    }
                }
            }
        }
        Ok(Taken { jobs: latency.len(), time: began.elapsed(), latency })
    }
}
