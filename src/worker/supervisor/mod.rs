//! Which partitions this worker owns: what the cluster looks like, turned into locks, owners and
//! hand-overs.
//!
//! ```text
//! nothing ─lock─▶ locking ─▶ owned ─hand over─▶ handing over ─▶ unlocking ─▶ nothing
//!                   │          └── lock gone, session lost: let go at once ──────▲
//!                   └── not known: doubtful ─lock again─▶ …
//! ```
//!
//! There is no master: every worker evaluates the same function of what all of them see
//! (`plan.rs`), takes what it should own and nobody holds, and hands over what it should not own.
//! The lock decides; the store decides who counts. So nothing here is needed for safety, and what is
//! seen late or wrongly costs a pause.
//!
//! [`machine`] decides, without I/O, clock or chance; `task.rs` is the thin shell that runs it. On
//! failure of the coordinator it keeps trying: a session that is over is followed by a new one, and
//! what could not be locked is tried again. Partitions of a worker that is gone are taken at once;
//! what is owned by one that lives moves only when members have settled.

use std::sync::Arc;

use async_trait::async_trait;

use crate::coordination::View;
use crate::model::PartitionId;
use crate::worker::catalog::CatalogChange;

mod machine;
mod peers;
mod places;
mod plan;
mod pump;
mod task;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use peers::{STORE_KEY, taking_part};
pub(crate) use task::{Supervision, SupervisorHandle, start};
pub(crate) use types::{ClockState, Settings};

/// What is done with a worker's partitions, and what it has to know. The worker's front is behind it.
#[async_trait]
pub(crate) trait Partitions: Send + Sync + 'static {
    /// Its lock is held: starts its owner. Nothing to do if there is one.
    fn own(&self, partition: PartitionId);

    /// Gives a partition up gently: no new starts, commits released, final progress written. What runs
    /// goes on and reports to the next owner. Returns when the owner has ended, within a bound.
    async fn hand_over(&self, partition: PartitionId);

    /// Its lock is gone, or may be: ends its owner at once.
    fn let_go(&self, partition: PartitionId);

    /// While the session is not sure to be alive, nothing is started or acknowledged.
    fn set_sure(&self, sure: bool);

    /// Who is there and who owns what, for routing and for attempts whose worker is gone.
    fn set_view(&self, view: Arc<View>);

    /// Others have changed queues: the catalogue knows, their owners here are to be told.
    fn catalog_changed(&self, change: &CatalogChange);

    /// Partitions whose owner has given up: they are parked, and another worker may try.
    fn parked(&self) -> Vec<PartitionId>;
}
