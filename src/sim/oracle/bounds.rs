//! What is on its way is bounded: no call is made again before it is answered or sooner than its
//! delay, and there are never more calls than the protocol's limits add up to.

use std::collections::BTreeMap;

use crate::worker::protocol::ProtocolSettings;

/// Calls beside appends and repetitions: a fence read, progress, a prune, and one for each summary
/// or drop.
const OTHERS_MAX: usize = 3;
/// Rows of the tail that are written again at a time.
const REPEATS_MAX: usize = 32;

#[derive(Debug, Default)]
struct Try {
    on_its_way: bool,
    tries: u32,
    answered_ms: u64,
}

/// The calls of one claim.
#[derive(Debug, Default)]
pub struct Bounds {
    calls: BTreeMap<u64, Try>,
    /// The worker's clock was set: its delays can't be told any more.
    pub clock_set: bool,
}

impl Bounds {
    /// A call is made at that time of the worker's clock.
    pub fn called(
        &mut self,
        call: u64,
        now_ms: u64,
        settings: &ProtocolSettings,
        segments: usize,
    ) -> Result<(), String> {
        let entry = self.calls.entry(call).or_default();
        if entry.on_its_way {
            return Err(format!("call {call} is made again before it is answered"));
        }
        if !self.clock_set && entry.tries > 0 && now_ms < entry.answered_ms + settings.retry_delay_ms {
            return Err(format!("call {call} is made again without a delay"));
        }
        entry.on_its_way = true;
        entry.tries += 1;
        let on_their_way = self.calls.values().filter(|call| call.on_its_way).count();
        let most = settings.appends_in_flight_max + REPEATS_MAX + OTHERS_MAX + segments;
        if on_their_way > most {
            return Err(format!("{on_their_way} calls are on their way, {most} are the most"));
        }
        Ok(())
    }

    /// It is answered.
    pub fn answered(&mut self, call: u64, now_ms: u64, failed: bool) {
        if !failed {
            self.calls.remove(&call);
        } else if let Some(entry) = self.calls.get_mut(&call) {
            entry.on_its_way = false;
            entry.answered_ms = now_ms;
        }
    }
}
