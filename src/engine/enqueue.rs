//! New jobs.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::model::limits::{KINDS_MAX, PARTITION_QUEUES_MAX, PAYLOAD_INLINE_BYTES_MAX, TIME_MS_MAX};
use crate::model::row::{BackoffRow, Header, JobRow};
use crate::model::{Due, JobId, JobState, Lane, NewJob, QueueNumber, QueueSettings};

use super::queues::Happening;
use super::segment::Phase;
use super::slots::Routed;
use super::state::Head;
use super::tokens::{TokenHash, token_hash};
use super::{Engine, Reply, Ticket};

impl Engine {
    pub(super) fn set_queue(&mut self, number: QueueNumber, settings: QueueSettings, paused: bool) {
        if self.queues.find(number).is_none() && self.queues.len() >= PARTITION_QUEUES_MAX {
            return;
        }
        let index = self.queue_index(number);
        let queue = self.queues.get_mut(index);
        queue.settings = settings;
        queue.paused = paused;
        queue.known = true;
        if paused {
            self.lines.pause(index);
        } else {
            self.lines.resume(index);
        }
        self.look_ahead_anew();
        self.retain();
    }

    /// The index of a queue. One whose settings are not known yet is paused.
    pub(super) fn queue_index(&mut self, number: QueueNumber) -> u32 {
        if let Some(index) = self.queues.find(number) {
            return index;
        }
        let index = self.queues.index(number);
        self.lines.pause(index);
        index
    }

    pub(super) fn enqueue(&mut self, ticket: Ticket, queue: QueueNumber, jobs: Vec<NewJob>) {
        let Some(index) = self.queues.find(queue).filter(|&index| self.queues.get(index).known) else {
            let full = self.queues.find(queue).is_none() && self.queues.len() >= PARTITION_QUEUES_MAX;
            let too_many = Reply::TooMany { what: "queues", max: PARTITION_QUEUES_MAX };
            return self.reply(ticket, if full { too_many } else { Reply::UnknownQueue });
        };
        if !self.has_room_for_kinds(&jobs) {
            return self.reply(ticket, Reply::TooMany { what: "kinds", max: KINDS_MAX });
        }
        let max = self.queues.get(index).settings.backlog_max;
        if max != 0 && self.queues.get(index).backlog() + jobs.len() as u64 > max {
            return self.reply(ticket, Reply::BacklogFull { max });
        }
        let with_hash = |job: NewJob| {
            let hash = job.token.as_deref().map(|token| token_hash(queue, token));
            let routed = Routed::of(&job);
            (job, routed, hash)
        };
        let jobs: Vec<_> = jobs.into_iter().map(with_hash).collect();
        if self.has_left(&jobs) {
            return self.reply(ticket, Reply::SlotsLeft);
        }
        let mut taken = Vec::with_capacity(jobs.len());
        let mut new_jobs = 0;
        for (job, routed, hash) in jobs {
            match hash.and_then(|hash| self.tokens.find(&hash)) {
                Some(id) => taken.push((id, self.state_of_known(id), true)),
                None => {
                    let (id, state) = self.add(queue, job, routed, hash);
                    taken.push((id, state, false));
                    new_jobs += 1;
                }
            }
        }
        self.queues.get_mut(index).happened(self.now_ms, Happening::Enqueued, new_jobs);
        self.reply(ticket, Reply::Enqueued(taken));
    }

    fn has_room_for_kinds(&self, jobs: &[NewJob]) -> bool {
        let mut new = BTreeSet::new();
        let mut last = "";
        for job in jobs {
            // Runs of one kind are the rule.
            if job.kind != last && self.kinds.find(&job.kind).is_none() {
                new.insert(job.kind.as_str());
            }
            last = &job.kind;
        }
        new.is_empty() || self.kinds.len() + new.len() <= KINDS_MAX
    }

    fn add(
        &mut self,
        queue: QueueNumber,
        job: NewJob,
        routed: Routed,
        hash: Option<TokenHash>,
    ) -> (JobId, JobState) {
        self.ensure_room();
        let run_at_ms = match job.due {
            Due::Now => 0,
            Due::After(delay_ms) => self.now_ms.saturating_add(delay_ms).min(TIME_MS_MAX),
            Due::At(at_ms) if at_ms <= self.now_ms => 0,
            Due::At(at_ms) => at_ms,
        };
        let deadline_ms = job.deadline_ms.unwrap_or(0);
        let head = Head { queue, kind: &job.kind, lane: job.lane, deadline_ms, routed };
        let at = self.journal.current();
        let number = self.segments.last_number().expect("a growing segment is always there");
        let reference = self.insert(number, at.commit, &head).expect("the growing segment is loaded");
        self.begin(reference, run_at_ms, self.now_ms);
        let row = self.job_row(&head, &job, run_at_ms, hash);
        let place = self.journal.add_job(row);
        let id = JobId::new(self.partition, at.epoch_number, at.commit, place as u16);
        if let Some(hash) = hash {
            self.remember_token(hash, id);
        }
        let state = match self.segments.entry(reference).map(|entry| entry.phase) {
            Some(Phase::Is(state)) => state,
            _ => JobState::Waiting,
        };
        (id, state)
    }

    fn job_row(&mut self, head: &Head<'_>, job: &NewJob, run_at_ms: u64, hash: Option<TokenHash>) -> JobRow {
        let beside = job.payload.len() > PAYLOAD_INLINE_BYTES_MAX;
        JobRow {
            queue: head.queue,
            kind: self.journal.string(head.kind),
            payload: if beside { Bytes::new() } else { job.payload.clone() },
            payload_blob: beside.then(|| self.journal.add_blob(&job.payload)),
            content_type: if job.content_type.is_empty() {
                0
            } else {
                self.journal.string(&job.content_type) + 1
            },
            key: job.key.clone().unwrap_or_default(),
            priority: if head.lane == Lane::DEFAULT { 0 } else { head.lane.number().into() },
            run_at_ms,
            enqueued_ms: self.now_ms,
            deadline_ms: head.deadline_ms,
            timeout_ms: job.timeout_ms.unwrap_or(0),
            max_attempts: job.max_attempts.unwrap_or(0),
            backoff: job.backoff.as_ref().map(BackoffRow::from),
            headers: job
                .headers
                .iter()
                .map(|(name, value)| Header { name: name.clone(), value: value.clone() })
                .collect(),
            tags: job.tags.clone(),
            again: None,
            token: hash.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(&hash)),
            slot: if job.key.as_deref().is_some_and(|key| !key.is_empty()) {
                0
            } else {
                head.routed.number()
            },
        }
    }

    /// Remembers a token here, and in the index for a successor: one entry per commit.
    fn remember_token(&mut self, hash: TokenHash, id: JobId) {
        self.tokens.remember(hash, id, self.now_ms);
        self.journal.add_token(self.now_ms, &hash, id.place().into());
    }

    /// The job of a token that is remembered here.
    pub fn known_token(&self, queue: QueueNumber, token: &str) -> Option<(JobId, JobState)> {
        let id = self.tokens.find(&token_hash(queue, token))?;
        Some((id, self.state_of_known(id)))
    }

    /// State of a job that a token points to, if it can be told without reading.
    fn state_of_known(&self, id: JobId) -> JobState {
        match self.state_of(id, None) {
            super::Located::Here(found) => found.state.unwrap_or(JobState::Cancelled),
            _ => JobState::Waiting,
        }
    }
}
