//! A worker's own slots: what runs, and who gets the next free one.
//!
//! Free slots are offered to partitions in advance, so that a start can travel in the job's own
//! commit. A partition whose jobs wait without an offer says so ([`Pool::starved`]) and gets a slot
//! as soon as one is free, or one that another has been offered and does not use. Among those that
//! starve it goes in turn. Keeps INV-8: slots offered and slots running never exceed the bound.
//!
//! ```text
//! free ─▶ offered to a partition ─hand-out─▶ running ─end─▶ offered again, or to who starves
//!   ▲             └──────recalled──────┐                         │
//!   └──────────────────────────────────┴─────────────────────────┘
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::engine::{AttemptEnd, Event, Revocation, RunnerId};
use crate::model::row::BlobRef;
use crate::model::{Attempt, Backoff, JobId, Outcome, PartitionId, Retry};
use crate::store::{BlobChunk, Store, WriteOutcome};
use crate::telemetry::names;
use crate::worker::owner::OwnerHandle;
use crate::worker::owner::core::segment_key;
use crate::worker::partition::Finish;
use crate::worker::router::Router;

use super::{ChunkSink, Context, Handlers, KeptOutput, Output, Report};

/// A worker's slots are one runner to each of its owners.
pub(crate) const RUNNER: RunnerId = 1;
/// Tries of a chunk of output that is not known to be written.
const CHUNK_TRIES: u32 = 3;
/// How long one report of an attempt's end looks for an owner.
const REPORT_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two of them.
const REPORT_RETRY: Duration = Duration::from_millis(500);

/// A job's own policy, or its queue's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub max_attempts: u32,
    pub backoff: Backoff,
}

/// An attempt with all that it needs. Its start is released.
pub(crate) struct Given {
    pub attempt: Arc<Attempt>,
    pub policy: Policy,
    pub owner: OwnerHandle,
}

/// What a partition has been offered.
struct Share {
    owner: OwnerHandle,
    offered: u32,
    /// Of these, asked back and not yet answered.
    recalling: u32,
    /// It has used all that it was offered, though some hand-outs are still on their way.
    used_up: bool,
    /// Its owner is leaving: it gets no more.
    closing: bool,
}

struct Running {
    revoked: CancellationToken,
    why: Option<Revocation>,
    /// Chunks of output that are durable.
    chunks: watch::Sender<u32>,
}

struct State {
    free: u32,
    shares: HashMap<PartitionId, Share>,
    starved: VecDeque<PartitionId>,
    running: HashMap<(JobId, u32), Running>,
    /// Attempts that were handed out and whose end is not released yet: those that run, and those
    /// before and after.
    held: HashSet<(JobId, u32)>,
    stopping: bool,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    handlers: Handlers,
    name: String,
    state: Mutex<State>,
    /// An attempt has ended.
    ended: Notify,
    /// An attempt's end is on record.
    reported: Notify,
    router: OnceLock<Weak<Router>>,
}

impl Pool {
    /// So many slots for the kinds of these handlers. `name` goes on record with every start.
    pub fn new(store: Arc<dyn Store>, handlers: Handlers, slots: usize, name: String) -> Self {
        let state = State {
            free: u32::try_from(slots).unwrap_or(u32::MAX),
            shares: HashMap::new(),
            starved: VecDeque::new(),
            running: HashMap::new(),
            held: HashSet::new(),
            stopping: false,
        };
        Self {
            shared: Arc::new(Shared {
                store,
                handlers,
                name,
                state: Mutex::new(state),
                ended: Notify::new(),
                reported: Notify::new(),
                router: OnceLock::new(),
            }),
        }
    }

    /// A partition is open: its owner gets to know the runner, and an offer when it asks for one.
    pub fn register(&self, owner: OwnerHandle) {
        let kinds = self.shared.handlers.kinds().map(|kind| kind.to_string()).collect();
        owner.tell(Event::RunnerUp { runner: RUNNER, name: self.shared.name.clone(), kinds });
        let partition = owner.partition();
        let mut state = self.state();
        // An owner that opens anew knows nothing of what its predecessor was offered.
        if let Some(before) = state
            .shares
            .insert(partition, Share { owner, offered: 0, recalling: 0, used_up: true, closing: false })
        {
            state.free += before.offered;
        }
        state.starved.retain(|other| *other != partition);
        state.serve();
    }

    /// The owner of a partition is leaving: it is offered nothing more.
    pub fn closing(&self, partition: PartitionId) {
        let mut state = self.state();
        state.starved.retain(|other| *other != partition);
        if let Some(share) = state.shares.get_mut(&partition) {
            share.closing = true;
            share.recalling = share.offered;
        }
    }

    /// A partition has no owner for the time being: what it was offered is free. What runs goes on.
    pub fn closed(&self, partition: PartitionId) {
        let mut state = self.state();
        if let Some(before) = state.shares.remove(&partition) {
            state.free += before.offered;
        }
        state.starved.retain(|other| *other != partition);
        state.serve();
    }

    /// Jobs of the partition wait and it has no offer left.
    pub fn starved(&self, partition: PartitionId) {
        let mut state = self.state();
        let closing = state.shares.get(&partition).is_none_or(|share| share.closing);
        if !closing && !state.starved.contains(&partition) {
            state.starved.push_back(partition);
        }
        state.serve();
    }

    /// So many of the offers that were asked back are free again.
    pub fn recalled(&self, partition: PartitionId, attempts: u32) {
        let mut state = self.state();
        if let Some(share) = state.shares.get_mut(&partition) {
            share.used_up = attempts < share.recalling;
            share.recalling = 0;
            let given_back = attempts.min(share.offered);
            share.offered -= given_back;
            state.free += given_back;
        }
        state.serve();
    }

    /// An attempt has been handed out: it uses the slot that was offered for it, from now on.
    pub fn handed_out(&self, partition: PartitionId, job: JobId, attempt: u32) {
        let mut state = self.state();
        state.take_offer(partition);
        state.held.insert((job, attempt));
    }

    /// Of these attempts, those that were never handed out here, or whose end is released.
    pub fn not_held(&self, attempts: Vec<(JobId, u32)>) -> Vec<(JobId, u32)> {
        let state = self.state();
        attempts.into_iter().filter(|attempt| !state.held.contains(attempt)).collect()
    }

    /// Runs an attempt that was handed out.
    pub fn run(&self, given: Given) {
        let attempt = given.attempt.clone();
        let (chunks, _) = watch::channel(0);
        let revoked = CancellationToken::new();
        {
            let mut state = self.state();
            if state.stopping {
                revoked.cancel();
            }
            let running = Running { revoked: revoked.clone(), why: None, chunks: chunks.clone() };
            state.running.insert((attempt.job, attempt.attempt), running);
        }
        let this = self.clone();
        tokio::spawn(async move {
            let (report, output) = this.execute(&attempt, revoked, chunks).await;
            this.end(given, report, output);
        });
    }

    /// An attempt could not even begin.
    pub fn refused(&self, owner: OwnerHandle, job: JobId, attempt: u32, end: AttemptEnd) {
        self.report(owner, job, attempt, end);
    }

    async fn execute(
        &self,
        attempt: &Arc<Attempt>,
        revoked: CancellationToken,
        chunks: watch::Sender<u32>,
    ) -> (Report, KeptOutput) {
        let output = Output::new(Arc::new(StoreSink {
            store: self.shared.store.clone(),
            attempt: attempt.clone(),
            chunks,
        }));
        let unstarted = |outcome| (Report { outcome, exit_code: None }, KeptOutput::default());
        if revoked.is_cancelled() {
            return unstarted(Outcome::Released);
        }
        let Some(handler) = self.shared.handlers.get(&attempt.kind) else {
            return unstarted(Outcome::Released);
        };
        metrics::counter!(names::ATTEMPTS_STARTED_TOTAL).increment(1);
        metrics::gauge!(names::ATTEMPTS_RUNNING).increment(1);
        let started = Instant::now();
        let context = Context { attempt: attempt.clone(), revoked, output: output.clone() };
        // A handler that panics is one failed attempt, whatever kind of handler it is. What it leaves
        // half-done is its own: nothing here is shared with it but the output.
        let report = AssertUnwindSafe(handler.run(context)).catch_unwind().await.unwrap_or_else(|_| Report {
            outcome: Outcome::Failed {
                error: "the handler panicked".into(),
                class: "panic".into(),
                retry: Retry::Policy,
            },
            exit_code: None,
        });
        let outcome = report.outcome.name();
        metrics::gauge!(names::ATTEMPTS_RUNNING).decrement(1);
        metrics::counter!(names::ATTEMPTS_ENDED_TOTAL, "outcome" => outcome).increment(1);
        metrics::histogram!(names::ATTEMPT_SECONDS, "outcome" => outcome).record(started.elapsed());
        (report, output.finish().await)
    }

    fn end(&self, given: Given, report: Report, output: KeptOutput) {
        let Given { attempt, policy, owner } = given;
        let kept = BlobRef {
            segment: Some(attempt.output_segment),
            blob: attempt.output_blob,
            chunks: output.chunks,
            bytes: output.bytes,
        };
        let end = AttemptEnd {
            outcome: report.outcome,
            max_attempts: policy.max_attempts,
            backoff: policy.backoff,
            exit_code: report.exit_code,
            output: (output.chunks > 0).then_some(kept),
            output_dropped_bytes: output.dropped_bytes,
        };
        self.state().running.remove(&(attempt.job, attempt.attempt));
        self.report(owner, attempt.job, attempt.attempt, end);
    }

    /// Tells the owner, and offers the slot on. If the owner changes before the report is released,
    /// it is told to the next, wherever that is.
    fn report(&self, owner: OwnerHandle, job: JobId, attempt: u32, end: AttemptEnd) {
        let report = owner.report(job, attempt, end.clone());
        self.state().offer_on(owner.partition());
        self.shared.ended.notify_waiters();
        let this = self.clone();
        tokio::spawn(async move {
            if owner.reported(report).await.is_err() {
                this.report_again(owner, job, attempt, end).await;
            }
            this.state().held.remove(&(job, attempt));
            this.shared.reported.notify_waiters();
        });
    }

    async fn report_again(&self, owner: OwnerHandle, job: JobId, attempt: u32, end: AttemptEnd) {
        let router = self.shared.router.get().cloned().unwrap_or_default();
        loop {
            let Some(router) = router.upgrade() else { return };
            let finish = Finish { job, attempt, end: end.clone() };
            // By partition of the owner, not of the job's birth: that is who counts its attempts.
            match router.call(owner.partition(), finish, REPORT_WITHIN).await {
                Ok(_) => return,
                Err(error) => {
                    debug!(%job, attempt, %error, "the end of an attempt can't be reported: trying again");
                    tokio::time::sleep(REPORT_RETRY).await;
                }
            }
        }
    }

    /// Who knows where the owners are, for reports that outlive theirs.
    pub fn set_router(&self, router: Weak<Router>) {
        // It is set once, by whoever puts the worker together.
        let _ = self.shared.router.set(router);
    }

    /// Ends an attempt early.
    pub fn revoke(&self, job: JobId, attempt: u32, why: Revocation) {
        if let Some(running) = self.state().running.get_mut(&(job, attempt)) {
            running.why = Some(why);
            running.revoked.cancel();
        }
    }

    /// Counts the durable chunks of a running attempt's output; closes when it ends.
    pub fn live(&self, job: JobId, attempt: u32) -> Option<watch::Receiver<u32>> {
        self.state().running.get(&(job, attempt)).map(|running| running.chunks.subscribe())
    }

    /// Starts nothing more.
    pub fn drain(&self) {
        let mut state = self.state();
        state.stopping = true;
        let asked: Vec<(OwnerHandle, u32)> =
            state.shares.values().map(|share| (share.owner.clone(), share.offered)).collect();
        drop(state);
        for (owner, offered) in asked {
            owner.tell(Event::Recall { runner: RUNNER, attempts: offered });
        }
    }

    /// Ends everything that runs.
    pub fn revoke_all(&self) {
        for running in self.state().running.values_mut() {
            running.why = Some(Revocation::Interrupted);
            running.revoked.cancel();
        }
    }

    /// Attempts that run.
    pub fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Returns when nothing runs.
    pub async fn idle(&self) {
        until(&self.shared.ended, || self.running() == 0).await;
    }

    /// Attempts that do not run, and whose end is not on record yet.
    pub fn unreported(&self) -> usize {
        let state = self.state();
        state.held.iter().filter(|attempt| !state.running.contains_key(attempt)).count()
    }

    /// Returns when there are none: whoever owns by then knows of every end.
    pub async fn reported(&self) {
        until(&self.shared.reported, || self.unreported() == 0).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a condition that only changes before somebody is notified.
async fn until(changed: &Notify, holds: impl Fn() -> bool) {
    loop {
        let change = changed.notified();
        tokio::pin!(change);
        change.as_mut().enable();
        if holds() {
            return;
        }
        change.await;
    }
}

impl State {
    /// Gives free slots to those that starve; if there are none, asks idle offers back.
    fn serve(&mut self) {
        while self.free > 0 && !self.stopping {
            let Some(partition) = self.starved.pop_front() else { return };
            let others = self.starved.len() as u32;
            let attempts = (self.free / (others + 1)).max(1);
            self.offer(partition, attempts);
        }
        let mut wanted = self.starved.len() as u32;
        if wanted == 0 || self.stopping {
            return;
        }
        let on_their_way: u32 = self.shares.values().map(|share| share.recalling).sum();
        wanted = wanted.saturating_sub(on_their_way);
        for (partition, share) in &mut self.shares {
            if wanted == 0 {
                return;
            }
            let idle = share.offered > 0 && !share.used_up;
            if idle && share.recalling == 0 && !self.starved.contains(partition) {
                share.recalling = wanted.min(share.offered);
                wanted -= share.recalling;
                share.owner.tell(Event::Recall { runner: RUNNER, attempts: share.recalling });
            }
        }
    }

    fn offer(&mut self, partition: PartitionId, attempts: u32) {
        if let Some(share) = self.shares.get_mut(&partition).filter(|share| !share.closing) {
            self.free -= attempts;
            share.offered += attempts;
            share.used_up = false;
            share.owner.tell(Event::Pull { runner: RUNNER, attempts });
        }
    }

    fn take_offer(&mut self, partition: PartitionId) {
        if let Some(share) = self.shares.get_mut(&partition) {
            share.offered = share.offered.saturating_sub(1);
        }
    }

    /// A slot is free: the partition that used it has it again, unless others starve.
    fn offer_on(&mut self, partition: PartitionId) {
        self.free += 1;
        let goes_on = self.shares.get(&partition).is_some_and(|share| !share.closing);
        if self.starved.is_empty() && !self.stopping && goes_on {
            self.offer(partition, 1);
        } else {
            self.serve();
        }
    }
}

/// Puts chunks of output into the store.
struct StoreSink {
    store: Arc<dyn Store>,
    attempt: Arc<Attempt>,
    chunks: watch::Sender<u32>,
}

#[async_trait]
impl ChunkSink for StoreSink {
    async fn put(&self, chunk: u32, bytes: Bytes) -> bool {
        let segment = segment_key(self.attempt.partition, self.attempt.output_segment);
        for _ in 0..CHUNK_TRIES {
            let chunk = BlobChunk { blob: self.attempt.output_blob, chunk, bytes: bytes.clone() };
            if self.store.put_blobs(segment, vec![chunk]).await == WriteOutcome::Durable {
                self.chunks.send_modify(|chunks| *chunks += 1);
                return true;
            }
        }
        false
    }
}
