//! New jobs: which partition takes them.
//!
//! ```text
//! jobs ─by slot─▶ parts ─tokens known where a slot was?─▶ enqueued ─▶ answered, in the request's order
//!          ▲                                               │ slots have left
//!          └──────────── the group's document, read again ─┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::model::view::Enqueued;
use crate::model::{JobId, JobState, NewJob, PartitionId, routing_slot};
use crate::telemetry::names;
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;
use crate::worker::partition::{Enqueue, KnownTokens, Placed};

use super::{Front, OWNER_PATIENCE};

/// Pause before a map is read again that does not say yet where slots have gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// When to come back if it never does.
const SLOTS_RETRY: Duration = Duration::from_secs(1);

/// Jobs with their positions in the request.
type Part = Vec<(usize, NewJob)>;
/// What became of jobs, by position.
type Answered = Vec<(usize, Enqueued)>;

impl Front {
    /// The partition of jobs without a routing value: in turn among those that are owned here, else among
    /// those that have an owner.
    fn any_partition(&self, queue: &QueueEntry) -> PartitionId {
        let partitions = usize::from(queue.partitions.max(1));
        let at = |index: usize| PartitionId { group: queue.group_number, index: index as u16 };
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

    /// Enqueues the jobs of one request: all or none within each partition, those without a routing value
    /// together.
    pub(super) async fn place(
        &self,
        queue: &Arc<QueueEntry>,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        let deadline = Instant::now() + OWNER_PATIENCE;
        let mut queue = queue.clone();
        let mut answered = Answered::with_capacity(jobs.len());
        let mut left: Part = jobs.into_iter().enumerate().collect();
        loop {
            let parts = self.parts(&queue, left).into_iter();
            let placed = parts.map(|(partition, part)| self.place_part(&queue, partition, part));
            left = Vec::new();
            for (taken, refused) in try_join_all(placed).await? {
                answered.extend(taken);
                left.extend(refused);
            }
            if left.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(RequestError::Unavailable {
                    message: "a key's jobs are about to be taken by another partition: they were not enqueued, others of \
                              the request may have been"
                        .into(),
                    retry_after: SLOTS_RETRY,
                });
            }
            let seen = queue.slots.clone();
            queue = self.catalog().refresh_slots(&queue, &seen).await?;
            if Arc::ptr_eq(&queue.slots, &seen) {
                sleep(LOOK_AGAIN).await;
            }
        }
        answered.sort_unstable_by_key(|(position, _)| *position);
        Ok(answered.into_iter().map(|(_, answer)| answer).collect())
    }

    fn parts(&self, queue: &QueueEntry, jobs: Part) -> BTreeMap<PartitionId, Part> {
        let mut unrouted = None;
        let mut parts: BTreeMap<PartitionId, Part> = BTreeMap::new();
        for (position, job) in jobs {
            let partition = match routing_slot(&job) {
                Some(slot) => {
                    PartitionId { group: queue.group_number, index: queue.slots.partition_of(slot) }
                }
                None => *unrouted.get_or_insert_with(|| self.any_partition(queue)),
            };
            parts.entry(partition).or_default().push((position, job));
        }
        parts
    }

    /// Jobs for one partition: what became of them, and those that it does not take any more.
    async fn place_part(
        &self,
        queue: &QueueEntry,
        partition: PartitionId,
        part: Part,
    ) -> Result<(Answered, Part), RequestError> {
        let (mut answered, part) = self.known_before(queue, part).await?;
        if part.is_empty() {
            return Ok((answered, part));
        }
        let (positions, jobs): (Vec<usize>, Vec<NewJob>) = part.into_iter().unzip();
        let jobs = Arc::new(jobs);
        let enqueue = Enqueue { queue: queue.number, jobs: jobs.clone() };
        let Placed::Taken(taken) = self.ask(partition, enqueue).await? else {
            return Ok((answered, positions.into_iter().zip(Arc::unwrap_or_clone(jobs)).collect()));
        };
        let new = taken.iter().filter(|(_, _, repeated)| !repeated).count();
        metrics::counter!(names::JOBS_ENQUEUED_TOTAL).increment(new as u64);
        let partition = partition.to_string();
        let taken = taken.into_iter().map(|(id, state, repeated)| {
            let partition = partition.clone();
            Enqueued { id, partition, state, repeated }
        });
        answered.extend(positions.into_iter().zip(taken));
        Ok((answered, Vec::new()))
    }

    /// Jobs whose tokens are known where their slots were lately, and the others. A former partition
    /// takes no new job of such a slot: what it does not know now it never will.
    async fn known_before(&self, queue: &QueueEntry, part: Part) -> Result<(Answered, Part), RequestError> {
        let now_ms = self.shared.clock.now_ms();
        if !queue.slots.has_formers(now_ms) {
            return Ok((Vec::new(), part));
        }
        let mut questions: BTreeMap<PartitionId, (Vec<usize>, Vec<String>)> = BTreeMap::new();
        for (position, job) in &part {
            let (Some(token), Some(slot)) = (&job.token, routing_slot(job)) else { continue };
            for index in queue.slots.formers(slot, now_ms) {
                let former = PartitionId { group: queue.group_number, index };
                let (positions, tokens) = questions.entry(former).or_default();
                positions.push(*position);
                tokens.push(token.clone());
            }
        }
        let questions = questions.into_iter().map(|(former, (positions, tokens))| async move {
            let known = self.ask(former, KnownTokens { queue: queue.number, tokens }).await?;
            Ok::<_, RequestError>((former, positions.into_iter().zip(known).collect::<Vec<_>>()))
        });
        let mut known: BTreeMap<usize, (PartitionId, JobId, JobState)> = BTreeMap::new();
        for (former, found) in try_join_all(questions).await? {
            let found = found.into_iter().filter_map(|(position, job)| Some((position, job?)));
            known.extend(found.map(|(position, (id, state))| (position, (former, id, state))));
        }
        let new = part.into_iter().filter(|(position, _)| !known.contains_key(position)).collect();
        let answered = known.into_iter().map(|(position, (former, id, state))| {
            (position, Enqueued { id, partition: former.to_string(), state, repeated: true })
        });
        Ok((answered.collect(), new))
    }
}
