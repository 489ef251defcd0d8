//! Requests at a worker: each goes to its partition's owner, wherever that is.
//!
//! `answer.rs` has what can be asked ([`crate::worker::Requests`]); the others have how it is done:
//! for a new job, for many, for a queue.

mod answer;
mod enqueue;
mod look;
mod many;
mod partitions;
mod queues;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::model::{JobId, PartitionId, QueueSettings, check};
use crate::worker::catalog::{Catalog, QueueEntry};
use crate::worker::look::Meeting;
use crate::worker::owner::{OwnerHandle, Shared, unavailable};
use crate::worker::partition::{Local, Operation, Service};
use crate::worker::reader::unknown;
use crate::worker::room::Space;
use crate::worker::router::Router;
use crate::worker::{RequestError, WorkerSettings};

/// How long a request waits for its owner: longer is an outcome that is not known.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a request waits for a partition to have an owner that takes it.
const OWNER_PATIENCE: Duration = Duration::from_secs(15);
/// Unit in which payloads on their way are counted, bytes.
const PAYLOAD_UNIT: usize = 1 << 10;
/// Payloads on their way, over all requests, bytes.
const PAYLOADS_BYTES_MAX: usize = 256 << 20;
/// Jobs that one command over many of them handles at a time.
const TOGETHER: usize = 64;

/// See the module.
pub(crate) struct Front {
    shared: Shared,
    settings: WorkerSettings,
    router: Arc<Router>,
    payloads: Arc<Semaphore>,
    space: Space,
    turn: AtomicUsize,
    started_ms: u64,
    /// Set once it is one of a cluster.
    meeting: OnceLock<Meeting>,
}

impl Front {
    pub fn new(shared: Shared, settings: WorkerSettings) -> Self {
        let payloads = Arc::new(Semaphore::new(PAYLOADS_BYTES_MAX / PAYLOAD_UNIT));
        let space = Space::new(settings.data_folder.clone(), settings.free_bytes_min);
        let router = Arc::new(Router::new(Arc::new(Local::new(shared.clone()))));
        shared.pool.set_router(Arc::downgrade(&router));
        let started_ms = shared.clock.now_ms();
        let (turn, meeting) = (AtomicUsize::new(0), OnceLock::new());
        Self { shared, settings, router, payloads, space, turn, started_ms, meeting }
    }

    /// Starts the owners of these partitions that have none yet.
    pub fn own(&self, partitions: impl IntoIterator<Item = PartitionId>) {
        for partition in partitions {
            self.local().own(partition);
        }
    }

    /// It is one of a cluster from now on.
    pub fn joined(&self, meeting: Meeting) {
        // A worker joins once.
        let _ = self.meeting.set(meeting);
    }

    /// Answers other workers' questions about what is owned here.
    pub fn service(&self) -> Service {
        Service::new(self.local().clone())
    }

    /// All owners here.
    pub fn owners(&self) -> Vec<OwnerHandle> {
        self.local().owners()
    }

    fn local(&self) -> &Arc<Local> {
        self.router.local()
    }

    /// Asks a partition's owner, within the patience of a request.
    async fn ask<O: Operation>(
        &self,
        partition: PartitionId,
        operation: O,
    ) -> Result<O::Answer, RequestError> {
        bounded(self.router.call(partition, operation, OWNER_PATIENCE)).await
    }

    /// Asks the owner of the partition that a job was born in.
    async fn ask_about<O: Operation>(&self, id: JobId, operation: O) -> Result<O::Answer, RequestError> {
        self.ask(self.partition_of(id)?, operation).await
    }

    /// The partition of a job, if there is one.
    fn partition_of(&self, id: JobId) -> Result<PartitionId, RequestError> {
        let partition = id.partition();
        let is_known = self.local().find(partition).is_some() || self.catalog().has_partition(partition);
        if is_known { Ok(partition) } else { Err(unknown(id)) }
    }

    fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    fn find_queue(&self, namespace: &str, queue: &str) -> Result<Arc<QueueEntry>, RequestError> {
        check::name("namespace", namespace)?;
        check::name("queue", queue)?;
        self.catalog().find(namespace, queue).ok_or_else(|| {
            RequestError::NotFound(format!("there is no queue {queue:?} in namespace {namespace:?}"))
        })
    }

    async fn queue_or_new(&self, namespace: &str, queue: &str) -> Result<Arc<QueueEntry>, RequestError> {
        match self.find_queue(namespace, queue) {
            Err(RequestError::NotFound(_)) if self.settings.auto_create => {
                let defaults = self.settings.queue_defaults.clone();
                self.create_queue(namespace, queue, defaults, self.settings.partitions).await
            }
            found => found,
        }
    }

    async fn create_queue(
        &self,
        namespace: &str,
        queue: &str,
        settings: QueueSettings,
        partitions: u16,
    ) -> Result<Arc<QueueEntry>, RequestError> {
        let now_ms = self.shared.clock.now_ms();
        let created = self.catalog().create(namespace, queue, settings, partitions.max(1), now_ms).await?;
        self.tell_owners(&created);
        Ok(created)
    }

    /// Owners here hear of it at once, those elsewhere by the catalogue's number.
    fn tell_owners(&self, queue: &QueueEntry) {
        if self.shared.cluster.is_none() {
            self.own(queue.partition_ids());
        }
        self.local().tell_owners(queue);
    }
}

/// A request that gets no answer in time has an outcome that is not known.
pub(super) async fn bounded<T>(
    request: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::time::timeout(ANSWER_PATIENCE, request)
        .await
        .unwrap_or_else(|_| Err(unavailable("there was no answer in time: whether it was done is not known")))
}
