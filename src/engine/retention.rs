//! What may go: segments whose jobs are all final and past retention, oldest first.
//!
//! Dropping keeps the order of the journal, so that no marker goes before the job that it is about.
//! An old segment that still has open or failed jobs would pin what comes after it; once what it
//! pins is nine times what it would cost, its live jobs are written again at the head
//! (a log cleaner's rule: at most a tenth of what is written is written for cleaning).

use crate::model::JobState;
use crate::model::row::SegmentName;

use super::segment::{Phase, Segment};
use super::{Effect, Engine};

/// Compaction pays once it frees so many times what it writes.
const GAIN_MIN: u64 = 9;
/// Jobs written again at a time.
const COMPACT_BATCH: usize = 64;
/// Segments ahead that are looked at to see what an old one pins.
const LOOK_AHEAD: usize = 4_096;

/// What a segment's jobs are to retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Worth {
    /// Open, failed and kept, or finished lately.
    live: u64,
    /// Of those, not finished: what compaction would write.
    kept: u64,
    dead: u64,
    /// When its finished jobs are past retention, Unix ms; 0 if they are now.
    next_ms: u64,
}

impl Engine {
    /// Condemns what may go, and compacts what pins too much.
    pub(super) fn retain(&mut self) {
        if !self.is_open() {
            return;
        }
        self.next_retention_ms = 0;
        self.tokens.forget_old(self.now_ms);
        while let Some(oldest) = self.segments.numbers().next() {
            let worth = self.worth(oldest);
            let jobs = worth.live + worth.dead;
            let growing = self.segments.last_number() == Some(oldest);
            if worth.live == 0 && !(growing && jobs == 0) {
                if self.is_awaited(oldest) {
                    return;
                }
                if growing && !self.seal_idle(oldest) {
                    return;
                }
                self.condemn_oldest();
                continue;
            }
            self.next_retention_ms = worth.next_ms;
            self.consider_compaction(oldest, worth);
            return;
        }
    }

    /// Somebody has asked for a job in it, and gets an answer first.
    fn is_awaited(&self, number: u32) -> bool {
        self.parked.contains_key(&number) || self.retries.keys().any(|job| job.segment == number)
    }

    /// The growing segment is sealed so that it can go; false while a commit is being built.
    fn seal_idle(&mut self, _oldest: u32) -> bool {
        if !self.journal.is_empty() {
            return false;
        }
        if let Some(segment) = self.segments.last_number().and_then(|number| self.segments.get_mut(number)) {
            segment.sealed = true;
        }
        self.journal.next_segment();
        let commit = self.journal.current().commit;
        self.segments.push(Segment::new(self.journal.segment_name(), commit));
        true
    }

    fn condemn_oldest(&mut self) {
        let Some(oldest) = self.segments.numbers().next() else { return };
        for (queue, finished) in self.finished_in(oldest) {
            let by_state = &mut self.queues.get_mut(queue).by_state;
            by_state.iter_mut().zip(finished).for_each(|(count, gone)| *count -= gone);
        }
        let name = self.forget_oldest();
        let Some(name) = name else { return };
        self.journal.condemn(name);
        let condemned_by = self.journal.current().commit;
        self.journal.after_release(Effect::Drop { name, condemned_by });
        self.progress_wanted = true;
    }

    /// Takes the oldest segment out of memory for good; it waits to be dropped.
    pub(super) fn forget_oldest(&mut self) -> Option<SegmentName> {
        let number = self.segments.numbers().next()?;
        let segment = self.segments.pop_oldest()?;
        if let Some(loaded) = &segment.loaded {
            self.loaded_jobs -= loaded.entries.len();
            self.lines.forget_segment(number);
        } else {
            self.unloaded -= 1;
        }
        self.places.retain(|_, job| job.segment != number);
        self.condemned.push(segment.name);
        Some(segment.name)
    }

    /// Finished jobs of a segment by queue and state.
    pub(super) fn finished_in(&mut self, number: u32) -> Vec<(u32, [u64; JobState::COUNT])> {
        let Some(segment) = self.segments.get_mut(number) else { return Vec::new() };
        segment.refresh_tallies();
        segment.tallies.iter().map(|(queue, tally)| (*queue, tally.by_state)).collect()
    }

    fn worth(&mut self, number: u32) -> Worth {
        let Some(segment) = self.segments.get_mut(number) else { return Worth::default() };
        segment.refresh_tallies();
        let segment = &*segment;
        let mut worth = Worth::default();
        let mut counted = 0;
        for (queue, tally) in &segment.tallies {
            let state = self.queues.get(*queue);
            let settings = &state.settings;
            let failed = tally.of(JobState::Failed);
            let done = tally.finished() - failed;
            counted += tally.open() + failed + done;
            worth.kept += tally.open();
            worth.live += tally.open();
            let failed_until = match settings.failed_retention.ms {
                0 => u64::MAX,
                ms => segment.last_end_ms.saturating_add(ms),
            };
            if failed > 0 && failed_until > self.now_ms {
                worth.live += failed;
                worth.kept += failed;
            } else {
                worth.dead += failed;
            }
            // By count: enough finished ones are kept elsewhere.
            let by_count = settings.retention_count != 0
                && state.finished().saturating_sub(tally.finished()) >= settings.retention_count;
            let done_until = segment.last_end_ms.saturating_add(settings.retention.ms);
            if done > 0 && !by_count && done_until > self.now_ms {
                worth.live += done;
                worth.next_ms = worth.next_ms.max(done_until);
            } else {
                worth.dead += done;
            }
            if failed > 0 && failed_until != u64::MAX && failed_until > self.now_ms {
                worth.next_ms = worth.next_ms.max(failed_until);
            }
        }
        worth.dead += u64::from(segment.jobs).saturating_sub(counted);
        worth
    }

    fn consider_compaction(&mut self, oldest: u32, worth: Worth) {
        let growing = self.segments.last_number() == Some(oldest);
        if growing || self.compacting.is_some() || worth.live != worth.kept {
            return;
        }
        let mut freed = worth.dead;
        let ahead: Vec<u32> = self.segments.numbers().skip(1).take(LOOK_AHEAD).collect();
        for number in ahead {
            if freed >= GAIN_MIN * worth.kept {
                break;
            }
            let next = self.worth(number);
            if next.live > 0 || self.segments.last_number() == Some(number) {
                break;
            }
            freed += next.dead;
        }
        if freed < GAIN_MIN * worth.kept {
            return;
        }
        if self.segments.get(oldest).is_some_and(|segment| segment.loaded.is_none()) {
            self.load(oldest);
            return;
        }
        self.compact(
            oldest,
            |phase| matches!(phase, Phase::Is(state) if !state.is_final() || *state == JobState::Failed),
            COMPACT_BATCH,
        );
    }
}
