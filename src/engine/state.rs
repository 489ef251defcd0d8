//! The transitions of jobs. Decided now or read from the journal, a fact goes through here.
//!
//! ```text
//!            ┌────────── retry, snooze, released, interrupted ──────────┐
//!            ▼                                                          │
//! scheduled ─due─▶ waiting ──started──▶ running ──succeeded / failed ──▶ final ──retry──▶ written
//!     └───────────────┴──────── cancelled, expired ───────────────────────▲               again
//! ```

use std::cmp::Reverse;

use crate::model::row::{CommitRef, MarkerKind, MarkerRow, Place};
use crate::model::{JobId, JobState, Lane, QueueNumber};

use super::Engine;
use super::segment::{Entry, JobRef, Phase, Segment, Segments, lane_of};

/// Something that becomes true by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub at_ms: u64,
    pub job: JobRef,
    /// As in a line: stale if the entry's stamp has moved on. Deadlines are never stale.
    pub stamp: u16,
    pub deadline: bool,
}

/// What a new entry is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub queue: QueueNumber,
    pub kind: &'a str,
    pub lane: Lane,
    pub run_at_ms: u64,
    pub deadline_ms: u64,
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
    /// Adds a job to a loaded segment, at the end of the commit's jobs.
    pub(super) fn insert(
        &mut self,
        number: u32,
        commit: u64,
        head: &Head<'_>,
        now_ms: u64,
    ) -> Option<JobRef> {
        let queue = self.queues.index(head.queue);
        let kind = self.kinds.index(head.kind);
        let segment = self.segments.get_mut(number)?;
        segment.begin_commit(commit);
        segment.grown = true;
        segment.tallies_fresh = false;
        segment.jobs += 1;
        let entries = &mut segment.loaded.as_mut()?.entries;
        let job = JobRef { segment: number, index: entries.len() as u32 };
        entries.push(Entry {
            time_ms: now_ms,
            deadline_ms: head.deadline_ms,
            last: CommitRef::default(),
            queue,
            kind,
            attempt: 0,
            failures: 0,
            interruptions: 0,
            stamp: 0,
            lane: head.lane,
            phase: Phase::Forgotten,
            changed: false,
        });
        self.loaded_jobs += 1;
        if head.deadline_ms != 0 {
            self.timers.push(Reverse(Timer { at_ms: head.deadline_ms, job, stamp: 0, deadline: true }));
        }
        let later = head.run_at_ms > now_ms;
        let state = if later { JobState::Scheduled } else { JobState::Waiting };
        self.enter(job, Phase::Is(state), if later { head.run_at_ms } else { now_ms });
        Some(job)
    }

    /// Moves a loaded job to a phase: counts, lines and timers follow.
    pub(super) fn enter(&mut self, job: JobRef, phase: Phase, time_ms: u64) {
        let Some(segment) = self.segments.get_mut(job.segment) else { return };
        segment.touch(job.index);
        let Some(entry) = self.segments.entry_mut(job) else { return };
        let before = entry.phase;
        entry.phase = phase;
        entry.time_ms = time_ms;
        entry.stamp = entry.stamp.wrapping_add(1);
        let entry = *entry;
        self.queues.moved(entry.queue, Some(before), Some(phase));
        if let Phase::Is(state) = phase
            && state.is_final()
            && let Some(segment) = self.segments.get_mut(job.segment)
        {
            segment.last_end_ms = segment.last_end_ms.max(time_ms);
        }
        self.queue_up(job, &entry);
    }

    /// Puts a job where its phase wants it: a line, a timer, or nowhere.
    pub(super) fn queue_up(&mut self, job: JobRef, entry: &Entry) {
        match entry.phase {
            Phase::Is(JobState::Waiting) => {
                let suspect = entry.interruptions > 0;
                self.lines.push(entry.lane, entry.kind, suspect, entry.queue, job, entry.stamp);
            }
            Phase::Is(JobState::Scheduled) => {
                let timer = Timer { at_ms: entry.time_ms, job, stamp: entry.stamp, deadline: false };
                self.timers.push(Reverse(timer));
            }
            _ => {}
        }
    }

    /// Applies a marker to a loaded job. `at` is the commit that it is in.
    pub(super) fn apply(&mut self, job: JobRef, marker: &MarkerRow, time_ms: u64, at: CommitRef) {
        let now_ms = self.now_ms.max(time_ms);
        let Some(entry) = self.segments.entry_mut(job) else { return };
        entry.last = at;
        let due = |due_ms: u64| match due_ms > now_ms {
            true => (Phase::Is(JobState::Scheduled), due_ms),
            false => (Phase::Is(JobState::Waiting), time_ms),
        };
        let (phase, time_ms) = match marker.kind() {
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
        self.enter(job, phase, time_ms);
    }

    /// Writes a marker about a loaded job and applies it.
    pub(super) fn mark(&mut self, job: JobRef, mut marker: MarkerRow) {
        self.ensure_room();
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
        while let Some(Reverse(timer)) = self.timers.peek().copied() {
            if timer.at_ms > self.now_ms {
                return;
            }
            self.timers.pop();
            let Some(entry) = self.segments.entry(timer.job).copied() else { continue };
            match entry.phase {
                Phase::Is(JobState::Scheduled) if !timer.deadline && entry.stamp == timer.stamp => {
                    // Not stored: a successor sees by the clock that it is due.
                    self.enter(timer.job, Phase::Is(JobState::Waiting), entry.time_ms);
                }
                Phase::Is(JobState::Scheduled | JobState::Waiting | JobState::Blocked) if timer.deadline => {
                    self.mark(
                        timer.job,
                        MarkerRow {
                            error: "the deadline passed before an attempt could start".into(),
                            error_class: "expired".into(),
                            ..marker(MarkerKind::Expired, entry.attempt)
                        },
                    );
                    self.announce_end(timer.job);
                }
                _ => {}
            }
        }
    }

    /// Tells whoever waits, once it is released, that a job has come to its end.
    pub(super) fn announce_end(&mut self, job: JobRef) {
        let Some((id, entry)) = self.id_and_entry(job) else { return };
        if let Phase::Is(state) = entry.phase {
            self.journal.after_release(super::Effect::Ended { job: id, state });
        }
    }

    pub(super) fn id_and_entry(&self, job: JobRef) -> Option<(JobId, Entry)> {
        let entry = *self.segments.entry(job)?;
        Some((self.segments.get(job.segment)?.id(self.partition, job.index), entry))
    }
}

/// Class of the error of a job that was interrupted once too often.
pub(crate) const INTERRUPTED_CLASS: &str = "interrupted";

/// A marker of that kind about that attempt.
pub(crate) fn marker(kind: MarkerKind, attempt: u32) -> MarkerRow {
    MarkerRow { kind: kind as i32, attempt, ..MarkerRow::default() }
}
