//! A group's slot map: more partitions, slots that move, and a map that others have changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{GroupDocument, PartitionId, SlotMap};
use crate::store::{StoreError, SwapOutcome};
use crate::worker::RequestError;
use crate::worker::owner::unavailable;

use super::{Catalog, QueueEntry, SWAPS_MAX, damaged, encode};

impl Catalog {
    /// The map of a group's document; the one that is known here, if it is the same.
    pub(super) fn slot_map(&self, key: &str, group: &GroupDocument) -> Result<Arc<SlotMap>, StoreError> {
        let map = group.slot_map();
        if map.last() >= group.partitions.max(1) {
            let what = format!("a slot is with partition {}, which is not there", map.last());
            return Err(damaged(key, &what));
        }
        let known = self.slots_of(PartitionId { group: group.number, index: 0 });
        Ok(known.filter(|known| **known == map).unwrap_or_else(|| Arc::new(map)))
    }

    /// The slot map of a partition's group.
    pub fn slots_of(&self, partition: PartitionId) -> Option<Arc<SlotMap>> {
        let known = self.known();
        let number = known.by_group.get(&partition.group)?.first()?;
        known.by_number.get(number).map(|queue| queue.slots.clone())
    }

    /// Gives a group more partitions. Fewer than it has are refused: jobs would be lost with them.
    pub async fn grow(&self, queue: &QueueEntry, partitions: u16) -> Result<Arc<QueueEntry>, RequestError> {
        let _changing = self.changing.lock().await;
        let gone = || RequestError::NotFound(format!("there is no queue {:?}", &*queue.name));
        let known = self.numbered(queue.number).ok_or_else(gone)?;
        let key = group_key(&known);
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
        let grown = group.slot_map().grown(partitions);
        if partitions > group.partitions || grown != group.slot_map() {
            group.set_slot_map(grown);
            group.partitions = partitions;
            self.swap(&key, Some(version), Some(&group)).await?;
        }
        self.remember_group(&key, &group)?;
        self.changed_here();
        self.numbered(queue.number).ok_or_else(gone)
    }

    /// The same queue with its group's present slot map. `seen` is the one that was out of date; if
    /// another is known by now, nothing is read.
    pub async fn refresh_slots(
        &self,
        queue: &QueueEntry,
        seen: &Arc<SlotMap>,
    ) -> Result<Arc<QueueEntry>, RequestError> {
        let _changing = self.changing.lock().await;
        let gone = || RequestError::NotFound(format!("there is no queue {:?}", &*queue.name));
        let known = self.numbered(queue.number).ok_or_else(gone)?;
        if !Arc::ptr_eq(&known.slots, seen) {
            return Ok(known);
        }
        let key = group_key(&known);
        let (group, _) = self.stored::<GroupDocument>(&key).await?.ok_or_else(gone)?;
        self.remember_group(&key, &group)?;
        self.numbered(queue.number).ok_or_else(gone)
    }

    /// A partition has closed these slots, and that is released: they are where they are wanted from
    /// now on. Late or twice, it does no harm: a slot that is closed stays so. Somebody else's change at
    /// the same time is read, and this one made to it.
    pub async fn move_slots(
        &self,
        partition: PartitionId,
        closed: &BTreeSet<u16>,
        now_ms: u64,
    ) -> Result<(), RequestError> {
        let _changing = self.changing.lock().await;
        for _ in 0..SWAPS_MAX {
            // Without a queue there is nobody to route for.
            let Some(queue) = self.queues_of(partition).into_iter().next() else { return Ok(()) };
            let key = group_key(&queue);
            let Some((mut group, version)) = self.stored::<GroupDocument>(&key).await? else { return Ok(()) };
            let Some(map) = group.slot_map().after_closing(partition.index, closed, now_ms) else {
                self.remember_group(&key, &group)?;
                return Ok(());
            };
            group.set_slot_map(map);
            match self.store.swap_document(&key, Some(version), Some(encode(&group)?)).await {
                SwapOutcome::Applied(_) => {
                    self.remember_group(&key, &group)?;
                    self.changed_here();
                    return Ok(());
                }
                // If it was this one after all, the next look finds nothing to do.
                SwapOutcome::Conflict(_) | SwapOutcome::Unknown(_) => {}
                SwapOutcome::Refused(error) => return Err(error.into()),
            }
        }
        Err(unavailable(format!(
            "slots of partition {partition} can't be moved: their document is fought for"
        )))
    }

    /// All queues of a group have its partitions and its slot map.
    fn remember_group(&self, key: &str, group: &GroupDocument) -> Result<(), StoreError> {
        let slots = self.slot_map(key, group)?;
        for queue in self.queues_of(PartitionId { group: group.number, index: 0 }) {
            if queue.partitions != group.partitions || !Arc::ptr_eq(&queue.slots, &slots) {
                let partitions = group.partitions;
                self.remember(QueueEntry { partitions, slots: slots.clone(), ..(*queue).clone() });
            }
        }
        Ok(())
    }
}

fn group_key(queue: &QueueEntry) -> String {
    format!("group/{}/{}", queue.namespace, queue.group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueueSettings;
    use crate::store::{MemoryStore, Store};

    async fn two() -> (Arc<MemoryStore>, Catalog, Catalog, Arc<QueueEntry>) {
        let store = Arc::new(MemoryStore::new());
        let ours = Catalog::open(store.clone()).await.unwrap();
        let queue = ours.create("default", "q", QueueSettings::default(), 2, 1).await.unwrap();
        let theirs = Catalog::open(store.clone()).await.unwrap();
        (store, ours, theirs, queue)
    }

    #[tokio::test]
    async fn a_group_grows_and_never_shrinks() {
        let (_, ours, theirs, queue) = two().await;
        let mut changes = ours.own_changes();
        changes.mark_unchanged();
        assert_eq!(ours.grow(&queue, 5).await.unwrap().partitions, 5);
        assert!(changes.has_changed().unwrap());
        assert_eq!(theirs.reload().await.unwrap().changed[0].partitions, 5);
        assert!(matches!(theirs.grow(&queue, 4).await, Err(RequestError::Conflict(_))));
        assert!(matches!(theirs.grow(&queue, 5_000).await, Err(RequestError::Invalid { .. })));
        assert_eq!(theirs.grow(&queue, 5).await.unwrap().partitions, 5);
    }

    #[tokio::test]
    async fn slots_move_once_they_are_closed_whoever_changes_the_group_meanwhile() {
        let (store, ours, theirs, queue) = two().await;
        let partition = PartitionId { group: queue.group_number, index: 0 };
        let old = queue.slots.clone();
        let grown = ours.grow(&queue, 4).await.unwrap();
        let leaving: BTreeSet<u16> = grown.slots.leaving(0).map(|(slot, _)| slot).collect();
        assert_eq!((leaving.len(), grown.slots.to_move()), (1_024, 2_048));
        assert!(
            (0..4_096).all(|slot| grown.slots.partition_of(slot) == old.partition_of(slot)),
            "nothing yet"
        );

        // They know nothing of the growth, and it grows once more before they are heard of.
        ours.grow(&queue, 8).await.unwrap();
        theirs.move_slots(partition, &leaving, 5).await.unwrap();
        let moved = theirs.slots_of(partition).unwrap();
        assert!(leaving.iter().all(|slot| moved.partition_of(*slot) >= 2));
        assert_eq!(moved.formers(*leaving.first().unwrap(), 6).collect::<Vec<_>>(), [0]);
        let before = store.document("group/default/q").await.unwrap();
        theirs.move_slots(partition, &leaving, 6).await.unwrap();
        assert_eq!(store.document("group/default/q").await.unwrap(), before, "once is enough");

        let seen = ours.slots_of(partition).unwrap();
        let fresh = ours.refresh_slots(&queue, &seen).await.unwrap();
        assert_eq!(fresh.slots, moved);
        let again = ours.refresh_slots(&queue, &seen).await.unwrap();
        assert!(Arc::ptr_eq(&again.slots, &fresh.slots), "what is known is not read again");
        assert!(ours.reload().await.unwrap().is_empty(), "nothing is news any more");
        assert!(Arc::ptr_eq(&ours.slots_of(partition).unwrap(), &fresh.slots));
    }

    #[tokio::test]
    async fn a_group_that_grew_before_there_was_a_map_moves_with_its_next_growth() {
        let (store, ours, theirs, queue) = two().await;
        let key = "group/default/q";
        let stored = store.document(key).await.unwrap().unwrap();
        let mut group: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
        (group["partitions"], group["keyed_partitions"]) = (6.into(), 2.into());
        let value = serde_json::to_vec(&group).unwrap().into();
        assert!(matches!(
            store.swap_document(key, Some(stored.version), Some(value)).await,
            SwapOutcome::Applied(_)
        ));
        ours.reload().await.unwrap();
        let known = ours.numbered(queue.number).unwrap();
        assert_eq!((*known.slots == SlotMap::Even(2), known.partitions), (true, 6));
        let grown = ours.grow(&queue, 6).await.unwrap();
        assert_eq!(grown.slots.to_move(), 4 * 682 + 2, "{:?}", grown.slots.to_move());
        theirs.reload().await.unwrap();
        assert_eq!(theirs.numbered(queue.number), Some(grown));
    }

    #[tokio::test]
    async fn a_map_with_a_partition_that_is_not_there_is_refused() {
        let (store, ours, theirs, queue) = two().await;
        ours.grow(&queue, 9).await.unwrap();
        let key = "group/default/q";
        let stored = store.document(key).await.unwrap().unwrap();
        let mut group: serde_json::Value = serde_json::from_slice(&stored.value).unwrap();
        group["partitions"] = 8.into();
        let value = serde_json::to_vec(&group).unwrap().into();
        assert!(matches!(
            store.swap_document(key, Some(stored.version), Some(value)).await,
            SwapOutcome::Applied(_)
        ));
        let error = theirs.reload().await.unwrap_err();
        assert!(error.message.contains("partition 8"), "{error}");
    }
}
