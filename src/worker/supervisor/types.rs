//! What the machine is told, and what it asks for.

use std::sync::Arc;

use crate::coordination::assign::AssignSettings;
use crate::coordination::{CoordinationError, LockOutcome, Member, PartitionName, SessionState, View};
use crate::model::PartitionId;

/// Names one call, so that an answer that comes too late is told from the one that is waited for.
pub(crate) type Call = u64;

/// How this worker takes part.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What is known to the assignment, the same at every worker.
    pub assign: AssignSettings,
    /// Members must have been the same for so long before partitions move between living workers.
    pub settle_ms: u64,
}

/// What is known of this worker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockState {
    /// Near enough to the store's.
    Right,
    /// Too far from the store's, by so many ms (positive: ahead).
    Wrong(i64),
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A new session begins.
    Joined { call: Call },
    /// There is none.
    JoinFailed { call: Call, error: CoordinationError },
    /// What the session shows.
    View(Arc<View>),
    /// Whether the session is alive.
    Session(SessionState),
    /// How a lock ended; an error leaves it open who has it.
    Lock { call: Call, partition: PartitionId, outcome: Result<LockOutcome, CoordinationError> },
    /// How an unlock ended.
    Unlock { call: Call, partition: PartitionId, outcome: Result<(), CoordinationError> },
    /// An owner has ended gently.
    HandedOver { call: Call, partition: PartitionId },
    /// How a publication ended.
    Published { call: Call, outcome: Result<(), CoordinationError> },
    /// How raising the catalogue's number ended.
    Raised { call: Call, outcome: Result<(), CoordinationError> },
    /// The catalogue was read again; none if it could not be.
    Catalog { call: Call, partitions: Option<Vec<PartitionName>> },
    /// What the catalogue holds at the start.
    KnownCatalog(Vec<PartitionName>),
    /// This worker has changed the catalogue itself.
    CatalogChanged(Vec<PartitionName>),
    /// A partition's owner has given up.
    Parked(PartitionId),
    /// What is known of the clock.
    Clock(ClockState),
    /// This worker is going to end.
    Drain,
    /// Time has passed.
    Wake,
}

/// What the machine asks for.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Begin a session. Answered by [`Input::Joined`] or [`Input::JoinFailed`].
    Join { call: Call, member: Box<Member> },
    /// The session is over: forget it.
    Forget,
    /// Show a changed member.
    Publish { call: Call, member: Box<Member> },
    /// Take a lock.
    Lock { call: Call, partition: PartitionName },
    /// Give a lock up.
    Unlock { call: Call, partition: PartitionName },
    /// Start an owner.
    Own(PartitionId),
    /// End an owner gently.
    HandOver { call: Call, partition: PartitionId },
    /// End an owner at once.
    LetGo(PartitionId),
    /// Whether anything may be started and acknowledged.
    SetSure(bool),
    /// Read the catalogue again.
    ReloadCatalog { call: Call },
    /// Tell everybody that the catalogue has changed.
    RaiseCatalog { call: Call },
    /// Nothing will change before, unless something is told.
    WakeAt(u64),
    /// Something for people.
    Say(Level, String),
    /// Nothing is owned any more, and nothing will be.
    Drained,
    /// This worker must not take part, and says why.
    Refuse(String),
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Somebody must do something.
    Error,
}
