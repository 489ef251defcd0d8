//! Looking in: who is there, who owns what, and what would move. Changes nothing but for a drain.
//!
//! ```text
//! what this worker sees (view) ──┐
//! what each worker says (Facts) ─┼─▶ view.rs ─▶ ClusterView
//! health of store, coordinator ──┘
//! what is in the store alone ───────▶ direct.rs ─▶ the same, with what only owners know left out
//! ```

pub(crate) mod direct;
pub(crate) mod plan;
pub(crate) mod view;

use std::sync::Arc;

use crate::coordination::assign::AssignSettings;
use crate::coordination::{CoordinationError, CoordinationErrorKind, Coordinator, Member, View};
use crate::worker::RequestError;
use crate::worker::owner::unavailable;
use crate::worker::supervisor::SupervisorHandle;

/// What a worker needs to tell of the cluster that it is in.
pub(crate) struct Meeting {
    pub coordinator: Arc<dyn Coordinator>,
    pub supervisor: SupervisorHandle,
    pub assign: AssignSettings,
    /// What identifies the store, as members show it.
    pub store_identity: String,
}

/// A member by id, or by a name that only it has.
pub(crate) fn find_member<'a>(view: &'a View, worker: &str) -> Result<&'a Member, RequestError> {
    if let Some(member) = view.members.get(worker) {
        return Ok(member);
    }
    let mut named = view.members.values().filter(|member| member.name == worker);
    let none = || {
        let here: Vec<&str> = view.members.values().map(|member| member.name.as_str()).take(20).collect();
        let shown: String = worker.chars().take(100).collect();
        RequestError::NotFound(format!("there is no worker {shown:?}; here are: {}", here.join(", ")))
    };
    let first = named.next().ok_or_else(none)?;
    match named.next() {
        None => Ok(first),
        Some(second) => Err(RequestError::Conflict(format!(
            "several workers have the name {worker:?}: say which by its id, like {} or {}",
            first.id, second.id
        ))),
    }
}

impl From<CoordinationError> for RequestError {
    fn from(error: CoordinationError) -> Self {
        match error.kind {
            CoordinationErrorKind::Invalid => Self::Invalid { field: None, message: error.message },
            CoordinationErrorKind::Unavailable
            | CoordinationErrorKind::SessionLost
            | CoordinationErrorKind::Refused => unavailable(error.message),
        }
    }
}
