//! What the ways in, and other workers, talk to while a worker still waits for its store.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::coordination::WorkerId;
use crate::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView};
use crate::model::view::{Affected, Enqueued, HistoryEvent, JobPage, JobView, QueuePage, QueueView};
use crate::model::{JobId, NewJob, PartitionId, QueueSettings};
use crate::store::StoreCounters;
use crate::worker::peer::{PeerServer, PeerService, ServerCall};
use crate::worker::{
    DeleteQueue, JobCommand, JobFilter, OutputStream, PartitionFilter, PlannedChange, RequestError, Requests,
    Worker,
};

use super::{ClusterSettings, peer_server};

/// When to come back.
const RETRY: Duration = Duration::from_secs(2);

/// Answers that it is not ready until there is a worker, and then what that answers.
#[derive(Clone, Default)]
pub struct Late {
    worker: Arc<OnceLock<Arc<dyn Requests>>>,
    service: Arc<OnceLock<Arc<dyn PeerService>>>,
}

impl Late {
    /// From now on the worker answers. Only the first one counts.
    pub fn ready_with(&self, worker: &Worker) {
        // A second one would be a second worker in one process.
        let _ = self.worker.set(worker.requests());
        let _ = self.service.set(worker.peer_service());
    }

    /// Lets other workers in, and answers them once there is a worker.
    pub fn peers(&self, settings: &ClusterSettings) -> PeerServer {
        peer_server(settings, Arc::new(self.clone()))
    }

    fn not_yet() -> RequestError {
        RequestError::Unavailable { message: NOT_YET.to_owned(), retry_after: RETRY }
    }

    fn worker(&self) -> Result<&Arc<dyn Requests>, RequestError> {
        self.worker.get().ok_or_else(Self::not_yet)
    }
}

const NOT_YET: &str = "this worker waits for the store: nothing was done";

#[async_trait]
impl PeerService for Late {
    async fn serve(&self, from: WorkerId, kind: u32, message: Bytes, call: ServerCall) {
        match self.service.get() {
            Some(service) => service.serve(from, kind, message, call).await,
            None => call.refuse(Self::not_yet()),
        }
    }
}

#[async_trait]
impl Requests for Late {
    async fn enqueue(
        &self,
        namespace: &str,
        queue: &str,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        self.worker()?.enqueue(namespace, queue, jobs).await
    }

    async fn job(&self, namespace: &str, id: JobId) -> Result<JobView, RequestError> {
        self.worker()?.job(namespace, id).await
    }

    async fn wait(&self, namespace: &str, id: JobId, timeout: Duration) -> Result<JobView, RequestError> {
        self.worker()?.wait(namespace, id, timeout).await
    }

    async fn output(
        &self,
        namespace: &str,
        id: JobId,
        attempt: Option<u32>,
        follow: bool,
    ) -> Result<OutputStream, RequestError> {
        self.worker()?.output(namespace, id, attempt, follow).await
    }

    async fn history(&self, namespace: &str, id: JobId) -> Result<Vec<HistoryEvent>, RequestError> {
        self.worker()?.history(namespace, id).await
    }

    async fn command(
        &self,
        namespace: &str,
        id: JobId,
        command: JobCommand,
    ) -> Result<JobView, RequestError> {
        self.worker()?.command(namespace, id, command).await
    }

    async fn jobs(
        &self,
        namespace: &str,
        queue: &str,
        filter: JobFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<JobPage, RequestError> {
        self.worker()?.jobs(namespace, queue, filter, cursor, limit).await
    }

    async fn retry_failed(&self, namespace: &str, queue: &str) -> Result<Affected, RequestError> {
        self.worker()?.retry_failed(namespace, queue).await
    }

    async fn queues(&self, namespace: &str, after: &str, limit: usize) -> Result<QueuePage, RequestError> {
        self.worker()?.queues(namespace, after, limit).await
    }

    async fn queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError> {
        self.worker()?.queue(namespace, queue).await
    }

    async fn put_queue(
        &self,
        namespace: &str,
        queue: &str,
        settings: QueueSettings,
        partitions: Option<u16>,
    ) -> Result<QueueView, RequestError> {
        self.worker()?.put_queue(namespace, queue, settings, partitions).await
    }

    fn queue_defaults(&self) -> QueueSettings {
        self.worker().map(|worker| worker.queue_defaults()).unwrap_or_default()
    }

    async fn delete_queue(
        &self,
        namespace: &str,
        queue: &str,
        how: DeleteQueue,
    ) -> Result<Affected, RequestError> {
        self.worker()?.delete_queue(namespace, queue, how).await
    }

    async fn pause_queue(
        &self,
        namespace: &str,
        queue: &str,
        interrupt: bool,
    ) -> Result<QueueView, RequestError> {
        self.worker()?.pause_queue(namespace, queue, interrupt).await
    }

    async fn resume_queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError> {
        self.worker()?.resume_queue(namespace, queue).await
    }

    async fn cluster(&self) -> Result<ClusterView, RequestError> {
        self.worker()?.cluster().await
    }

    async fn partitions(&self, filter: PartitionFilter) -> Result<PartitionPage, RequestError> {
        self.worker()?.partitions(filter).await
    }

    async fn partition(&self, partition: PartitionId) -> Result<PartitionView, RequestError> {
        self.worker()?.partition(partition).await
    }

    async fn plan(&self, change: PlannedChange) -> Result<PlanView, RequestError> {
        self.worker()?.plan(change).await
    }

    async fn drain(&self, worker: &str, drained: bool) -> Result<DrainView, RequestError> {
        self.worker()?.drain(worker, drained).await
    }

    async fn ready(&self) -> Result<(), String> {
        match self.worker.get() {
            Some(worker) => worker.ready().await,
            None => Err(NOT_YET.to_owned()),
        }
    }

    fn store_counters(&self) -> StoreCounters {
        self.worker().map(|worker| worker.store_counters()).unwrap_or_default()
    }

    async fn backup(&self, to: &Path) -> Result<(), RequestError> {
        self.worker()?.backup(to).await
    }
}
