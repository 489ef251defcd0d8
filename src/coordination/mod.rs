//! The coordination port: who is alive, and who should own what.
//!
//! Everything here is volatile and may be wiped at any time. It decides who *tries* to own a
//! partition; who *counts* is decided in the store alone (`docs/proof.md`), so nothing here is part
//! of the argument for safety: a backend may show stale views, grant a lock to two sessions, or lose
//! one without a word. That costs a pause or a wasted claim, never a job.
//!
//! ```text
//! join ─▶ Sure ◀──▶ Unsure ─▶ Lost          (then: join anew, the same worker id)
//! ```
//!
//! Every backend passes the same suite.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::model::PartitionId;

pub mod assign;
mod check;
#[doc(hidden)]
pub mod conformance;
mod local;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

pub use local::LocalCoordinator;

/// Names a worker process: `name:pid:16 hex digits`, drawn at its start, never used twice. The same
/// for all sessions of the process.
pub type WorkerId = Arc<str>;

/// Where workers meet.
///
/// For this crate's backends; not meant to be implemented elsewhere.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// Begins a new session and registers that member in it. Takes no longer than a bound of the
    /// backend's own.
    async fn join(&self, member: Member) -> Result<Arc<dyn Session>, CoordinationError>;

    /// What is there now, for whoever only looks.
    async fn look(&self) -> Result<View, CoordinationError>;

    /// How the coordinator itself is.
    async fn health(&self) -> Result<Health, CoordinationError>;
}

/// One worker's presence. Dropped, it ends soon; [`Session::leave`] ends it now.
///
/// For this crate's backends; not meant to be implemented elsewhere.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// What is there, kept up to date. Changes within milliseconds of each other come as one.
    fn view(&self) -> watch::Receiver<Arc<View>>;

    /// Whether this session is known to be alive.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// After so long without a sign of life, others see a member as gone.
    fn timeout(&self) -> Duration;

    /// Takes the lock of a partition, if nobody has it.
    async fn lock(&self, partition: &PartitionName) -> Result<LockOutcome, CoordinationError>;

    /// Gives a lock up. One that is not held is none of its business.
    async fn unlock(&self, partition: &PartitionName) -> Result<(), CoordinationError>;

    /// Shows others a changed member; its id stays.
    async fn publish(&self, member: Member) -> Result<(), CoordinationError>;

    /// Tells everybody that a group or queue has changed: [`View::catalog`] is different then.
    async fn raise_catalog(&self) -> Result<(), CoordinationError>;

    /// Asks a worker to let go of its partitions (or, with `false`, to take some again):
    /// [`View::drained`]. Also for workers that are not this one.
    async fn drain(&self, worker: &WorkerId, drained: bool) -> Result<(), CoordinationError>;

    /// Ends the session: its member and locks are gone when this returns, or as soon as they can be.
    async fn leave(&self);
}

/// Whether a session is known to be alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A write was answered within half the timeout.
    Sure,
    /// Not for that long: its worker starts and acknowledges nothing.
    Unsure,
    /// It is over: its locks may be anybody's.
    Lost,
}

/// A partition, by number and by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// What it is in the store.
    pub id: PartitionId,
    /// Namespace of its group.
    pub namespace: Arc<str>,
    /// Name of its group.
    pub group: Arc<str>,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.group, self.id.index)
    }
}

/// A worker, as it shows itself to the others. At most 16 KiB as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its process.
    pub id: WorkerId,
    /// What people call it; two may have the same.
    pub name: String,
    /// Where its HTTP API and its peers' port are reached: `http://host:port`.
    pub address: String,
    /// Version of qdo.
    pub version: String,
    /// Version of the assignment that it can compute.
    pub assign_version: u32,
    /// Attempts that it runs at once.
    pub slots: u32,
    /// Share of partitions that it takes, next to others'; 0 takes none.
    pub capacity: u32,
    /// What it is, for queues that ask for it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Partitions that it has tried and can't serve: `group number/index`.
    #[serde(default)]
    pub cannot_serve: Vec<String>,
    /// It lets go of its partitions and takes none.
    #[serde(default)]
    pub draining: bool,
    /// Hashes of the settings that must be equal everywhere, by key.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// When its process started, Unix ms by its own clock.
    pub started_ms: u64,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Workers, by id.
    pub members: BTreeMap<WorkerId, Member>,
    /// Locks, and who holds them.
    pub owners: BTreeMap<PartitionId, WorkerId>,
    /// Workers that were asked to let go of their partitions.
    pub drained: Vec<WorkerId>,
    /// A number that is different after each change of a group or queue.
    pub catalog: u64,
}

/// How a coordinator is, that has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Which backend: `local`, `zookeeper`.
    pub kind: &'static str,
    /// Its servers, as far as they are known.
    pub servers: Vec<ServerHealth>,
    /// How long a write took.
    pub write: Duration,
}

/// One server of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHealth {
    /// Where clients reach it: `host:port`.
    pub address: String,
    /// `leader`, `follower`, `observer` or `standalone`, if it says so.
    pub role: Option<String>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// Outcome of [`Session::lock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// It is this session's.
    Locked,
    /// Somebody has it.
    Held(WorkerId),
}

/// A failure of the coordinator, with a sentence for people. Whether what was asked for has happened
/// is not known, unless the kind says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CoordinationError {
    /// What can be done about it.
    pub kind: CoordinationErrorKind,
    /// What was wrong with what, lower case, no full stop.
    pub message: String,
}

/// Failures of a coordinator, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinationErrorKind {
    /// Away, or no answer in time: the outcome is not known, try again.
    Unavailable,
    /// The session is over: join anew.
    SessionLost,
    /// Wrong credentials, a chroot that does not exist and may not be made: nothing has happened.
    Refused,
    /// What was asked for makes no sense: nothing has happened.
    Invalid,
}

impl CoordinationError {
    /// A failure of that kind.
    pub fn new(kind: CoordinationErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
