//! Whether the session is known to be alive.
//!
//! ```text
//!         answered, for a write begun within timeout / 2
//! Sure ◀──────────────────────────────────────────────▶ Unsure ─▶ Lost
//! ```
//!
//! Pings and reads prove nothing: a server that has lost its leader answers them. A write is begun every
//! eighth of the timeout: a transaction that checks the own node and changes nothing, so that a majority
//! and the leader's list of sessions are asked, and no watcher is bothered. Time is that since boot: a
//! machine that slept has not been sure meanwhile.

use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client::Error;

use super::link::Link;
use super::member::Own;
use crate::coordination::SessionState;

/// Writes in one timeout.
const BEATS: u32 = 8;

pub(super) struct Beat {
    link: Arc<Link>,
    own: Arc<Own>,
    missed: Arc<Notify>,
    timeout: Duration,
    /// When the last write that was answered was begun, ms since boot.
    answered_ms: watch::Sender<u64>,
}

impl Beat {
    /// The session was alive at that time.
    pub fn new(link: Arc<Link>, own: Arc<Own>, missed: Arc<Notify>, alive_ms: u64) -> Self {
        let timeout = link.client.session_timeout();
        Self { link, own, missed, timeout, answered_ms: watch::Sender::new(alive_ms) }
    }

    /// Until the session is over.
    pub async fn run(self, state: watch::Sender<SessionState>) {
        let mut states = self.link.client.state_watcher();
        let over = async {
            while !(states.peek_state().is_terminated() || states.changed().await.is_terminated()) {}
        };
        tokio::select! {
            () = over => {}
            () = self.beat() => {}
            () = self.judge(&state) => {}
        }
        state.send_replace(SessionState::Lost);
    }

    async fn beat(&self) {
        let mut states = self.link.client.state_watcher();
        loop {
            let begun_ms = boot_ms();
            let next = Instant::now() + self.timeout / BEATS;
            match self.check().await {
                Ok(()) => self.answered(begun_ms),
                Err(Error::NoNode) => {
                    self.answered(begun_ms);
                    self.missed.notify_one();
                }
                Err(error) => tracing::debug!(%error, "no sign of life from ZooKeeper"),
            }
            // A new connection is tried at once.
            _ = timeout_at(next, states.changed()).await;
        }
    }

    async fn check(&self) -> Result<(), Error> {
        let checked = self.link.call(async |client| {
            let mut writer = client.new_multi_writer();
            writer.add_check_version(&self.own.path, -1)?;
            writer.commit().await.map_err(Error::from)
        });
        checked.await.map(|_| ())
    }

    fn answered(&self, begun_ms: u64) {
        self.answered_ms.send_modify(|last| *last = begun_ms.max(*last));
    }

    async fn judge(&self, state: &watch::Sender<SessionState>) {
        let half_ms = self.timeout.as_millis() as u64 / 2;
        let mut answered = self.answered_ms.subscribe();
        loop {
            let sure_ms = (*answered.borrow_and_update() + half_ms).saturating_sub(boot_ms());
            let now = if sure_ms > 0 { SessionState::Sure } else { SessionState::Unsure };
            state.send_if_modified(|shown| std::mem::replace(shown, now) != now);
            // Short sleeps: this timer stands still while the machine sleeps.
            let longest = self.timeout / BEATS;
            let wait = if sure_ms > 0 { longest.min(Duration::from_millis(sure_ms)) } else { longest };
            tokio::select! {
                _ = answered.changed() => {}
                () = sleep(wait) => {}
            }
        }
    }
}

/// Time since boot, sleep included.
pub(super) fn boot_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::CLOCK_MONOTONIC;
    // Both are always there on the systems that nix supports.
    clock_gettime(clock).map_or(0, |time| time.tv_sec() as u64 * 1_000 + time.tv_nsec() as u64 / 1_000_000)
}
