//! What is seen of a queue, over all its partitions.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::model::PartitionId;
use crate::model::view::{Counts, QueueView, Rates};
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;
use crate::worker::partition::{Count, Operation};
use crate::worker::reader::time;

use super::{Front, TOGETHER};

/// How long one partition is waited for when many are asked: without it, the answer says so.
const GATHER_PATIENCE: Duration = Duration::from_secs(3);

impl Front {
    /// Asks one of many partitions; none if its owner does not answer in time.
    pub(super) async fn gather<O: Operation>(
        &self,
        partition: PartitionId,
        operation: O,
    ) -> Result<Option<O::Answer>, RequestError> {
        if self.shared.cluster.is_none() {
            return self.ask(partition, operation).await.map(Some);
        }
        let asked = self.router.call(partition, operation, GATHER_PATIENCE);
        match tokio::time::timeout(GATHER_PATIENCE, asked).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Err(_) | Ok(Err(RequestError::Unavailable { .. } | RequestError::Moved(_))) => Ok(None),
            Ok(Err(error)) => Err(error),
        }
    }

    pub(super) async fn look_at_queue(&self, queue: &QueueEntry) -> Result<QueueView, RequestError> {
        let mut counts = Counts::default();
        let mut rates = Rates::default();
        let mut oldest_ms: Option<u64> = None;
        let mut missing_partitions = Vec::new();
        let count = Count { queue: queue.number };
        let counted = stream::iter(queue.partition_ids()).map(|partition| {
            let count = count.clone();
            async move { (partition, self.gather(partition, count).await) }
        });
        let counted: Vec<_> = counted.buffered(TOGETHER).collect().await;
        for (partition, counted) in counted {
            let Some(counted) = counted? else {
                missing_partitions.push(partition.index);
                continue;
            };
            counts.add(&counted.counts);
            rates.add(&counted.rates);
            oldest_ms = oldest_ms.max(counted.oldest_ms);
        }
        Ok(QueueView {
            namespace: queue.namespace.to_string(),
            name: queue.name.to_string(),
            group: queue.group.to_string(),
            partitions: queue.partitions,
            paused: queue.paused,
            settings: queue.settings.clone(),
            counts,
            oldest_waiting_seconds: oldest_ms.map(|ms| ms as f64 / 1_000.0),
            last_minute: rates,
            missing_partitions,
            slots_to_move: queue.slots.to_move() as u64,
            created_at: time(queue.created_ms),
        })
    }
}
