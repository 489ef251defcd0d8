//! What is seen of a queue, over all its partitions.

use crate::model::JobState;
use crate::model::view::{Counts, QueueView, Rates};
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;
use crate::worker::reader::time;

use super::Front;

impl Front {
    pub(super) async fn look_at_queue(&self, queue: &QueueEntry) -> Result<QueueView, RequestError> {
        let number = queue.number;
        let mut counts = [0u64; JobState::COUNT];
        let mut rates = Rates::default();
        let mut oldest_ms: Option<u64> = None;
        for partition in queue.partition_ids() {
            let owner = self.reader(partition).owner().clone();
            let look = move |engine: &mut crate::engine::Engine| {
                let age = engine.oldest_waiting_ms(number).map(|since| engine.now_ms().saturating_sub(since));
                (engine.counts(number), engine.rates(number), age)
            };
            let (seen, happened, age) = owner.look(look).await?;
            let seen = [
                seen.waiting,
                seen.scheduled,
                seen.blocked,
                seen.running,
                seen.succeeded,
                seen.failed,
                seen.cancelled,
            ];
            counts.iter_mut().zip(seen).for_each(|(sum, count)| *sum += count);
            rates.enqueued += happened.enqueued;
            rates.started += happened.started;
            rates.succeeded += happened.succeeded;
            rates.failed += happened.failed;
            oldest_ms = oldest_ms.max(age);
        }
        Ok(QueueView {
            namespace: queue.namespace.to_string(),
            name: queue.name.to_string(),
            group: queue.group.to_string(),
            partitions: queue.partitions,
            paused: queue.paused,
            settings: queue.settings.clone(),
            counts: Counts::from_array(counts),
            oldest_waiting_seconds: oldest_ms.map(|ms| ms as f64 / 1_000.0),
            last_minute: rates,
            created_at: time(queue.created_ms),
        })
    }
}
