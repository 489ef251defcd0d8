//! The catalogue after others have changed it: all documents are read again, and what is different
//! is said.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::coordination::PartitionName;
use crate::model::{GroupDocument, PartitionId, QueueDocument, QueueNumber, SlotMap};
use crate::store::StoreError;

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
        let mut maps: HashMap<&str, Arc<SlotMap>> = HashMap::new();
        for (key, queue) in queues {
            let Some((namespace, name)) = key.split_once('/') else { return Err(damaged(&key, "no name")) };
            let group_key = format!("{namespace}/{}", queue.group);
            let (group_key, group) =
                groups.get_key_value(&group_key).ok_or_else(|| damaged(&key, "its group has no document"))?;
            let map = match maps.get(&**group_key) {
                Some(map) => map.clone(),
                None => maps.entry(group_key).or_insert(self.slot_map(group_key, group)?).clone(),
            };
            found.insert(Arc::new(entry(namespace, name, &queue, group, map)));
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
}
