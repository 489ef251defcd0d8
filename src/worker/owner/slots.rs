//! An owner's part in moving slots: it tells the engine which ones are wanted elsewhere, and has those
//! that are closed written into the group's document.
//!
//! ```text
//! catalogue, view ─may go─▶ engine ─closed, released─▶ Mover ─compare-and-set─▶ group's document
//! ```
//!
//! A change of the document that comes late, twice, or from an owner that was superseded does no harm:
//! a slot that was closed by a released commit stays closed. Until it is seen done, it is made again, by
//! this owner or by the next, who finds the closed slots in what he takes over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, info};

use crate::model::{PartitionId, SlotMap};
use crate::worker::catalog::Catalog;
use crate::worker::clock::Clock;
use crate::worker::router::Neighbours;

use super::task::Shared;

/// Delay before the document is changed again after that has failed.
const MOVE_RETRY: Duration = Duration::from_millis(500);

/// See the module. Nothing runs before the first slot is closed.
pub(super) struct Mover {
    partition: PartitionId,
    catalog: Arc<Catalog>,
    clock: Arc<Clock>,
    cluster: Option<Arc<Neighbours>>,
    /// What the engine was told of last.
    told: BTreeSet<u16>,
    closed: Option<watch::Sender<BTreeSet<u16>>>,
}

impl Mover {
    pub fn new(partition: PartitionId, shared: &Shared) -> Self {
        let (catalog, clock) = (shared.catalog.clone(), shared.clock.clone());
        let cluster = shared.cluster.clone();
        Self { partition, catalog, clock, cluster, told: BTreeSet::new(), closed: None }
    }

    /// A new engine has been told of nothing.
    pub fn forget_told(&mut self) {
        self.told.clear();
    }

    /// Which slots may go by the present map, if that is news: those that are wanted in a partition that
    /// somebody owns. Nobody may be allowed to own it (`cluster.assign`), and then they stay.
    pub fn leaving(&mut self) -> Option<BTreeSet<u16>> {
        let map = self.catalog.slots_of(self.partition)?;
        let view = self.cluster.as_ref().map(|neighbours| neighbours.view.borrow().clone());
        let group = self.partition.group;
        let is_owned = |index: u16| {
            let wanted = PartitionId { group, index };
            view.as_ref().is_none_or(|view| view.owners.contains_key(&wanted))
        };
        let may_go = map.leaving(self.partition.index).filter(|(_, wanted)| is_owned(*wanted));
        let leaving: BTreeSet<u16> = may_go.map(|(slot, _)| slot).collect();
        (leaving != self.told).then(|| {
            self.told.clone_from(&leaving);
            leaving
        })
    }

    /// These are closed, and that is released.
    pub fn closed(&mut self, slots: Vec<u16>) {
        let closed = self.closed.get_or_insert_with(|| {
            let (sender, closed) = watch::channel(BTreeSet::new());
            tokio::spawn(move_closed(self.partition, self.catalog.clone(), self.clock.clone(), closed));
            sender
        });
        closed.send_modify(|closed| closed.extend(slots));
    }
}

/// Until the owner has ended.
async fn move_closed(
    partition: PartitionId,
    catalog: Arc<Catalog>,
    clock: Arc<Clock>,
    mut closed: watch::Receiver<BTreeSet<u16>>,
) {
    while closed.changed().await.is_ok() {
        loop {
            let slots = closed.borrow_and_update().clone();
            let still_here = |map: &SlotMap| {
                slots.iter().filter(|slot| map.partition_of(**slot) == partition.index).count()
            };
            let here = catalog.slots_of(partition).map_or(0, |map| still_here(&map));
            if here == 0 {
                break;
            }
            match catalog.move_slots(partition, &slots, clock.now_ms()).await {
                Ok(()) => {
                    info!(%partition, slots = here, "slots have moved to other partitions");
                    break;
                }
                Err(error) => debug!(%partition, %error, "slots can't be moved now: trying again"),
            }
            // What is left to an owner that has ended is the next one's.
            if closed.has_changed().is_err() {
                return;
            }
            tokio::time::sleep(MOVE_RETRY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueueSettings;
    use crate::store::{FaultPlan, FaultyStore, MemoryStore};

    #[tokio::test(start_paused = true)]
    async fn closed_slots_are_written_down_once_the_store_works_again() {
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), 1, FaultPlan::default()));
        let catalog = Arc::new(Catalog::open(store.clone()).await.unwrap());
        let queue = catalog.create("default", "q", QueueSettings::default(), 1, 1).await.unwrap();
        let grown = catalog.grow(&queue, 2).await.unwrap();
        let partition = PartitionId { group: queue.group_number, index: 0 };
        let leaving: BTreeSet<u16> = grown.slots.leaving(0).map(|(slot, _)| slot).collect();
        let some: BTreeSet<u16> = leaving.iter().copied().take(100).collect();

        store.set_plan(FaultPlan { refused: 1_000, ..FaultPlan::default() });
        let (sender, closed) = watch::channel(BTreeSet::new());
        let mover = tokio::spawn(move_closed(partition, catalog.clone(), Arc::new(Clock::new()), closed));
        sender.send_replace(some.clone());
        tokio::time::sleep(MOVE_RETRY * 3).await;
        assert!(store.faults() >= 2, "it tries again");
        assert_eq!(catalog.slots_of(partition).unwrap().to_move(), leaving.len());

        // What was unknown may have happened: it is made sure of.
        store.set_plan(FaultPlan { unanswered: 500, ..FaultPlan::default() });
        let left = leaving.len() - some.len();
        while catalog.slots_of(partition).unwrap().to_move() != left {
            tokio::time::sleep(MOVE_RETRY).await;
        }
        sender.send_replace(leaving);
        while catalog.slots_of(partition).unwrap().to_move() != 0 {
            tokio::time::sleep(MOVE_RETRY).await;
        }
        drop(sender);
        mover.await.unwrap();
        store.set_plan(FaultPlan::default());
        let fresh = Catalog::open(store).await.unwrap();
        assert_eq!(fresh.slots_of(partition).unwrap().held_by(1), 2_048);
    }
}
