//! What people and programs want done with one job.

use crate::model::row::{MarkerKind, MarkerRow, Place};
use crate::model::{JobId, JobState, Lane};

use super::segment::{JobRef, Phase};
use super::state::marker;
use super::{Command, Effect, Engine, Event, Located, Reply, RewriteRequest, Ticket};

impl Engine {
    pub(super) fn command(&mut self, ticket: Ticket, id: JobId, place: Option<Place>, command: Command) {
        let job = match self.locate(id, place) {
            Located::Here(job) => job,
            Located::NotLoaded(segment) => {
                self.park(segment, Event::Command { ticket, job: id, place, command });
                return;
            }
            Located::Elsewhere => return self.reply(ticket, Reply::WhereIsIt),
            Located::Unknown => return self.reply(ticket, Reply::UnknownJob),
        };
        let Some(entry) = self.segments.entry(job).copied() else { return };
        let Phase::Is(state) = entry.phase else { return self.reply(ticket, Reply::WhereIsIt) };
        match command {
            Command::Cancel => self.cancel(ticket, job, id, state),
            Command::Retry => self.retry(ticket, job, state),
            Command::RunNow => match state {
                JobState::Scheduled => {
                    self.mark(job, marker(MarkerKind::RunNow, entry.attempt));
                    self.reply(ticket, Reply::Done(JobState::Waiting));
                }
                JobState::Waiting => self.reply(ticket, Reply::Done(state)),
                _ => self.reply(ticket, Reply::WrongState(state)),
            },
            Command::SetPriority(priority) => {
                let lane = Lane::new(priority).unwrap_or(Lane::DEFAULT);
                match state {
                    JobState::Waiting | JobState::Scheduled | JobState::Blocked => {
                        let mut row = marker(MarkerKind::Prioritized, entry.attempt);
                        row.priority = lane.number().into();
                        self.mark(job, row);
                        self.reply(ticket, Reply::Done(state));
                    }
                    _ => self.reply(ticket, Reply::WrongState(state)),
                }
            }
            Command::Delete => self.delete(ticket, job, id, state),
            Command::Interrupt => {
                if state == JobState::Running {
                    self.ask_back(job, id, entry.attempt);
                }
                self.reply(ticket, Reply::Done(state));
            }
        }
    }

    fn cancel(&mut self, ticket: Ticket, job: JobRef, id: JobId, state: JobState) {
        match state {
            JobState::Cancelled => self.reply(ticket, Reply::Done(state)),
            JobState::Succeeded | JobState::Failed => self.reply(ticket, Reply::WrongState(state)),
            JobState::Waiting | JobState::Scheduled | JobState::Blocked | JobState::Running => {
                self.end_by_command(job, id);
                self.reply(ticket, Reply::Done(JobState::Cancelled));
            }
        }
    }

    fn end_by_command(&mut self, job: JobRef, id: JobId) {
        let Some(entry) = self.segments.entry(job).copied() else { return };
        let row = MarkerRow {
            error: "cancelled by request".into(),
            error_class: "cancelled".into(),
            ..marker(MarkerKind::Cancelled, entry.attempt)
        };
        self.mark(job, row);
        self.revoke(job, id, entry.attempt);
        self.announce_end(job);
    }

    fn delete(&mut self, ticket: Ticket, job: JobRef, id: JobId, state: JobState) {
        if !state.is_final() {
            self.end_by_command(job, id);
        }
        let attempt = self.segments.entry(job).map_or(0, |entry| entry.attempt);
        self.mark(job, marker(MarkerKind::Deleted, attempt));
        let last = if state.is_final() { state } else { JobState::Cancelled };
        self.reply(ticket, Reply::Done(last));
    }

    /// Final is final: a job that is retried is written anew under its id.
    fn retry(&mut self, ticket: Ticket, job: JobRef, state: JobState) {
        if !matches!(state, JobState::Failed | JobState::Cancelled) {
            return self.reply(ticket, Reply::WrongState(state));
        }
        let tickets = self.retries.entry(job).or_default();
        tickets.push(ticket);
        if tickets.len() > 1 {
            return;
        }
        let Some(segment) = self.segments.get(job.segment) else { return };
        let request = self.rewrite_request(job);
        let name = segment.name;
        // What is not released can't be read yet.
        self.when_released(Effect::ReadForRewrite {
            segment: job.segment,
            name,
            jobs: request.into_iter().collect(),
        });
    }

    pub(super) fn rewrite_request(&self, job: JobRef) -> Option<RewriteRequest> {
        let place = self.segments.get(job.segment)?.place(job.index);
        let entry = self.segments.entry(job)?;
        let last = (entry.last.epoch_number != 0).then_some(entry.last);
        Some(RewriteRequest { index: job.index, commit: place.commit, place: place.place, last })
    }
}
