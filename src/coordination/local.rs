//! The coordinator of a single process: everything is in memory, behind one mutex.
//!
//! Clones share one hub, so several workers in a process (or test) meet there. A session ends when it
//! is dropped; nothing expires by itself. [`LocalCoordinator::expire`] and the other controls make the
//! faults of a real ensemble, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;

/// Changes within so much time of each other come as one.
const COALESCE: Duration = Duration::from_millis(2);

/// A meeting place in memory. Clones share it.
#[derive(Clone)]
pub struct LocalCoordinator {
    hub: Arc<Hub>,
}

struct Hub {
    timeout: Duration,
    state: Mutex<State>,
    /// The version of the state.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    away: bool,
    last_session: u64,
    sessions: BTreeMap<u64, Seat>,
    /// Locks by name, without the group's number: a group made anew has the same lock.
    locks: BTreeMap<LockKey, Lock>,
    drained: BTreeSet<WorkerId>,
    catalog: u64,
    /// What everybody sees, if somebody has asked since the last change.
    view: Option<Arc<View>>,
}

struct Seat {
    member: Member,
    state: watch::Sender<SessionState>,
}

type LockKey = (Arc<str>, Arc<str>, u16);

struct Lock {
    partition: PartitionId,
    session: u64,
    worker: WorkerId,
}

impl LocalCoordinator {
    /// An empty hub. Its sessions say that they have this timeout; none ever runs out by itself.
    pub fn new(timeout: Duration) -> Self {
        let state = Mutex::new(State::default());
        Self { hub: Arc::new(Hub { timeout, state, changed: watch::Sender::new(0) }) }
    }

    /// Control for tests: the worker's session runs out; its member and locks are gone.
    pub fn expire(&self, worker: &str) {
        self.hub.change(|state| {
            for session in state.sessions_of(worker) {
                state.end(session);
            }
        });
    }

    /// Control for tests: the worker's session is not sure of itself (or is again). Meanwhile its calls
    /// are not answered, and its view stands still.
    pub fn unsure(&self, worker: &str, unsure: bool) {
        let wanted = if unsure { SessionState::Unsure } else { SessionState::Sure };
        self.hub.change(|state| {
            for session in state.sessions_of(worker) {
                state.sessions[&session].state.send_replace(wanted);
            }
        });
    }

    /// Control for tests: nobody is answered (or everybody again). Sessions go on.
    pub fn away(&self, away: bool) {
        self.hub.change(|state| state.away = away);
    }

    /// Control for tests: all is gone, sessions too, like an ensemble that lost its disks.
    pub fn wipe(&self) {
        self.hub.change(|state| {
            let sessions: Vec<u64> = state.sessions.keys().copied().collect();
            sessions.into_iter().for_each(|session| state.end(session));
            state.wipe_tree();
        });
    }

    /// Control for tests: locks and requests to let go are gone, the sessions live on.
    pub fn wipe_tree(&self) {
        self.hub.change(State::wipe_tree);
    }
}

#[async_trait]
impl Coordinator for LocalCoordinator {
    async fn join(&self, member: Member) -> Result<Arc<dyn Session>, CoordinationError> {
        check::member(&member)?;
        let worker = member.id.clone();
        let state = watch::Sender::new(SessionState::Sure);
        let state_seen = state.subscribe();
        let id = self.hub.try_change(|hub| {
            // An earlier session of this process is nobody's any more.
            for session in hub.sessions_of(&worker) {
                hub.end(session);
            }
            hub.last_session += 1;
            hub.sessions.insert(hub.last_session, Seat { member, state });
            Ok(hub.last_session)
        })?;
        let view = watch::Sender::new(self.hub.view());
        let view_seen = view.subscribe();
        let changes = self.hub.changed.subscribe();
        tokio::spawn(show(Arc::downgrade(&self.hub), id, changes, view));
        Ok(Arc::new(LocalSession { hub: self.hub.clone(), id, worker, view: view_seen, state: state_seen }))
    }

    async fn look(&self) -> Result<View, CoordinationError> {
        self.hub.try_change(|_| Ok(()))?;
        Ok((*self.hub.view()).clone())
    }

    async fn health(&self) -> Result<Health, CoordinationError> {
        let started = std::time::Instant::now();
        self.hub.try_change(|_| Ok(()))?;
        Ok(Health { kind: "local", servers: Vec::new(), write: started.elapsed() })
    }
}

/// Keeps one session's view up to date until it ends.
async fn show(
    hub: std::sync::Weak<Hub>,
    session: u64,
    mut changes: watch::Receiver<u64>,
    view: watch::Sender<Arc<View>>,
) {
    while changes.changed().await.is_ok() {
        tokio::time::sleep(COALESCE).await;
        changes.mark_unchanged();
        let Some(hub) = hub.upgrade() else { return };
        match hub.lock().sessions.get(&session).map(|seat| *seat.state.borrow()) {
            None => return,
            Some(SessionState::Sure) => {}
            Some(_) => continue,
        }
        let now = hub.view();
        view.send_if_modified(|shown| {
            let differs = **shown != *now;
            *shown = now;
            differs
        });
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        state.view = None;
        drop(state);
        self.changed.send_modify(|version| *version += 1);
        result
    }

    fn try_change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, CoordinationError>,
    ) -> Result<T, CoordinationError> {
        self.change(|state| {
            if state.away {
                return Err(unavailable("the coordinator is away"));
            }
            change(state)
        })
    }

    fn view(&self) -> Arc<View> {
        let mut state = self.lock();
        if let Some(view) = &state.view {
            return view.clone();
        }
        let view = Arc::new(View {
            members: state
                .sessions
                .values()
                .map(|seat| (seat.member.id.clone(), seat.member.clone()))
                .collect(),
            owners: state.locks.values().map(|lock| (lock.partition, lock.worker.clone())).collect(),
            drained: state.drained.iter().cloned().collect(),
            catalog: state.catalog,
        });
        state.view = Some(view.clone());
        view
    }
}

impl State {
    fn sessions_of(&self, worker: &str) -> Vec<u64> {
        self.sessions.iter().filter(|(_, seat)| *seat.member.id == *worker).map(|(id, _)| *id).collect()
    }

    fn end(&mut self, session: u64) {
        if let Some(seat) = self.sessions.remove(&session) {
            seat.state.send_replace(SessionState::Lost);
        }
        self.locks.retain(|_, lock| lock.session != session);
    }

    fn wipe_tree(&mut self) {
        self.locks.clear();
        self.drained.clear();
    }
}

fn unavailable(message: &str) -> CoordinationError {
    CoordinationError::new(CoordinationErrorKind::Unavailable, message)
}

struct LocalSession {
    hub: Arc<Hub>,
    id: u64,
    worker: WorkerId,
    view: watch::Receiver<Arc<View>>,
    state: watch::Receiver<SessionState>,
}

impl LocalSession {
    /// Changes the hub, if this session is there and sure.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, CoordinationError>,
    ) -> Result<T, CoordinationError> {
        self.hub.try_change(|state| {
            let Some(seat) = state.sessions.get(&self.id) else {
                let message = format!("the session of {} is over", self.worker);
                return Err(CoordinationError::new(CoordinationErrorKind::SessionLost, message));
            };
            if *seat.state.borrow() != SessionState::Sure {
                return Err(unavailable("no answer from the coordinator"));
            }
            change(state)
        })
    }
}

#[async_trait]
impl Session for LocalSession {
    fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn timeout(&self) -> Duration {
        self.hub.timeout
    }

    async fn lock(&self, partition: &PartitionName) -> Result<LockOutcome, CoordinationError> {
        check::partition(partition)?;
        self.change(|state| {
            let key = key(partition);
            if let Some(lock) = state.locks.get(&key)
                && lock.session != self.id
            {
                return Ok(LockOutcome::Held(lock.worker.clone()));
            }
            let lock = Lock { partition: partition.id, session: self.id, worker: self.worker.clone() };
            state.locks.insert(key, lock);
            Ok(LockOutcome::Locked)
        })
    }

    async fn unlock(&self, partition: &PartitionName) -> Result<(), CoordinationError> {
        check::partition(partition)?;
        self.change(|state| {
            let key = key(partition);
            if state.locks.get(&key).is_some_and(|lock| lock.session == self.id) {
                state.locks.remove(&key);
            }
            Ok(())
        })
    }

    async fn publish(&self, member: Member) -> Result<(), CoordinationError> {
        check::own_member(&member, &self.worker)?;
        self.change(|state| {
            if let Some(seat) = state.sessions.get_mut(&self.id) {
                seat.member = member;
            }
            Ok(())
        })
    }

    async fn raise_catalog(&self) -> Result<(), CoordinationError> {
        self.change(|state| {
            state.catalog += 1;
            Ok(())
        })
    }

    async fn drain(&self, worker: &WorkerId, drained: bool) -> Result<(), CoordinationError> {
        check::worker_id(worker)?;
        self.change(|state| {
            if !drained {
                state.drained.remove(worker);
                return Ok(());
            }
            if state.drained.len() >= check::DRAINED_MAX {
                let here: BTreeSet<WorkerId> = state.sessions.values().map(|s| s.member.id.clone()).collect();
                state.drained.retain(|drained| here.contains(drained));
            }
            state.drained.insert(worker.clone());
            Ok(())
        })
    }

    async fn leave(&self) {
        self.hub.change(|state| state.end(self.id));
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.hub.change(|state| state.end(self.id));
    }
}

fn key(partition: &PartitionName) -> LockKey {
    (partition.namespace.clone(), partition.group.clone(), partition.id.index)
}

#[cfg(test)]
mod tests;
