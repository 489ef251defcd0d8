//! Which partitions this worker owns: what the cluster looks like, turned into locks, owners and
//! hand-overs.

use std::sync::Arc;

use async_trait::async_trait;

use crate::coordination::View;
use crate::model::PartitionId;

#[allow(dead_code, reason = "used by the cluster worker")]
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

    /// Partitions whose owner has given up: they are parked, and another worker may try.
    fn parked(&self) -> Vec<PartitionId>;
}
