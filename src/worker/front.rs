//! Requests at a worker that owns every partition: each goes to its owner, reads to the store.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use crate::engine::{Command, Event, Reply};
use crate::model::limits::PAGE_MAX;
use crate::model::view::{
    Affected, Counts, Enqueued, HistoryEvent, JobPage, JobView, QueuePage, QueueView, Rates,
};
use crate::model::{JobId, JobState, NewJob, PartitionId, QueueSettings, Span};
use crate::store::StoreCounters;

use super::catalog::{Catalog, QueueEntry, check_name};
use super::owner::{Owner, OwnerHandle, Shared};
use super::reader::{Reader, events, gone, output_place, read_cursor, time, unknown, write_cursor};
use super::{DeleteQueue, JobCommand, JobFilter, OutputStream, RequestError, Requests, WorkerSettings};

/// How long a request waits for its owner: longer is an outcome that is not known.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Unit in which payloads on their way are counted, bytes.
const PAYLOAD_UNIT: usize = 1 << 10;
/// Payloads on their way, over all requests, bytes.
const PAYLOADS_BYTES_MAX: usize = 256 << 20;
/// Jobs that one command over many of them handles at a time.
const TOGETHER: usize = 64;
/// Jobs that a queue can't be deleted with, unless it is said what becomes of them.
const OPEN_OR_FAILED: [JobState; 5] =
    [JobState::Waiting, JobState::Scheduled, JobState::Blocked, JobState::Failed, JobState::Running];
/// Places that are followed for one command.
const PLACES_MAX: usize = 8;

/// See the module.
pub(crate) struct Front {
    shared: Shared,
    settings: WorkerSettings,
    readers: Mutex<HashMap<PartitionId, Reader>>,
    payloads: Arc<Semaphore>,
    turn: AtomicUsize,
}

impl Front {
    pub fn new(shared: Shared, settings: WorkerSettings) -> Self {
        let payloads = Arc::new(Semaphore::new(PAYLOADS_BYTES_MAX / PAYLOAD_UNIT));
        Self { shared, settings, readers: Mutex::default(), payloads, turn: AtomicUsize::new(0) }
    }

    /// Starts the owners of a queue's partitions that have none yet.
    pub fn own(&self, partitions: impl IntoIterator<Item = PartitionId>) {
        for partition in partitions {
            self.reader(partition);
        }
    }

    fn reader(&self, partition: PartitionId) -> Reader {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers
            .entry(partition)
            .or_insert_with(|| {
                let owner = Owner::start(self.shared.clone(), partition);
                Reader::new(self.shared.store.clone(), self.shared.bodies.clone(), owner)
            })
            .clone()
    }

    /// All owners.
    pub fn owners(&self) -> Vec<OwnerHandle> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.values().map(|reader| reader.owner().clone()).collect()
    }

    fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    fn find_queue(&self, namespace: &str, queue: &str) -> Result<Arc<QueueEntry>, RequestError> {
        check_name("namespace", namespace)?;
        check_name("queue", queue)?;
        self.catalog().find(namespace, queue).ok_or_else(|| {
            RequestError::NotFound(format!("there is no queue {queue:?} in namespace {namespace:?}"))
        })
    }

    async fn queue_or_new(&self, namespace: &str, queue: &str) -> Result<Arc<QueueEntry>, RequestError> {
        match self.find_queue(namespace, queue) {
            Err(RequestError::NotFound(_)) if self.settings.auto_create => {
                let defaults = self.settings.queue_defaults.clone();
                self.create_queue(namespace, queue, defaults, self.settings.partitions).await
            }
            found => found,
        }
    }

    async fn create_queue(
        &self,
        namespace: &str,
        queue: &str,
        settings: QueueSettings,
        partitions: u16,
    ) -> Result<Arc<QueueEntry>, RequestError> {
        let now_ms = self.shared.clock.now_ms();
        let created = self.catalog().create(namespace, queue, settings, partitions.max(1), now_ms).await?;
        self.tell_owners(&created);
        Ok(created)
    }

    fn tell_owners(&self, queue: &QueueEntry) {
        for partition in queue.partition_ids() {
            self.reader(partition).owner().set_queue(queue.number, queue.settings.clone(), queue.paused);
        }
    }

    /// The partition that jobs of one request go to: by the key of the first, else in turn.
    fn route(&self, queue: &QueueEntry, job: &NewJob) -> PartitionId {
        let partitions = usize::from(queue.partitions.max(1));
        let value = job.key.as_deref().or(job.token.as_deref());
        let index = match value {
            Some(value) => slot(value) % partitions,
            None => self.turn.fetch_add(1, Ordering::Relaxed) % partitions,
        };
        PartitionId { group: queue.group_number, index: index as u16 }
    }

    async fn enqueue_at(
        &self,
        partition: PartitionId,
        queue: &QueueEntry,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        let number = queue.number;
        let owner = self.reader(partition).owner().clone();
        let reply = owner.ask(move |ticket| Event::Enqueue { ticket, queue: number, jobs }).await?;
        match reply {
            Reply::Enqueued(jobs) => Ok(jobs
                .into_iter()
                .map(|(id, state, repeated)| Enqueued {
                    id,
                    partition: partition.to_string(),
                    state,
                    repeated,
                })
                .collect()),
            Reply::BacklogFull { max } => Err(RequestError::Overloaded {
                message: format!(
                    "queue {:?} has reached its backlog_max of {max} waiting jobs",
                    &*queue.name
                ),
                retry_after: Duration::from_secs(5),
            }),
            Reply::UnknownQueue => {
                Err(RequestError::NotFound(format!("queue {:?} has just been deleted", &*queue.name)))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Jobs of one request for several partitions: all or none within each.
    async fn enqueue_in_parts(
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

    /// The reader and queue of a job, if its namespace is that one.
    fn reader_of(&self, id: JobId) -> Result<Reader, RequestError> {
        let partition = id.partition();
        let known = self.readers.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned();
        known.ok_or_else(|| unknown(id))
    }

    fn queue_of(&self, namespace: &str, id: JobId, number: u32) -> Result<Arc<QueueEntry>, RequestError> {
        let queue = self.catalog().numbered(number).ok_or_else(|| gone(id))?;
        if *queue.namespace == *namespace { Ok(queue) } else { Err(unknown(id)) }
    }

    async fn ask_command(
        &self,
        reader: &Reader,
        id: JobId,
        command: Command,
    ) -> Result<JobState, RequestError> {
        let mut place = None;
        for _ in 0..PLACES_MAX {
            let event = move |ticket| Event::Command { ticket, job: id, place, command };
            match reader.owner().ask(event).await? {
                Reply::Done(state) => return Ok(state),
                Reply::UnknownJob => return Err(unknown(id)),
                Reply::WrongState(state) => return Err(wrong_state(id, command, state)),
                Reply::WhereIsIt => match reader.place_in_index(id).await? {
                    found if found.is_some() && found != place => place = found,
                    _ => return Err(gone(id)),
                },
                other => return Err(unexpected(&other)),
            }
        }
        Err(gone(id))
    }

    async fn look_at_queue(&self, queue: &QueueEntry) -> Result<QueueView, RequestError> {
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

    /// Ids of a queue's jobs in a state, a page at a time, given to `each`.
    async fn for_all(
        &self,
        queue: &Arc<QueueEntry>,
        state: JobState,
        command: Command,
    ) -> Result<u64, RequestError> {
        let mut changed = 0;
        for partition in queue.partition_ids() {
            let reader = self.reader(partition);
            let ids = reader.ids(queue.number, state).await?;
            let outcomes = stream::iter(ids).map(|id| {
                let reader = &reader;
                async move { self.ask_command(reader, id, command).await }
            });
            let outcomes: Vec<_> = outcomes.buffer_unordered(TOGETHER).collect().await;
            for outcome in outcomes {
                match outcome {
                    Ok(_) => changed += 1,
                    // It has moved on since it was listed.
                    Err(RequestError::Conflict(_) | RequestError::Gone(_) | RequestError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(changed)
    }

    /// Enqueues a job anew at another queue and forgets it here. The token makes a repetition safe.
    async fn move_job(
        &self,
        reader: &Reader,
        id: JobId,
        target: &Arc<QueueEntry>,
    ) -> Result<(), RequestError> {
        let mut job = reader.as_new(id).await?;
        job.token = Some(format!("move/{id}"));
        let partition = self.route(target, &job);
        self.enqueue_at(partition, target, vec![job]).await?;
        self.ask_command(reader, id, Command::Delete).await?;
        Ok(())
    }

    async fn move_jobs(
        &self,
        queue: &Arc<QueueEntry>,
        target: &Arc<QueueEntry>,
    ) -> Result<u64, RequestError> {
        let mut moved = 0;
        for partition in queue.partition_ids() {
            let reader = self.reader(partition);
            for state in OPEN_OR_FAILED.into_iter().filter(|state| *state != JobState::Running) {
                for id in reader.ids(queue.number, state).await? {
                    match self.move_job(&reader, id, target).await {
                        Ok(()) => moved += 1,
                        Err(RequestError::Conflict(_) | RequestError::Gone(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(moved)
    }
}

#[async_trait]
impl Requests for Front {
    async fn enqueue(
        &self,
        namespace: &str,
        queue: &str,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        let Some(first) = jobs.first() else { return Ok(Vec::new()) };
        let bytes: usize = jobs.iter().map(|job| job.payload.len() + 256).sum();
        let units = (bytes / PAYLOAD_UNIT + 1) as u32;
        let Ok(_room) = self.payloads.clone().try_acquire_many_owned(units) else {
            return Err(RequestError::Overloaded {
                message: "too many bytes of payloads are on their way to the store".into(),
                retry_after: Duration::from_secs(1),
            });
        };
        let queue = self.queue_or_new(namespace, queue).await?;
        if queue.partitions == 1 {
            let partition = self.route(&queue, first);
            return bounded(self.enqueue_at(partition, &queue, jobs)).await;
        }
        bounded(self.enqueue_in_parts(&queue, jobs)).await
    }

    async fn job(&self, namespace: &str, id: JobId) -> Result<JobView, RequestError> {
        let reader = self.reader_of(id)?;
        let (state, story) = bounded(reader.state_and_story(id)).await?;
        let queue = self.queue_of(namespace, id, story.job.queue)?;
        reader.view(id, &state, story, &queue, true).await
    }

    async fn wait(&self, namespace: &str, id: JobId, timeout: Duration) -> Result<JobView, RequestError> {
        let reader = self.reader_of(id)?;
        let end = reader.owner().subscribe(id)?;
        let now = self.job(namespace, id).await?;
        if now.state.is_final() {
            return Ok(now);
        }
        // In time or not: what is answered is what it is then.
        let _ = tokio::time::timeout(timeout, end).await;
        self.job(namespace, id).await
    }

    async fn output(
        &self,
        namespace: &str,
        id: JobId,
        attempt: Option<u32>,
        follow: bool,
    ) -> Result<OutputStream, RequestError> {
        let reader = self.reader_of(id)?;
        let (_, story) = bounded(reader.state_and_story(id)).await?;
        self.queue_of(namespace, id, story.job.queue)?;
        let Some(place) = output_place(&story, attempt) else {
            return match attempt {
                Some(attempt) => {
                    Err(RequestError::NotFound(format!("job {id} has no attempt {attempt} on record")))
                }
                None => Ok(Box::pin(stream::empty())),
            };
        };
        let live = if follow { self.shared.pool.live(id, place.attempt) } else { None };
        Ok(reader.stream(place, live))
    }

    async fn history(&self, namespace: &str, id: JobId) -> Result<Vec<HistoryEvent>, RequestError> {
        let reader = self.reader_of(id)?;
        let (_, story) = bounded(reader.state_and_story(id)).await?;
        self.queue_of(namespace, id, story.job.queue)?;
        Ok(events(&story))
    }

    async fn command(
        &self,
        namespace: &str,
        id: JobId,
        command: JobCommand,
    ) -> Result<JobView, RequestError> {
        let reader = self.reader_of(id)?;
        // The namespace is checked before anything is changed.
        let before = self.job(namespace, id).await?;
        let asked = match command {
            JobCommand::Cancel => Command::Cancel,
            JobCommand::Retry => Command::Retry,
            JobCommand::RunNow => Command::RunNow,
            JobCommand::SetPriority(priority) => Command::SetPriority(priority),
            JobCommand::Delete => Command::Delete,
        };
        let state = bounded(self.ask_command(&reader, id, asked)).await?;
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
        let mut jobs = Vec::new();
        let from = after.map_or(0, |(partition, _)| partition);
        let mut partitions: Vec<PartitionId> = queue.partition_ids().collect();
        partitions.retain(|partition| partition.index >= from);
        for partition in partitions {
            let start = after.take().filter(|(index, _)| *index == partition.index).map(|(_, place)| place);
            let page = self.reader(partition).list(&queue, &filter, start, limit - jobs.len()).await?;
            jobs.extend(page.jobs);
            if let Some(place) = page.next {
                let cursor = write_cursor(queue.number, filter.newest_first, partition.index, place);
                return Ok(JobPage { jobs, cursor: Some(cursor) });
            }
        }
        Ok(JobPage { jobs, cursor: None })
    }

    async fn retry_failed(&self, namespace: &str, queue: &str) -> Result<Affected, RequestError> {
        let queue = self.find_queue(namespace, queue)?;
        Ok(Affected { jobs: self.for_all(&queue, JobState::Failed, Command::Retry).await? })
    }

    async fn queues(&self, namespace: &str, after: &str, limit: usize) -> Result<QueuePage, RequestError> {
        check_name("namespace", namespace)?;
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
        let entry = match self.find_queue(namespace, queue) {
            Err(RequestError::NotFound(_)) => {
                let partitions = partitions.unwrap_or(self.settings.partitions);
                self.create_queue(namespace, queue, settings.clone(), partitions).await?
            }
            found => found?,
        };
        if let Some(partitions) = partitions.filter(|partitions| *partitions != entry.partitions) {
            return Err(RequestError::Conflict(format!(
                "queue {queue:?} has {} partitions: {partitions} can only be said when it is created",
                entry.partitions
            )));
        }
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
        for partition in entry.partition_ids() {
            self.reader(partition).owner().set_queue(entry.number, settings.clone(), true);
        }
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

    async fn ready(&self) -> Result<(), String> {
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
        Ok(self.shared.store.backup(to).await?)
    }
}

/// A request that gets no answer in time has an outcome that is not known.
async fn bounded<T>(request: impl Future<Output = Result<T, RequestError>>) -> Result<T, RequestError> {
    tokio::time::timeout(ANSWER_PATIENCE, request).await.unwrap_or_else(|_| {
        Err(super::owner::unavailable("there was no answer in time: whether it was done is not known"))
    })
}

/// A routing value's slot: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) over its bytes,
/// in 0 … 4,095.
fn slot(value: &str) -> usize {
    let hash = value.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    (hash >> 52) as usize
}

fn wrong_state(id: JobId, command: Command, state: JobState) -> RequestError {
    let what = match command {
        Command::Cancel => "only a job that is not final can be cancelled",
        Command::Retry => "only a failed or cancelled job can be retried",
        Command::RunNow => "only a scheduled job can be run now",
        Command::SetPriority(_) => "only a job that has not started can get another priority",
        Command::Delete | Command::Interrupt => "try again",
    };
    RequestError::Conflict(format!("job {id} is {}: {what}", state.name()))
}

fn unexpected(reply: &Reply) -> RequestError {
    super::owner::unavailable(format!("the partition's owner answered something else: {reply:?}"))
}
