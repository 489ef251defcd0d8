//! Saying the same thing once a minute.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::limits::COMPLAINT_PAUSE;

/// Allows one log line in a minute.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Mutex<Option<Instant>>,
}

impl Seldom {
    /// Whether it may be said now.
    pub fn may(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= COMPLAINT_PAUSE);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}
