//! The commit being built, those that are on their way, and what waits for their release.
//!
//! Group commit without a timer: whoever drives the engine takes a commit when it has room for one
//! in flight; what arrives meanwhile makes the next. Keeps INV-1 and INV-2 on the engine's side:
//! an effect that rests on a commit is given out only by [`Journal::released`].

use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;

use crate::model::limits::{COMMIT_BYTES_MAX, COMMIT_JOBS_MAX};
use crate::model::row::{
    AgainRow, BlobRef, CommitRef, CommitRow, JobRow, MarkerRow, Origin, SegmentName, TokensRow,
};
use crate::model::{Epoch, limits};

use super::EngineSettings;
use super::event::{Commit, Effect, Entry, Scope};
use super::intern::Interner;
use super::tokens::{BUCKET_MS, TokenHash};

/// No marker's row is longer without its texts, blobs and new place, bytes.
const MARKER_BYTES: usize = 88;
/// No job's row is longer without payload, texts, blob, policy and history, bytes.
const JOB_BYTES: usize = 88;
/// The same of a reference to a blob, or to a segment.
const REFERENCE_BYTES: usize = 56;
/// The same of a slot's number.
const SLOT_BYTES: usize = 2;
/// Bytes of payloads and results beside one commit.
const COMMIT_BLOB_BYTES_MAX: usize = 8 << 20;
/// Markers of one commit.
const COMMIT_MARKERS_MAX: usize = 16_384;

#[derive(Debug, Default)]
struct Pending {
    strings: Interner,
    jobs: Vec<JobRow>,
    markers: Vec<MarkerRow>,
    condemned: Vec<SegmentName>,
    closed_slots: Vec<u32>,
    blobs: Vec<(u64, u32, Bytes)>,
    entries: Vec<Entry>,
    effects: Vec<Effect>,
    bytes: usize,
    blob_bytes: usize,
}

/// When commits and segments are full.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    segment_jobs: u32,
    segment_bytes: u64,
    /// Four full commits make a segment, or eight by bytes.
    commit_jobs: usize,
    commit_bytes: usize,
}

impl Bounds {
    fn new(settings: &EngineSettings) -> Self {
        let (segment_jobs, segment_bytes) = (settings.segment_jobs_max, settings.segment_bytes_max);
        Self {
            segment_jobs,
            segment_bytes,
            commit_jobs: COMMIT_JOBS_MAX.min(segment_jobs as usize / 4).max(1),
            commit_bytes: COMMIT_BYTES_MAX.min(usize::try_from(segment_bytes / 8).unwrap_or(usize::MAX)),
        }
    }
}

/// The writing end of one epoch's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    epoch: Epoch,
    origin: Option<Origin>,
    /// Number of the commit being built.
    commit: u64,
    /// The segment that the commit being built goes to.
    segment: u32,
    segment_jobs: u32,
    segment_bytes: u64,
    bounds: Bounds,
    pending: Pending,
    /// Row 0 is due even if it is empty.
    opened: bool,
    closed: VecDeque<Commit>,
    waiting: VecDeque<(u64, Vec<Effect>)>,
    next_blob: u64,
    /// Tokens of the commit being built: time, hashes, places.
    tokens: Option<(u64, Vec<u8>, Vec<u32>)>,
}

impl Journal {
    pub fn new(epoch: Epoch, origin: Origin, settings: &EngineSettings) -> Self {
        Self {
            epoch,
            origin: Some(origin),
            commit: 0,
            segment: 0,
            segment_jobs: 0,
            segment_bytes: 0,
            bounds: Bounds::new(settings),
            pending: Pending::default(),
            opened: false,
            closed: VecDeque::new(),
            waiting: VecDeque::new(),
            next_blob: 0,
            tokens: None,
        }
    }

    /// The commit that what is added now goes to.
    pub fn current(&self) -> CommitRef {
        CommitRef { epoch_number: self.epoch.number, commit: self.commit }
    }

    /// The segment that what is added now goes to.
    pub fn segment_name(&self) -> SegmentName {
        SegmentName {
            epoch_number: self.epoch.number,
            incarnation: self.epoch.incarnation,
            segment: self.segment,
        }
    }

    /// The number of a text in the commit being built.
    pub fn string(&mut self, text: &str) -> u32 {
        let before = self.pending.strings.len();
        let number = self.pending.strings.index(text);
        if self.pending.strings.len() > before {
            self.pending.bytes += text.len() + 4;
        }
        number
    }

    /// Adds a job; returns its place in the commit. Ask [`Journal::is_full`] before.
    pub fn add_job(&mut self, job: JobRow) -> u32 {
        self.pending.bytes += job_bytes(&job);
        self.pending.jobs.push(job);
        self.pending.jobs.len() as u32 - 1
    }

    /// Adds a marker.
    pub fn add_marker(&mut self, marker: MarkerRow) {
        self.pending.bytes += marker_bytes(&marker);
        self.pending.markers.push(marker);
    }

    /// Adds a payload, result or output chunk set; returns the reference to put into a row.
    pub fn add_blob(&mut self, bytes: &Bytes) -> BlobRef {
        let chunks: Vec<Bytes> = (0..bytes.len())
            .step_by(limits::CHUNK_BYTES_MAX)
            .map(|from| bytes.slice(from..bytes.len().min(from + limits::CHUNK_BYTES_MAX)))
            .collect();
        self.add_chunks(chunks)
    }

    /// The same for what is in chunks already.
    pub fn add_chunks(&mut self, chunks: Vec<Bytes>) -> BlobRef {
        let blob = self.reserve_blob();
        let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        self.pending.blob_bytes = self.pending.blob_bytes.saturating_add(bytes as usize);
        let count = chunks.len() as u32;
        self.pending.blobs.extend(chunks.into_iter().enumerate().map(|(n, chunk)| (blob, n as u32, chunk)));
        BlobRef { segment: Some(self.segment_name()), blob, chunks: count, bytes }
    }

    /// A blob number that nothing else uses.
    pub fn reserve_blob(&mut self) -> u64 {
        self.next_blob += 1;
        self.next_blob
    }

    /// Adds a token to the commit's packed index entry.
    pub fn add_token(&mut self, now_ms: u64, hash: &TokenHash, place: u32) {
        let (_, hashes, places) = self.tokens.get_or_insert_with(|| (now_ms, Vec::new(), Vec::new()));
        hashes.extend_from_slice(hash);
        places.push(place);
    }

    /// The index entry of the commit's tokens: its term is the commit.
    fn token_entry(&mut self) -> Option<Entry> {
        let (time_ms, hashes, places) = self.tokens.take()?;
        let term = [&self.epoch.number.to_be_bytes()[..], &self.commit.to_be_bytes()[..]].concat();
        let value = TokensRow { time_ms, hashes: hashes.into(), places };
        let (scope, bucket) = (Scope::Token, time_ms / BUCKET_MS);
        Some(Entry { scope, bucket, term: term.into(), value: value.encode_to_vec().into() })
    }

    pub fn add_entry(&mut self, entry: Entry) {
        self.pending.entries.push(entry);
    }

    pub fn condemn(&mut self, segment: SegmentName) {
        self.pending.bytes += REFERENCE_BYTES;
        self.pending.condemned.push(segment);
    }

    /// Closes slots for good.
    pub fn close_slots(&mut self, slots: &[u16]) {
        self.pending.bytes += slots.len() * SLOT_BYTES;
        self.pending.closed_slots.extend(slots.iter().map(|&slot| u32::from(slot)));
    }

    /// Gives the effect out when the commit being built is released. If nothing is being built,
    /// it waits for what was built last.
    pub fn after_release(&mut self, effect: Effect) {
        if self.is_empty()
            && let Some((_, effects)) = self.waiting.back_mut()
        {
            effects.push(effect);
        } else {
            self.pending.effects.push(effect);
        }
    }

    /// Nothing is being built.
    pub fn is_empty(&self) -> bool {
        let pending = &self.pending;
        self.opened
            && pending.jobs.is_empty()
            && pending.markers.is_empty()
            && pending.condemned.is_empty()
            && pending.closed_slots.is_empty()
            && pending.effects.is_empty()
    }

    /// The commit being built has to be closed before anything is added.
    pub fn is_full(&self) -> bool {
        self.pending.jobs.len() >= self.bounds.commit_jobs
            || self.pending.markers.len() >= COMMIT_MARKERS_MAX
            || self.pending.blob_bytes >= COMMIT_BLOB_BYTES_MAX
            // Half full: one more job still fits.
            || self.pending.bytes >= self.bounds.commit_bytes / 2
    }

    /// True if a commit is ready to be taken.
    pub fn has_commit(&self) -> bool {
        !self.closed.is_empty() || !self.is_empty()
    }

    pub fn take_closed(&mut self) -> Option<Commit> {
        self.closed.pop_front()
    }

    /// Closes the commit being built. Returns its segment, its jobs and its bytes, for the totals.
    pub fn close(&mut self, time_ms: u64) -> Closed {
        let mut pending = std::mem::take(&mut self.pending);
        pending.entries.extend(self.token_entry());
        self.opened = true;
        let row = CommitRow {
            time_ms,
            origin: self.origin.take(),
            strings: pending.strings.into_texts(),
            jobs: pending.jobs,
            markers: pending.markers,
            condemned: pending.condemned,
            closed_slots: pending.closed_slots,
        };
        let closed = Closed {
            name: self.segment_name(),
            commit: self.commit,
            jobs: row.jobs.len() as u32,
            bytes: pending.bytes as u64,
        };
        self.waiting.push_back((self.commit, pending.effects));
        self.closed.push_back(Commit {
            segment: self.segment,
            commit: self.commit,
            row,
            blobs: pending.blobs,
            entries: pending.entries,
        });
        self.commit += 1;
        self.segment_jobs += closed.jobs;
        self.segment_bytes += closed.bytes;
        closed
    }

    /// The growing segment has reached its bounds: what comes now goes to the next.
    pub fn segment_is_full(&self) -> bool {
        // One more full commit still has to fit.
        self.segment_jobs + self.bounds.commit_jobs as u32 > self.bounds.segment_jobs
            || self.segment_bytes + self.bounds.commit_bytes as u64 > self.bounds.segment_bytes
    }

    /// Begins the next segment. Only between commits.
    pub fn next_segment(&mut self) {
        debug_assert!(self.pending.jobs.is_empty(), "a segment begins between commits");
        self.segment += 1;
        self.segment_jobs = 0;
        self.segment_bytes = 0;
    }

    /// Effects of all commits up to that one, in order.
    pub fn released(&mut self, up_to: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        while self.waiting.front().is_some_and(|(commit, _)| *commit <= up_to) {
            if let Some((_, more)) = self.waiting.pop_front() {
                effects.extend(more);
            }
        }
        effects
    }

    /// True if every commit has been released.
    pub fn all_released(&self) -> bool {
        self.waiting.is_empty() && self.closed.is_empty()
    }
}

/// What was closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub name: SegmentName,
    pub commit: u64,
    pub jobs: u32,
    pub bytes: u64,
}

fn job_bytes(job: &JobRow) -> usize {
    let headers: usize = job.headers.iter().map(|header| header.name.len() + header.value.len() + 12).sum();
    let tags: usize = job.tags.iter().map(|tag| tag.len() + 3).sum();
    let again = job.again.as_ref().map_or(0, again_bytes);
    let beside = job.payload_blob.map_or(0, |_| REFERENCE_BYTES) + job.backoff.map_or(0, |_| REFERENCE_BYTES);
    JOB_BYTES + job.payload.len() + job.key.len() + headers + tags + again + beside + job.token.len()
}

/// Size of what a job brings along when it is written again, bytes.
pub(crate) fn again_bytes(again: &AgainRow) -> usize {
    2 * REFERENCE_BYTES
        + MARKER_BYTES
        + again.history.iter().map(marker_bytes).sum::<usize>()
        + again.strings.iter().map(|text| text.len() + 4).sum::<usize>()
}

pub(crate) fn marker_bytes(marker: &MarkerRow) -> usize {
    let references = marker.output.len()
        + usize::from(marker.result_blob.is_some())
        + usize::from(marker.moved_to.is_some());
    MARKER_BYTES
        + marker.error.len()
        + marker.error_class.len()
        + marker.result.len()
        + marker.process.len()
        + references * REFERENCE_BYTES
}
