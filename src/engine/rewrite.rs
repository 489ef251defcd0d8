//! Jobs that are written again: a failed one that is retried, and what compaction brings along.
//!
//! The new row carries id, state and history; the old one is forgotten in the same commit, and the
//! index says where the job is from now on. Keeps INV-5: one commit, so never both and never neither.

use bytes::Bytes;
use prost::Message;

use crate::model::limits::{ERROR_CLASS_CHARS_MAX, HISTORY_BYTES_MAX, HISTORY_KEPT_MAX};
use crate::model::row::{AgainRow, BlobRef, JobRow, MarkerRow, Place, StateRow};
use crate::model::{JobId, JobState};

use super::attempts::truncated;
use super::event::{Entry as IndexEntry, Scope};
use super::intern::Interner;
use super::journal::marker_bytes;
use super::segment::{JobRef, Phase};
use super::slots::Routed;
use super::state::Head;
use super::{Engine, Reply, RewrittenJob};

/// Characters that are left of an error's text when a history is too long.
const SHORT_ERROR_CHARS: usize = 256;

/// Bucket of a job's entry in the index of places.
pub fn place_bucket(id: JobId) -> u64 {
    id.epoch_number().into()
}

impl Engine {
    pub(super) fn rewritten(&mut self, segment: u32, jobs: Vec<RewrittenJob>) {
        for job in jobs {
            let old = JobRef { segment, index: job.index };
            let tickets = self.retries.remove(&old);
            let reply = self.rewritten_one(old, job, tickets.is_some());
            tickets.into_iter().flatten().for_each(|ticket| self.reply(ticket, reply.clone()));
        }
        if self.compacting == Some(segment) {
            self.compacting = None;
        }
        self.retention_due = true;
    }

    fn rewritten_one(&mut self, old: JobRef, job: RewrittenJob, retried: bool) -> Reply {
        let Some((id, entry)) = self.id_and_entry(old) else { return Reply::WhereIsIt };
        let Phase::Is(state) = entry.phase else { return Reply::WhereIsIt };
        if job.last.unwrap_or_default() != entry.last {
            // Something happened to it since it was read.
            return Reply::WrongState(state);
        }
        self.write_again(old, id, job, retried);
        Reply::Done(JobState::Waiting)
    }

    fn write_again(&mut self, old: JobRef, id: JobId, job: RewrittenJob, retried: bool) {
        self.ensure_room();
        let Some(entry) = self.segments.entry(old).copied() else { return };
        let Some(from) = self.segments.get(old.segment).map(|segment| segment.place(old.index)) else {
            return;
        };
        let mut state = entry.state_row(None);
        state.last = None;
        if retried {
            state = StateRow {
                state: JobState::Waiting as u32,
                failures: 0,
                interruptions: 0,
                time_ms: self.now_ms,
                ..state
            };
        }
        let number = self.segments.last_number().expect("a growing segment is always there");
        let at = self.journal.current();
        let queue = self.queues.get(entry.queue).number;
        let routed = entry.routed.or(Routed::of_row(&job.row));
        let deadline_ms = entry.deadline_ms;
        let head = Head { queue, kind: &job.kind, lane: entry.lane, deadline_ms, routed };
        let new = self.insert(number, at.commit, &head).expect("the growing segment is loaded");
        let mut row = self.row_again(id, from, state, job);
        row.slot = if row.key.is_empty() { routed.number() } else { 0 };
        let place = self.journal.add_job(row);
        let place = Place { epoch_number: at.epoch_number, commit: at.commit, place };
        self.settle_again(old, new, id, &state, place);
        self.journal.add_entry(IndexEntry {
            scope: Scope::Place,
            bucket: place_bucket(id),
            term: Bytes::copy_from_slice(&id.to_bytes()),
            value: place.encode_to_vec().into(),
        });
    }

    /// The new entry takes the state over; the old one is forgotten.
    pub(super) fn settle_again(
        &mut self,
        old: JobRef,
        new: JobRef,
        id: JobId,
        state: &StateRow,
        place: Place,
    ) {
        if let Some(loaded) = self.segments.get_mut(new.segment).and_then(|segment| segment.loaded.as_mut()) {
            loaded.foreign.insert(new.index, id);
        }
        self.places.insert(id, new);
        let phase = JobState::from_number(state.state).map_or(Phase::Forgotten, Phase::Is);
        self.change(new, true, |entry| {
            entry.set_state(state);
            entry.phase = phase;
        });
        self.forget_moved(old, place);
    }

    fn row_again(&mut self, id: JobId, from: Place, state: StateRow, job: RewrittenJob) -> JobRow {
        let mut row = job.row;
        let mut history = job.history;
        for (blob, chunks) in job.blobs {
            let moved = self.journal.add_chunks(chunks);
            replace_blob(&mut row, &mut history, blob, moved);
        }
        row.kind = self.journal.string(&job.kind);
        row.content_type =
            if job.content_type.is_empty() { 0 } else { self.journal.string(&job.content_type) + 1 };
        row.enqueued_ms = job.enqueued_ms;
        row.token = Bytes::new();
        let (history, strings) = shortened(history, &job.strings);
        row.again = Some(AgainRow {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            from: Some(from),
            state: Some(state),
            history,
            strings,
        });
        row
    }
}

/// The youngest of a history, with the texts that it points to, so that it always fits into a row:
/// of the older markers, texts are cut short first.
fn shortened(history: Vec<MarkerRow>, texts: &[String]) -> (Vec<MarkerRow>, Vec<String>) {
    let mut left = HISTORY_BYTES_MAX;
    let mut kept = Vec::new();
    for mut marker in history.into_iter().rev().take(HISTORY_KEPT_MAX) {
        if marker_bytes(&marker) > left / 2 {
            marker.error = truncated(marker.error, SHORT_ERROR_CHARS);
            marker.result = Bytes::new();
        }
        let Some(rest) = left.checked_sub(marker_bytes(&marker)) else { break };
        left = rest;
        kept.push(marker);
    }
    kept.reverse();
    let mut strings = Interner::default();
    for marker in kept.iter_mut().filter(|marker| marker.runner > 0) {
        let text = texts.get(marker.runner as usize - 1).map_or("", String::as_str);
        marker.runner = strings.index(&truncated(text.into(), ERROR_CLASS_CHARS_MAX)) + 1;
    }
    (kept, strings.into_texts())
}

fn replace_blob(row: &mut JobRow, history: &mut [MarkerRow], from: BlobRef, to: BlobRef) {
    if row.payload_blob == Some(from) {
        row.payload_blob = Some(to);
    }
    for marker in history {
        marker.output.iter_mut().filter(|blob| **blob == from).for_each(|blob| *blob = to);
        if marker.result_blob == Some(from) {
            marker.result_blob = Some(to);
        }
    }
}
