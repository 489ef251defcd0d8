//! The calls of the HTTP API, typed.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::send::{Call, innermost};
use super::{Client, ClientError, JobSpec};
use crate::model::view::{Affected, Enqueued, HistoryEvent, JobPage, JobView, QueuePage, QueueView};
use crate::model::{JobId, JobState, Span};
use crate::worker::{DeleteQueue, JobCommand};

/// Longest single long poll; longer waits are several.
const POLL_MS_MAX: u64 = 30_000;
/// Least time between two of them.
const EARLY_PAUSE: Duration = Duration::from_millis(250);

/// Answer to an enqueue of many.
#[derive(serde::Deserialize)]
struct EnqueuedMany {
    jobs: Vec<Enqueued>,
}

/// How a wait ended.
#[derive(Clone, Debug)]
pub enum Wait {
    /// The job is final.
    Final(Box<JobView>),
    /// Time was up; the job as it was last seen.
    TimedOut(Box<JobView>),
}

/// Which jobs of a queue, and in which order.
#[derive(Clone, Debug, Default)]
pub struct JobListing {
    /// Only in that state.
    pub state: Option<JobState>,
    /// Only of that kind.
    pub kind: Option<String>,
    /// Newest first.
    pub newest_first: bool,
    /// Where to go on.
    pub cursor: Option<String>,
    /// Jobs of this page.
    pub limit: usize,
}

impl Client {
    /// Enqueues one job. If it has a token, a lost answer is asked for again.
    pub async fn enqueue(&self, queue: &str, job: &JobSpec) -> Result<Enqueued, ClientError> {
        let url = self.namespace_url(&["queues", queue, "jobs"]);
        let call = if job.token.is_some() {
            Call::repeatable(Method::POST, url)
        } else {
            Call::once(Method::POST, url)
        };
        self.ask(call.with_json(job)).await
    }

    /// Enqueues many jobs, one JSON object a line. `with_tokens`: each has a token.
    pub async fn enqueue_lines(
        &self,
        queue: &str,
        lines: Bytes,
        with_tokens: bool,
    ) -> Result<Vec<Enqueued>, ClientError> {
        let url = self.namespace_url(&["queues", queue, "jobs"]);
        let mut call = Call::once(Method::POST, url).with_body("application/x-ndjson", lines);
        call.repeatable = with_tokens;
        self.ask::<EnqueuedMany>(call).await.map(|many| many.jobs)
    }

    /// All about one job.
    pub async fn job(&self, id: JobId) -> Result<JobView, ClientError> {
        self.ask(Call::get(self.job_url(id, &[]))).await
    }

    /// Waits until a job is final, or the time is up (none: for ever).
    pub async fn wait(&self, id: JobId, timeout: Option<Duration>) -> Result<Wait, ClientError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let poll_ms = left.map_or(POLL_MS_MAX, |left| POLL_MS_MAX.min(left.as_millis() as u64));
            let mut url = self.job_url(id, &[]);
            url.query_pairs_mut().append_pair("wait", &Span::from_ms(poll_ms).to_string());
            let asked = Instant::now();
            let job: JobView = self.ask(Call::get(url)).await?;
            if job.state.is_final() {
                return Ok(Wait::Final(Box::new(job)));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Wait::TimedOut(Box::new(job)));
            }
            // A server that is being stopped answers at once.
            tokio::time::sleep(EARLY_PAUSE.saturating_sub(asked.elapsed())).await;
        }
    }

    /// Captured output of an attempt (none: the latest); with `follow` until the attempt ends.
    pub async fn output(
        &self,
        id: JobId,
        attempt: Option<u32>,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + Unpin + use<>, ClientError> {
        let mut url = self.job_url(id, &["output"]);
        if let Some(attempt) = attempt {
            url.query_pairs_mut().append_pair("attempt", &attempt.to_string());
        }
        if follow {
            url.query_pairs_mut().append_pair("follow", "1");
        }
        let call = Call { timeout: None, ..Call::get(url) };
        let response = self.send(call).await?;
        let address = self.address().to_owned();
        let stream = response.bytes_stream().map(move |chunk| {
            chunk
                .map_err(|error| ClientError::Broken { address: address.clone(), message: innermost(&error) })
        });
        Ok(Box::pin(stream))
    }

    /// What happened to a job, oldest first.
    pub async fn history(&self, id: JobId) -> Result<Vec<HistoryEvent>, ClientError> {
        self.ask(Call::get(self.job_url(id, &["history"]))).await
    }

    /// Does something with one job, and gives what became of it.
    pub async fn command(&self, id: JobId, command: JobCommand) -> Result<JobView, ClientError> {
        let post = |verb| Call::once(Method::POST, self.job_url(id, &[verb]));
        let call = match command {
            JobCommand::Cancel => post("cancel"),
            JobCommand::Retry => post("retry"),
            JobCommand::RunNow => post("run-now"),
            JobCommand::SetPriority(lane) => {
                let call = Call::repeatable(Method::POST, self.job_url(id, &["priority"]));
                call.with_json(&json!({ "priority": lane }))
            }
            JobCommand::Delete => Call::once(Method::DELETE, self.job_url(id, &[])),
        };
        self.ask(call).await
    }

    /// A page of a queue's jobs.
    pub async fn jobs(&self, queue: &str, listing: &JobListing) -> Result<JobPage, ClientError> {
        let mut url = self.namespace_url(&["queues", queue, "jobs"]);
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("limit", &listing.limit.to_string());
            if let Some(state) = listing.state {
                query.append_pair("state", state.name());
            }
            if let Some(kind) = &listing.kind {
                query.append_pair("kind", kind);
            }
            if listing.newest_first {
                query.append_pair("order", "desc");
            }
            if let Some(cursor) = &listing.cursor {
                query.append_pair("cursor", cursor);
            }
        }
        self.ask(Call::get(url)).await
    }

    /// A page of the namespace's queues.
    pub async fn queues(&self, cursor: Option<&str>) -> Result<QueuePage, ClientError> {
        let mut url = self.namespace_url(&["queues"]);
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("after", cursor);
        }
        self.ask(Call::get(url)).await
    }

    /// One queue.
    pub async fn queue(&self, queue: &str) -> Result<QueueView, ClientError> {
        self.ask(Call::get(self.namespace_url(&["queues", queue]))).await
    }

    /// Creates a queue or changes its settings: those of [`crate::model::QueueSettings`], and
    /// `partitions`. What is left out gets its default.
    pub async fn put_queue(&self, queue: &str, settings: &Value) -> Result<QueueView, ClientError> {
        let call = Call::repeatable(Method::PUT, self.namespace_url(&["queues", queue]));
        self.ask(call.with_json(settings)).await
    }

    /// Deletes a queue.
    pub async fn delete_queue(&self, queue: &str, how: &DeleteQueue) -> Result<Affected, ClientError> {
        let mut url = self.namespace_url(&["queues", queue]);
        match how {
            DeleteQueue::IfEmpty => {}
            DeleteQueue::Force => {
                url.query_pairs_mut().append_pair("force", "true");
            }
            DeleteQueue::MoveTo(other) => {
                url.query_pairs_mut().append_pair("move_to", other);
            }
        }
        self.ask(Call::once(Method::DELETE, url)).await
    }

    /// No new attempts; with `interrupt`, running ones are ended and wait again.
    pub async fn pause_queue(&self, queue: &str, interrupt: bool) -> Result<QueueView, ClientError> {
        let mut url = self.namespace_url(&["queues", queue, "pause"]);
        if interrupt {
            url.query_pairs_mut().append_pair("interrupt", "true");
        }
        self.ask(Call::repeatable(Method::POST, url)).await
    }

    /// Attempts may start again.
    pub async fn resume_queue(&self, queue: &str) -> Result<QueueView, ClientError> {
        let url = self.namespace_url(&["queues", queue, "resume"]);
        self.ask(Call::repeatable(Method::POST, url)).await
    }

    /// All failed jobs of a queue are tried again.
    pub async fn retry_failed(&self, queue: &str) -> Result<Affected, ClientError> {
        let url = self.namespace_url(&["queues", queue, "retry-failed"]);
        self.ask(Call::once(Method::POST, url)).await
    }

    /// What the server's store has done since it was opened.
    pub async fn counters(&self) -> Result<Value, ClientError> {
        self.ask(Call::get(self.url(&["counters"]))).await
    }

    /// Has the server copy its store into a new file on its machine.
    pub async fn backup(&self, to: &std::path::Path) -> Result<(), ClientError> {
        let call = Call::once(Method::POST, self.url(&["admin", "backup"])).with_json(&json!({ "to": to }));
        // A large store takes a while; the server answers when the copy is complete.
        self.send(Call { timeout: None, ..call }).await.map(drop)
    }

    /// Whether a server answers there.
    pub async fn health(&self) -> Result<(), ClientError> {
        self.send(Call::get(self.url(&["health"]))).await.map(drop)
    }

    fn job_url(&self, id: JobId, rest: &[&str]) -> reqwest::Url {
        let id = id.to_string();
        let mut parts = vec!["jobs", id.as_str()];
        parts.extend(rest);
        self.namespace_url(&parts)
    }
}
