//! What the ways in (HTTP, CLI, embedders) ask a worker.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};

use crate::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView};
use crate::model::view::{Affected, Enqueued, HistoryEvent, JobPage, JobView, QueuePage, QueueView};
use crate::model::{JobId, JobState, NewJob, PartitionId, QueueSettings, check};

/// Why a request was not done. `api/error.rs` maps it to HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such thing. 404.
    #[error("{0}")]
    NotFound(String),
    /// There was one, and it is past its retention. 410.
    #[error("{0}")]
    Gone(String),
    /// It is not in a state for that. 409.
    #[error("{0}")]
    Conflict(String),
    /// The request is wrong, and why. 400.
    #[error("{message}")]
    Invalid {
        /// The field that is wrong.
        field: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// A bound is reached: come back later. 429.
    #[error("{message}")]
    Overloaded {
        /// Which bound.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The partition is on its way to another worker: nothing was done, ask again. 503.
    #[error("{0}")]
    Moved(String),
    /// The store or the owner is away, or the disk is full: nothing is known to have been done. 503.
    #[error("{message}")]
    Unavailable {
        /// What is away.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
}

impl From<check::Wrong> for RequestError {
    fn from(wrong: check::Wrong) -> Self {
        Self::Invalid { message: format!("`{}` {}", wrong.field, wrong.message), field: Some(wrong.field) }
    }
}

/// What can be done with one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobCommand {
    /// End it, also if it is running.
    Cancel,
    /// A failed or cancelled job is written anew under its id.
    Retry,
    /// A scheduled job is due now.
    RunNow,
    /// Another lane, 1 … 9.
    SetPriority(u8),
    /// Cancel it if it is open, and forget it: `gone` from then on.
    Delete,
}

/// Which jobs of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Only in that state.
    pub state: Option<JobState>,
    /// Only of that kind.
    pub kind: Option<String>,
    /// Newest first instead of oldest first.
    pub newest_first: bool,
}

/// Captured output, in order.
pub type OutputStream = Pin<Box<dyn Stream<Item = Result<Bytes, RequestError>> + Send>>;

/// How a queue with jobs is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteQueue {
    /// Refused if it has open jobs.
    IfEmpty,
    /// With all its jobs.
    Force,
    /// Open and failed jobs go to that queue.
    MoveTo(String),
}

/// Which partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionFilter {
    /// Only of groups in that namespace.
    pub namespace: Option<String>,
    /// Only of that queue's group; needs a namespace.
    pub queue: Option<String>,
    /// Only those after that one.
    pub after: Option<PartitionId>,
    /// How many at most.
    pub limit: usize,
}

/// A change of a cluster that is thought through before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedChange {
    /// A worker of that name joins.
    Join(String),
    /// That worker, by id or by a name that only it has, leaves.
    Leave(String),
}

/// What a worker does for the ways in. Tests of those put a double in its place.
#[async_trait]
pub trait Requests: Send + Sync + 'static {
    /// Enqueues jobs; answers when they are durable and fenced. All or none within a partition.
    /// The queue comes into being if it does not exist and `auto_create` is on.
    async fn enqueue(
        &self,
        namespace: &str,
        queue: &str,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError>;

    /// All about one job. Jobs are found by id alone; the namespace must match.
    async fn job(&self, namespace: &str, id: JobId) -> Result<JobView, RequestError>;

    /// The same, once it is final, or as it is after `timeout`.
    async fn wait(&self, namespace: &str, id: JobId, timeout: Duration) -> Result<JobView, RequestError>;

    /// Output of an attempt (none: the latest); with `follow` until the attempt ends.
    async fn output(
        &self,
        namespace: &str,
        id: JobId,
        attempt: Option<u32>,
        follow: bool,
    ) -> Result<OutputStream, RequestError>;

    /// What happened to a job, oldest first.
    async fn history(&self, namespace: &str, id: JobId) -> Result<Vec<HistoryEvent>, RequestError>;

    /// Does something with one job and answers what became of it. For `Delete` the last view.
    async fn command(&self, namespace: &str, id: JobId, command: JobCommand)
    -> Result<JobView, RequestError>;

    /// Jobs of a queue, in the order of their ids. The cursor is opaque.
    async fn jobs(
        &self,
        namespace: &str,
        queue: &str,
        filter: JobFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<JobPage, RequestError>;

    /// All failed jobs of a queue are written anew.
    async fn retry_failed(&self, namespace: &str, queue: &str) -> Result<Affected, RequestError>;

    /// Queues of a namespace, by name.
    async fn queues(&self, namespace: &str, after: &str, limit: usize) -> Result<QueuePage, RequestError>;

    /// One queue.
    async fn queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError>;

    /// Creates a queue or changes its settings. `partitions` counts at creation only
    /// (none: the configured default); a different number later is a conflict.
    async fn put_queue(
        &self,
        namespace: &str,
        queue: &str,
        settings: QueueSettings,
        partitions: Option<u16>,
    ) -> Result<QueueView, RequestError>;

    /// Settings of a queue that says nothing else.
    fn queue_defaults(&self) -> QueueSettings {
        QueueSettings::default()
    }

    /// Deletes a queue.
    async fn delete_queue(
        &self,
        namespace: &str,
        queue: &str,
        how: DeleteQueue,
    ) -> Result<Affected, RequestError>;

    /// No new attempts; with `interrupt`, running ones are ended and wait again.
    async fn pause_queue(
        &self,
        namespace: &str,
        queue: &str,
        interrupt: bool,
    ) -> Result<QueueView, RequestError>;

    /// Attempts may start again.
    async fn resume_queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError>;

    /// Who is there and how they are: gathered from all of them, within a bound.
    async fn cluster(&self) -> Result<ClusterView, RequestError>;

    /// Partitions and how they are: gathered from their owners, within a bound.
    async fn partitions(&self, filter: PartitionFilter) -> Result<PartitionPage, RequestError>;

    /// One partition.
    async fn partition(&self, partition: PartitionId) -> Result<PartitionView, RequestError>;

    /// What would move. Changes nothing.
    async fn plan(&self, change: PlannedChange) -> Result<PlanView, RequestError>;

    /// Asks a worker, by id or by a name that only it has, to give its partitions away; or, with
    /// `false`, to take some again.
    async fn drain(&self, worker: &str, drained: bool) -> Result<DrainView, RequestError>;

    /// Why the worker can't take jobs now; `Ok` if it can.
    async fn ready(&self) -> Result<(), String>;

    /// What the store has done since it was opened.
    fn store_counters(&self) -> crate::store::StoreCounters;

    /// Copies the store while it runs, into a new file.
    async fn backup(&self, to: &std::path::Path) -> Result<(), RequestError>;
}
