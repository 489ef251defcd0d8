//! Which segments' jobs are in memory: those with something to do soon, within a budget (INV-8).
//!
//! Loaded first are segments whose jobs are due and those with jobs of the highest lane, oldest
//! first; unloaded first are the newest. A segment whose jobs nobody can start now (no runner for
//! the kind, queue paused) is passed over until that changes, so it is in nobody's way (INV-7).
//! Unloading needs a summary that is up to date and durable: it comes with the next progress.

use std::cmp::Reverse;

use crate::model::row::{StateRow, SummaryRow, YoungerState};
use crate::model::{JobId, JobState, Lane};

use super::attempts::Running;
use super::segment::{Entry, JobRef, Loaded, Phase, Segment};
use super::state::Timer;
use super::{Effect, Engine, Event};

/// Fewer startable jobs than this in memory, and more are loaded.
const STARTABLE_LOW: usize = 4_096;
/// Events between two looks for what to load, while nobody has room.
const REFILL_EVENTS: u32 = 64;

impl Engine {
    /// A request has to wait for a segment.
    pub(super) fn park(&mut self, segment: u32, event: Event) {
        self.parked.entry(segment).or_default().push(event);
        self.load(segment);
    }

    pub(super) fn load(&mut self, number: u32) {
        let Some(segment) = self.segments.get_mut(number) else { return };
        if segment.loading || segment.loaded.is_some() {
            return;
        }
        let Some(as_of) = segment.summary else { return };
        segment.loading = true;
        self.effects.push(Effect::LoadSegment { segment: number, name: segment.name, as_of });
    }

    pub(super) fn segment_loaded(&mut self, number: u32, summary: SummaryRow) {
        self.enter_loaded(number, &summary);
        for event in self.parked.remove(&number).unwrap_or_default() {
            self.handle_open(event);
        }
        self.retention_due = true;
    }

    /// Puts a summary's jobs into memory: entries, lines, timers, running attempts.
    pub(super) fn enter_loaded(&mut self, number: u32, summary: &SummaryRow) {
        let Some(segment) = self.segments.get_mut(number) else { return };
        if segment.loaded.is_some() {
            return;
        }
        segment.loading = false;
        self.unloaded -= 1;
        let younger = std::mem::take(&mut segment.younger);
        let loaded = self.decode(summary, &younger);
        let ids: Vec<(JobId, u32)> = loaded.foreign.iter().map(|(&index, &id)| (id, index)).collect();
        self.loaded_jobs += loaded.entries.len();
        let Some(segment) = self.segments.get_mut(number) else { return };
        segment.changed = younger.iter().map(|young| young.index).collect();
        segment.tallies_fresh = false;
        segment.loaded = Some(loaded);
        let current: Vec<(JobId, u32)> = ids
            .into_iter()
            .filter(|&(_, index)| self.is_current(JobRef { segment: number, index }))
            .collect();
        self.places.extend(current.into_iter().map(|(id, index)| (id, JobRef { segment: number, index })));
        self.take_up(number);
    }

    fn is_current(&self, job: JobRef) -> bool {
        self.segments.entry(job).is_some_and(|entry| entry.phase != Phase::Forgotten)
    }

    fn decode(&mut self, summary: &SummaryRow, younger: &[YoungerState]) -> Loaded {
        let mut loaded = Loaded::default();
        let mut start = 0;
        for jobs in &summary.jobs_per_commit {
            loaded.starts.push(start);
            start = start.saturating_add(*jobs);
        }
        let kinds: Vec<u32> = summary.strings.iter().map(|text| self.kinds.index(text)).collect();
        let other = self.kinds.index("");
        for (index, state) in summary.states.iter().enumerate() {
            let queue = self.queues.index(summary.queues.get(index).copied().unwrap_or(0));
            let kind =
                summary.kinds.get(index).and_then(|&kind| kinds.get(kind as usize)).copied().unwrap_or(other);
            let deadline_ms = summary.deadlines_ms.get(index).copied().unwrap_or(0);
            let mut entry = Entry {
                time_ms: 0,
                deadline_ms,
                last: Default::default(),
                queue,
                kind,
                attempt: 0,
                failures: 0,
                interruptions: 0,
                stamp: 0,
                lane: Lane::DEFAULT,
                phase: Phase::Forgotten,
                changed: false,
            };
            entry.set_state(state);
            loaded.entries.push(entry);
            note_moved(&mut loaded, index as u32, state);
        }
        for young in younger {
            let (Some(state), Some(entry)) = (&young.state, loaded.entries.get_mut(young.index as usize))
            else {
                continue;
            };
            entry.set_state(state);
            entry.changed = true;
            note_moved(&mut loaded, young.index, state);
        }
        for foreign in &summary.foreign_ids {
            if let Some(id) = JobId::from_slice(&foreign.id) {
                loaded.foreign.insert(foreign.index, id);
            }
        }
        loaded
    }

    /// Lines, timers and running attempts of a segment that has just come into memory.
    fn take_up(&mut self, number: u32) {
        let Some(loaded) = self.segments.get(number).and_then(|segment| segment.loaded.as_ref()) else {
            return;
        };
        let entries = loaded.entries.clone();
        for (index, entry) in entries.iter().enumerate() {
            let job = JobRef { segment: number, index: index as u32 };
            let Phase::Is(state) = entry.phase else { continue };
            if state.is_final() {
                continue;
            }
            if entry.deadline_ms != 0 {
                self.timers.push(Reverse(Timer { at_ms: entry.deadline_ms, job, stamp: 0, deadline: true }));
            }
            match state {
                JobState::Running => {
                    self.running.insert(job, Running { runner: None });
                }
                _ => self.queue_up(job, entry),
            }
        }
    }

    /// Loads more if little can be started, and asks for room if too much is loaded.
    pub(super) fn refill(&mut self) {
        if self.loaded_jobs > self.settings.window_jobs_max {
            self.want_room();
        }
        if self.unloaded == 0 {
            return;
        }
        // Looking through the segments costs something: only now and then, or when there is room.
        self.since_refill += 1;
        if self.since_refill < REFILL_EVENTS && !self.runners.values().any(|runner| runner.room > 0) {
            return;
        }
        self.since_refill = 0;
        self.refill_due();
        if !self.segments.iter().any(|(_, segment)| segment.loading)
            && let Some(number) = self.next_to_load()
        {
            self.load(number);
        }
    }

    fn next_to_load(&self) -> Option<u32> {
        let run = |kind| self.is_run(kind);
        let enough = self.lines.startable(run, STARTABLE_LOW) >= STARTABLE_LOW;
        let lowest = if enough { self.lines.highest_lane(run).map_or(0, |lane| lane + 1) } else { 0 };
        let unloaded = |(_, segment): &(u32, &Segment)| segment.loaded.is_none() && !segment.skipped;
        (lowest..Lane::COUNT).rev().find_map(|lane| {
            let waits = |(_, segment): &(u32, &Segment)| segment.waiting_in(lane) > 0;
            self.segments.iter().filter(unloaded).find(waits).map(|(number, _)| number)
        })
    }

    fn refill_due(&mut self) {
        let due = |segment: &Segment| {
            segment.loaded.is_none() && segment.earliest_due_ms != 0 && segment.earliest_due_ms <= self.now_ms
        };
        let next = self.segments.iter().find(|(_, segment)| due(segment)).map(|(number, _)| number);
        if let Some(number) = next {
            self.load(number);
        }
    }

    /// The next time at which a segment that is not loaded has something due.
    pub(super) fn earliest_unloaded_due(&self) -> Option<u64> {
        if self.unloaded == 0 {
            return None;
        }
        let due = |(_, segment): (u32, &Segment)| {
            (segment.loaded.is_none() && !segment.loading && segment.earliest_due_ms != 0)
                .then_some(segment.earliest_due_ms)
        };
        self.segments.iter().filter_map(due).min()
    }

    /// A segment may leave memory if nothing in it runs, is awaited or is being written.
    fn may_leave(&self, number: u32) -> bool {
        let Some(segment) = self.segments.get(number) else { return false };
        segment.sealed
            && segment.loaded.is_some()
            && !self.parked.contains_key(&number)
            && self.compacting != Some(number)
            && !self.running.keys().any(|job| job.segment == number)
            && !self.retries.keys().any(|job| job.segment == number)
    }

    /// Chooses what leaves to get back into the budget. What has an up-to-date summary leaves at
    /// once, the others with the next progress, which writes theirs.
    fn want_room(&mut self) {
        if !self.leaving.is_empty() {
            return;
        }
        for number in self.choose_leaving() {
            if self.can_be_read(number) {
                self.unload(number);
                continue;
            }
            let written = self.segments.get(number).is_some_and(Segment::is_summarised);
            self.leaving.push(number);
            self.progress_wanted |= !written;
        }
    }

    /// Its summary is up to date and durable.
    fn can_be_read(&self, number: u32) -> bool {
        self.segments.get(number).is_some_and(|segment| {
            let durable = segment.summary.is_some_and(|summary| {
                summary.epoch_number != self.epoch.number || self.progress_durable >= Some(summary.commit)
            });
            durable && segment.is_summarised()
        })
    }

    /// Newest first; those with nothing that could be started now before all others.
    fn choose_leaving(&self) -> Vec<u32> {
        let mut over = self.loaded_jobs.saturating_sub(self.settings.window_jobs_max);
        let may = self.segments.numbers().rev().filter(|&number| self.may_leave(number));
        let (startable, idle): (Vec<u32>, Vec<u32>) = may.partition(|&number| self.has_startable(number));
        let size = |number: u32| {
            let loaded = self.segments.get(number).and_then(|segment| segment.loaded.as_ref());
            loaded.map_or(0, |loaded| loaded.entries.len())
        };
        let wanted = |number: &u32| {
            let more = over > 0;
            over = over.saturating_sub(size(*number));
            more
        };
        idle.into_iter().chain(startable).take_while(wanted).collect()
    }

    /// Whether something in a loaded segment could be started if there was room.
    fn has_startable(&self, number: u32) -> bool {
        let Some(loaded) = self.segments.get(number).and_then(|segment| segment.loaded.as_ref()) else {
            return false;
        };
        loaded.entries.iter().any(|entry| {
            entry.phase == Phase::Is(JobState::Waiting)
                && self.is_run(entry.kind)
                && !self.queues.get(entry.queue).paused
        })
    }

    /// Summaries up to that commit are durable: what had to wait for them leaves, and segments
    /// whose jobs are all final.
    pub(super) fn unload_what_may(&mut self, as_of: u64) {
        self.progress_durable = self.progress_durable.max(Some(as_of));
        let leaving = std::mem::take(&mut self.leaving);
        for number in self.segments.numbers() {
            let Some(segment) = self.segments.get_mut(number) else { continue };
            let wanted = leaving.contains(&number) || segment.sealed && segment.open() == 0;
            if wanted && self.may_leave(number) && self.can_be_read(number) {
                self.unload(number);
            }
        }
    }

    fn unload(&mut self, number: u32) {
        let skipped = !self.has_startable(number);
        let Some(segment) = self.segments.get_mut(number) else { return };
        segment.refresh_tallies();
        segment.skipped = skipped;
        let Some(loaded) = segment.loaded.take() else { return };
        self.loaded_jobs -= loaded.entries.len();
        self.unloaded += 1;
        if segment.open() > 0 {
            self.lines.forget_segment(number);
        }
        for id in loaded.foreign.values() {
            if self.places.get(id).is_some_and(|job| job.segment == number) {
                self.places.remove(id);
            }
        }
    }

    /// Something changed about who runs what: segments that were passed over count again.
    pub(super) fn forget_skips(&mut self) {
        // Somebody without room yet will ask for some only if there is something to start.
        self.since_refill = REFILL_EVENTS;
        for number in self.segments.numbers() {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.skipped = false;
            }
        }
    }
}

fn note_moved(loaded: &mut Loaded, index: u32, state: &StateRow) {
    if let Some(place) = state.moved_to {
        loaded.moved.insert(index, place);
    }
}
