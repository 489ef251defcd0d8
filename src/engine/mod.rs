//! One partition's state machine: `handle(now, event) → effects`. Pure: no clock, no randomness, no
//! I/O, no tokio (`clippy.toml` forbids them here).
//!
//! ```text
//! taken over ──summaries read──▶ open ──event──▶ changed, commit being built
//!                                  ▲                      │ take_commit
//!                                  └── released ◀── appended, durable, fenced (worker::protocol)
//! ```
//!
//! The state is a fold over the journal: whatever the engine decides becomes a job row or a marker,
//! and the same few transitions (`state.rs`) apply it, whether it was decided now or is read by a
//! successor. What an effect rests on is released before the effect is given out, but for reads and
//! hints. Bodies are never held here: an attempt is handed out by place.
//!
//! Keeps INV-1, -3, -4, -5 and -7 for one partition, and INV-8 by the window (`window.rs`). On
//! failure of anything outside, the engine is thrown away with its epoch and built anew.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::limits::{SEGMENT_BYTES_MAX, SEGMENT_JOBS_MAX};
use crate::model::row::{ChainLink, CommitRef, SegmentName};
use crate::model::{Epoch, JobId, PartitionId};

mod attempts;
mod commands;
mod enqueue;
mod event;
mod intern;
mod journal;
mod lines;
mod look;
mod progress;
mod queues;
mod retention;
mod retry;
mod rewrite;
mod segment;
mod slots;
mod state;
mod takeover;
#[cfg(test)]
mod tests;
mod tokens;
mod window;

pub use event::*;
pub use look::{JobLook, Located, PlaceOfJob, SegmentLook, StateOfJob};
pub use rewrite::place_bucket;
pub use takeover::TakeoverError;
pub use tokens::{BUCKET_MS as TOKEN_BUCKET_MS, TokenHash, token_hash};

use attempts::{Runner, Running};
use intern::Interner;
use journal::Journal;
use lines::Lines;
use queues::Queues;
use segment::{JobRef, Segments};
use slots::Slots;
use state::Timer;
use takeover::Opening;
use tokens::Tokens;

/// Bounds of one partition's engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Jobs (about 56 bytes each) held in memory; what is beyond stays in the store.
    pub window_jobs_max: usize,
    /// Progress is written after so many commits …
    pub progress_commits: u64,
    /// … or so many bytes of journal: what a successor reads is bounded by it.
    pub progress_bytes: u64,
    /// Jobs of one segment.
    pub segment_jobs_max: u32,
    /// Bytes of one segment's rows.
    pub segment_bytes_max: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            window_jobs_max: 1_000_000,
            progress_commits: 1_024,
            progress_bytes: 8 << 20,
            segment_jobs_max: SEGMENT_JOBS_MAX,
            segment_bytes_max: SEGMENT_BYTES_MAX,
        }
    }
}

/// One partition's state machine.
#[derive(Debug)]
pub struct Engine {
    settings: EngineSettings,
    partition: PartitionId,
    epoch: Epoch,
    /// Epochs before this one whose rows may still be there, oldest first.
    chain: Vec<ChainLink>,
    now_ms: u64,
    opening: Option<Opening>,
    queues: Queues,
    kinds: Interner,
    segments: Segments,
    loaded_jobs: usize,
    /// Segments that are not loaded.
    unloaded: usize,
    /// Segments being read.
    loading: u32,
    /// When something is due in segments that are neither loaded nor being read.
    unloaded_due: BTreeSet<(u64, u32)>,
    /// What is not in memory has nothing for any runner.
    nothing_ahead: bool,
    /// Whether something can leave memory is to be looked at anew.
    room_due: bool,
    /// Segments that leave memory once their summaries are durable.
    leaving: Vec<u32>,
    lines: Lines,
    timers: BTreeSet<Timer>,
    runners: BTreeMap<RunnerId, Runner>,
    running: BTreeMap<JobRef, Running>,
    /// Loaded jobs that were first written elsewhere.
    places: HashMap<JobId, JobRef>,
    tokens: Tokens,
    slots: Slots,
    journal: Journal,
    /// Requests that wait for a segment.
    parked: BTreeMap<u32, Vec<Event>>,
    /// Retries that wait for a body.
    retries: BTreeMap<JobRef, Vec<Ticket>>,
    /// The segment whose jobs are being written again.
    compacting: Option<u32>,
    /// Condemned, not yet known to be dropped.
    condemned: Vec<SegmentName>,
    next_retention_ms: u64,
    retention_due: bool,
    since_progress: (u64, u64),
    /// Progress of this epoch up to that commit is durable, with its summaries.
    progress_durable: Option<u64>,
    progress_wanted: bool,
    starved: bool,
    effects: Vec<Effect>,
}

impl Engine {
    /// The epoch that this engine writes in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The partition.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The partition's time, Unix ms.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Takes one event in, at that time (which never runs backwards here, whatever the clock does).
    /// What is to be done is added to `effects`.
    pub fn handle(
        &mut self,
        now_ms: u64,
        event: Event,
        effects: &mut Vec<Effect>,
    ) -> Result<(), TakeoverError> {
        self.now_ms = self.now_ms.max(now_ms);
        match event {
            Event::SegmentLoaded { segment, summary } if self.opening.is_some() => {
                self.opening_loaded(segment, *summary)?;
            }
            event => self.handle_open(event)?,
        }
        if self.opening.is_none() {
            self.become_due();
            self.close_slots();
            if std::mem::take(&mut self.retention_due) {
                self.retain();
            }
            self.dispatch();
            self.refill();
        }
        effects.append(&mut self.effects);
        Ok(())
    }

    fn handle_open(&mut self, event: Event) -> Result<(), TakeoverError> {
        match event {
            Event::Queue { number, settings, paused } => self.set_queue(number, settings, paused),
            Event::Enqueue { ticket, queue, jobs } => self.enqueue(ticket, queue, jobs),
            Event::Leaving { slots } => self.set_leaving(slots),
            Event::RunnerUp { runner, name, kinds } => self.runner_up(runner, name, kinds),
            Event::Pull { runner, attempts } => self.pull(runner, attempts),
            Event::Recall { runner, attempts } => self.recall(runner, attempts),
            Event::RunnerGone { runner } => self.runner_gone(runner),
            Event::OrphansGone => self.orphans_gone(),
            Event::OrphanGone { job, attempt } => self.orphan_gone(job, attempt),
            Event::OrphanUnstarted { job, attempt } => self.orphan_unstarted(job, attempt),
            Event::Finish { ticket, job, attempt, end } => self.finish(ticket, job, attempt, end),
            Event::Command { ticket, job, place, command } => self.command(ticket, job, place, command),
            Event::Rewrite { segment, jobs } => self.rewritten(segment, jobs),
            Event::SegmentLoaded { segment, summary } => return self.segment_loaded(segment, &summary),
            Event::Released { up_to } => {
                let released = self.journal.released(up_to);
                self.effects.extend(released);
            }
            Event::ProgressDurable { as_of } => self.unload_what_may(as_of),
            Event::Dropped { name } => self.condemned.retain(|other| *other != name),
            Event::Tick => {
                let due = self.next_retention_ms != 0 && self.next_retention_ms <= self.now_ms;
                self.retention_due |= due;
                self.tokens.forget_old(self.now_ms);
            }
        }
        Ok(())
    }

    /// So many jobs may be in memory from now on: what is more leaves with the next progress.
    pub fn set_window(&mut self, jobs_max: usize) {
        self.settings.window_jobs_max = jobs_max;
    }

    /// True once the journal has been replayed: commits can be taken, requests are answered.
    pub fn is_open(&self) -> bool {
        self.opening.is_none()
    }

    /// When [`Event::Tick`] is due, Unix ms; none if nothing is awaited.
    pub fn next_wake_ms(&self) -> Option<u64> {
        let timer = self.timers.first().map(|timer| timer.at_ms);
        let retention = (self.next_retention_ms != 0).then_some(self.next_retention_ms);
        let tokens = self.tokens.last_forgotten_ms();
        let others = [retention, tokens, self.slots.next_close_ms(), self.earliest_unloaded_due()];
        timer.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// True if [`Engine::take_commit`] would give one.
    pub fn has_commit(&self) -> bool {
        self.is_open() && (self.journal.has_commit() || self.progress_is_owed())
    }

    /// Progress has been asked for, and there was something since the latest.
    fn progress_is_owed(&self) -> bool {
        self.progress_wanted && self.since_progress.0 > 0
    }

    /// True if no commit is being built or on its way: all that is known here is released.
    pub fn is_settled(&self) -> bool {
        self.is_open() && !self.journal.has_commit() && self.journal.all_released()
    }

    /// The next commit to be appended, and progress as of it when that is due. To be called when
    /// there is room for one more commit in flight.
    pub fn take_commit(&mut self, now_ms: u64) -> Option<(Commit, Option<Progress>)> {
        if !self.is_open() {
            return None;
        }
        self.now_ms = self.now_ms.max(now_ms);
        if let Some(commit) = self.journal.take_closed() {
            return Some((commit, None));
        }
        if self.journal.is_empty() && !self.progress_is_owed() {
            return None;
        }
        self.close_commit();
        let progress = self.progress_if_due();
        self.journal.take_closed().map(|commit| (commit, progress))
    }

    /// Progress is due, however little there was (a hand-over, a clean stop): with the next commit, or
    /// with an empty one.
    pub fn want_progress(&mut self) {
        self.progress_wanted = true;
    }

    /// A reply that rests on what is known now: after the release of all of it.
    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if self.is_settled() {
            self.effects.push(Effect::ReplyFenced { ticket, reply });
        } else {
            self.journal.after_release(Effect::Reply { ticket, reply });
        }
    }

    /// An effect that rests on what is known now.
    fn when_released(&mut self, effect: Effect) {
        if self.is_settled() {
            self.effects.push(effect);
        } else {
            self.journal.after_release(effect);
        }
    }

    /// Closes the commit being built; what comes next goes to another.
    fn close_commit(&mut self) {
        let closed = self.journal.close(self.now_ms);
        if let Some(number) = self.segments.find_growing(closed.name)
            && let Some(segment) = self.segments.get_mut(number)
        {
            segment.commits = closed.commit - segment.first_commit + 1;
            segment.bytes += closed.bytes;
        }
        self.since_progress.0 += 1;
        self.since_progress.1 += closed.bytes;
        if self.journal.segment_is_full() {
            self.next_segment();
        }
    }

    /// Seals the growing segment and begins another. Only between commits.
    fn next_segment(&mut self) {
        if let Some(segment) = self.segments.last_number().and_then(|number| self.segments.get_mut(number)) {
            segment.sealed = true;
        }
        self.journal.next_segment();
        let CommitRef { commit, .. } = self.journal.current();
        self.segments.push(segment::Segment::new(self.journal.segment_name(), commit));
        // Not now: progress as of the commit that was closed must not know of it.
        self.retention_due = true;
        self.room_due = true;
    }

    /// Makes room in the commit being built.
    fn ensure_room(&mut self) {
        if self.journal.is_full() {
            self.close_commit();
        }
    }
}
