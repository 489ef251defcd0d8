//! What can be asked of a worker, answered.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::engine::Command;
use crate::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView};
use crate::model::limits::{BATCH_JOBS_MAX, PAGE_MAX};
use crate::model::row::Place;
use crate::model::view::{Affected, Enqueued, HistoryEvent, JobPage, JobView, QueuePage, QueueView};
use crate::model::{JobId, JobState, NewJob, PartitionId, QueueSettings, Span, check};
use crate::store::{StoreCounters, StoreErrorKind};
use crate::worker::catalog::QueueEntry;
use crate::worker::partition::{Change, GetHistory, GetJob, GetOutput, List, WaitForJob, same_namespace};
use crate::worker::reader::{before_all, read_cursor, write_cursor};
use crate::worker::{
    DeleteQueue, JobCommand, JobFilter, OutputStream, PartitionFilter, PlannedChange, RequestError, Requests,
};

use super::many::OPEN_OR_FAILED;
use super::{ANSWER_PATIENCE, Front, OWNER_PATIENCE, PAYLOAD_UNIT, TOGETHER, bounded};

/// Longest time that output is followed at another worker.
const FOLLOWED_MAX: Duration = Duration::from_secs(24 * 3_600);

#[async_trait]
impl Requests for Front {
    async fn enqueue(
        &self,
        namespace: &str,
        queue: &str,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        if jobs.len() > BATCH_JOBS_MAX {
            return Err(RequestError::Invalid {
                field: None,
                message: format!("{} jobs are more than the {BATCH_JOBS_MAX} of one request", jobs.len()),
            });
        }
        self.space.check()?;
        let now_ms = self.shared.clock.now_ms();
        jobs.iter().try_for_each(|job| check::new_job(job, now_ms))?;
        let bytes: usize = jobs.iter().map(|job| job.payload.len() + 256).sum();
        let units = (bytes / PAYLOAD_UNIT + 1) as u32;
        let Ok(_room) = self.payloads.clone().try_acquire_many_owned(units) else {
            return Err(RequestError::Overloaded {
                message: "too many bytes of payloads are on their way to the store".into(),
                retry_after: Duration::from_secs(1),
            });
        };
        let queue = self.queue_or_new(namespace, queue).await?;
        self.place(&queue, jobs).await
    }

    async fn job(&self, namespace: &str, id: JobId) -> Result<JobView, RequestError> {
        same_namespace(self.ask_about(id, GetJob { job: id }).await?, namespace)
    }

    async fn wait(&self, namespace: &str, id: JobId, timeout: Duration) -> Result<JobView, RequestError> {
        let partition = self.partition_of(id)?;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = WaitForJob { job: id, timeout_ms: left.as_millis() as u64 };
            let view = self.router.call(partition, wait, left + OWNER_PATIENCE).await?;
            let view = same_namespace(view, namespace)?;
            // An owner that leaves answers before the time.
            if view.state.is_final() || Instant::now() >= deadline {
                return Ok(view);
            }
        }
    }

    async fn output(
        &self,
        namespace: &str,
        id: JobId,
        attempt: Option<u32>,
        follow: bool,
    ) -> Result<OutputStream, RequestError> {
        let get = GetOutput { job: id, namespace: namespace.into(), attempt, follow };
        let within = if follow { FOLLOWED_MAX } else { ANSWER_PATIENCE };
        bounded(self.router.output(self.partition_of(id)?, get, within)).await
    }

    async fn history(&self, namespace: &str, id: JobId) -> Result<Vec<HistoryEvent>, RequestError> {
        self.ask_about(id, GetHistory { job: id, namespace: namespace.into() }).await
    }

    async fn command(
        &self,
        namespace: &str,
        id: JobId,
        command: JobCommand,
    ) -> Result<JobView, RequestError> {
        // The namespace is checked before anything is changed.
        let before = self.job(namespace, id).await?;
        let asked = match command {
            JobCommand::Cancel => Command::Cancel,
            JobCommand::Retry => Command::Retry,
            JobCommand::RunNow => Command::RunNow,
            JobCommand::SetPriority(priority) => Command::SetPriority(priority),
            JobCommand::Delete => Command::Delete,
        };
        let state = self.ask_about(id, Change { job: id, command: asked }).await?;
        if command == JobCommand::Delete {
            return Ok(JobView { state, ..before });
        }
        self.job(namespace, id).await
    }

    async fn jobs(
        &self,
        namespace: &str,
        queue: &str,
        filter: JobFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<JobPage, RequestError> {
        let queue = self.find_queue(namespace, queue)?;
        let limit = limit.clamp(1, PAGE_MAX);
        let mut after =
            cursor.map(|cursor| read_cursor(queue.number, filter.newest_first, &cursor)).transpose()?;
        let mut page = JobPage { jobs: Vec::new(), cursor: None, missing_partitions: Vec::new() };
        let from = after.map_or(0, |(partition, _)| partition);
        let mut partitions: Vec<PartitionId> = queue.partition_ids().collect();
        partitions.retain(|partition| partition.index >= from);
        for partition in partitions {
            let start = after.take().filter(|(index, _)| *index == partition.index).map(|(_, place)| place);
            let after = start.map(|place| (place.epoch_number, place.commit, place.place));
            let limit = limit - page.jobs.len();
            if limit == 0 {
                // The page is full, and the partitions before hold no more.
                let place = before_all(filter.newest_first);
                page.cursor = Some(write_cursor(queue.number, filter.newest_first, partition.index, place));
                return Ok(page);
            }
            let list = List { queue: queue.number, filter: filter.clone(), after, limit };
            let listed = match self.gather(partition, list).await? {
                Some(listed) => listed,
                None => {
                    page.missing_partitions.push(partition.index);
                    continue;
                }
            };
            page.jobs.extend(listed.jobs);
            if let Some((epoch_number, commit, place)) = listed.next {
                let place = Place { epoch_number, commit, place };
                page.cursor = Some(write_cursor(queue.number, filter.newest_first, partition.index, place));
                return Ok(page);
            }
        }
        Ok(page)
    }

    async fn retry_failed(&self, namespace: &str, queue: &str) -> Result<Affected, RequestError> {
        let queue = self.find_queue(namespace, queue)?;
        Ok(Affected { jobs: self.for_all(&queue, JobState::Failed, Command::Retry).await? })
    }

    async fn queues(&self, namespace: &str, after: &str, limit: usize) -> Result<QueuePage, RequestError> {
        check::name("namespace", namespace)?;
        let limit = limit.clamp(1, PAGE_MAX);
        let listed = self.catalog().list(namespace, after, limit);
        let cursor =
            (listed.len() == limit).then(|| listed.last().map(|queue| queue.name.to_string())).flatten();
        let looks = stream::iter(listed).map(|queue| async move { self.look_at_queue(&queue).await });
        let queues: Vec<_> = looks.buffered(TOGETHER).collect().await;
        Ok(QueuePage { queues: queues.into_iter().collect::<Result<_, _>>()?, cursor })
    }

    async fn queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError> {
        let queue = self.find_queue(namespace, queue)?;
        bounded(self.look_at_queue(&queue)).await
    }

    async fn put_queue(
        &self,
        namespace: &str,
        queue: &str,
        settings: QueueSettings,
        partitions: Option<u16>,
    ) -> Result<QueueView, RequestError> {
        check::queue_settings(&settings)?;
        partitions.map_or(Ok(()), check::partitions)?;
        let entry = match self.find_queue(namespace, queue) {
            Err(RequestError::NotFound(_)) => {
                let partitions = partitions.unwrap_or(self.settings.partitions);
                self.create_queue(namespace, queue, settings.clone(), partitions).await?
            }
            found => found?,
        };
        let entry = match partitions {
            // Also if it has as many, and not all of them have slots.
            Some(partitions) if partitions != entry.partitions.min(entry.slots.last() + 1) => {
                self.catalog().grow(&entry, partitions).await?
            }
            _ => entry,
        };
        let entry = match entry.settings == settings {
            true => entry,
            false => self.catalog().change(&entry, |document| document.settings = settings.clone()).await?,
        };
        self.tell_owners(&entry);
        bounded(self.look_at_queue(&entry)).await
    }

    fn queue_defaults(&self) -> QueueSettings {
        self.settings.queue_defaults.clone()
    }

    async fn delete_queue(
        &self,
        namespace: &str,
        queue: &str,
        how: DeleteQueue,
    ) -> Result<Affected, RequestError> {
        let entry = self.find_queue(namespace, queue)?;
        let target = match &how {
            DeleteQueue::MoveTo(target) if target == queue => {
                return Err(RequestError::Invalid {
                    field: Some("move_to".into()),
                    message: "a queue's jobs can't be moved to the queue itself".into(),
                });
            }
            DeleteQueue::MoveTo(target) => Some(self.find_queue(namespace, target)?),
            DeleteQueue::IfEmpty | DeleteQueue::Force => None,
        };
        let counts = self.look_at_queue(&entry).await?.counts;
        if how == DeleteQueue::IfEmpty && counts.open() + counts.failed > 0 {
            return Err(RequestError::Conflict(format!(
                "queue {queue:?} has {} open and {} failed jobs: delete it with force, or with move_to",
                counts.open(),
                counts.failed
            )));
        }
        let mut jobs = match &target {
            Some(target) => self.move_jobs(&entry, target).await?,
            None => 0,
        };
        for state in OPEN_OR_FAILED {
            jobs += self.for_all(&entry, state, Command::Delete).await?;
        }
        self.catalog().delete(&entry).await?;
        // What has ended can't be asked for any more, and goes with its segments.
        let settings = QueueSettings { retention: Span::from_ms(0), ..entry.settings.clone() };
        self.local().tell_owners(&QueueEntry { settings, paused: true, ..(*entry).clone() });
        Ok(Affected { jobs })
    }

    async fn pause_queue(
        &self,
        namespace: &str,
        queue: &str,
        interrupt: bool,
    ) -> Result<QueueView, RequestError> {
        let entry = self.find_queue(namespace, queue)?;
        let entry = self.catalog().change(&entry, |document| document.paused = true).await?;
        self.tell_owners(&entry);
        if interrupt {
            self.for_all(&entry, JobState::Running, Command::Interrupt).await?;
        }
        bounded(self.look_at_queue(&entry)).await
    }

    async fn resume_queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError> {
        let entry = self.find_queue(namespace, queue)?;
        let entry = self.catalog().change(&entry, |document| document.paused = false).await?;
        self.tell_owners(&entry);
        bounded(self.look_at_queue(&entry)).await
    }

    async fn cluster(&self) -> Result<ClusterView, RequestError> {
        Ok(self.look_at_cluster().await)
    }

    async fn partitions(&self, filter: PartitionFilter) -> Result<PartitionPage, RequestError> {
        self.look_at_partitions(filter).await
    }

    async fn partition(&self, partition: PartitionId) -> Result<PartitionView, RequestError> {
        self.look_at_partition(partition).await
    }

    async fn plan(&self, change: PlannedChange) -> Result<PlanView, RequestError> {
        self.plan_change(&change)
    }

    async fn drain(&self, worker: &str, drained: bool) -> Result<DrainView, RequestError> {
        self.drain_worker(worker, drained).await
    }

    async fn ready(&self) -> Result<(), String> {
        self.space.check().map_err(|low| low.to_string())?;
        for owner in self.owners() {
            if let Some(trouble) = owner.trouble() {
                return Err(format!("partition {}: {trouble}", owner.partition()));
            }
        }
        Ok(())
    }

    fn store_counters(&self) -> StoreCounters {
        self.shared.store.counters()
    }

    async fn backup(&self, to: &Path) -> Result<(), RequestError> {
        let copied = self.shared.store.backup(to).await;
        copied.map_err(|error| match error.kind {
            // Another try would end alike.
            StoreErrorKind::Invalid | StoreErrorKind::Permission | StoreErrorKind::Unsupported => {
                RequestError::Conflict(error.message)
            }
            _ => error.into(),
        })
    }
}
