//! How far this machine's clock is from the store's: measured at start and every minute.
//!
//! ```text
//! unknown ─measured─▶ right ◀─▶ wrong         (an unanswered question changes nothing)
//! ```
//!
//! No clock decides anything in the store (INV-2 does not need one), but due times, retention and
//! what people read come from it: a worker whose clock is more than [`OFFSET_MS_MAX`] off owns no
//! partitions until it is right. This is the only thing that an idle worker reads (INV-7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::store::{Store, StoreError};

use super::clock::Clock;
use super::supervisor::ClockState;

/// More is a wrong clock, ms.
pub(crate) const OFFSET_MS_MAX: i64 = 10_000;
/// Time between two measurements.
const EVERY: Duration = Duration::from_secs(60);
/// Time between two tries while the store does not answer.
const AGAIN: Duration = Duration::from_secs(2);
/// An answer that took longer says too little.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    /// This clock minus the store's, ms: positive if this one is ahead.
    pub ms: i64,
    /// The truth may be so far from that, ms.
    pub within_ms: i64,
}

impl Offset {
    /// What it means. A doubt speaks for the clock.
    pub fn state(self) -> ClockState {
        let least = self.ms.abs() - self.within_ms;
        if least > OFFSET_MS_MAX { ClockState::Wrong(self.ms) } else { ClockState::Right }
    }
}

/// Asks the store once.
pub(crate) async fn measure(store: &dyn Store, clock: &Clock) -> Result<Offset, StoreError> {
    let asked = Instant::now();
    let before_ms = clock.now_ms();
    let store_ms = store.clock_ms().await?;
    Ok(between(before_ms, asked.elapsed(), store_ms))
}

/// The store looked at its clock somewhere between question and answer.
fn between(before_ms: u64, round_trip: Duration, store_ms: u64) -> Offset {
    let half_ms = (round_trip.as_millis() / 2) as i64;
    Offset { ms: before_ms as i64 + half_ms - store_ms as i64, within_ms: half_ms }
}

/// Measures until nobody listens.
pub(crate) async fn watch_offset(
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    offset: watch::Sender<Option<Offset>>,
) {
    loop {
        let pause = match measure(&*store, &clock).await {
            Ok(measured) if measured.within_ms * 2 <= ROUND_TRIP_MAX.as_millis() as i64 => {
                metrics::gauge!(crate::telemetry::names::CLOCK_OFFSET_SECONDS)
                    .set(measured.ms as f64 / 1_000.0);
                offset.send_replace(Some(measured));
                EVERY
            }
            Ok(_) | Err(_) => AGAIN,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = offset.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_measured_to_half_the_round_trip() {
        let offset = between(100_000, Duration::from_millis(400), 100_200);
        assert_eq!(offset, Offset { ms: 0, within_ms: 200 });
        assert_eq!(offset.state(), ClockState::Right);
        assert_eq!(between(130_000, Duration::ZERO, 100_000).state(), ClockState::Wrong(30_000));
        assert_eq!(between(70_000, Duration::ZERO, 100_000).state(), ClockState::Wrong(-30_000));
        let slow = between(107_000, Duration::from_secs(8), 100_000);
        assert_eq!((slow.ms, slow.state()), (11_000, ClockState::Right), "the answer took too long to tell");
    }

    #[tokio::test]
    async fn a_shifted_clock_is_found() {
        let store = crate::store::MemoryStore::new();
        let right = measure(&store, &Clock::new()).await.unwrap();
        assert_eq!(right.state(), ClockState::Right, "{right:?}");
        let ahead = measure(&store, &Clock::shifted(30_000)).await.unwrap();
        assert!(matches!(ahead.state(), ClockState::Wrong(ms) if ms > 29_000), "{ahead:?}");
        let behind = measure(&store, &Clock::shifted(-30_000)).await.unwrap();
        assert!(matches!(behind.state(), ClockState::Wrong(ms) if ms < -29_000), "{behind:?}");
    }
}
