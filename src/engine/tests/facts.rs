//! An independent reader of the journal: what became of every job, by a plain fold over the rows.
//!
//! It refuses what may never be in a journal: a second end, an attempt number used twice, a fact
//! about a job that is elsewhere, a condemned segment with something left in it (INV-1, -3, -5).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine::slots::Routed;
use crate::model::row::{CommitRow, JobRow, MarkerKind, MarkerRow, Place, SegmentName};
use crate::model::{JobId, JobState, PartitionId, QueueNumber, slot_of};

/// One job, by its facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub queue: QueueNumber,
    pub kind: String,
    pub lane: u32,
    /// None once deleted.
    pub state: Option<JobState>,
    pub attempt: u32,
    pub failures: u32,
    pub interruptions: u32,
    pub due_ms: u64,
    pub ended_ms: u64,
    pub place: Place,
    pub segment: SegmentName,
    /// Its segment was condemned after its end.
    pub gone: bool,
    /// Markers so far: kind, attempt, error.
    pub history: Vec<(MarkerKind, u32, String)>,
    pub row: JobRow,
    pub content_type: String,
    /// It was written again.
    pub again: bool,
}

/// Who may start what, when the facts of a commit became true.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Kinds by the runner's name.
    pub kinds: HashMap<String, Vec<String>>,
    pub paused: Vec<QueueNumber>,
    /// Something is not in memory: what has become due in there may come a little later.
    pub unloaded: bool,
}

/// All jobs of a partition.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub jobs: BTreeMap<JobId, Fact>,
    at: HashMap<Place, JobId>,
    pub condemned: Vec<SegmentName>,
    pub closed_slots: BTreeSet<u16>,
}

impl Facts {
    /// Adds one commit.
    pub fn add(
        &mut self,
        partition: PartitionId,
        segment: SegmentName,
        commit: u64,
        row: &CommitRow,
        rules: Option<&Rules>,
    ) {
        for (place, job) in row.jobs.iter().enumerate() {
            let place = Place { epoch_number: segment.epoch_number, commit, place: place as u32 };
            self.add_job(partition, segment, place, job, row);
        }
        for marker in &row.markers {
            let at_ms = if marker.time_ms == 0 { row.time_ms } else { marker.time_ms };
            if let (MarkerKind::Started, Some(rules)) = (marker.kind(), rules) {
                self.check_turn(marker, &row.strings[marker.runner as usize - 1], at_ms, rules);
            }
            self.add_marker(marker, at_ms);
        }
        self.close_slots(segment, commit, row);
        for name in &row.condemned {
            self.condemn(*name);
        }
    }

    /// No job of a slot is open when it is closed, and none is new after that. One that had ended before
    /// may be retried.
    fn close_slots(&mut self, segment: SegmentName, commit: u64, row: &CommitRow) {
        let slot = |job: &JobRow| match (job.key.as_str(), job.slot) {
            ("", 0) => None,
            ("", number) => Some(number as u16 - 1),
            (key, _) => Some(slot_of(key)),
        };
        for job in row.jobs.iter().filter(|job| job.again.is_none()) {
            assert!(slot(job).is_none_or(|slot| !self.closed_slots.contains(&slot)), "new in a closed slot");
        }
        for &closed in &row.closed_slots {
            let closed = closed as u16;
            assert!(self.closed_slots.insert(closed), "slot {closed} is closed twice");
            let open = self.jobs.iter().find(|(_, job)| {
                let here = (job.place.epoch_number, job.place.commit) == (segment.epoch_number, commit);
                slot(&job.row) == Some(closed) && job.is_open() && !(here && job.again)
            });
            assert!(open.is_none(), "slot {closed} is closed with an open job: {open:?}");
        }
    }

    /// Open jobs by slot.
    pub fn open_by_slot(&self) -> BTreeMap<u16, u64> {
        let mut open = BTreeMap::new();
        for job in self.jobs.values().filter(|job| job.is_open()) {
            if let Some(slot) = Routed::of_row(&job.row).slot() {
                *open.entry(slot).or_default() += 1;
            }
        }
        open
    }

    fn add_job(
        &mut self,
        partition: PartitionId,
        segment: SegmentName,
        place: Place,
        job: &JobRow,
        commit: &CommitRow,
    ) {
        let fresh = JobId::new(partition, place.epoch_number, place.commit, place.place as u16);
        let mut fact = Fact {
            queue: job.queue,
            kind: commit.strings[job.kind as usize].clone(),
            lane: if job.priority == 0 { 5 } else { job.priority },
            state: Some(if job.run_at_ms > job.enqueued_ms {
                JobState::Scheduled
            } else {
                JobState::Waiting
            }),
            attempt: 0,
            failures: 0,
            interruptions: 0,
            due_ms: job.run_at_ms,
            ended_ms: 0,
            place,
            segment,
            gone: false,
            history: Vec::new(),
            row: JobRow { again: None, ..job.clone() },
            again: job.again.is_some(),
            content_type: match job.content_type {
                0 => String::new(),
                number => commit.strings[number as usize - 1].clone(),
            },
        };
        let Some(again) = &job.again else {
            self.at.insert(place, fresh);
            assert!(self.jobs.insert(fresh, fact).is_none(), "{fresh} was written twice");
            return;
        };
        let id = JobId::from_slice(&again.id).expect("an id of 16 bytes");
        let before =
            self.jobs.get(&id).unwrap_or_else(|| panic!("{id} was written again, but never written"));
        assert_eq!(again.from, Some(before.place), "{id} was written again from where it is not");
        assert!(!before.gone, "{id} was written again after its segment was condemned");
        let state = again.state.expect("a job written again brings its state");
        fact.state = JobState::from_number(state.state);
        assert!(fact.state.is_some() && before.state.is_some(), "{id} is written again though deleted");
        let retried = before.state != fact.state;
        if retried {
            assert!(
                matches!(before.state, Some(JobState::Failed | JobState::Cancelled | JobState::Scheduled)),
                "{id} was {:?}, and is written again as {:?}",
                before.state,
                fact.state
            );
            assert_eq!(fact.state, Some(JobState::Waiting), "{id} is retried as something else");
        }
        assert_eq!(state.attempt, before.attempt, "{id} has lost count of its attempts");
        fact.attempt = state.attempt;
        fact.failures = state.failures;
        fact.interruptions = state.interruptions;
        fact.lane = state.priority;
        fact.ended_ms = before.ended_ms;
        fact.due_ms = if fact.state == Some(JobState::Scheduled) { state.time_ms } else { 0 };
        fact.history = before.history.clone();
        assert_eq!(fact.kind, before.kind, "{id} has lost its kind");
        assert_eq!(fact.content_type, before.content_type, "{id} has lost its content type");
        assert_eq!(fact.row.payload, before.row.payload, "{id} has lost its payload");
        assert_eq!(fact.row.headers, before.row.headers, "{id} has lost its headers");
        self.at.remove(&before.place);
        self.at.insert(place, id);
        self.jobs.insert(id, fact);
    }

    fn add_marker(&mut self, marker: &MarkerRow, at_ms: u64) {
        let kind = marker.kind();
        let place = marker.job.expect("a marker names its job");
        let id = *self.at.get(&place).unwrap_or_else(|| panic!("{kind:?} about nothing at {place:?}"));
        let job = self.jobs.get_mut(&id).expect("a known job");
        let state = job.state.unwrap_or_else(|| panic!("{kind:?} about {id}, which was deleted"));
        let running = state == JobState::Running;
        let wrong = |what: &str| panic!("{kind:?} of {id} attempt {}: {what}: {job:?}", marker.attempt);
        match kind {
            MarkerKind::Started => {
                if running || state.is_final() || state == JobState::Blocked {
                    wrong("started in a wrong state");
                }
                if marker.attempt != job.attempt + 1 {
                    wrong("not the next attempt");
                }
                if state == JobState::Scheduled && job.due_ms > at_ms {
                    wrong("started before it was due");
                }
                if marker.runner == 0 {
                    wrong("its runner is not named");
                }
            }
            MarkerKind::Cancelled => {
                if state.is_final() {
                    wrong("ended twice");
                }
            }
            MarkerKind::Expired => {
                if state.is_final() || running {
                    wrong("expired in a wrong state");
                }
                if job.row.deadline_ms == 0 || job.row.deadline_ms > at_ms {
                    wrong("expired before its deadline");
                }
            }
            MarkerKind::RunNow => {
                // Due by the commit's time, perhaps, and not yet when it was asked for.
                if !matches!(state, JobState::Scheduled | JobState::Waiting) {
                    wrong("not scheduled");
                }
            }
            MarkerKind::Prioritized => {
                if state.is_final() || running {
                    wrong("another lane in a wrong state");
                }
            }
            MarkerKind::Deleted => {
                if !state.is_final() {
                    wrong("deleted before its end");
                }
            }
            MarkerKind::None | MarkerKind::Moved => wrong("no such fact"),
            _ => {
                if !running {
                    wrong("it does not run");
                }
                if marker.attempt != job.attempt {
                    wrong("another attempt runs");
                }
            }
        }
        job.history.push((kind, marker.attempt, marker.error.clone()));
        let later = |job: &mut Fact| {
            job.due_ms = marker.due_ms;
            Some(if marker.due_ms > at_ms { JobState::Scheduled } else { JobState::Waiting })
        };
        job.state = match kind {
            MarkerKind::Started => {
                job.attempt = marker.attempt;
                Some(JobState::Running)
            }
            MarkerKind::Succeeded => Some(JobState::Succeeded),
            MarkerKind::Failed => {
                if marker.error_class == "interrupted" {
                    job.interruptions += 1;
                } else {
                    job.failures += 1;
                }
                Some(JobState::Failed)
            }
            MarkerKind::Retry => {
                job.failures += 1;
                later(job)
            }
            MarkerKind::Interrupted => {
                job.interruptions += 1;
                later(job)
            }
            MarkerKind::Snoozed => later(job),
            MarkerKind::Released | MarkerKind::RunNow => {
                job.due_ms = 0;
                Some(JobState::Waiting)
            }
            MarkerKind::Cancelled | MarkerKind::Expired => Some(JobState::Cancelled),
            MarkerKind::Prioritized => {
                job.lane = marker.priority;
                job.state
            }
            MarkerKind::Deleted => None,
            MarkerKind::None | MarkerKind::Moved => job.state,
        };
        if !state.is_final() && job.state.is_some_and(JobState::is_final) {
            job.ended_ms = at_ms;
        }
    }

    /// What is started was next: strict lanes, first in and first out.
    fn check_turn(&self, marker: &MarkerRow, runner: &str, at_ms: u64, rules: &Rules) {
        let id = self.at[&marker.job.expect("a marker names its job")];
        let chosen = &self.jobs[&id];
        assert!(!rules.paused.contains(&chosen.queue), "{id} is started while its queue is paused");
        let fresh = |job: &Fact| job.history.is_empty() && job.due_ms == 0;
        for (other_id, other) in self.jobs.iter().filter(|(other_id, _)| **other_id != id) {
            let could = other.state_at(at_ms) == Some(JobState::Waiting)
                && !other.gone
                && !rules.paused.contains(&other.queue)
                && rules.kinds[runner].contains(&other.kind)
                && other.interruptions == 0
                && !(rules.unloaded && other.due_ms > 0);
            if !could {
                continue;
            }
            assert!(
                other.lane <= chosen.lane,
                "{id} is started before {other_id} of a higher lane: {chosen:?} {other:?}"
            );
            let alike = (other.queue, &other.kind, other.lane) == (chosen.queue, &chosen.kind, chosen.lane);
            assert!(
                !(alike && fresh(other) && fresh(chosen) && *other_id < id),
                "{id} is started before {other_id}, which came first"
            );
        }
    }

    fn condemn(&mut self, name: SegmentName) {
        assert!(!self.condemned.contains(&name), "{name:?} is condemned twice");
        for (id, job) in self.jobs.iter_mut().filter(|(_, job)| job.segment == name && !job.gone) {
            assert!(
                job.state.is_none_or(JobState::is_final),
                "{id} is {:?}, and its segment is condemned",
                job.state
            );
            job.gone = true;
        }
        self.condemned.push(name);
    }

    /// Jobs of a queue by state; gone and deleted ones are not counted. What is due counts as waiting.
    pub fn counts(&self, queue: QueueNumber, now_ms: u64) -> [u64; JobState::COUNT] {
        let mut counts = [0; JobState::COUNT];
        for job in self.jobs.values().filter(|job| job.queue == queue && !job.gone) {
            if let Some(state) = job.state_at(now_ms) {
                counts[state as usize] += 1;
            }
        }
        counts
    }
}

impl Fact {
    /// Neither final nor deleted.
    pub fn is_open(&self) -> bool {
        self.state.is_some_and(|state| !state.is_final())
    }

    /// Its state when time has passed.
    pub fn state_at(&self, now_ms: u64) -> Option<JobState> {
        match self.state {
            Some(JobState::Scheduled | JobState::Waiting) if self.due_ms > now_ms => {
                Some(JobState::Scheduled)
            }
            Some(JobState::Scheduled) => Some(JobState::Waiting),
            state => state,
        }
    }
}
