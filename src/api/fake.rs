//! An in-memory double of the worker, for tests of the ways in. Not part of the API.
//!
//! It keeps jobs and queues as they are asked for, and runs nothing: a test says how attempts end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView, StoreView};
use crate::model::view::{
    Affected, Counts, Enqueued, HistoryEvent, JobPage, JobView, QueuePage, QueueView, Rates,
};
use crate::model::{Due, JobId, JobState, NewJob, PartitionId, QueueSettings};
use crate::store::StoreCounters;
use crate::worker::{
    DeleteQueue, JobCommand, JobFilter, OutputStream, PartitionFilter, PlannedChange, RequestError, Requests,
};

/// Who it says it is.
const WORKER: &str = "a:1:0";
const PARTITION: PartitionId = PartitionId { group: 1, index: 0 };

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, Job>,
    queues: BTreeMap<(String, String), Queue>,
    next: u64,
    /// What the next request is refused with.
    refusal: Option<RequestError>,
    unready: Option<String>,
    panics: bool,
    backups: Vec<std::path::PathBuf>,
    filters: Vec<PartitionFilter>,
    drained: Vec<(String, bool)>,
}

struct Queue {
    settings: QueueSettings,
    partitions: u16,
    paused: bool,
    interrupted: bool,
}

struct Job {
    new: NewJob,
    view: JobView,
    output: Vec<Bytes>,
    deleted: bool,
}

impl Queue {
    fn of(settings: QueueSettings) -> Self {
        Self { settings, partitions: 1, paused: false, interrupted: false }
    }
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That chunk of a job's output, and whether there will be no more.
    fn chunk(&self, id: JobId, index: usize) -> (Option<Bytes>, bool) {
        let state = self.lock();
        let job = state.jobs.get(&id);
        (job.and_then(|job| job.output.get(index).cloned()), job.is_none_or(|job| job.view.state.is_final()))
    }
}

/// The double.
#[derive(Default)]
pub struct Fake {
    inner: Arc<Inner>,
    defaults: QueueSettings,
}

impl Fake {
    /// A double whose queues have those settings if they say nothing else.
    pub fn with_defaults(defaults: QueueSettings) -> Self {
        Self { defaults, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock()
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|version| *version += 1);
    }

    /// The next request is refused so.
    pub fn refuse(&self, error: RequestError) {
        self.lock().refusal = Some(error);
    }

    /// The next request meets a bug.
    pub fn panic_next(&self) {
        self.lock().panics = true;
    }

    /// Not ready from now on, and why; or ready.
    pub fn set_unready(&self, why: Option<&str>) {
        self.lock().unready = why.map(str::to_owned);
    }

    /// Who waits for changes just now.
    pub fn waiting(&self) -> usize {
        self.inner.changes.receiver_count()
    }

    /// The jobs as they were enqueued, oldest first.
    pub fn enqueued(&self) -> Vec<NewJob> {
        self.lock().jobs.values().map(|job| job.new.clone()).collect()
    }

    /// Files that backups were made to.
    pub fn backups(&self) -> Vec<std::path::PathBuf> {
        self.lock().backups.clone()
    }

    /// Which partitions were asked for.
    pub fn filters(&self) -> Vec<PartitionFilter> {
        self.lock().filters.clone()
    }

    /// Workers that were asked to drain, or not to.
    pub fn drained(&self) -> Vec<(String, bool)> {
        self.lock().drained.clone()
    }

    /// Attempts of that queue were interrupted by a pause.
    pub fn was_interrupted(&self, queue: &str) -> bool {
        self.lock().queues.iter().any(|((_, name), it)| name == queue && it.interrupted)
    }

    /// Puts a job into a state.
    pub fn set_state(&self, id: JobId, state: JobState) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.view.state = state;
        }
        self.changed();
    }

    /// The attempt writes something.
    pub fn write(&self, id: JobId, output: &[u8]) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.output.push(Bytes::copy_from_slice(output));
        }
        self.changed();
    }

    /// The state, unless the request is refused.
    fn asked(&self) -> Result<MutexGuard<'_, State>, RequestError> {
        let mut state = self.lock();
        if std::mem::take(&mut state.panics) {
            drop(state);
            panic!("as the test wants it");
        }
        match state.refusal.take() {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

impl State {
    fn job(&mut self, namespace: &str, id: JobId) -> Result<&mut Job, RequestError> {
        match self.jobs.get_mut(&id) {
            Some(job) if job.view.namespace != namespace => None,
            Some(job) if job.deleted => return Err(RequestError::Gone(format!("the job {id} was deleted"))),
            job => job,
        }
        .ok_or_else(|| RequestError::NotFound(format!("there is no job {id}")))
    }

    fn queue_view(&self, namespace: &str, name: &str) -> Result<QueueView, RequestError> {
        let queue = self
            .queues
            .get(&(namespace.to_owned(), name.to_owned()))
            .ok_or_else(|| RequestError::NotFound(format!("there is no queue {name}")))?;
        let mut by_state = [0; JobState::COUNT];
        for job in self.of_queue(namespace, name) {
            by_state[job.view.state as usize] += 1;
        }
        Ok(QueueView {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            group: name.to_owned(),
            partitions: queue.partitions,
            paused: queue.paused,
            settings: queue.settings.clone(),
            counts: Counts::from_array(by_state),
            oldest_waiting_seconds: None,
            last_minute: Rates::default(),
            missing_partitions: Vec::new(),
            slots_to_move: 0,
            created_at: Timestamp::UNIX_EPOCH,
        })
    }

    fn of_queue<'a>(&'a self, namespace: &'a str, name: &'a str) -> impl Iterator<Item = &'a Job> {
        let here =
            move |job: &&Job| !job.deleted && job.view.namespace == namespace && job.view.queue == name;
        self.jobs.values().filter(here)
    }

    fn queue_mut(&mut self, namespace: &str, name: &str) -> Result<&mut Queue, RequestError> {
        self.queues
            .get_mut(&(namespace.to_owned(), name.to_owned()))
            .ok_or_else(|| RequestError::NotFound(format!("there is no queue {name}")))
    }

    fn enqueue(&mut self, namespace: &str, queue: &str, new: NewJob) -> Enqueued {
        let same_token = |job: &&Job| new.token.is_some() && job.new.token == new.token;
        if let Some(first) = self.jobs.values().find(same_token) {
            let (id, state) = (first.view.id, first.view.state);
            return Enqueued { id, partition: PARTITION.to_string(), state, repeated: true };
        }
        let id = JobId::new(PARTITION, 1, self.next, 0);
        self.next += 1;
        let view = view_of(namespace, queue, id, &new);
        let state = view.state;
        self.jobs.insert(id, Job { new, view, output: Vec::new(), deleted: false });
        Enqueued { id, partition: PARTITION.to_string(), state, repeated: false }
    }
}

fn view_of(namespace: &str, queue: &str, id: JobId, new: &NewJob) -> JobView {
    JobView {
        id,
        namespace: namespace.to_owned(),
        queue: queue.to_owned(),
        partition: PARTITION.to_string(),
        kind: new.kind.clone(),
        state: if new.due == Due::Now { JobState::Waiting } else { JobState::Scheduled },
        reason: "nothing runs it".to_owned(),
        key: new.key.clone(),
        priority: new.lane.number(),
        payload: serde_json::from_slice(&new.payload).ok(),
        payload_base64: None,
        content_type: new.content_type.clone(),
        headers: new.headers.iter().cloned().collect(),
        tags: new.tags.clone(),
        enqueued_at: Timestamp::UNIX_EPOCH,
        run_at: None,
        deadline: None,
        started_at: None,
        finished_at: None,
        attempt: 0,
        failures: 0,
        interruptions: 0,
        max_attempts: new.max_attempts.unwrap_or(5),
        result: None,
        result_base64: None,
        error: None,
        error_class: None,
        attempts: Vec::new(),
    }
}

#[async_trait]
impl Requests for Fake {
    async fn enqueue(
        &self,
        namespace: &str,
        queue: &str,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Enqueued>, RequestError> {
        let mut state = self.asked()?;
        let settings = self.defaults.clone();
        state.queues.entry((namespace.to_owned(), queue.to_owned())).or_insert_with(|| Queue::of(settings));
        Ok(jobs.into_iter().map(|job| state.enqueue(namespace, queue, job)).collect())
    }

    async fn job(&self, namespace: &str, id: JobId) -> Result<JobView, RequestError> {
        Ok(self.asked()?.job(namespace, id)?.view.clone())
    }

    async fn wait(&self, namespace: &str, id: JobId, timeout: Duration) -> Result<JobView, RequestError> {
        let mut changes = self.inner.changes.subscribe();
        let until = tokio::time::Instant::now() + timeout;
        loop {
            let view = self.job(namespace, id).await?;
            let changed = tokio::time::timeout_at(until, changes.changed());
            if view.state.is_final() || changed.await.is_err() {
                return self.job(namespace, id).await;
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
        if attempt.is_some_and(|attempt| attempt > 1) {
            return Err(RequestError::NotFound("there is no such attempt".to_owned()));
        }
        self.asked()?.job(namespace, id)?;
        let (inner, changes) = (Arc::clone(&self.inner), self.inner.changes.subscribe());
        let chunks = stream::unfold((inner, changes, 0), move |(inner, mut changes, seen)| async move {
            loop {
                changes.mark_unchanged();
                let (chunk, ended) = inner.chunk(id, seen);
                if let Some(chunk) = chunk {
                    return Some((Ok(chunk), (inner, changes, seen + 1)));
                }
                if ended || !follow || changes.changed().await.is_err() {
                    return None;
                }
            }
        });
        Ok(Box::pin(chunks))
    }

    async fn history(&self, namespace: &str, id: JobId) -> Result<Vec<HistoryEvent>, RequestError> {
        let at = self.asked()?.job(namespace, id)?.view.enqueued_at;
        Ok(vec![HistoryEvent { at, event: "enqueued".to_owned(), attempt: None, detail: None }])
    }

    async fn command(
        &self,
        namespace: &str,
        id: JobId,
        command: JobCommand,
    ) -> Result<JobView, RequestError> {
        let mut state = self.asked()?;
        let job = state.job(namespace, id)?;
        let was = job.view.state;
        let view = &mut job.view;
        match command {
            JobCommand::Cancel if !was.is_final() => view.state = JobState::Cancelled,
            JobCommand::Retry if matches!(was, JobState::Failed | JobState::Cancelled) => {
                view.state = JobState::Waiting;
            }
            JobCommand::RunNow if was == JobState::Scheduled => view.state = JobState::Waiting,
            JobCommand::SetPriority(lane) if !was.is_final() => view.priority = lane,
            JobCommand::Delete => job.deleted = true,
            _ => return Err(RequestError::Conflict(format!("the job {id} is {}", was.name()))),
        }
        let view = job.view.clone();
        drop(state);
        self.changed();
        Ok(view)
    }

    async fn jobs(
        &self,
        namespace: &str,
        queue: &str,
        filter: JobFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<JobPage, RequestError> {
        let state = self.asked()?;
        state.queue_view(namespace, queue)?;
        let wrong =
            || RequestError::Invalid { field: Some("cursor".to_owned()), message: "not ours".to_owned() };
        let after: Option<JobId> = cursor.map(|text| text.parse().map_err(|_| wrong())).transpose()?;
        let mut found: Vec<JobView> = state.of_queue(namespace, queue).map(|job| job.view.clone()).collect();
        found.retain(|job| filter.state.is_none_or(|wanted| job.state == wanted));
        found.retain(|job| filter.kind.as_ref().is_none_or(|wanted| job.kind == *wanted));
        if filter.newest_first {
            found.reverse();
        }
        found.retain(|job| {
            after.is_none_or(|after| (job.id > after) != filter.newest_first && job.id != after)
        });
        let more = found.len() > limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| more).map(|job| job.id.to_string());
        Ok(JobPage { jobs: found, cursor, missing_partitions: Vec::new() })
    }

    async fn retry_failed(&self, namespace: &str, queue: &str) -> Result<Affected, RequestError> {
        let mut state = self.asked()?;
        state.queue_view(namespace, queue)?;
        let mut jobs = 0;
        for job in state.jobs.values_mut() {
            if job.view.queue == queue && job.view.state == JobState::Failed {
                job.view.state = JobState::Waiting;
                jobs += 1;
            }
        }
        Ok(Affected { jobs })
    }

    async fn queues(&self, namespace: &str, after: &str, limit: usize) -> Result<QueuePage, RequestError> {
        let state = self.asked()?;
        let names = state.queues.keys().filter(|(space, name)| space == namespace && name.as_str() > after);
        let mut queues = Vec::new();
        for (_, name) in names.take(limit + 1) {
            queues.push(state.queue_view(namespace, name)?);
        }
        let more = queues.len() > limit;
        queues.truncate(limit);
        let cursor = queues.last().filter(|_| more).map(|queue| queue.name.clone());
        Ok(QueuePage { queues, cursor })
    }

    async fn queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError> {
        self.asked()?.queue_view(namespace, queue)
    }

    async fn put_queue(
        &self,
        namespace: &str,
        queue: &str,
        settings: QueueSettings,
        partitions: Option<u16>,
    ) -> Result<QueueView, RequestError> {
        let mut state = self.asked()?;
        let key = (namespace.to_owned(), queue.to_owned());
        let created = partitions.unwrap_or(1);
        let it =
            state.queues.entry(key).or_insert(Queue { partitions: created, ..Queue::of(settings.clone()) });
        if partitions.is_some_and(|asked| asked != it.partitions) {
            return Err(RequestError::Conflict("the partitions of a queue can't be changed".to_owned()));
        }
        it.settings = settings;
        state.queue_view(namespace, queue)
    }

    fn queue_defaults(&self) -> QueueSettings {
        self.defaults.clone()
    }

    async fn delete_queue(
        &self,
        namespace: &str,
        queue: &str,
        how: DeleteQueue,
    ) -> Result<Affected, RequestError> {
        let mut state = self.asked()?;
        let jobs = state.queue_view(namespace, queue)?.counts.open();
        if jobs > 0 && how == DeleteQueue::IfEmpty {
            return Err(RequestError::Conflict(format!("the queue {queue} has {jobs} open jobs")));
        }
        for job in state.jobs.values_mut().filter(|job| job.view.queue == queue) {
            match &how {
                DeleteQueue::MoveTo(other) => job.view.queue.clone_from(other),
                _ => job.deleted = true,
            }
        }
        if let DeleteQueue::MoveTo(other) = how {
            let moved = Queue::of(self.defaults.clone());
            state.queues.entry((namespace.to_owned(), other)).or_insert(moved);
        }
        state.queues.remove(&(namespace.to_owned(), queue.to_owned()));
        Ok(Affected { jobs })
    }

    async fn pause_queue(
        &self,
        namespace: &str,
        queue: &str,
        interrupt: bool,
    ) -> Result<QueueView, RequestError> {
        let mut state = self.asked()?;
        let it = state.queue_mut(namespace, queue)?;
        (it.paused, it.interrupted) = (true, interrupt);
        state.queue_view(namespace, queue)
    }

    async fn resume_queue(&self, namespace: &str, queue: &str) -> Result<QueueView, RequestError> {
        let mut state = self.asked()?;
        state.queue_mut(namespace, queue)?.paused = false;
        state.queue_view(namespace, queue)
    }

    async fn cluster(&self) -> Result<ClusterView, RequestError> {
        drop(self.asked()?);
        Ok(ClusterView {
            answered_by: Some(WORKER.to_owned()),
            sure: true,
            partitions: 1,
            partitions_without_owner: 0,
            workers: Vec::new(),
            missing: Vec::new(),
            store: StoreView { backend: Some("a double".to_owned()), ..StoreView::default() },
            coordinator: None,
        })
    }

    async fn partitions(&self, filter: PartitionFilter) -> Result<PartitionPage, RequestError> {
        self.lock().filters.push(filter.clone());
        let partitions = vec![self.partition(PARTITION).await?];
        let here = filter.after.is_none_or(|after| PARTITION > after);
        Ok(PartitionPage {
            partitions: if here { partitions } else { Vec::new() },
            missing: Vec::new(),
            cursor: None,
        })
    }

    async fn partition(&self, partition: PartitionId) -> Result<PartitionView, RequestError> {
        drop(self.asked()?);
        if partition != PARTITION {
            return Err(RequestError::NotFound(format!("there is no partition {partition}")));
        }
        Ok(PartitionView {
            partition: partition.to_string(),
            namespace: "default".to_owned(),
            group: "q".to_owned(),
            queues: vec!["q".to_owned()],
            owner: Some(WORKER.to_owned()),
            owner_name: Some("a".to_owned()),
            epoch: None,
            since: None,
            counts: Some(Counts::default()),
            oldest_waiting_seconds: None,
            last_minute: Some(Rates::default()),
            slots: 4_096,
            slots_to_move: 0,
            counted_at: None,
            jobs_since: None,
            trouble: None,
        })
    }

    async fn plan(&self, change: PlannedChange) -> Result<PlanView, RequestError> {
        drop(self.asked()?);
        let (join, leave) = match change {
            PlannedChange::Join(name) => (Some(name), None),
            PlannedChange::Leave(worker) => (None, Some(worker)),
        };
        let (moves, workers, without_owner) = (Vec::new(), Vec::new(), Vec::new());
        Ok(PlanView { join, leave, partitions: 1, moves, workers, without_owner })
    }

    async fn drain(&self, worker: &str, drained: bool) -> Result<DrainView, RequestError> {
        self.asked()?.drained.push((worker.to_owned(), drained));
        Ok(DrainView { id: worker.to_owned(), name: None, draining: drained, partitions: 1 })
    }

    async fn ready(&self) -> Result<(), String> {
        self.lock().unready.clone().map_or(Ok(()), Err)
    }

    fn store_counters(&self) -> StoreCounters {
        StoreCounters { calls: 7, commits: self.lock().next, ..StoreCounters::default() }
    }

    async fn backup(&self, to: &Path) -> Result<(), RequestError> {
        self.asked()?.backups.push(to.to_owned());
        Ok(())
    }
}
