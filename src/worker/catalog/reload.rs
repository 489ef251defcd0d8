//! The catalogue after others have changed it: all documents are read again, and what is different
//! is said.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::coordination::PartitionName;
use crate::model::{GroupDocument, PartitionId, QueueDocument, QueueNumber};
use crate::store::StoreError;
use crate::worker::RequestError;

use super::{Catalog, Known, QueueEntry, damaged, entry, read_all};

/// What a look at the documents has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct CatalogChange {
    /// Queues that are new here.
    pub new: Vec<Arc<QueueEntry>>,
    /// Queues whose settings, or whose number of partitions, are different.
    pub changed: Vec<Arc<QueueEntry>>,
    /// Queues that are gone.
    pub deleted: Vec<Arc<QueueEntry>>,
}

impl CatalogChange {
    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty() && self.deleted.is_empty()
    }
}

impl Catalog {
    /// Reads all documents again. What this worker changes meanwhile waits, so that nothing old
    /// takes the place of something new.
    pub async fn reload(&self) -> Result<CatalogChange, StoreError> {
        let _changing = self.changing.lock().await;
        // Queues first: a group is written before its first queue.
        let queues: Vec<(String, QueueDocument)> = read_all(&*self.store, "queue/").await?;
        let groups: HashMap<String, GroupDocument> =
            read_all(&*self.store, "group/").await?.into_iter().collect();
        let mut found = Known::default();
        for (key, queue) in queues {
            let Some((namespace, name)) = key.split_once('/') else { return Err(damaged(&key, "no name")) };
            let group_key = format!("{namespace}/{}", queue.group);
            let group = groups.get(&group_key).ok_or_else(|| damaged(&key, "its group has no document"))?;
            found.insert(Arc::new(entry(namespace, name, &queue, group)));
        }
        let mut known = self.known();
        let change = difference(&known.by_number, &found.by_number);
        if !change.is_empty() {
            *known = found;
        }
        Ok(change)
    }

    /// Every partition of every group with a queue, with its name.
    pub fn partition_names(&self) -> Vec<PartitionName> {
        let known = self.known();
        let mut names: BTreeMap<PartitionId, PartitionName> = BTreeMap::new();
        for queue in known.by_number.values() {
            for id in queue.partition_ids() {
                let name =
                    || PartitionName { id, namespace: queue.namespace.clone(), group: queue.group.clone() };
                names.entry(id).or_insert_with(name);
            }
        }
        names.into_values().collect()
    }

    /// Changes after each change that this worker has made itself.
    pub fn own_changes(&self) -> watch::Receiver<u64> {
        self.own_changes.subscribe()
    }

    /// Gives a group more partitions. Fewer than it has are refused: jobs would be lost with them.
    pub async fn grow(&self, queue: &QueueEntry, partitions: u16) -> Result<Arc<QueueEntry>, RequestError> {
        let _changing = self.changing.lock().await;
        let gone = || RequestError::NotFound(format!("there is no queue {:?}", &*queue.name));
        let known = self.numbered(queue.number).ok_or_else(gone)?;
        let key = format!("group/{}/{}", known.namespace, known.group);
        let (mut group, version) = self.stored::<GroupDocument>(&key).await?.ok_or_else(gone)?;
        if partitions > PartitionId::INDEX_MAX + 1 {
            let most = PartitionId::INDEX_MAX + 1;
            let message = format!("a group has at most {most} partitions");
            return Err(RequestError::Invalid { field: None, message });
        }
        if partitions < group.partitions {
            return Err(RequestError::Conflict(format!(
                "group {:?} has {} partitions: more can be added, none taken away",
                &*known.group, group.partitions
            )));
        }
        if partitions > group.partitions {
            group.keyed_partitions = group.spread();
            group.partitions = partitions;
            self.swap(&key, Some(version), Some(&group)).await?;
        }
        // All queues of the group have them.
        for other in self.queues_of(PartitionId { group: known.group_number, index: 0 }) {
            self.remember(QueueEntry {
                partitions: group.partitions,
                keyed_partitions: group.spread(),
                ..(*other).clone()
            });
        }
        self.changed_here();
        self.numbered(queue.number).ok_or_else(gone)
    }

    pub(super) fn changed_here(&self) {
        self.own_changes.send_modify(|changes| *changes += 1);
    }
}

fn difference(
    before: &HashMap<QueueNumber, Arc<QueueEntry>>,
    now: &HashMap<QueueNumber, Arc<QueueEntry>>,
) -> CatalogChange {
    let mut change = CatalogChange::default();
    for (number, queue) in now {
        match before.get(number) {
            None => change.new.push(queue.clone()),
            Some(known) if known != queue => change.changed.push(queue.clone()),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(number, _)| !now.contains_key(number));
    change.deleted = gone.map(|(_, queue)| queue.clone()).collect();
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueueSettings;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn what_another_worker_changes_is_found_and_named() {
        let store = Arc::new(MemoryStore::new());
        let ours = Catalog::open(store.clone()).await.unwrap();
        let theirs = Catalog::open(store.clone()).await.unwrap();
        assert!(ours.reload().await.unwrap().is_empty());

        let queue = theirs.create("default", "q", QueueSettings::default(), 2, 1).await.unwrap();
        let change = ours.reload().await.unwrap();
        assert_eq!((change.new.len(), change.changed.len(), change.deleted.len()), (1, 0, 0));
        assert_eq!(ours.find("default", "q"), Some(queue.clone()));
        assert_eq!(ours.partition_names().len(), 2);

        theirs.change(&queue, |document| document.paused = true).await.unwrap();
        let change = ours.reload().await.unwrap();
        assert!(change.changed[0].paused && change.new.is_empty() && change.deleted.is_empty());

        theirs.delete(&queue).await.unwrap();
        assert_eq!(ours.reload().await.unwrap().deleted.len(), 1);
        assert!(ours.find("default", "q").is_none() && ours.partition_names().is_empty());
    }

    #[tokio::test]
    async fn a_group_grows_and_never_shrinks() {
        let store = Arc::new(MemoryStore::new());
        let ours = Catalog::open(store.clone()).await.unwrap();
        let theirs = Catalog::open(store).await.unwrap();
        let mut changes = ours.own_changes();
        let queue = ours.create("default", "q", QueueSettings::default(), 2, 1).await.unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        theirs.reload().await.unwrap();

        assert_eq!(ours.grow(&queue, 5).await.unwrap().partitions, 5);
        assert!(changes.has_changed().unwrap());
        assert_eq!(theirs.reload().await.unwrap().changed[0].partitions, 5);
        assert!(matches!(theirs.grow(&queue, 4).await, Err(RequestError::Conflict(_))));
        assert!(matches!(theirs.grow(&queue, 5_000).await, Err(RequestError::Invalid { .. })));
        assert_eq!(theirs.grow(&queue, 5).await.unwrap().partitions, 5);
    }
}
