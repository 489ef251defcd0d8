//! The worker's partitions, as the supervisor handles them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::coordination::View;
use crate::model::PartitionId;
use crate::worker::catalog::CatalogChange;
use crate::worker::supervisor::Partitions;

use super::Front;

#[async_trait]
impl Partitions for Front {
    fn own(&self, partition: PartitionId) {
        self.local().own(partition);
    }

    async fn hand_over(&self, partition: PartitionId) {
        self.local().hand_over(partition).await;
    }

    fn let_go(&self, partition: PartitionId) {
        self.local().let_go(partition);
    }

    fn set_sure(&self, sure: bool) {
        if let Some(neighbours) = &self.shared.cluster {
            neighbours.sure.send_if_modified(|now| std::mem::replace(now, sure) != sure);
        }
    }

    fn set_view(&self, view: Arc<View>) {
        if let Some(neighbours) = &self.shared.cluster {
            neighbours.view.send_replace(view);
            self.local().view_changed();
        }
    }

    fn catalog_changed(&self, change: &CatalogChange) {
        self.local().catalog_changed(change);
    }

    fn parked(&self) -> Vec<PartitionId> {
        let owners = self.owners().into_iter().filter(|owner| owner.is_parked());
        owners.map(|owner| owner.partition()).collect()
    }
}
