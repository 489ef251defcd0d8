//! What may go: segments whose jobs are all final and past retention, oldest first.
//!
//! Dropping keeps the order of the journal, so that no marker goes before the job that it is about.
//! An old segment that still has open or failed jobs would pin what comes after it; once what it
//! pins is nine times what it would cost, its live jobs are written again at the head
//! (a log cleaner's rule: at most a tenth of what is written is written for cleaning).

use crate::model::limits::SEGMENT_JOBS_MAX;
use crate::model::row::SegmentName;
use crate::model::{JobState, QueueSettings};

use super::segment::{Entry, JobRef, Phase, Segment, earliest};
use super::{Effect, Engine};

/// Compaction pays once it frees so many times what it writes.
const GAIN_MIN: u64 = 9;
/// Segments condemned at a time.
const CONDEMN_BATCH: usize = 1_024;
/// Jobs written again at a time.
const COMPACT_BATCH: usize = 64;
/// Segments ahead that are looked at to see what an old one pins.
const LOOK_AHEAD: usize = 4_096;

/// How long after a job's end it is looked what may go, at least, ms: one look serves many ends.
const RETAIN_AFTER_MS: u64 = 1_000;

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
        for _ in 0..CONDEMN_BATCH {
            let Some(oldest) = self.segments.numbers().next() else { return };
            let worth = self.worth(oldest);
            let growing = self.segments.last_number() == Some(oldest);
            let empty = worth.live + worth.dead == 0;
            if worth.live > 0 || growing && empty {
                self.next_retention_ms = worth.next_ms;
                self.consider_compaction(oldest, worth);
                return;
            }
            // Whoever waits for an answer about a job in it gets that first, and retention goes on.
            if self.is_awaited(oldest) || growing && !self.seal_idle() {
                self.retention_due = growing;
                return;
            }
            self.condemn_oldest();
        }
        // The rest goes with another commit.
        self.retention_due = true;
    }

    /// A job has ended: some time from now its segment may go, by age or because enough others are
    /// kept.
    pub(super) fn plan_retention(&mut self, queue: u32) {
        let state = self.queues.get(queue);
        let settings = &state.settings;
        let surplus = u64::from(SEGMENT_JOBS_MAX);
        let enough = settings.retention_count != 0 && state.finished() > settings.retention_count + surplus;
        let after_ms = if enough { RETAIN_AFTER_MS } else { settings.retention.ms.max(RETAIN_AFTER_MS) };
        self.next_retention_ms = earliest(self.next_retention_ms, self.now_ms.saturating_add(after_ms));
    }

    /// Somebody has asked for a job in it, and waits for an answer.
    pub(super) fn is_awaited(&self, number: u32) -> bool {
        let first = JobRef { segment: number, index: 0 };
        let last = JobRef { segment: number, index: u32::MAX };
        self.parked.contains_key(&number) || self.retries.range(first..=last).next().is_some()
    }

    /// The growing segment is sealed so that it can go; false while a commit is being built.
    fn seal_idle(&mut self) -> bool {
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
        match &segment.loaded {
            Some(loaded) => {
                self.loaded_jobs -= loaded.entries.len();
                self.let_go(number, loaded);
            }
            None => {
                self.unloaded -= 1;
                self.loading -= u32::from(segment.loading);
            }
        }
        self.condemned.push(segment.name);
        Some(segment.name)
    }

    /// Finished jobs of a segment by queue and state.
    pub(super) fn finished_in(&self, number: u32) -> Vec<(u32, [u64; JobState::COUNT])> {
        let tallies = self.segments.get(number).map(|segment| segment.tallies.iter());
        tallies.into_iter().flatten().map(|(queue, tally)| (*queue, tally.by_state)).collect()
    }

    fn worth(&self, number: u32) -> Worth {
        let Some(segment) = self.segments.get(number) else { return Worth::default() };
        let mut worth = Worth::default();
        let mut counted = 0;
        for (queue, tally) in &segment.tallies {
            let state = self.queues.get(*queue);
            let settings = &state.settings;
            if !state.known {
                // How long they are to be kept is not known yet.
                worth.live += tally.open() + tally.finished();
                counted += tally.open() + tally.finished();
                continue;
            }
            let failed = tally.of(JobState::Failed);
            let done = tally.finished() - failed;
            counted += tally.open() + failed + done;
            worth.kept += tally.open();
            worth.live += tally.open();
            let failed_until = failed_until(settings, segment);
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
        for number in self.segments.numbers().skip(1).take(LOOK_AHEAD) {
            if freed >= GAIN_MIN * worth.kept {
                break;
            }
            let next = self.worth(number);
            if next.live > 0 || self.segments.last_number() == Some(number) {
                self.next_retention_ms = earliest(self.next_retention_ms, next.next_ms);
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
        self.compact(oldest);
    }

    /// Asks for the bodies of a segment's jobs that have to be kept. Running ones come later: an
    /// attempt's output stays where its start said.
    fn compact(&mut self, number: u32) {
        let Some(segment) = self.segments.get(number) else { return };
        let Some(loaded) = &segment.loaded else { return };
        let keep = |entry: &Entry| match entry.phase {
            Phase::Is(JobState::Failed) => {
                failed_until(&self.queues.get(entry.queue).settings, segment) > self.now_ms
            }
            _ => entry.is_pending(),
        };
        let kept = loaded.entries.iter().enumerate().filter(|(_, entry)| keep(entry)).take(COMPACT_BATCH);
        let references = kept.map(|(index, _)| JobRef { segment: number, index: index as u32 });
        let jobs: Vec<_> = references.filter_map(|job| self.rewrite_request(job)).collect();
        if jobs.is_empty() {
            return;
        }
        let name = segment.name;
        self.compacting = Some(number);
        self.when_released(Effect::ReadForRewrite { segment: number, name, jobs });
    }
}

/// Until when failed jobs of a segment are kept, Unix ms.
fn failed_until(settings: &QueueSettings, segment: &Segment) -> u64 {
    match settings.failed_retention.ms {
        0 => u64::MAX,
        ms => segment.last_end_ms.saturating_add(ms),
    }
}
