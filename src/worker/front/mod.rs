//! Requests at a worker that owns every partition: each goes to its owner, reads to the store.
//!
//! `answer.rs` has what can be asked ([`crate::worker::Requests`]); the others have how it is done:
//! for one job, for a new job, for many, for a queue.

mod answer;
mod enqueue;
mod many;
mod one;
mod queues;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::engine::Reply;
use crate::model::{PartitionId, QueueSettings, check};
use crate::worker::catalog::{Catalog, QueueEntry};
use crate::worker::owner::{Owner, OwnerHandle, Shared, unavailable};
use crate::worker::reader::Reader;
use crate::worker::room::Space;
use crate::worker::{RequestError, WorkerSettings};

/// How long a request waits for its owner: longer is an outcome that is not known.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
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
    readers: Mutex<HashMap<PartitionId, Reader>>,
    payloads: Arc<Semaphore>,
    space: Space,
    turn: AtomicUsize,
}

impl Front {
    pub fn new(shared: Shared, settings: WorkerSettings) -> Self {
        let payloads = Arc::new(Semaphore::new(PAYLOADS_BYTES_MAX / PAYLOAD_UNIT));
        let space = Space::new(settings.data_folder.clone(), settings.free_bytes_min);
        Self { shared, settings, readers: Mutex::default(), payloads, space, turn: AtomicUsize::new(0) }
    }

    /// Starts the owners of a queue's partitions that have none yet.
    pub fn own(&self, partitions: impl IntoIterator<Item = PartitionId>) {
        for partition in partitions {
            self.reader(partition);
        }
    }

    fn reader(&self, partition: PartitionId) -> Reader {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers
            .entry(partition)
            .or_insert_with(|| {
                let owner = Owner::start(self.shared.clone(), partition);
                Reader::new(self.shared.store.clone(), self.shared.bodies.clone(), owner)
            })
            .clone()
    }

    /// All owners.
    pub fn owners(&self) -> Vec<OwnerHandle> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.values().map(|reader| reader.owner().clone()).collect()
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

    fn tell_owners(&self, queue: &QueueEntry) {
        for partition in queue.partition_ids() {
            self.reader(partition).owner().set_queue(queue.number, queue.settings.clone(), queue.paused);
        }
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

pub(super) fn unexpected(reply: &Reply) -> RequestError {
    unavailable(format!("the partition's owner answered something else: {reply:?}"))
}
