//! A cluster of real worker processes on real servers, what flows in, what ran, and what must hold.

pub mod check;
pub mod cluster;
pub mod ledger;
pub mod load;
pub mod pauses;
pub mod probe;
pub mod report;
pub mod story;
pub mod tree;
pub mod ways;
pub mod worker;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::common::PATIENCE;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until there is what is looked for.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "{caller}: not within {PATIENCE:?}: {what}");
            sleep(PAUSE).await;
        }
    }
}
