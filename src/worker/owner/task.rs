//! The task that runs one partition's owner: reads and writes for it, and brings its answers out.
//!
//! What has arrived is taken in together before anything is sent, so that it shares a commit.
//! Nothing is polled: it sleeps until a message, an answer of the store, or the engine's next time.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::engine::{self, EngineSettings, Event, TOKEN_BUCKET_MS, Ticket};
use crate::model::limits::TOKENS_MAX;
use crate::model::row::TokensRow;
use crate::model::{Epoch, JobId, JobState, PartitionId};
use crate::runner::pool::Pool;
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::worker::catalog::Catalog;
use crate::worker::clock::Clock;
use crate::worker::protocol::{ProtocolSettings, perform};
use crate::worker::reader::Reader;
use crate::worker::room::Window;
use crate::worker::router::Neighbours;

use super::bodies::Bodies;
use super::core::{Core, FoundTokens, Input, Output, decode_summary};
use super::hand_out::HandOuts;
use super::handle::{Answer, Deliver, Look, Message, Moved, OwnerHandle};
use super::orphans;
use super::slots::Mover;

/// Messages taken in before anything is sent: more would only make the first ones wait.
const TOGETHER_MAX: usize = 4_096;
/// Longest sleep while something is due: a laptop that slept has missed its time.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Entries of tokens that are read at a time.
const TOKENS_PAGE: usize = 1_000;
/// An owner that opens hears of the runner, says that jobs wait, and hears of slots.
const MESSAGES_OF_RUNNER: usize = 2;
/// Delay before a read that failed is tried again.
const READ_RETRY: Duration = Duration::from_millis(500);
/// Delay before a claim after another owner came, or after the store could not be read.
const CLAIM_RETRY: Duration = Duration::from_secs(1);
/// How long an owner that is to end waits for progress and goes on as ever: its successor has the less
/// to read.
const PREPARE_PATIENCE: Duration = Duration::from_secs(2);
/// How long it then waits for the release of its last commits.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Tries of a take-over that fails, before the partition is parked.
const TAKEOVERS_MAX: u32 = 3;
/// A claim that lived for so long makes its failure the first one.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(600);

type Call = Pin<Box<dyn Future<Output = Input> + Send>>;

/// What all owners of a worker share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub bodies: Arc<Bodies>,
    pub catalog: Arc<Catalog>,
    pub pool: Pool,
    pub engine: EngineSettings,
    pub window: Arc<Window>,
    pub requests_max: usize,
    /// Written into claims.
    pub name: Bytes,
    /// Other workers, if there are any. Without them no process of a predecessor can be alive: its
    /// attempts are interrupted as soon as it is open.
    pub cluster: Option<Arc<Neighbours>>,
}

/// Why one claim's life ended.
enum End {
    Stopped,
    LetGo,
    Superseded,
    Failed(StoreError),
}

/// How far an owner is that was told to end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    No,
    /// It goes on as ever while progress is written.
    Preparing {
        until: Instant,
    },
    /// It starts and takes nothing more; its last commits are on their way.
    Last {
        until: Instant,
    },
}

impl Ending {
    fn until(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Preparing { until } | Self::Last { until } => Some(until),
        }
    }
}

/// One partition's owner.
pub(crate) struct Owner {
    shared: Shared,
    partition: PartitionId,
    handle: OwnerHandle,
    messages: mpsc::UnboundedReceiver<Message>,
    trouble: watch::Sender<Option<StoreError>>,
    open_since: watch::Sender<u64>,
    core: Core,
    calls: FuturesUnordered<Call>,
    outputs: Vec<Output>,
    asked: HashMap<Ticket, (oneshot::Sender<Answer>, Option<OwnedSemaphorePermit>)>,
    looks: HashMap<u64, Look>,
    seen: HashMap<u64, Deliver>,
    early_peeks: Vec<Look>,
    subscribers: HashMap<JobId, Vec<oneshot::Sender<JobState>>>,
    next_ticket: Ticket,
    /// The partition's time is so far ahead of the clock.
    ahead_ms: u64,
    stopping: Option<oneshot::Sender<()>>,
    ending: Ending,
    /// It has been open before: attempts that run are this process's own.
    was_open: bool,
    /// When this claim was begun.
    claim_begun: Instant,
    hand_outs: HandOuts,
    mover: Mover,
    /// The epoch that is open.
    epoch: Option<Epoch>,
    /// What leaves only while the session is sure to be alive.
    held_back: Vec<Output>,
    /// What came between two claims.
    postponed: VecDeque<Message>,
    /// Who waits for the end of this claim.
    superseded: Vec<oneshot::Sender<()>>,
    /// The claim is to end now.
    asked_to_end: Option<End>,
    sure: watch::Receiver<bool>,
    /// Keeps `sure` open where nobody else does.
    _always_sure: Option<watch::Sender<bool>>,
}

impl Owner {
    /// Starts the owner of a partition.
    pub fn start(shared: Shared, partition: PartitionId) -> OwnerHandle {
        let (sender, messages) = mpsc::unbounded_channel();
        let (trouble, trouble_seen) = watch::channel(None);
        let permits = Arc::new(Semaphore::new(shared.requests_max));
        let (open_since, open_since_seen) = watch::channel(0);
        let handle = OwnerHandle {
            partition,
            messages: sender,
            permits,
            trouble: trouble_seen,
            open_since: open_since_seen,
            leaving: Arc::new(AtomicBool::new(false)),
            parked: Arc::new(AtomicBool::new(false)),
        };
        let (sure, _always_sure) = match &shared.cluster {
            Some(neighbours) => (neighbours.sure.subscribe(), None),
            None => {
                let (always, sure) = watch::channel(true);
                (sure, Some(always))
            }
        };
        let reader = Reader::new(shared.store.clone(), shared.bodies.clone(), handle.clone());
        let hand_outs = HandOuts::new(shared.catalog.clone(), shared.pool.clone(), reader);
        let mover = Mover::new(partition, &shared);
        let owner = Self {
            core: new_core(&shared, partition),
            shared,
            partition,
            handle: handle.clone(),
            messages,
            trouble,
            open_since,
            calls: FuturesUnordered::new(),
            outputs: Vec::new(),
            asked: HashMap::new(),
            looks: HashMap::new(),
            seen: HashMap::new(),
            early_peeks: Vec::new(),
            subscribers: HashMap::new(),
            next_ticket: 0,
            ahead_ms: 0,
            stopping: None,
            ending: Ending::No,
            was_open: false,
            claim_begun: Instant::now(),
            hand_outs,
            mover,
            epoch: None,
            held_back: Vec::new(),
            postponed: VecDeque::new(),
            superseded: Vec::new(),
            asked_to_end: None,
            sure,
            _always_sure,
        };
        tokio::spawn(owner.run());
        handle
    }

    async fn run(mut self) {
        self.shared.window.join();
        let mut failures = 0;
        let parked = loop {
            let begun = Instant::now();
            let end = self.run_claim().await;
            if begun.elapsed() >= FAILURES_FORGOTTEN {
                failures = 0;
            }
            self.close();
            match end {
                End::Stopped | End::LetGo => break false,
                _ if !matches!(self.ending, Ending::No) => break false,
                End::Superseded => failures = 0,
                End::Failed(error) => {
                    failures += 1;
                    error!(partition = %self.partition, %error, "the partition can't be owned");
                    self.trouble.send_replace(Some(error));
                    if failures >= TAKEOVERS_MAX {
                        error!(partition = %self.partition, "parked: restart the worker once its cause is mended");
                        break true;
                    }
                }
            }
            if !self.may_claim_again().await {
                break false;
            }
            self.core = new_core(&self.shared, self.partition);
        };
        self.shared.window.leave();
        if let Some(done) = self.stopping.take() {
            let _ = done.send(());
        }
        if parked {
            self.refuse_until_told_to_go().await;
        }
        // Whoever has sent something in the last moment hears that it was not done.
        self.handle.leaving.store(true, Ordering::Release);
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            turn_away(message);
        }
        self.postponed.drain(..).for_each(turn_away);
    }

    /// A parked partition goes on refusing, with a reason.
    async fn refuse_until_told_to_go(&mut self) {
        self.handle.parked.store(true, Ordering::Release);
        while let Some(message) = self.messages.recv().await {
            match message {
                Message::Stop { done } => {
                    let _ = done.send(());
                    return;
                }
                Message::LetGo => return,
                Message::Supersede { done, .. } => {
                    let _ = done.send(());
                }
                _ => {}
            }
        }
    }

    /// The claim's life is over: whoever waits hears that the outcome is not known.
    fn close(&mut self) {
        self.shared.pool.closed(self.partition);
        self.epoch = None;
        self.asked.clear();
        self.looks.clear();
        self.early_peeks.clear();
        self.seen.clear();
        self.calls.clear();
        self.outputs.clear();
        self.held_back.clear();
        // Whoever waits for this may have gone.
        for done in self.superseded.drain(..) {
            let _ = done.send(());
        }
    }

    /// Waits a moment, and until the lock is seen to be held. False if it is to end instead.
    async fn may_claim_again(&mut self) -> bool {
        let (partition, cluster) = (self.partition, self.shared.cluster.clone());
        let allowed = async {
            tokio::time::sleep(CLAIM_RETRY).await;
            if let Some(neighbours) = cluster {
                let (mut view, mut sure) = (neighbours.view.subscribe(), neighbours.sure.subscribe());
                while !(*sure.borrow() && view.borrow().owners.get(&partition) == Some(&neighbours.me)) {
                    // The senders live as long as the worker.
                    tokio::select! {
                        _ = view.changed() => {}
                        _ = sure.changed() => {}
                    }
                }
            }
        };
        tokio::pin!(allowed);
        loop {
            let message = tokio::select! {
                () = &mut allowed => return true,
                message = self.messages.recv() => message,
            };
            match message {
                None | Some(Message::LetGo) => return false,
                Some(Message::Stop { done }) => {
                    self.stopping = Some(done);
                    return false;
                }
                Some(Message::Supersede { done, .. }) => {
                    let _ = done.send(());
                }
                Some(other) => self.postponed.push_back(other),
            }
        }
    }

    async fn run_claim(&mut self) -> End {
        let mut drawn = [0u8; 8];
        if let Err(error) = getrandom::fill(&mut drawn) {
            return End::Failed(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("no random bits: {error}"),
            ));
        }
        for queue in self.shared.catalog.queues_of(self.partition) {
            let settings = Box::new(queue.settings.clone());
            self.input(Input::Queue { number: queue.number, settings, paused: queue.paused });
        }
        self.mover.forget_told();
        self.message(Message::Slots);
        self.claim_begun = Instant::now();
        self.input(Input::Start { incarnation: u64::from_le_bytes(drawn) });
        for message in std::mem::take(&mut self.postponed) {
            self.message(message);
        }
        loop {
            if let Some(end) = self.carry_out() {
                return end;
            }
            if let Some(end) = self.asked_to_end.take() {
                self.input(Input::Stop);
                return end;
            }
            if matches!(self.ending, Ending::Last { .. }) && self.core.is_settled() {
                self.input(Input::Stop);
                return End::Stopped;
            }
            let sleep = self.until_wake();
            let patience = self.ending.until();
            tokio::select! {
                biased;
                Some(input) = self.calls.next(), if !self.calls.is_empty() => self.input(input),
                message = self.messages.recv() => match message {
                    Some(message) => self.message(message),
                    None => return End::Stopped,
                },
                () = tokio::time::sleep(sleep.unwrap_or(SLEEP_MAX)), if sleep.is_some() => self.input(Input::Wake),
                Ok(()) = self.sure.changed() => {
                    // What was held back can leave, if it is time; if not, it comes back here.
                    self.outputs.append(&mut self.held_back);
                }
                () = tokio::time::sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                    match self.ending {
                        Ending::Preparing { .. } => self.stop_starting(),
                        Ending::No | Ending::Last { .. } => return End::Stopped,
                    }
                }
            }
            self.take_what_is_there();
        }
    }

    /// Takes in all that has arrived, so that it shares a commit.
    fn take_what_is_there(&mut self) {
        for _ in 0..TOGETHER_MAX {
            match self.messages.try_recv() {
                Ok(message) => self.message(message),
                Err(_) => break,
            }
        }
        while let Some(Some(input)) = self.calls.next().now_or_never() {
            self.input(input);
        }
    }

    fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms() + self.ahead_ms
    }

    fn until_wake(&self) -> Option<Duration> {
        let at_ms = self.core.next_wake_ms()?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.now_ms())).min(SLEEP_MAX))
    }

    fn input(&mut self, input: Input) {
        let now_ms = self.now_ms();
        self.core.handle(now_ms, input, &mut self.outputs);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Ask { reply, .. } if self.handle.is_leaving() => {
                // Whoever asked may have gone.
                let _ = reply.send(Err(Moved));
            }
            Message::Ask { event, reply, permit } => {
                self.next_ticket += 1;
                self.asked.insert(self.next_ticket, (reply, permit));
                self.input(Input::Event(event(self.next_ticket)));
            }
            Message::Queue { number, settings, paused } => {
                self.input(Input::Queue { number, settings, paused })
            }
            Message::Slots => {
                if let Some(slots) = self.mover.leaving() {
                    self.input(Input::Leaving { slots });
                }
            }
            Message::Look(look) => {
                self.next_ticket += 1;
                self.looks.insert(self.next_ticket, look);
                self.input(Input::Look { ticket: self.next_ticket });
            }
            Message::Peek(look) => match self.core.engine() {
                Some(engine) => look(engine)(),
                None => self.early_peeks.push(look),
            },
            Message::Subscribe { job, ended } => self.subscribe(job, ended),
            Message::Event(event) => self.input(Input::Event(event)),
            Message::LetGo => self.asked_to_end = Some(End::LetGo),
            Message::Supersede { by, done } => {
                if self.epoch.is_none_or(|epoch| epoch < by) && self.asked_to_end.is_none() {
                    self.asked_to_end = Some(End::Superseded);
                }
                self.superseded.push(done);
            }
            Message::Stop { done } => {
                self.stopping = Some(done);
                self.input(Input::WantProgress);
                if self.core.owes_progress() {
                    self.ending = Ending::Preparing { until: Instant::now() + PREPARE_PATIENCE };
                } else {
                    self.stop_starting();
                }
            }
        }
    }

    /// From now on the partition stands still, until its next owner is open.
    fn stop_starting(&mut self) {
        self.handle.leaving.store(true, Ordering::Release);
        self.ending = Ending::Last { until: Instant::now() + STOP_PATIENCE };
        self.shared.pool.closing(self.partition);
        let attempts = u32::MAX;
        self.input(Input::Event(Event::Recall { runner: crate::runner::pool::RUNNER, attempts }));
    }

    fn subscribe(&mut self, job: JobId, ended: oneshot::Sender<JobState>) {
        let subscribers = self.subscribers.entry(job).or_default();
        subscribers.retain(|subscriber| !subscriber.is_closed());
        subscribers.push(ended);
        if self.subscribers.len().is_power_of_two() {
            self.subscribers.retain(|_, subscribers| {
                subscribers.retain(|subscriber| !subscriber.is_closed());
                !subscribers.is_empty()
            });
        }
    }

    /// Does all that the owner asks for, until it asks for nothing more.
    fn carry_out(&mut self) -> Option<End> {
        let mut just_opened = 0;
        loop {
            if just_opened > 0 {
                // The runner and its slots, so that the first commit has the first starts.
                self.take_what_is_there();
                just_opened -= 1;
            } else {
                let now_ms = self.now_ms();
                self.core.set_window(self.shared.window.share());
                self.core.flush(now_ms, &mut self.outputs);
                if self.outputs.is_empty() {
                    return None;
                }
            }
            for output in std::mem::take(&mut self.outputs) {
                if matches!(output, Output::Opened { .. }) {
                    just_opened = MESSAGES_OF_RUNNER;
                }
                if let Some(end) = self.output(output) {
                    return Some(end);
                }
            }
        }
    }

    fn output(&mut self, output: Output) -> Option<End> {
        let leaves = matches!(output, Output::Reply { .. } | Output::Fenced { .. } | Output::HandOut(_));
        if leaves && !*self.sure.borrow() {
            self.held_back.push(output);
            return None;
        }
        match output {
            Output::Call { call, request } => {
                let store = self.shared.store.clone();
                self.calls.push(Box::pin(async move {
                    Input::Called { call, reply: perform(&*store, request).await }
                }));
            }
            Output::ReadTokens => self.read_tokens(),
            Output::Opened { epoch } => self.opened(epoch),
            Output::Bodies { at, row, bytes } => self.shared.bodies.keep(self.partition, at, row, bytes),
            Output::Evaluate { ticket } => {
                if let (Some(look), Some(engine)) = (self.looks.remove(&ticket), self.core.engine()) {
                    self.seen.insert(ticket, look(engine));
                }
            }
            Output::Fenced { ticket } => {
                if let Some(deliver) = self.seen.remove(&ticket) {
                    deliver();
                }
            }
            Output::Reply { ticket, reply } => {
                if let Some((waits, _permit)) = self.asked.remove(&ticket) {
                    // Whoever asked may have gone.
                    let _ = waits.send(Ok(reply));
                }
            }
            Output::Prefetch { segment, commit } => {
                self.hand_outs.prefetch(segment, commit);
            }
            Output::HandOut(hand_out) => self.hand_outs.give(*hand_out),
            Output::Revoke { job, attempt, why } => self.shared.pool.revoke(job, attempt, why),
            Output::Recalled { attempts } => self.shared.pool.recalled(self.partition, attempts),
            Output::Starved => self.shared.pool.starved(self.partition),
            Output::SlotsClosed { slots } => self.mover.closed(slots),
            Output::Ended { job, state } => {
                for subscriber in self.subscribers.remove(&job).unwrap_or_default() {
                    let _ = subscriber.send(state);
                }
            }
            Output::LoadSegment { segment, key, as_of } => self.load_segment(segment, key, as_of),
            Output::ReadForRewrite { segment, name, jobs } => {
                let reader = self.hand_outs.reader().clone();
                self.calls.push(Box::pin(async move {
                    Input::Event(Event::Rewrite { segment, jobs: reader.for_rewrite(name, jobs).await })
                }));
            }
            Output::ProgressDurable => {
                if matches!(self.ending, Ending::Preparing { .. }) {
                    self.stop_starting();
                }
            }
            Output::Trouble(trouble) => {
                match &trouble {
                    Some(error) => {
                        warn!(partition = %self.partition, %error, "the store does not take writes")
                    }
                    None => info!(partition = %self.partition, "the store takes writes again"),
                }
                self.trouble.send_replace(trouble);
            }
            Output::Superseded { by } => {
                warn!(partition = %self.partition, %by, "another owner has come");
                return Some(End::Superseded);
            }
            Output::Failed(error) => return Some(End::Failed(error)),
        }
        None
    }

    fn opened(&mut self, epoch: Epoch) {
        let ms = self.claim_begun.elapsed().as_millis() as u64;
        debug!(partition = %self.partition, %epoch, ms, "open");
        self.trouble.send_replace(None);
        let clock_ms = self.shared.clock.now_ms();
        if let Some(engine) = self.core.engine() {
            self.ahead_ms = engine.now_ms().saturating_sub(clock_ms);
            for look in std::mem::take(&mut self.early_peeks) {
                look(engine)();
            }
        }
        self.hand_outs.opened(epoch);
        self.epoch = Some(epoch);
        match (&self.shared.cluster, std::mem::replace(&mut self.was_open, true)) {
            (Some(neighbours), _) => {
                let reader = self.hand_outs.reader().clone();
                tokio::spawn(orphans::settle(neighbours.clone(), self.shared.pool.clone(), reader, epoch));
            }
            (None, false) => self.input(Input::Event(Event::OrphansGone)),
            (None, true) => self.give_back_unstarted(),
        }
        self.shared.pool.register(self.handle.clone());
        self.open_since.send_replace(clock_ms);
    }

    /// A start that was on its way when the last claim ended may have become history without having
    /// been handed out: nobody will ever report its end.
    fn give_back_unstarted(&mut self) {
        let orphans = self.core.engine().map(|engine| engine.orphans()).unwrap_or_default();
        for (job, attempt) in self.shared.pool.not_held(orphans) {
            self.input(Input::Event(Event::OrphanUnstarted { job, attempt }));
        }
    }

    fn read_tokens(&mut self) {
        let (store, partition, now_ms) = (self.shared.store.clone(), self.partition, self.now_ms());
        self.calls
            .push(Box::pin(async move { Input::Tokens(find_tokens(&*store, partition, now_ms).await) }));
    }

    fn load_segment(&mut self, segment: u32, key: crate::store::SegmentKey, as_of: crate::store::CommitKey) {
        let store = self.shared.store.clone();
        self.calls.push(Box::pin(async move {
            loop {
                match store.summary(key, as_of).await {
                    Ok(Some(bytes)) => match decode_summary(&bytes) {
                        Ok(summary) => {
                            let summary = Box::new(summary);
                            return Input::Event(Event::SegmentLoaded { segment, summary });
                        }
                        Err(error) => return Input::Unreadable(error),
                    },
                    Ok(None) => {
                        let what = format!("the summary of segment {key:?} as of {as_of:?} is missing");
                        return Input::Unreadable(StoreError::new(StoreErrorKind::Damaged, what));
                    }
                    Err(error) if error.kind == StoreErrorKind::Unavailable => {
                        tokio::time::sleep(READ_RETRY).await;
                    }
                    Err(error) => return Input::Unreadable(error),
                }
            }
        }));
    }
}

/// Nothing was done.
fn turn_away(message: Message) {
    match message {
        // Whoever asked may have gone.
        Message::Ask { reply, .. } => drop(reply.send(Err(Moved))),
        Message::Stop { done } | Message::Supersede { done, .. } => {
            let _ = done.send(());
        }
        _ => {}
    }
}

fn new_core(shared: &Shared, partition: PartitionId) -> Core {
    let protocol = ProtocolSettings { appends_in_flight_max: 2, ..ProtocolSettings::default() };
    Core::new(partition, shared.name.clone(), shared.engine, protocol)
}

/// Tokens of the last ten minutes.
async fn find_tokens(store: &dyn Store, partition: PartitionId, now_ms: u64) -> FoundTokens {
    let newest = now_ms / TOKEN_BUCKET_MS;
    let buckets = [newest.saturating_sub(1), newest];
    let read = buckets.map(|bucket| tokens_of_bucket(store, partition, bucket));
    let mut found = join_all(read).await.concat();
    found.sort_by_key(|(_, job, time_ms)| (*time_ms, *job));
    let surplus = found.len().saturating_sub(TOKENS_MAX);
    found.drain(..surplus);
    found
}

/// If they can't be read now, they are read again: a producer that repeats an enqueue counts on them.
async fn tokens_of_bucket(store: &dyn Store, partition: PartitionId, bucket: u64) -> FoundTokens {
    let scope = super::core::scope_name(engine::Scope::Token, partition);
    let mut found = FoundTokens::new();
    let mut after = Bytes::new();
    loop {
        let page = match store.scan_entries(&scope, bucket, &after, TOKENS_PAGE).await {
            Ok(page) => page,
            Err(error) => {
                warn!(%partition, %error, "idempotency tokens can't be read: trying again");
                tokio::time::sleep(READ_RETRY).await;
                continue;
            }
        };
        let Some((last, _)) = page.last() else { return found };
        after = last.clone();
        // A page ends where a term ends, and a commit has few terms.
        let is_last = page.len() <= TOKENS_PAGE / 2;
        for (term, value) in page {
            found.extend(decode_tokens(partition, &term, &value));
        }
        if is_last {
            return found;
        }
    }
}

/// Entries of one commit: the term is epoch and commit, the value hashes and places.
fn decode_tokens(partition: PartitionId, term: &[u8], value: &[u8]) -> FoundTokens {
    let (Some(epoch), Some(commit)) = (term.first_chunk::<4>(), term.last_chunk::<8>()) else {
        return Vec::new();
    };
    let Ok(row) = TokensRow::decode(value) else { return Vec::new() };
    let (epoch, commit) = (u32::from_be_bytes(*epoch), u64::from_be_bytes(*commit));
    if term.len() != 12 || epoch > crate::model::Epoch::NUMBER_MAX || commit > JobId::COMMIT_MAX {
        return Vec::new();
    }
    let hashes = row.hashes.as_chunks::<16>().0.iter();
    hashes
        .zip(row.places)
        .map(|(hash, place)| (*hash, JobId::new(partition, epoch, commit, place as u16), row.time_ms))
        .collect()
}
