//! The worker's clock: it runs on from where it was, whatever is done to the machine's.
//!
//! Wall time as of the start plus time since boot (which counts a laptop's sleep). When the
//! machine's clock is set forward it follows; when that is set back it goes on at its own pace, so
//! that a delay of a minute stays a minute.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Steps of the machine's clock that are followed, ms.
const STEP_MS: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Unix ms minus ms since boot.
    base_ms: Mutex<u64>,
    /// Added to the machine's clock, ms; 0 but in tests.
    shift_ms: i64,
}

impl Clock {
    pub fn new() -> Self {
        Self::shifted(0)
    }

    /// As if the machine's clock were so many ms ahead.
    pub fn shifted(shift_ms: i64) -> Self {
        let wall_ms = wall_ms().saturating_add_signed(shift_ms);
        Self { base_ms: Mutex::new(wall_ms.saturating_sub(boot_ms())), shift_ms }
    }

    /// The machine's clock; for tests of a wrong one, `QDO_TEST_CLOCK_SHIFT_MS` shifts it.
    pub fn of_machine() -> Self {
        #[cfg(feature = "testing")]
        if let Some(shift_ms) =
            std::env::var("QDO_TEST_CLOCK_SHIFT_MS").ok().and_then(|shift| shift.parse().ok())
        {
            return Self::shifted(shift_ms);
        }
        Self::new()
    }

    /// Unix ms. Never runs backwards.
    pub fn now_ms(&self) -> u64 {
        self.at(wall_ms().saturating_add_signed(self.shift_ms), boot_ms())
    }

    fn at(&self, wall_ms: u64, boot_ms: u64) -> u64 {
        let mut base_ms = self.base_ms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now_ms = *base_ms + boot_ms;
        if wall_ms > now_ms + STEP_MS {
            *base_ms = wall_ms.saturating_sub(boot_ms);
            return wall_ms;
        }
        now_ms
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Time since boot, sleep included.
fn boot_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    // Both are always there on the systems that nix supports.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * 1_000 + time.tv_nsec() as u64 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_stop_time_and_one_set_forward_is_followed() {
        let clock = Clock { base_ms: Mutex::new(1_000_000), shift_ms: 0 };
        assert_eq!(clock.at(1_000_500, 500), 1_000_500);
        assert_eq!(clock.at(400_000, 1_500), 1_001_500, "set back: it goes on");
        assert_eq!(clock.at(2_000_000, 2_000), 2_000_000, "set forward: it follows");
        assert_eq!(clock.at(2_000_100, 2_100), 2_000_100);
    }

    #[test]
    fn a_laptop_that_slept_knows_how_long() {
        const NIGHT_MS: u64 = 8 * 3_600_000;
        let clock = Clock { base_ms: Mutex::new(1_000_000), shift_ms: 0 };
        assert_eq!(clock.at(1_000_500, 500), 1_000_500);
        // Time since boot counts the night, and so does the wall.
        assert_eq!(clock.at(1_000_500 + NIGHT_MS, 500 + NIGHT_MS), 1_000_500 + NIGHT_MS);
    }
}
