//! New jobs: which partition takes them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use futures_util::future::try_join_all;

use crate::model::view::Enqueued;
use crate::model::{NewJob, PartitionId, SLOTS};
use crate::telemetry::names;
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;
use crate::worker::partition::Enqueue;

use super::Front;

impl Front {
    /// The partition that jobs of one request go to: by the key of the first, else in turn among those
    /// that are owned here, else among those that have an owner.
    pub(super) fn route(&self, queue: &QueueEntry, job: &NewJob) -> PartitionId {
        let partitions = usize::from(queue.partitions.max(1));
        let at = |index: usize| PartitionId { group: queue.group_number, index: index as u16 };
        if let Some(value) = job.key.as_deref().or(job.token.as_deref()) {
            return at(slot(value) % usize::from(queue.keyed_partitions.max(1)));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(neighbours) = self.shared.cluster.as_deref() else { return at(turn % partitions) };
        let in_turn = || (0..partitions).map(|step| at((turn + step) % partitions));
        let takes = |partition: &PartitionId| {
            self.local().find(*partition).is_some_and(|reader| !reader.owner().is_leaving())
        };
        in_turn()
            .find(takes)
            .or_else(|| in_turn().find(|partition| neighbours.owner_of(*partition).is_some()))
            .unwrap_or_else(|| at(turn % partitions))
    }

    pub(super) async fn enqueue_at(
        &self,
        partition: PartitionId,
        queue: &QueueEntry,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        let taken = self.ask(partition, Enqueue { queue: queue.number, jobs }).await?;
        let new = taken.iter().filter(|(_, _, repeated)| !repeated).count();
        metrics::counter!(names::JOBS_ENQUEUED_TOTAL).increment(new as u64);
        let partition = partition.to_string();
        let seen = taken.into_iter().map(|(id, state, repeated)| {
            let partition = partition.clone();
            Enqueued { id, partition, state, repeated }
        });
        Ok(seen.collect())
    }

    /// Jobs of one request for several partitions: all or none within each.
    pub(super) async fn enqueue_in_parts(
        &self,
        queue: &QueueEntry,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        let unrouted = self.route(queue, &NewJob::new("", ""));
        let mut parts: BTreeMap<PartitionId, (Vec<usize>, Vec<NewJob>)> = BTreeMap::new();
        for (position, job) in jobs.into_iter().enumerate() {
            let routed = job.key.is_some() || job.token.is_some();
            let partition = if routed { self.route(queue, &job) } else { unrouted };
            let (positions, jobs) = parts.entry(partition).or_default();
            positions.push(position);
            jobs.push(job);
        }
        let parts = parts.into_iter().map(|(partition, (positions, jobs))| async move {
            let taken = self.enqueue_at(partition, queue, jobs).await?;
            Ok::<_, RequestError>(positions.into_iter().zip(taken).collect::<Vec<_>>())
        });
        let mut taken = try_join_all(parts).await?.concat();
        taken.sort_unstable_by_key(|(position, _)| *position);
        Ok(taken.into_iter().map(|(_, taken)| taken).collect())
    }
}

/// A routing value's slot: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) over its bytes,
/// in 0 … [`SLOTS`] - 1.
fn slot(value: &str) -> usize {
    let hash = value.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    (hash >> (64 - SLOTS.trailing_zeros())) as usize
}
