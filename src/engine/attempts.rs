//! Runners and attempts: who has room, who gets what, and how it ended.
//!
//! A start is a marker; the attempt is handed out when that is released (INV-4), often in the
//! commit that the job itself came with. A report counts only if it is about the attempt that is
//! running now, by (job, attempt), whoever it was handed out by (INV-3).

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::model::limits::{
    DURATION_MS_MAX, ERROR_CLASS_CHARS_MAX, ERROR_TEXT_CHARS_MAX, KINDS_MAX, RESULT_INLINE_BYTES_MAX,
};
use crate::model::row::{BlobRef, MarkerKind};
use crate::model::{JobId, Outcome, Retry};

use super::lines::{Ahead, Choice};
use super::queues::Happening;
use super::retry::{delay_ms, interruption_delay_ms};
use super::segment::JobRef;
use super::state::{INTERRUPTED_CLASS, marker};
use super::{AttemptEnd, Effect, Engine, HandOut, Located, Reply, Revocation, RunnerId, Ticket};

/// A runner, as its owner knows it.
#[derive(Debug)]
pub(crate) struct Runner {
    name: String,
    pub(super) kinds: BTreeSet<u32>,
    /// Attempts that it has room for.
    pub room: u32,
    /// A job whose earlier attempt was interrupted runs there.
    pub(super) suspect: Option<JobRef>,
    /// What it could get that is not in memory; none if that has to be looked for.
    pub(super) ahead: Option<Ahead>,
}

/// A running attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// None: it was running when this owner came.
    pub runner: Option<RunnerId>,
}

impl Engine {
    pub(super) fn runner_up(&mut self, runner: RunnerId, name: String, kinds: Vec<String>) {
        // Of a kind beyond the bound no job can be here.
        let kinds = kinds.iter().filter_map(|kind| match self.kinds.len() < KINDS_MAX {
            true => Some(self.kinds.index(kind)),
            false => self.kinds.find(kind),
        });
        let kinds = kinds.collect();
        let name = truncated(name, ERROR_CLASS_CHARS_MAX);
        // Said again, it may run other kinds; what it has is kept.
        let (room, suspect) =
            self.runners.get(&runner).map_or((0, None), |known| (known.room, known.suspect));
        self.runners.insert(runner, Runner { name, kinds, room, suspect, ahead: None });
        self.nothing_ahead = false;
    }

    pub(super) fn pull(&mut self, runner: RunnerId, attempts: u32) {
        if let Some(runner) = self.runners.get_mut(&runner) {
            runner.room = runner.room.saturating_add(attempts);
        }
        // If that is not enough, it is said once more.
        self.starved = false;
    }

    pub(super) fn recall(&mut self, runner: RunnerId, attempts: u32) {
        let room = self.runners.get_mut(&runner).map(|runner| &mut runner.room);
        let taken = room.map_or(0, |room| {
            let taken = attempts.min(*room);
            *room -= taken;
            taken
        });
        self.effects.push(Effect::Recalled { runner, attempts: taken });
    }

    pub(super) fn runner_gone(&mut self, runner: RunnerId) {
        self.runners.remove(&runner);
        self.interrupt_all(|running| running.runner == Some(runner));
    }

    pub(super) fn orphans_gone(&mut self) {
        self.interrupt_all(|running| running.runner.is_none());
    }

    pub(super) fn orphan_gone(&mut self, id: JobId, attempt: u32) {
        if let Some(job) = self.find_orphan(id, attempt) {
            self.interrupted(job);
        }
    }

    /// It costs the job nothing: whoever has it begins it anew.
    pub(super) fn orphan_unstarted(&mut self, id: JobId, attempt: u32) {
        if let Some(job) = self.find_orphan(id, attempt) {
            self.ended(job);
            self.mark(job, marker(MarkerKind::Released, attempt));
        }
    }

    fn find_orphan(&mut self, id: JobId, attempt: u32) -> Option<JobRef> {
        let Located::Here(job) = self.locate(id, None) else { return None };
        let is_current = self.segments.entry(job).is_some_and(|entry| entry.attempt == attempt);
        let is_orphan = self.running.get(&job).is_some_and(|running| running.runner.is_none());
        (is_current && is_orphan).then_some(job)
    }

    /// Attempts that were running before this owner came, and have not ended.
    pub fn orphans(&self) -> Vec<(JobId, u32)> {
        let orphans = self.running.iter().filter(|(_, running)| running.runner.is_none());
        orphans
            .filter_map(|(job, _)| self.id_and_entry(*job))
            .map(|(id, entry)| (id, entry.attempt))
            .collect()
    }

    fn interrupt_all(&mut self, which: impl Fn(&Running) -> bool) {
        let mut jobs: Vec<JobRef> =
            self.running.iter().filter(|(_, running)| which(running)).map(|(job, _)| *job).collect();
        jobs.sort_unstable();
        for job in jobs {
            self.interrupted(job);
        }
    }

    /// The attempt's runner is dead: nobody knows how far it came.
    fn interrupted(&mut self, job: JobRef) {
        self.ended(job);
        let Some(entry) = self.segments.entry(job).copied() else { return };
        let interruptions = u32::from(entry.interruptions) + 1;
        let max = self.queues.get(entry.queue).settings.max_interruptions.max(1);
        let mut end = marker(MarkerKind::Interrupted, entry.attempt);
        end.error_class = INTERRUPTED_CLASS.into();
        if interruptions >= max {
            end.kind = MarkerKind::Failed as i32;
            end.error = format!(
                "interrupted {interruptions} times: its runner died while it ran, and may have died of it"
            );
        } else {
            end.error = "its runner died while it ran".into();
            end.due_ms = self.now_ms + interruption_delay_ms(interruptions);
        }
        self.mark(job, end);
        if interruptions >= max {
            self.announce_end(job);
        }
    }

    /// Takes a job off the running list.
    fn ended(&mut self, job: JobRef) -> Option<Running> {
        let running = self.running.remove(&job)?;
        if let Some(runner) = running.runner.and_then(|runner| self.runners.get_mut(&runner))
            && runner.suspect == Some(job)
        {
            runner.suspect = None;
            runner.ahead = None;
            self.nothing_ahead = false;
        }
        Some(running)
    }

    /// Hands waiting jobs to runners with room, in turn.
    pub(super) fn dispatch(&mut self) {
        if self.lines.len() == 0 && (self.unloaded == 0 || self.nothing_ahead) {
            self.starved = false;
            return;
        }
        let with_room = self.runners.iter().filter(|(_, runner)| runner.room > 0);
        let mut with_room: Vec<RunnerId> = with_room.map(|(id, _)| *id).collect();
        while !with_room.is_empty() {
            with_room.retain(|&id| self.dispatch_to(id));
        }
        if self.starved || self.lines.len() == 0 {
            self.starved &= self.lines.len() > 0;
            return;
        }
        let lines = &self.lines;
        if self.runners.values().any(|runner| runner.room == 0 && lines.has_any(&runner.kinds)) {
            self.effects.push(Effect::Starved);
            self.starved = true;
        }
    }

    fn dispatch_to(&mut self, id: RunnerId) -> bool {
        let ahead = self.look_ahead(id);
        let Some(runner) = self.runners.get(&id).filter(|runner| runner.room > 0) else { return false };
        match self.lines.choose(&runner.kinds, runner.suspect.is_none(), ahead.as_ref()) {
            Choice::Job(job) => {
                self.segments.entry_mut(job).into_iter().for_each(|entry| entry.lined = false);
                self.start(job, id);
                true
            }
            Choice::Behind(segment) => {
                self.load(segment);
                false
            }
            Choice::Nothing => false,
        }
    }

    fn start(&mut self, job: JobRef, id: RunnerId) {
        let Some((job_id, entry)) = self.id_and_entry(job) else { return };
        let Some(runner) = self.runners.get_mut(&id) else { return };
        runner.room -= 1;
        let suspect = entry.interruptions > 0;
        if suspect {
            runner.suspect = Some(job);
            runner.ahead = None;
        }
        let name = runner.name.clone();
        self.ensure_room();
        let attempt = entry.attempt + 1;
        let mut started = marker(MarkerKind::Started, attempt);
        started.runner = self.journal.string(&name) + 1;
        // Its output goes to the segment of this commit: what a killed runner has written is found.
        let output_blob = self.journal.reserve_blob();
        let output_segment = self.journal.segment_name();
        started.output = vec![BlobRef { segment: None, blob: output_blob, chunks: 0, bytes: 0 }];
        self.mark_here(job, started);
        self.running.insert(job, Running { runner: Some(id) });
        let queue = self.queues.get_mut(entry.queue);
        queue.happened(self.now_ms, Happening::Started, 1);
        let queue = queue.number;
        let Some(segment) = self.segments.get(job.segment) else { return };
        let place = segment.place(job.index);
        self.effects.push(Effect::Prefetch { segment: segment.name, commit: place.commit });
        let hand_out = HandOut {
            runner: id,
            job: job_id,
            attempt,
            segment: segment.name,
            place,
            queue,
            failures: entry.failures.into(),
            suspect,
            output_blob,
            output_segment,
        };
        self.journal.after_release(Effect::HandOut(Box::new(hand_out)));
    }

    pub(super) fn finish(&mut self, ticket: Ticket, id: JobId, attempt: u32, end: AttemptEnd) {
        let found = match self.locate(id, None) {
            Located::Here(job) => job,
            // Running jobs are always loaded: one that is not here does not run.
            _ => return self.reply(ticket, Reply::Finished { accepted: false }),
        };
        let current = self.segments.entry(found).map(|entry| entry.attempt);
        if current != Some(attempt) || !self.running.contains_key(&found) {
            return self.reply(ticket, Reply::Finished { accepted: false });
        }
        self.ended(found);
        let is_final = self.record_end(found, id, attempt, end);
        if is_final {
            self.announce_end(found);
        }
        self.reply(ticket, Reply::Finished { accepted: true });
    }

    /// Writes the marker of an attempt's end. True if the job is final by it.
    fn record_end(&mut self, job: JobRef, id: JobId, attempt: u32, end: AttemptEnd) -> bool {
        let Some(entry) = self.segments.entry(job).copied() else { return false };
        self.ensure_room();
        let mut row = marker(MarkerKind::None, attempt);
        row.exit_code = end.exit_code;
        row.output = end.output.into_iter().collect();
        row.output_dropped_bytes = end.output_dropped_bytes;
        let failures = u32::from(entry.failures) + 1;
        let kind = match end.outcome {
            Outcome::Succeeded { result } => {
                (row.result, row.result_blob) = self.keep_result(result);
                MarkerKind::Succeeded
            }
            Outcome::Failed { error, class, retry } => {
                row.error = truncated(error, ERROR_TEXT_CHARS_MAX);
                let class = truncated(class, ERROR_CLASS_CHARS_MAX);
                row.error_class = if class == INTERRUPTED_CLASS { "failed".into() } else { class };
                self.queues.get_mut(entry.queue).happened(self.now_ms, Happening::Failed, 1);
                let hopeless = self.queues.get(entry.queue).settings.give_up_on.contains(&row.error_class);
                let delay_ms = match retry {
                    _ if failures >= end.max_attempts.max(1) => None,
                    Retry::GiveUp => None,
                    Retry::Policy if hopeless => None,
                    Retry::After(ms) => Some(ms.min(DURATION_MS_MAX)),
                    Retry::Policy => Some(delay_ms(&end.backoff, id, attempt, failures)),
                };
                row.due_ms = delay_ms.map_or(0, |ms| self.now_ms + ms);
                if delay_ms.is_some() { MarkerKind::Retry } else { MarkerKind::Failed }
            }
            Outcome::Snoozed { delay_ms } => {
                row.due_ms = self.now_ms + delay_ms.min(DURATION_MS_MAX);
                MarkerKind::Snoozed
            }
            Outcome::Released => MarkerKind::Released,
            Outcome::Interrupted { reason } => {
                row.error = truncated(reason, ERROR_TEXT_CHARS_MAX);
                MarkerKind::Released
            }
        };
        row.kind = kind as i32;
        if kind == MarkerKind::Succeeded {
            self.queues.get_mut(entry.queue).happened(self.now_ms, Happening::Succeeded, 1);
        }
        self.mark_here(job, row);
        matches!(kind, MarkerKind::Succeeded | MarkerKind::Failed)
    }

    fn keep_result(&mut self, result: Bytes) -> (Bytes, Option<BlobRef>) {
        if result.len() <= RESULT_INLINE_BYTES_MAX {
            return (result, None);
        }
        (Bytes::new(), Some(self.journal.add_blob(&result)))
    }

    /// Takes a job off its runner because somebody ended it; the runner is told once that is released.
    pub(super) fn revoke(&mut self, job: JobRef, id: JobId, attempt: u32) {
        if let Some(Running { runner: Some(runner) }) = self.ended(job) {
            let why = Revocation::Cancelled;
            self.journal.after_release(Effect::Revoke { runner, job: id, attempt, why });
        }
    }

    /// Asks the runner to give a running attempt back.
    pub(super) fn ask_back(&mut self, job: JobRef, id: JobId, attempt: u32) {
        if let Some(Running { runner: Some(runner) }) = self.running.get(&job).copied() {
            // Its start may not be released yet.
            let why = Revocation::Interrupted;
            self.when_released(Effect::Revoke { runner, job: id, attempt, why });
        }
    }

    /// Kinds that some runner runs.
    pub(super) fn is_run(&self, kind: u32) -> bool {
        self.runners.values().any(|runner| runner.kinds.contains(&kind))
    }

    /// Some runner has room for another attempt of that kind.
    pub(super) fn has_room_for(&self, kind: u32) -> bool {
        self.runners.values().any(|runner| runner.room > 0 && runner.kinds.contains(&kind))
    }
}

/// At most so many characters of a text.
pub(super) fn truncated(mut text: String, chars_max: usize) -> String {
    if let Some((bytes, _)) = text.char_indices().nth(chars_max) {
        text.truncate(bytes);
    }
    text
}
