//! All links of a worker to others: made when they are needed, made again when they have broken.
//!
//! ```text
//! Idle ─▶ Connecting ─▶ Up ─▶ (ended) ─▶ Idle
//!             │  ▲
//!             ▼  │ after a pause
//!            Down
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::call::Call;
use super::client::{ClientLink, OpenError};
use super::connect::{ConnectError, Target, connect};
use super::error::CallError;
use super::limits::{BACK_OFF_FIRST, BACK_OFF_MAX, DEADLINE_MAX};
use super::seldom::Seldom;
use super::{ClusterSecret, PeerSettings};
use crate::coordination::WorkerId;

/// Links to all workers that are called. Cheap to clone; with the last clone the links end.
#[derive(Clone, Debug)]
pub struct Peers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    secret: Option<ClusterSecret>,
    own: WorkerId,
    settings: PeerSettings,
    links: Mutex<HashMap<WorkerId, Slot>>,
}

/// The link to one worker.
#[derive(Clone, Debug)]
struct Slot {
    inner: Arc<SlotInner>,
    /// With the last clone its link ends.
    _end: Arc<DropGuard>,
}

#[derive(Debug)]
struct SlotInner {
    target: Target,
    settings: PeerSettings,
    state: watch::Sender<State>,
    end: CancellationToken,
    complaints: Seldom,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Connecting,
    Up(Arc<ClientLink>),
    Down { failures: u32, until: Instant, why: Arc<str> },
}

impl Peers {
    /// Links of that worker to others. It makes none yet.
    pub fn new(secret: Option<ClusterSecret>, own: WorkerId, settings: PeerSettings) -> Self {
        Self { shared: Arc::new(Shared { secret, own, settings, links: Mutex::default() }) }
    }

    /// Asks the worker at that address (`http://host:port`), and waits for its one answer.
    pub async fn call(
        &self,
        address: &str,
        worker: &WorkerId,
        kind: u32,
        message: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let mut call = self.start(address, worker, kind, message, true, deadline).await?;
        match call.recv().await {
            Some(answer) => answer,
            None => Err(CallError::unknown(format!("the worker {worker} ended a call without an answer"))),
        }
    }

    /// Opens a call whose messages go both ways, with its first message.
    pub async fn open(
        &self,
        address: &str,
        worker: &WorkerId,
        kind: u32,
        message: Bytes,
        deadline: Duration,
    ) -> Result<Call, CallError> {
        self.start(address, worker, kind, message, false, deadline).await
    }

    async fn start(
        &self,
        address: &str,
        worker: &WorkerId,
        kind: u32,
        message: Bytes,
        end: bool,
        deadline: Duration,
    ) -> Result<Call, CallError> {
        let deadline = Instant::now() + deadline.min(DEADLINE_MAX);
        let slot = self.slot(address, worker)?;
        loop {
            let link = slot.inner.link(deadline).await?;
            match link.open(kind, message.clone(), end, deadline).await {
                Ok(call) => return Ok(call),
                Err(OpenError::Failed(error)) => return Err(error),
                // It has ended meanwhile, and nothing was sent: another one is made.
                Err(OpenError::Closed) => slot.inner.mark_ended(&link),
            }
        }
    }

    /// Ends the links to all workers but these.
    pub fn retain(&self, workers: &[WorkerId]) {
        let gone: Vec<Slot> = self.with(|links| {
            links.extract_if(|worker, _| !workers.contains(worker)).map(|(_, slot)| slot).collect()
        });
        for slot in gone {
            slot.inner.end.cancel();
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<WorkerId, Slot>) -> T) -> T {
        change(&mut self.shared.links.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn slot(&self, address: &str, worker: &WorkerId) -> Result<Slot, CallError> {
        let most = self.shared.settings.links_max;
        self.with(|links| {
            if let Some(slot) = links.get(worker)
                && *slot.inner.target.address == *address
            {
                return Ok(slot.clone());
            }
            if links.len() >= most && !links.contains_key(worker) {
                return Err(CallError::not_sent(format!(
                    "this worker has links to {most} others, which is the most"
                )));
            }
            let slot = Slot::new(&self.shared, address, worker);
            links.insert(Arc::clone(worker), slot.clone());
            Ok(slot)
        })
    }
}

impl Slot {
    fn new(shared: &Shared, address: &str, worker: &WorkerId) -> Self {
        let target = Target {
            address: address.into(),
            worker: Arc::clone(worker),
            own: Arc::clone(&shared.own),
            secret: shared.secret.clone(),
        };
        let end = CancellationToken::new();
        let guard = Arc::new(end.clone().drop_guard());
        let inner = SlotInner {
            target,
            settings: shared.settings.clone(),
            state: watch::Sender::new(State::Idle),
            end,
            complaints: Seldom::default(),
        };
        Self { inner: Arc::new(inner), _end: guard }
    }
}

impl SlotInner {
    /// The link, which is made if there is none. While it is known that it can't be made, that is
    /// answered at once.
    async fn link(self: &Arc<Self>, deadline: Instant) -> Result<Arc<ClientLink>, CallError> {
        if let State::Up(link) = &*self.state.borrow()
            && link.is_open()
        {
            return Ok(Arc::clone(link));
        }
        let mut changes = self.state.subscribe();
        loop {
            self.begin();
            match &*changes.borrow_and_update() {
                State::Up(link) => return Ok(Arc::clone(link)),
                State::Down { until, why, .. } => {
                    let retry_after = until.saturating_duration_since(Instant::now());
                    return Err(CallError::NotSent { message: self.sentence(why), retry_after });
                }
                State::Idle | State::Connecting => {}
            }
            tokio::select! {
                changed = timeout_at(deadline, changes.changed()) => if changed.is_err() {
                    return Err(CallError::not_sent(self.sentence("no link in time")));
                },
                () = self.end.cancelled() => {
                    return Err(CallError::not_sent(self.sentence("that worker is gone")));
                }
            }
        }
    }

    fn sentence(&self, why: &str) -> String {
        format!("the worker {} at {} can't be reached: {why}", self.target.worker, self.target.address)
    }

    /// Begins to make a link, if that is due and nobody has begun.
    fn begin(self: &Arc<Self>) {
        if self.end.is_cancelled() {
            return;
        }
        let mut failures_before = 0;
        let begun = self.state.send_if_modified(|state| {
            match state {
                State::Idle => {}
                State::Up(link) if !link.is_open() => {}
                State::Down { failures, until, .. } if *until <= Instant::now() => {
                    failures_before = *failures
                }
                _ => return false,
            }
            *state = State::Connecting;
            true
        });
        if begun {
            let slot = Arc::clone(self);
            tokio::spawn(async move {
                tokio::select! {
                    () = slot.run(failures_before) => {}
                    () = slot.end.cancelled() => {}
                }
                slot.clear();
            });
        }
    }

    /// Makes the link and runs it until it ends.
    async fn run(&self, failures: u32) {
        let connected = match connect(&self.target, &self.settings).await {
            Ok(connected) => connected,
            Err(error) => return self.failed(&error, failures + 1),
        };
        let name = Arc::clone(&self.target.worker);
        let link = Arc::new(ClientLink::new(connected.outbox, name, self.settings.calls_max));
        self.state.send_replace(State::Up(Arc::clone(&link)));
        tracing::debug!(worker = %self.target.worker, address = %self.target.address, "linked to a worker");
        let why = link.run(connected.reader, self.settings.idle).await;
        drop(connected.connection);
        tracing::debug!(worker = %self.target.worker, why, "the link to a worker has ended");
    }

    fn failed(&self, error: &ConnectError, failures: u32) {
        let pause = back_off(failures, getrandom::u32().unwrap_or(u32::MAX / 2));
        let why: Arc<str> = error.to_string().into();
        if self.complaints.may() {
            let Target { worker, address, .. } = &self.target;
            tracing::warn!(%worker, %address, error = %why, "a worker can't be reached");
        }
        self.state.send_replace(State::Down { failures, until: Instant::now() + pause, why });
    }

    /// That link is of no use any more.
    fn mark_ended(&self, ended: &Arc<ClientLink>) {
        self.state.send_if_modified(|state| {
            let same = matches!(state, State::Up(link) if Arc::ptr_eq(link, ended));
            if same {
                *state = State::Idle;
            }
            same
        });
    }

    /// The task of the link is over: so is the link, if it was up.
    fn clear(&self) {
        let State::Up(link) = self.state.borrow().clone() else { return };
        link.end(&self.sentence("that worker is gone"));
        self.mark_ended(&link);
    }
}

/// Pause after so many failures in a row: doubled each time, bounded, half of it by chance, so that
/// workers that lost the same peer do not come back at the same moment.
fn back_off(failures: u32, chance: u32) -> Duration {
    let doubled = BACK_OFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACK_OFF_MAX);
    doubled / 2 + (doubled / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
