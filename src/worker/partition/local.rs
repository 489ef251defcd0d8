//! The partitions that this worker owns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Epoch, PartitionId, QueueNumber};
use crate::runner::pool::Pool;
use crate::store::StoreError;
use crate::worker::RequestError;
use crate::worker::catalog::{CatalogChange, QueueEntry};
use crate::worker::owner::{Owner, OwnerHandle, Shared};
use crate::worker::reader::Reader;

/// See the module.
pub(crate) struct Local {
    shared: Shared,
    readers: Mutex<HashMap<PartitionId, Reader>>,
    /// Owners that were let go and may not know it yet.
    ending: Mutex<Vec<OwnerHandle>>,
}

impl Local {
    pub fn new(shared: Shared) -> Self {
        Self { shared, readers: Mutex::default(), ending: Mutex::default() }
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// The reader of a partition that is owned here.
    pub fn find(&self, partition: PartitionId) -> Option<Reader> {
        self.readers().get(&partition).cloned()
    }

    /// Starts the owner of a partition, if there is none yet.
    pub fn own(&self, partition: PartitionId) -> Reader {
        let mut readers = self.readers();
        let reader = readers.entry(partition).or_insert_with(|| {
            let owner = Owner::start(self.shared.clone(), partition);
            Reader::new(self.shared.store.clone(), self.shared.bodies.clone(), owner)
        });
        reader.clone()
    }

    /// Gives a partition up gently; what runs goes on and reports to the next owner. Requests that
    /// come meanwhile hear that nothing was done.
    pub async fn hand_over(&self, partition: PartitionId) {
        let Some(reader) = self.find(partition) else { return };
        reader.owner().hand_over().await;
        self.forget(&reader);
    }

    /// Ends an owner at once: its lock may be somebody else's.
    pub fn let_go(&self, partition: PartitionId) {
        if let Some(reader) = self.readers().remove(&partition) {
            reader.owner().let_go();
            let mut ending = self.ending();
            ending.retain(|owner| !owner.has_ended());
            ending.push(reader.owner().clone());
        }
    }

    /// Returns once nothing is handed out any more by an owner here of an epoch before that one.
    pub async fn supersede(&self, partition: PartitionId, epoch: Epoch) {
        if let Some(reader) = self.find(partition) {
            reader.owner().supersede(epoch).await;
        }
        let ending: Vec<OwnerHandle> =
            self.ending().iter().filter(|owner| owner.partition() == partition).cloned().collect();
        for owner in ending {
            owner.ended().await;
        }
    }

    /// The readers of all partitions here.
    pub fn readers_all(&self) -> Vec<Reader> {
        self.readers().values().cloned().collect()
    }

    /// All owners.
    pub fn owners(&self) -> Vec<OwnerHandle> {
        self.readers().values().map(|reader| reader.owner().clone()).collect()
    }

    /// A queue by number, also one that was created elsewhere a moment ago.
    pub async fn queue(&self, number: QueueNumber) -> Result<Option<Arc<QueueEntry>>, RequestError> {
        let catalog = &self.shared.catalog;
        if let Some(queue) = catalog.numbered(number) {
            return Ok(Some(queue));
        }
        if self.shared.cluster.is_none() {
            return Ok(None);
        }
        self.reload().await?;
        Ok(catalog.numbered(number))
    }

    /// Reads anew which queues there are, and tells the owners here of those that have changed.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let change = self.shared.catalog.reload().await?;
        self.catalog_changed(&change);
        Ok(())
    }

    /// Others have changed queues: their owners here get to know.
    pub fn catalog_changed(&self, change: &CatalogChange) {
        for queue in change.new.iter().chain(&change.changed) {
            self.tell_owners(queue);
        }
    }

    /// The owners here of a queue's partitions get to know its settings, and the group's slot map.
    pub fn tell_owners(&self, queue: &QueueEntry) {
        for partition in queue.partition_ids() {
            if let Some(reader) = self.find(partition) {
                reader.owner().set_queue(queue.number, queue.settings.clone(), queue.paused);
                reader.owner().slots_changed();
            }
        }
    }

    /// Others own what: slots wait for somebody to own where they are wanted.
    pub fn view_changed(&self) {
        for owner in self.owners() {
            let map = self.shared.catalog.slots_of(owner.partition());
            if map.is_some_and(|map| map.is_moving()) {
                owner.slots_changed();
            }
        }
    }

    /// Queues of the group that a partition belongs to.
    pub fn queues_of(&self, partition: PartitionId) -> Vec<Arc<QueueEntry>> {
        self.shared.catalog.queues_of(partition)
    }

    fn forget(&self, ended: &Reader) {
        let mut readers = self.readers();
        let partition = ended.owner().partition();
        if readers.get(&partition).is_some_and(|reader| reader.owner().is_same(ended.owner())) {
            readers.remove(&partition);
        }
    }

    fn ending(&self) -> MutexGuard<'_, Vec<OwnerHandle>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<PartitionId, Reader>> {
        // Nothing in here can panic half-way.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
