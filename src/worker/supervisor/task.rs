//! Runs the machine: the thin shell with the session, the clock and the calls.
//!
//! Calls run beside each other and come back as inputs; what the machine asks for bounds how many
//! there are (64 locks, 16 partitions leaving, and a handful of others).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::Partitions;
use super::machine::Machine;
use super::types::{Call, Input, Level, Output, Settings};
use crate::coordination::{
    CoordinationError, CoordinationErrorKind, Coordinator, Member, Session, SessionState, View,
};
use crate::store::StoreError;
use crate::telemetry::names;
use crate::worker::catalog::{Catalog, CatalogChange};
use crate::worker::clock_offset::Offset;

/// The coordinator has bounds of its own; whatever takes longer has an outcome that is not known.
const CALL_PATIENCE: Duration = Duration::from_secs(60);
/// A hand-over that takes longer is ended at once.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(60);
/// How long the goodbye may take; after it the session ends by itself.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// How often parked partitions are looked for.
const PARKED_EVERY: Duration = Duration::from_secs(1);
/// When nothing is to be done, the machine is woken all the same after so long.
const IDLE: Duration = Duration::from_secs(3_600);

/// What a supervisor works with.
pub(crate) struct Supervision {
    pub coordinator: Arc<dyn Coordinator>,
    pub partitions: Arc<dyn Partitions>,
    pub catalog: Arc<Catalog>,
    pub offset: watch::Receiver<Option<Offset>>,
    /// What this worker shows of itself.
    pub member: Member,
    pub settings: Settings,
    /// Any number, another for each worker.
    pub chance: u64,
}

/// How far a supervisor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes part.
    Running,
    /// All was handed over, as it was asked to; the session goes on.
    Drained,
    /// It has left.
    Left,
    /// This worker must not take part, and why.
    Refused(String),
}

/// Talks to a running supervisor. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SupervisorHandle {
    drain: CancellationToken,
    leave: CancellationToken,
    phase: watch::Receiver<Phase>,
    session: watch::Receiver<Option<Arc<dyn Session>>>,
}

impl SupervisorHandle {
    /// Hands everything over; returns when that is done. The worker stays a member, since attempts
    /// that still run are asked after.
    pub async fn drain(&self) {
        self.drain.cancel();
        let _ = self.phase.clone().wait_for(|phase| *phase != Phase::Running).await;
    }

    /// Ends the session; returns when that is done.
    pub async fn leave(&self) {
        self.leave.cancel();
        let ended = |phase: &Phase| matches!(phase, Phase::Left | Phase::Refused(_));
        let _ = self.phase.clone().wait_for(ended).await;
    }

    /// Waits until this worker must not take part any more, and says why.
    pub async fn refused(&self) -> String {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Left | Phase::Refused(_))).await.as_deref() {
            Ok(Phase::Refused(why)) => why.clone(),
            Ok(_) => std::future::pending().await,
            Err(_) => "the supervisor has crashed: this is a bug".to_owned(),
        }
    }

    /// The session, while there is one.
    pub fn session(&self) -> Option<Arc<dyn Session>> {
        self.session.borrow().clone()
    }
}

/// Starts one. It ends when it is drained or refused, or with the runtime.
pub(crate) fn start(supervision: Supervision) -> SupervisorHandle {
    let (drain, leave) = (CancellationToken::new(), CancellationToken::new());
    let (phase, seen) = watch::channel(Phase::Running);
    let (session, shown) = watch::channel(None);
    let handle = SupervisorHandle { drain: drain.clone(), leave: leave.clone(), phase: seen, session: shown };
    tokio::spawn(Task::new(supervision, phase, session).run(drain, leave));
    handle
}

/// What a call brings back.
enum Done {
    Joined(Call, Result<Arc<dyn Session>, CoordinationError>),
    Catalog(Call, Result<CatalogChange, StoreError>),
    Other(Input),
}

struct Active {
    session: Arc<dyn Session>,
    view: watch::Receiver<Arc<View>>,
    state: watch::Receiver<SessionState>,
}

struct Task {
    coordinator: Arc<dyn Coordinator>,
    partitions: Arc<dyn Partitions>,
    catalog: Arc<Catalog>,
    offset: watch::Receiver<Option<Offset>>,
    phase: watch::Sender<Phase>,
    shown: watch::Sender<Option<Arc<dyn Session>>>,
    machine: Machine,
    began: Instant,
    wake: Instant,
    active: Option<Active>,
    calls: JoinSet<Done>,
    owned_said: usize,
}

impl Task {
    fn new(
        supervision: Supervision,
        phase: watch::Sender<Phase>,
        shown: watch::Sender<Option<Arc<dyn Session>>>,
    ) -> Self {
        let Supervision { coordinator, partitions, catalog, offset, member, settings, chance } = supervision;
        let now = Instant::now();
        Self {
            coordinator,
            partitions,
            catalog,
            offset,
            phase,
            shown,
            machine: Machine::new(settings, member, chance),
            began: now,
            wake: now,
            active: None,
            calls: JoinSet::new(),
            owned_said: 0,
        }
    }

    async fn run(mut self, drain: CancellationToken, leave: CancellationToken) {
        let mut own_changes = self.catalog.own_changes();
        let mut parked = interval(PARKED_EVERY);
        parked.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut draining = false;
        self.partitions.set_sure(false);
        self.tell(Input::KnownCatalog(self.catalog.partition_names()));
        let state = self.offset.borrow_and_update().map(Offset::state);
        state.into_iter().for_each(|state| self.tell(Input::Clock(state)));
        loop {
            if matches!(*self.phase.borrow(), Phase::Refused(_)) {
                return self.leave().await;
            }
            tokio::select! {
                Some(done) = self.calls.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(crash) => error!(%crash, "a call of the supervisor has crashed: this is a bug"),
                },
                () = changed(&mut self.active) => self.look(),
                Ok(()) = self.offset.changed() => {
                    let state = self.offset.borrow_and_update().map(Offset::state);
                    state.into_iter().for_each(|state| self.tell(Input::Clock(state)));
                }
                Ok(()) = own_changes.changed() => {
                    self.tell(Input::CatalogChanged(self.catalog.partition_names()));
                }
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    self.tell(Input::Drain);
                }
                () = leave.cancelled() => {
                    self.leave().await;
                    self.phase.send_replace(Phase::Left);
                    return;
                }
                _ = parked.tick() => {
                    self.partitions.parked().into_iter().for_each(|parked| self.tell(Input::Parked(parked)));
                }
                () = sleep_until(self.wake) => {
                    self.wake = Instant::now() + IDLE;
                    self.tell(Input::Wake);
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Joined(call, Ok(session)) => {
                let (mut view, state) = (session.view(), session.state());
                view.mark_changed();
                self.shown.send_replace(Some(session.clone()));
                self.active = Some(Active { session, view, state });
                self.tell(Input::Joined { call });
            }
            Done::Joined(call, Err(error)) => self.tell(Input::JoinFailed { call, error }),
            Done::Catalog(call, read) => {
                let partitions = match read {
                    Ok(change) => {
                        if !change.is_empty() {
                            self.partitions.catalog_changed(&change);
                        }
                        Some(self.catalog.partition_names())
                    }
                    Err(error) => {
                        debug!(%error, "the catalogue can't be read");
                        None
                    }
                };
                self.tell(Input::Catalog { call, partitions });
            }
            Done::Other(input) => self.tell(input),
        }
    }

    /// Takes in what the session shows: what is there first, then whether that is sure.
    fn look(&mut self) {
        let Some(active) = &mut self.active else { return };
        let view =
            active.view.has_changed().unwrap_or(false).then(|| active.view.borrow_and_update().clone());
        let state = match active.state.has_changed() {
            Ok(true) => Some(*active.state.borrow_and_update()),
            Ok(false) => None,
            // Whoever knew is gone.
            Err(_) => Some(SessionState::Lost),
        };
        if let Some(view) = view {
            self.partitions.set_view(view.clone());
            self.tell(Input::View(view));
        }
        if let Some(state) = state {
            self.tell(Input::Session(state));
        }
    }

    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        let now_ms = self.began.elapsed().as_millis() as u64;
        self.machine.handle(now_ms, input, &mut out);
        for output in out {
            self.carry_out(output);
        }
        let (owned, wanted) = self.machine.counts();
        // What is on its way changes with every step: said is where it has come to.
        if owned == wanted && self.owned_said != owned {
            self.owned_said = owned;
            info!("owns {owned} of {} partitions", self.machine.partitions());
        }
        metrics::gauge!(names::PARTITIONS_OWNED).set(owned as f64);
        metrics::gauge!(names::PARTITIONS_WANTED).set(wanted as f64);
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Join { call, member } => self.join(call, *member),
            Output::Forget => {
                self.active = None;
                self.shown.send_replace(None);
            }
            Output::Own(partition) => {
                debug!(%partition, "locked: its owner begins");
                self.partitions.own(partition);
            }
            Output::LetGo(partition) => {
                metrics::counter!(names::PARTITIONS_LET_GO_TOTAL).increment(1);
                self.partitions.let_go(partition);
            }
            Output::SetSure(sure) => {
                metrics::gauge!(names::COORDINATOR_CONNECTED).set(f64::from(u8::from(sure)));
                self.partitions.set_sure(sure);
            }
            Output::HandOver { call, partition } => self.hand_over(call, partition),
            Output::ReloadCatalog { call } => {
                let catalog = self.catalog.clone();
                self.calls.spawn(async move { Done::Catalog(call, catalog.reload().await) });
            }
            Output::WakeAt(at_ms) => self.wake = self.began + Duration::from_millis(at_ms),
            Output::Say(Level::Info, text) => info!("{text}"),
            Output::Say(Level::Warn, text) => warn!("{text}"),
            Output::Say(Level::Error, text) => error!("{text}"),
            Output::Drained => drop(self.phase.send_replace(Phase::Drained)),
            Output::Refuse(why) => drop(self.phase.send_replace(Phase::Refused(why))),
            call => self.call(call),
        }
    }

    fn join(&mut self, call: Call, member: Member) {
        let coordinator = self.coordinator.clone();
        self.calls.spawn(async move {
            let joined = timeout(CALL_PATIENCE, coordinator.join(member)).await;
            Done::Joined(call, joined.unwrap_or_else(|_| Err(no_answer())))
        });
    }

    fn hand_over(&mut self, call: Call, partition: crate::model::PartitionId) {
        metrics::counter!(names::PARTITIONS_HANDED_OVER_TOTAL).increment(1);
        let partitions = self.partitions.clone();
        let begun = Instant::now();
        self.calls.spawn(async move {
            let ending = partitions.clone();
            // A crash in there must not keep the lock for ever.
            let ended = tokio::spawn(async move { ending.hand_over(partition).await });
            if !matches!(timeout(HAND_OVER_PATIENCE, ended).await, Ok(Ok(()))) {
                warn!(%partition, "a hand-over did not end in time: its owner is ended at once");
                partitions.let_go(partition);
            }
            debug!(%partition, ms = begun.elapsed().as_millis() as u64, "handed over");
            Done::Other(Input::HandedOver { call, partition })
        });
    }

    /// Something that the session is asked for.
    fn call(&mut self, output: Output) {
        let Some(Active { session, .. }) = &self.active else { return };
        let session = session.clone();
        let begun = Instant::now();
        self.calls.spawn(async move {
            Done::Other(match output {
                Output::Publish { call, member } => {
                    let outcome = bounded(session.publish(*member)).await;
                    Input::Published { call, outcome }
                }
                Output::Lock { call, partition } => {
                    let outcome = bounded(session.lock(&partition)).await;
                    debug!(partition = %partition.id, ms = begun.elapsed().as_millis() as u64, ?outcome, "asked for a lock");
                    Input::Lock { call, partition: partition.id, outcome }
                }
                Output::Unlock { call, partition } => {
                    let outcome = bounded(session.unlock(&partition)).await;
                    debug!(partition = %partition.id, ms = begun.elapsed().as_millis() as u64, ?outcome, "gave a lock up");
                    Input::Unlock { call, partition: partition.id, outcome }
                }
                Output::RaiseCatalog { call } => {
                    let outcome = bounded(session.raise_catalog()).await;
                    Input::Raised { call, outcome }
                }
                // Everything else was carried out without a session.
                _ => Input::Wake,
            })
        });
    }

    async fn leave(&mut self) {
        self.shown.send_replace(None);
        if let Some(active) = self.active.take()
            && timeout(LEAVE_PATIENCE, active.session.leave()).await.is_err()
        {
            debug!("the coordinator did not hear the goodbye: the session ends by itself");
        }
    }
}

/// Waits for a change of what the session shows; without one, for ever.
async fn changed(active: &mut Option<Active>) {
    let Some(active) = active else { return std::future::pending().await };
    // A sender that is gone is a session that is over, which `look` finds.
    tokio::select! {
        Ok(()) = seen(&mut active.view) => {}
        _ = seen(&mut active.state) => {}
    }
}

/// Like `changed`, but leaves it to be seen.
async fn seen<T>(receiver: &mut watch::Receiver<T>) -> Result<(), watch::error::RecvError> {
    receiver.changed().await?;
    receiver.mark_changed();
    Ok(())
}

async fn bounded<T>(
    call: impl Future<Output = Result<T, CoordinationError>>,
) -> Result<T, CoordinationError> {
    timeout(CALL_PATIENCE, call).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> CoordinationError {
    CoordinationError::new(CoordinationErrorKind::Unavailable, "no answer from the coordinator in time")
}
