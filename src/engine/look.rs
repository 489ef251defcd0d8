//! What can be asked without changing anything.

use crate::model::row::{CommitRef, Place, SegmentName, StateRow};
use crate::model::view::{Counts, Rates};
use crate::model::{Epoch, JobId, JobState, QueueNumber};

use super::Engine;
use super::segment::{JobRef, Phase};

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located<T> {
    /// In memory.
    Here(T),
    /// In that segment, which is not in memory.
    NotLoaded(u32),
    /// Not at that place (any more): the index may know a newer one; else it is gone.
    Elsewhere,
    /// There never was such a job.
    Unknown,
}

/// Where a job's body is, and under which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceOfJob {
    /// The segment.
    pub segment: SegmentName,
    /// The place.
    pub place: Place,
}

/// What is known of a job's state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateOfJob {
    /// Its state; none if it has been deleted.
    pub state: Option<JobState>,
    /// Its counters and times.
    pub row: StateRow,
    /// Where its body is.
    pub place: PlaceOfJob,
    /// Why it is not running, in one sentence.
    pub reason: String,
}

/// One job of a segment, as a list shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobLook {
    /// Its id.
    pub id: JobId,
    /// Where it is.
    pub place: Place,
    /// Its queue.
    pub queue: QueueNumber,
    /// Its state and counters; `moved_to` says that it is elsewhere now.
    pub row: StateRow,
}

/// What a reader needs to list a segment's jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentLook {
    /// Which.
    pub name: SegmentName,
    /// First commit.
    pub first_commit: u64,
    /// Number of commits.
    pub commits: u64,
    /// Its jobs in order, if it is in memory.
    pub jobs: Option<Vec<JobLook>>,
    /// Else its summary, and states younger than that.
    pub summary: Option<CommitRef>,
    /// See `summary`.
    pub younger: Vec<crate::model::row::YoungerState>,
}

/// Steps from place to place that are followed.
const STEPS_MAX: usize = 64;

impl Engine {
    /// Where a job is now: by its id, or by a place that the index knew.
    pub(super) fn locate(&self, id: JobId, place: Option<Place>) -> Located<JobRef> {
        if id.partition() != self.partition {
            return Located::Unknown;
        }
        if let Some(job) = self.places.get(&id) {
            return Located::Here(*job);
        }
        let first = Place { epoch_number: id.epoch_number(), commit: id.commit(), place: id.place().into() };
        let mut place = place.unwrap_or(first);
        for _ in 0..STEPS_MAX {
            let Some(number) = self.segments.find(place.epoch_number, place.commit) else {
                return self.beyond(place);
            };
            let Some(segment) = self.segments.get(number) else { return Located::Unknown };
            let Some(loaded) = &segment.loaded else { return Located::NotLoaded(number) };
            let Some(index) = loaded.index(place.commit - segment.first_commit, place.place) else {
                return Located::Unknown;
            };
            if segment.id(self.partition, index) != id {
                return Located::Unknown;
            }
            match loaded.moved.get(&index) {
                Some(moved_to) => place = *moved_to,
                None => return Located::Here(JobRef { segment: number, index }),
            }
        }
        Located::Elsewhere
    }

    /// A place in no segment: dropped, or never written?
    fn beyond<T>(&self, place: Place) -> Located<T> {
        let current = self.journal.current();
        let ahead = (place.epoch_number, place.commit) >= (current.epoch_number, current.commit);
        let oldest =
            self.segments.iter().next().map(|(_, segment)| (segment.name.epoch_number, segment.first_commit));
        let before = oldest.is_some_and(|oldest| (place.epoch_number, place.commit) < oldest);
        if !ahead && before { Located::Elsewhere } else { Located::Unknown }
    }

    /// What is known of a job.
    pub fn state_of(&self, id: JobId, place: Option<Place>) -> Located<StateOfJob> {
        match self.locate(id, place) {
            Located::Here(job) => match (self.segments.get(job.segment), self.segments.entry(job)) {
                (Some(segment), Some(entry)) => Located::Here(StateOfJob {
                    state: match entry.phase {
                        Phase::Is(state) => Some(state),
                        Phase::Forgotten => None,
                    },
                    row: entry.state_row(None),
                    place: PlaceOfJob { segment: segment.name, place: segment.place(job.index) },
                    reason: self.reason(job),
                }),
                _ => Located::Unknown,
            },
            Located::NotLoaded(number) => Located::NotLoaded(number),
            Located::Elsewhere => Located::Elsewhere,
            Located::Unknown => Located::Unknown,
        }
    }

    /// Why a job is in its state, in one sentence.
    fn reason(&self, job: JobRef) -> String {
        let Some(entry) = self.segments.entry(job) else { return String::new() };
        let Phase::Is(state) = entry.phase else { return "deleted".into() };
        let kind = self.kinds.text(entry.kind);
        match state {
            JobState::Waiting if self.lines.is_paused(entry.queue) => "its queue is paused".into(),
            JobState::Waiting if !self.is_run(entry.kind) => {
                format!("no runner for kind {kind:?} is connected")
            }
            JobState::Waiting if !self.has_room_for(entry.kind) => {
                format!(
                    "all runners of kind {kind:?} are busy; it has its turn in lane {}",
                    entry.lane.number()
                )
            }
            JobState::Waiting => format!("it is next in lane {}", entry.lane.number()),
            JobState::Scheduled if entry.failures > 0 => {
                format!("attempt {} failed; the next is due later", entry.attempt)
            }
            JobState::Scheduled if entry.interruptions > 0 => {
                format!("attempt {} was interrupted; the next is due later", entry.attempt)
            }
            JobState::Scheduled => "it is due later".into(),
            JobState::Blocked => "it waits for other jobs".into(),
            JobState::Running => format!("attempt {} is running", entry.attempt),
            JobState::Succeeded => format!("attempt {} succeeded", entry.attempt),
            JobState::Failed => format!(
                "its attempts are used up ({} failed, {} interrupted)",
                entry.failures, entry.interruptions
            ),
            JobState::Cancelled => "it was cancelled, or its deadline passed".into(),
        }
    }

    /// Jobs of a queue per state.
    pub fn counts(&self, queue: QueueNumber) -> Counts {
        self.queues.find(queue).map_or_else(Counts::default, |index| self.queues.get(index).counts())
    }

    /// What happened to a queue in the last minute.
    pub fn rates(&self, queue: QueueNumber) -> Rates {
        self.queues.find(queue).map_or_else(Rates::default, |index| self.queues.get(index).rates(self.now_ms))
    }

    /// Since when the oldest waiting job of a queue in memory has been waiting, Unix ms.
    pub fn oldest_waiting_ms(&self, queue: QueueNumber) -> Option<u64> {
        let index = self.queues.find(queue)?;
        self.lines.oldest_ms(index)
    }

    /// Segments with jobs of a queue in a state (none: any), oldest first: their positions.
    pub fn segments_with(&self, queue: QueueNumber, state: Option<JobState>) -> Vec<SegmentName> {
        let Some(index) = self.queues.find(queue) else { return Vec::new() };
        let mut names = Vec::new();
        for (_, segment) in self.segments.iter() {
            let tally = segment.tallies.get(&index);
            let has = tally.is_some_and(|tally| match state {
                // What is due counts as scheduled in a segment that is not loaded.
                Some(JobState::Waiting) => tally.of(JobState::Waiting) + tally.of(JobState::Scheduled) > 0,
                Some(state) => tally.of(state) > 0,
                None => tally.by_state.iter().any(|&count| count > 0),
            });
            if has {
                names.push(segment.name);
            }
        }
        names
    }

    /// What a reader needs to list one segment.
    pub fn look_at(&self, name: SegmentName) -> Option<SegmentLook> {
        let (_, segment) = self.segments.iter().find(|(_, segment)| segment.name == name)?;
        let jobs = segment.loaded.as_ref().map(|loaded| {
            let look = |(index, entry): (usize, &super::segment::Entry)| {
                let index = index as u32;
                JobLook {
                    id: segment.id(self.partition, index),
                    place: segment.place(index),
                    queue: self.queues.get(entry.queue).number,
                    row: entry.state_row(loaded.moved.get(&index).copied()),
                }
            };
            loaded.entries.iter().enumerate().map(look).collect()
        });
        Some(SegmentLook {
            name,
            first_commit: segment.first_commit,
            commits: segment.commits,
            jobs,
            summary: segment.summary,
            younger: segment.younger_states(),
        })
    }

    /// The epoch of the accepted history that has that number.
    pub fn epoch_numbered(&self, number: u32) -> Option<Epoch> {
        if self.epoch.number == number {
            return Some(self.epoch);
        }
        let link = self.chain.iter().find(|link| link.epoch_number == number)?;
        Some(Epoch { number, incarnation: link.incarnation })
    }

    /// The segment that holds a commit: where to read it.
    pub fn segment_of(&self, at: CommitRef) -> Option<SegmentName> {
        let number = self.segments.find(at.epoch_number, at.commit)?;
        self.segments.get(number).map(|segment| segment.name)
    }

    /// The segment of the engine's number.
    pub fn segment_named(&self, number: u32) -> Option<SegmentLook> {
        self.segments.get(number).and_then(|segment| self.look_at(segment.name))
    }
}
