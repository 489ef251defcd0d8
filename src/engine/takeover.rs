//! A new owner's engine: from progress, summaries and the journal after it, to where its
//! predecessor was.
//!
//! First every segment that the tail speaks of is read, then the tail is applied with the same
//! transitions as live decisions. What cannot be made sense of ends the take-over with an error
//! that names it: nothing is guessed, and the partition is parked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::row::{
    ChainLink, CommitRef, CommitRow, MarkerKind, Place, SegmentName, SegmentRow, SummaryRow,
};
use crate::model::{Epoch, JobId, JobState, PartitionId};

use super::journal::Journal;
use super::segment::{JobRef, Segment, Segments, Tally, lane_of};
use super::slots::{Routed, Slots};
use super::state::Head;
use super::{Effect, Engine, EngineSettings, TailCommit, TakenOver};

/// Claims without commits that every new owner looks at, until progress is written and they are deleted.
const PASSED_OVER_MAX: usize = 4;

/// Why a partition can't be taken over from what was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeoverError {
    /// Progress or a summary names something that is not there, or the other way round.
    #[error("the journal of partition {partition} does not add up at commit {epoch_number}/{commit}: {what}")]
    Inconsistent {
        /// The partition.
        partition: PartitionId,
        /// Where.
        epoch_number: u32,
        /// Where.
        commit: u64,
        /// What does not add up.
        what: String,
    },
}

/// What is still missing before the tail can be applied.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    tail: Vec<TailCommit>,
    passed_over: usize,
    missing: BTreeSet<u32>,
    summaries: BTreeMap<u32, SummaryRow>,
}

impl Engine {
    /// An engine that goes on from `taken`. It is open once the summaries that it asks for (in
    /// `effects`) have been given to it.
    pub fn open(
        partition: PartitionId,
        settings: EngineSettings,
        taken: TakenOver,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<Self, TakeoverError> {
        let head = taken.origin.head;
        let mut engine = Self {
            settings,
            partition,
            epoch: taken.epoch,
            chain: taken.chain,
            now_ms,
            opening: None,
            queues: Default::default(),
            kinds: Default::default(),
            segments: Segments::default(),
            loaded_jobs: 0,
            unloaded: 0,
            loading: 0,
            unloaded_due: BTreeSet::new(),
            nothing_ahead: false,
            room_due: false,
            leaving: Vec::new(),
            lines: Default::default(),
            timers: BTreeSet::new(),
            runners: BTreeMap::new(),
            running: BTreeMap::new(),
            places: HashMap::new(),
            tokens: Default::default(),
            slots: Slots::default(),
            journal: Journal::new(taken.epoch, taken.origin, &settings),
            parked: BTreeMap::new(),
            retries: BTreeMap::new(),
            compacting: None,
            condemned: Vec::new(),
            next_retention_ms: 0,
            retention_due: false,
            since_progress: (0, 0),
            progress_durable: None,
            progress_wanted: false,
            starved: false,
            effects: Vec::new(),
        };
        engine.opening = Some(Opening::default());
        for (number, settings, paused) in taken.queues {
            engine.set_queue(number, settings, paused);
        }
        if let Some((_, progress)) = &taken.progress {
            engine.now_ms = engine.now_ms.max(progress.time_ms);
            let counted = progress.slots.is_some();
            engine.slots = progress.slots.as_ref().map(Slots::from_row).unwrap_or_default();
            progress.segments.iter().for_each(|row| engine.add_segment(row, counted));
            for row in &progress.tallies {
                let index = engine.queue_index(row.queue);
                engine.queues.get_mut(index).by_state = Tally::from_row(row).by_state;
            }
        }
        let mut tokens = taken.tokens;
        tokens.sort_unstable_by_key(|(_, _, time_ms)| *time_ms);
        for (hash, id, time_ms) in tokens {
            // Entries are written before their commit, which may never have been accepted.
            if engine.was_accepted(id, head) {
                engine.tokens.remember(hash, id, time_ms);
            }
        }
        let missing = engine.segments_needed(&taken.tail);
        engine.opening = Some(Opening {
            tail: taken.tail,
            passed_over: taken.passed_over,
            missing: missing.clone(),
            summaries: BTreeMap::new(),
        });
        missing.iter().for_each(|&number| engine.load(number));
        effects.append(&mut engine.effects);
        if missing.is_empty() {
            engine.replay()?;
            effects.append(&mut engine.effects);
        }
        Ok(engine)
    }

    /// The commit that a job was first written in is on the chain.
    fn was_accepted(&self, id: JobId, head: Option<ChainLink>) -> bool {
        let link = self.chain.iter().chain(&head).rev().find(|link| link.epoch_number == id.epoch_number());
        link.is_some_and(|link| id.commit() <= link.cut)
    }

    fn add_segment(&mut self, row: &SegmentRow, counted: bool) {
        let name = row.name.unwrap_or_default();
        if row.condemned {
            self.condemned.push(name);
            return;
        }
        let mut segment = Segment::new(name, row.first_commit);
        segment.commits = row.commits;
        segment.jobs = row.jobs;
        segment.bytes = row.bytes;
        segment.summary = row.summary;
        segment.younger = row.younger.clone();
        segment.tallies =
            row.tallies.iter().map(|tally| (self.queue_index(tally.queue), Tally::from_row(tally))).collect();
        segment.set_earliest_due_ms(row.earliest_due_ms);
        segment.last_end_ms = row.last_end_ms;
        segment.sealed = row.sealed;
        segment.slots_counted = counted && row.slots_counted;
        if !segment.slots_counted {
            self.slots.add_uncounted(segment.open());
        }
        if row.summary.is_some() {
            segment.loaded = None;
            self.unloaded += 1;
        }
        let number = self.segments.push(segment);
        if row.summary.is_some() && row.earliest_due_ms != 0 {
            self.unloaded_due.insert((row.earliest_due_ms, number));
        }
    }

    /// Segments that the tail speaks of, and those with running attempts.
    fn segments_needed(&self, tail: &[TailCommit]) -> BTreeSet<u32> {
        let mut needed = BTreeSet::new();
        let mut last = None;
        for commit in tail {
            // Runs of one segment are the rule.
            if last.replace(commit.segment) != Some(commit.segment) {
                needed.extend(self.segments.find_named(commit.segment));
            }
            let of_markers = commit.row.markers.iter().filter_map(|marker| marker.job);
            let of_jobs = commit.row.jobs.iter().filter_map(|job| job.again.as_ref()?.from);
            needed.extend(
                of_markers
                    .chain(of_jobs)
                    .filter_map(|place| self.segments.find(place.epoch_number, place.commit)),
            );
        }
        let runs = |segment: &Segment| segment.of(JobState::Running) > 0;
        needed.extend(self.segments.iter().filter(|(_, segment)| runs(segment)).map(|(number, _)| number));
        needed.retain(|&number| self.segments.get(number).is_some_and(|segment| segment.loaded.is_none()));
        needed
    }

    pub(super) fn opening_loaded(&mut self, segment: u32, summary: SummaryRow) -> Result<(), TakeoverError> {
        let Some(opening) = &mut self.opening else { return Ok(()) };
        opening.missing.remove(&segment);
        opening.summaries.insert(segment, summary);
        if opening.missing.is_empty() { self.replay() } else { Ok(()) }
    }

    /// Applies the tail, and begins the new epoch's journal.
    fn replay(&mut self) -> Result<(), TakeoverError> {
        let Some(opening) = self.opening.take() else { return Ok(()) };
        for (number, summary) in &opening.summaries {
            self.enter_loaded(*number, summary)?;
        }
        for commit in &opening.tail {
            self.replay_commit(commit)?;
        }
        for number in self.segments.numbers() {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.sealed = true;
            }
        }
        self.segments.push(Segment::new(self.journal.segment_name(), 0));
        for name in self.condemned.clone() {
            self.journal.after_release(Effect::Drop { name, condemned_by: 0 });
        }
        self.tell_closed();
        let bytes = opening.tail.iter().map(|commit| commit.bytes).sum();
        self.since_progress = (opening.tail.len() as u64, bytes);
        // A successor of this owner starts from here. Not now, if it would have little more to read than
        // this one had: while a dead worker's partitions are taken over, the store has enough to do.
        let epochs = opening.tail.chunk_by(|a, b| a.segment.epoch_number == b.segment.epoch_number).count();
        let much = opening.passed_over >= PASSED_OVER_MAX || epochs > 1;
        if much || !self.condemned.is_empty() {
            self.progress_wanted = true;
            self.since_progress.0 = self.since_progress.0.max(1);
        }
        self.retain();
        Ok(())
    }

    fn replay_commit(&mut self, commit: &TailCommit) -> Result<(), TakeoverError> {
        let at = CommitRef { epoch_number: commit.segment.epoch_number, commit: commit.commit };
        let time_ms = commit.row.time_ms;
        self.now_ms = self.now_ms.max(time_ms);
        if at.epoch_number > Epoch::NUMBER_MAX || at.commit > JobId::COMMIT_MAX {
            return Err(self.inconsistent(at, "there is no such commit"));
        }
        let number = self.segment_of_tail(commit);
        if self.segments.get(number).is_none_or(|segment| commit.commit < segment.first_commit) {
            return Err(self.inconsistent(at, "it comes before the first commit of its segment"));
        }
        for (place, job) in commit.row.jobs.iter().enumerate() {
            let kind = commit.row.strings.get(job.kind as usize).map_or("", String::as_str);
            let old = job.again.as_ref().and_then(|again| self.find_replayed(again.from.unwrap_or_default()));
            let known = old.and_then(|old| self.segments.entry(old)).map(|entry| entry.routed);
            let routed = known.unwrap_or(Routed::Unknown).or(Routed::of_row(job));
            let (lane, deadline_ms) = (lane_of(job.priority), job.deadline_ms);
            let head = Head { queue: job.queue, kind, lane, deadline_ms, routed };
            let inserted = self.insert(number, commit.commit, &head);
            let new = inserted.ok_or_else(|| self.inconsistent(at, "its segment can't be read"))?;
            let place = Place { epoch_number: at.epoch_number, commit: at.commit, place: place as u32 };
            if let Some(again) = &job.again {
                let id = JobId::from_slice(&again.id)
                    .ok_or_else(|| self.inconsistent(at, "a job's id is not 16 bytes"))?;
                let old =
                    old.ok_or_else(|| self.inconsistent(at, "a job was written again that is not there"))?;
                self.settle_again(old, new, id, &again.state.unwrap_or_default(), place);
                continue;
            }
            let enqueued_ms = if job.enqueued_ms == 0 { time_ms } else { job.enqueued_ms };
            self.begin(new, job.run_at_ms, enqueued_ms);
            if let Ok(hash) = <[u8; 16]>::try_from(&job.token[..]) {
                let id = JobId::new(self.partition, at.epoch_number, at.commit, place.place as u16);
                self.tokens.remember(hash, id, time_ms);
            }
        }
        for marker in &commit.row.markers {
            let place = marker.job.unwrap_or_default();
            let job = self
                .find_replayed(place)
                .ok_or_else(|| self.inconsistent(at, "a marker is about a job that is not there"))?;
            self.apply(job, marker, if marker.time_ms == 0 { time_ms } else { marker.time_ms }, at);
            match marker.kind() {
                MarkerKind::Started => {
                    self.running.insert(job, super::attempts::Running { runner: None });
                }
                _ => {
                    let runs = self
                        .segments
                        .entry(job)
                        .is_some_and(|entry| entry.phase == super::segment::Phase::Is(JobState::Running));
                    if !runs {
                        self.running.remove(&job);
                    }
                }
            }
        }
        self.slots.close_as_before(&commit.row.closed_slots);
        self.replay_condemned(&commit.row, at)
    }

    fn replay_condemned(&mut self, row: &CommitRow, at: CommitRef) -> Result<(), TakeoverError> {
        for name in &row.condemned {
            let oldest = self.segments.numbers().next();
            if oldest.and_then(|number| self.segments.get(number)).is_none_or(|segment| segment.name != *name)
            {
                return Err(self.inconsistent(at, "it condemns a segment that is not the oldest"));
            }
            for (queue, finished) in oldest.map(|number| self.finished_in(number)).unwrap_or_default() {
                let by_state = &mut self.queues.get_mut(queue).by_state;
                by_state
                    .iter_mut()
                    .zip(finished)
                    .for_each(|(count, gone)| *count = count.saturating_sub(gone));
            }
            self.forget_oldest();
        }
        Ok(())
    }

    /// The segment of a commit of the tail; a new one if progress did not know it yet.
    fn segment_of_tail(&mut self, commit: &TailCommit) -> u32 {
        let number = self
            .segments
            .find_named(commit.segment)
            .unwrap_or_else(|| self.segments.push(Segment::new(commit.segment, commit.commit)));
        if let Some(segment) = self.segments.get_mut(number) {
            let commits = (commit.commit + 1).saturating_sub(segment.first_commit);
            segment.commits = segment.commits.max(commits);
            segment.bytes += commit.bytes;
        }
        number
    }

    fn find_replayed(&self, place: Place) -> Option<JobRef> {
        let number = self.segments.find(place.epoch_number, place.commit)?;
        let segment = self.segments.get(number)?;
        let index = segment.loaded.as_ref()?.index(place.commit - segment.first_commit, place.place)?;
        Some(JobRef { segment: number, index })
    }

    pub(super) fn inconsistent(&self, at: CommitRef, what: &str) -> TakeoverError {
        TakeoverError::Inconsistent {
            partition: self.partition,
            epoch_number: at.epoch_number,
            commit: at.commit,
            what: what.into(),
        }
    }
}

impl Segments {
    fn find_named(&self, name: SegmentName) -> Option<u32> {
        self.iter().rev().find(|(_, segment)| segment.name == name).map(|(number, _)| number)
    }
}
