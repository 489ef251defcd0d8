//! An owner's part in moving slots: it tells the engine which ones are wanted elsewhere, and has those
//! that are closed written into the group's document.
//!
//! ```text
//! catalogue ─wanted elsewhere─▶ engine ─closed, released─▶ Mover ─compare-and-set─▶ group's document
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

/// Delay before the document is changed again after that has failed.
const MOVE_RETRY: Duration = Duration::from_millis(500);

/// See the module. Nothing runs before the first slot is closed.
pub(super) struct Mover {
    partition: PartitionId,
    catalog: Arc<Catalog>,
    clock: Arc<Clock>,
    /// What the engine was told of last.
    seen: Option<Arc<SlotMap>>,
    closed: Option<watch::Sender<BTreeSet<u16>>>,
}

impl Mover {
    pub fn new(partition: PartitionId, catalog: Arc<Catalog>, clock: Arc<Clock>) -> Self {
        Self { partition, catalog, clock, seen: None, closed: None }
    }

    /// A new engine has been told of nothing.
    pub fn forget_seen(&mut self) {
        self.seen = None;
    }

    /// Which slots are wanted elsewhere by the present map, if that is news.
    pub fn leaving(&mut self) -> Option<BTreeSet<u16>> {
        let map = self.catalog.slots_of(self.partition)?;
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &map)) {
            return None;
        }
        let leaving = map.leaving(self.partition.index).collect();
        self.seen = Some(map);
        Some(leaving)
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
