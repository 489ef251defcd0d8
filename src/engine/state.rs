//! The transitions of jobs. Decided now or read from the journal, a fact goes through here.
//!
//! ```text
//!            ┌────────── retry, snooze, released, interrupted ──────────┐
//!            ▼                                                          │
//! scheduled ─due─▶ waiting ──started──▶ running ──succeeded / failed ──▶ final ──retry──▶ written
//!     └───────────────┴──────── cancelled, expired ───────────────────────▲               again
//! ```

use crate::model::row::{CommitRef, MarkerKind, MarkerRow, Place};
use crate::model::{JobId, JobState, Lane, QueueNumber};

use super::Engine;
use super::segment::{Entry, JobRef, Phase, Segment, Segments, lane_of};
use super::slots::Routed;

/// Something that becomes true by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub at_ms: u64,
    pub job: JobRef,
    /// Its deadline; else the end of its delay.
    pub deadline: bool,
}

/// What a new entry is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub queue: QueueNumber,
    pub kind: &'a str,
    pub lane: Lane,
    pub deadline_ms: u64,
    pub routed: Routed,
}

impl Segments {
    /// The growing segment of that name.
    pub fn find_growing(&self, name: crate::model::row::SegmentName) -> Option<u32> {
        let last = self.last_number()?;
        (self.get(last)?.name == name).then_some(last)
    }
}

impl Segment {
    /// Makes room for jobs of a commit: earlier commits without jobs begin where it begins.
    fn begin_commit(&mut self, commit: u64) {
        let offset = commit - self.first_commit;
        self.commits = self.commits.max(offset + 1);
        if let Some(loaded) = &mut self.loaded {
            let start = loaded.entries.len() as u32;
            while loaded.starts.len() as u64 <= offset {
                loaded.starts.push(start);
            }
        }
    }
}

impl Engine {
    /// Adds a job to a loaded segment, at the end of the commit's jobs. It has no state yet.
    pub(super) fn insert(&mut self, number: u32, commit: u64, head: &Head<'_>) -> Option<JobRef> {
        let queue = self.queue_index(head.queue);
        let kind = self.kinds.index(head.kind);
        let segment = self.segments.get_mut(number)?;
        segment.begin_commit(commit);
        segment.grown = true;
        segment.jobs += 1;
        let entries = &mut segment.loaded.as_mut()?.entries;
        let job = JobRef { segment: number, index: entries.len() as u32 };
        entries.push(Entry {
            time_ms: 0,
            deadline_ms: head.deadline_ms,
            last: CommitRef::default(),
            queue,
            kind,
            attempt: 0,
            failures: 0,
            interruptions: 0,
            lane: head.lane,
            routed: head.routed,
            phase: Phase::Forgotten,
            lined: false,
            changed: false,
        });
        self.loaded_jobs += 1;
        Some(job)
    }

    /// The first state of a new job, which was enqueued then.
    pub(super) fn begin(&mut self, job: JobRef, run_at_ms: u64, enqueued_ms: u64) {
        match run_at_ms > enqueued_ms {
            true => self.enter(job, Phase::Is(JobState::Scheduled), run_at_ms),
            false => self.enter(job, Phase::Is(JobState::Waiting), enqueued_ms),
        }
    }

    /// Moves a loaded job to a phase.
    pub(super) fn enter(&mut self, job: JobRef, phase: Phase, time_ms: u64) {
        self.change(job, true, |entry| {
            entry.phase = phase;
            entry.time_ms = time_ms;
        });
    }

    /// Changes a loaded job: counts, lines and timers follow. `stored`: a summary has to know of it.
    pub(super) fn change(&mut self, job: JobRef, stored: bool, change: impl FnOnce(&mut Entry)) {
        let Some(segment) = self.segments.get_mut(job.segment) else { return };
        if stored {
            segment.touch(job.index);
        }
        let entry = segment.loaded.as_mut().and_then(|loaded| loaded.entries.get_mut(job.index as usize));
        let Some(entry) = entry else { return };
        let before = *entry;
        change(entry);
        entry.lined = entry.phase == Phase::Is(JobState::Waiting);
        let after = *entry;
        segment.count(&before, &after);
        // The last of the oldest segment: it may go, now or later.
        let ended = before.phase != after.phase && !after.is_pending();
        self.retention_due |=
            ended && self.segments.numbers().start == job.segment && self.is_done(job.segment);
        self.queues.moved(after.queue, Some(before.phase), Some(after.phase));
        self.slots.changed(&before, &after);
        self.leave_places(job, &before);
        self.take_places(job, &after);
    }

    fn is_done(&self, number: u32) -> bool {
        self.segments.get(number).is_some_and(|segment| segment.open() == 0)
    }

    /// Puts a job where its phase wants it: a line, timers, or nowhere.
    pub(super) fn take_places(&mut self, job: JobRef, entry: &Entry) {
        if !entry.is_pending() {
            return;
        }
        match entry.phase {
            Phase::Is(JobState::Waiting) => self.lines.push(job, entry),
            Phase::Is(JobState::Scheduled) => {
                self.timers.insert(Timer { at_ms: entry.time_ms, job, deadline: false });
            }
            _ => {}
        }
        if entry.deadline_ms != 0 {
            self.timers.insert(Timer { at_ms: entry.deadline_ms, job, deadline: true });
        }
    }

    /// Takes it away from there.
    pub(super) fn leave_places(&mut self, job: JobRef, entry: &Entry) {
        if !entry.is_pending() {
            return;
        }
        match entry.phase {
            Phase::Is(JobState::Waiting) if entry.lined => self.lines.remove(job, entry),
            Phase::Is(JobState::Scheduled) => {
                self.timers.remove(&Timer { at_ms: entry.time_ms, job, deadline: false });
            }
            _ => {}
        }
        if entry.deadline_ms != 0 {
            self.timers.remove(&Timer { at_ms: entry.deadline_ms, job, deadline: true });
        }
    }

    /// Applies a marker to a loaded job. `at` is the commit that it is in.
    pub(super) fn apply(&mut self, job: JobRef, marker: &MarkerRow, time_ms: u64, at: CommitRef) {
        let now_ms = self.now_ms.max(time_ms);
        self.change(job, true, |entry| {
            entry.last = at;
            note(entry, marker, time_ms, now_ms);
        });
    }

    /// Writes a marker about a loaded job and applies it.
    pub(super) fn mark(&mut self, job: JobRef, marker: MarkerRow) {
        self.ensure_room();
        self.mark_here(job, marker);
    }

    /// The same in the commit being built, whose texts and blobs the marker points to.
    pub(super) fn mark_here(&mut self, job: JobRef, mut marker: MarkerRow) {
        let (Some(segment), Some(entry)) = (self.segments.get(job.segment), self.segments.entry(job)) else {
            return;
        };
        marker.job = Some(segment.place(job.index));
        marker.previous = (entry.last.epoch_number != 0).then_some(entry.last);
        let at = self.journal.current();
        self.apply(job, &marker, self.now_ms, at);
        self.journal.add_marker(marker);
    }

    /// The old row of a job that is written again is forgotten, and says where it went.
    pub(super) fn forget_moved(&mut self, job: JobRef, moved_to: Place) {
        if let Some(loaded) = self.segments.get_mut(job.segment).and_then(|segment| segment.loaded.as_mut()) {
            loaded.moved.insert(job.index, moved_to);
        }
        self.enter(job, Phase::Forgotten, self.now_ms);
    }

    /// Scheduled jobs whose time has come wait; jobs whose deadline has passed expire.
    pub(super) fn become_due(&mut self) {
        while let Some(timer) = self.timers.first().copied().filter(|timer| timer.at_ms <= self.now_ms) {
            self.timers.remove(&timer);
            let Some(entry) = self.segments.entry(timer.job).copied() else { continue };
            if timer.deadline {
                let expired = MarkerRow {
                    error: "the deadline passed before an attempt could start".into(),
                    error_class: "expired".into(),
                    ..marker(MarkerKind::Expired, entry.attempt)
                };
                self.mark(timer.job, expired);
                self.announce_end(timer.job);
            } else {
                // Not stored: a successor sees by the clock that it is due.
                self.change(timer.job, false, |entry| entry.phase = Phase::Is(JobState::Waiting));
            }
        }
    }

    /// Tells whoever waits, once it is released, that a job has come to its end.
    pub(super) fn announce_end(&mut self, job: JobRef) {
        let Some((id, entry)) = self.id_and_entry(job) else { return };
        if let Phase::Is(state) = entry.phase {
            self.journal.after_release(super::Effect::Ended { job: id, state });
            self.plan_retention(entry.queue);
        }
    }

    pub(super) fn id_and_entry(&self, job: JobRef) -> Option<(JobId, Entry)> {
        let entry = *self.segments.entry(job)?;
        Some((self.segments.get(job.segment)?.id(self.partition, job.index), entry))
    }
}

/// What a marker makes of a job.
fn note(entry: &mut Entry, marker: &MarkerRow, time_ms: u64, now_ms: u64) {
    let due = |due_ms: u64| match due_ms > now_ms {
        true => (Phase::Is(JobState::Scheduled), due_ms),
        false => (Phase::Is(JobState::Waiting), due_ms.max(time_ms)),
    };
    (entry.phase, entry.time_ms) = match marker.kind() {
        MarkerKind::Started => {
            entry.attempt = marker.attempt;
            (Phase::Is(JobState::Running), marker.due_ms)
        }
        MarkerKind::Succeeded => (Phase::Is(JobState::Succeeded), time_ms),
        MarkerKind::Failed => {
            // An attempt that did not fail but was interrupted once too often ends here too.
            match marker.error_class == INTERRUPTED_CLASS {
                true => entry.interruptions = entry.interruptions.saturating_add(1),
                false => entry.failures = entry.failures.saturating_add(1),
            }
            (Phase::Is(JobState::Failed), time_ms)
        }
        MarkerKind::Retry => {
            entry.failures = entry.failures.saturating_add(1);
            due(marker.due_ms)
        }
        MarkerKind::Interrupted => {
            entry.interruptions = entry.interruptions.saturating_add(1);
            due(marker.due_ms)
        }
        MarkerKind::Snoozed => due(marker.due_ms),
        MarkerKind::Released | MarkerKind::RunNow => (Phase::Is(JobState::Waiting), time_ms),
        MarkerKind::Cancelled | MarkerKind::Expired => (Phase::Is(JobState::Cancelled), time_ms),
        MarkerKind::Prioritized => {
            entry.lane = lane_of(marker.priority);
            (entry.phase, entry.time_ms)
        }
        MarkerKind::Deleted => (Phase::Forgotten, time_ms),
        MarkerKind::Moved | MarkerKind::None => (entry.phase, entry.time_ms),
    };
}

/// Class of the error of a job that was interrupted once too often.
pub(crate) const INTERRUPTED_CLASS: &str = "interrupted";

/// A marker of that kind about that attempt.
pub(crate) fn marker(kind: MarkerKind, attempt: u32) -> MarkerRow {
    MarkerRow { kind: kind as i32, attempt, ..MarkerRow::default() }
}
