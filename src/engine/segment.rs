//! A partition's segments: which jobs they hold, in which states, in memory or only in the store.
//!
//! ```text
//! growing ──sealed──▶ loaded ◀──load── summarised ──all final, past retention──▶ condemned ─▶ gone
//!                        └───unload────────▲
//! ```
//!
//! A loaded segment has one [`Entry`] per job, final ones included, so that a summary can be written
//! from memory at any time; an unloaded one has its totals only. Keeps INV-8: what is loaded is
//! bounded by `window_jobs_max`, what is not costs a few hundred bytes per segment.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::model::row::{
    CommitRef, ForeignId, Place, SegmentName, SegmentRow, StateRow, SummaryRow, TallyRow, YoungerState,
};
use crate::model::{JobId, JobState, Lane, PartitionId, QueueNumber};

use super::intern::Interner;
use super::lines::Turn;
use super::slots::Routed;

/// A job of a loaded segment: the engine's number of the segment, and the index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobRef {
    pub segment: u32,
    pub index: u32,
}

/// Where a job is in its life: [`JobState`], or forgotten (written again elsewhere, or deleted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Is(JobState),
    Forgotten,
}

const FORGOTTEN: u32 = JobState::COUNT as u32;

impl Phase {
    fn number(self) -> u32 {
        match self {
            Self::Is(state) => state as u32,
            Self::Forgotten => FORGOTTEN,
        }
    }

    fn from_number(number: u32) -> Self {
        JobState::from_number(number).map_or(Self::Forgotten, Self::Is)
    }
}

/// All that choosing and counting need to know of a job; its body stays in the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Waiting and scheduled: due at; running: lease ends at; final: ended at. Unix ms.
    pub time_ms: u64,
    /// 0 is none.
    pub deadline_ms: u64,
    /// The commit with its latest marker; number 0 of epoch 0 is none.
    pub last: CommitRef,
    /// Index in the engine's queues.
    pub queue: u32,
    /// Index in the engine's kinds.
    pub kind: u32,
    pub attempt: u32,
    pub failures: u16,
    pub interruptions: u16,
    pub lane: Lane,
    pub routed: Routed,
    pub phase: Phase,
    /// It has a place in a line.
    pub lined: bool,
    /// Its state is younger than the segment's summary.
    pub changed: bool,
}

impl Entry {
    /// Not started, not ended: what a deadline counts for.
    pub fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Is(JobState::Waiting | JobState::Scheduled | JobState::Blocked))
    }

    pub fn state_row(&self, moved_to: Option<Place>) -> StateRow {
        StateRow {
            state: self.phase.number(),
            attempt: self.attempt,
            failures: self.failures.into(),
            interruptions: self.interruptions.into(),
            time_ms: self.time_ms,
            priority: self.lane.number().into(),
            last: (self.last.epoch_number != 0).then_some(self.last),
            moved_to,
            order: 0,
        }
    }

    pub fn set_state(&mut self, row: &StateRow) {
        self.phase = Phase::from_number(row.state);
        self.attempt = row.attempt;
        self.failures = row.failures as u16;
        self.interruptions = row.interruptions as u16;
        self.time_ms = row.time_ms;
        self.lane = lane_of(row.priority);
        self.last = row.last.unwrap_or_default();
    }
}

/// The lane of a stored number; 0 and nonsense are the default.
pub(crate) fn lane_of(number: u32) -> Lane {
    u8::try_from(number).ok().and_then(Lane::new).unwrap_or(Lane::DEFAULT)
}

/// A segment's jobs in memory.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Per commit of the segment: index of its first job.
    pub starts: Vec<u32>,
    pub entries: Vec<Entry>,
    /// Ids of jobs that were first written elsewhere.
    pub foreign: BTreeMap<u32, JobId>,
    /// Where jobs are that were written again.
    pub moved: BTreeMap<u32, Place>,
}

impl Loaded {
    /// Index of a job by its commit's offset in the segment and its place there.
    pub fn index(&self, offset: u64, place: u32) -> Option<u32> {
        let offset = usize::try_from(offset).ok()?;
        let start = *self.starts.get(offset)?;
        let end = self.starts.get(offset + 1).map_or(self.entries.len() as u32, |&end| end);
        start.checked_add(place).filter(|&index| index < end)
    }

    /// Commit offset and place of the job of that index.
    pub fn offset_and_place(&self, index: u32) -> (u64, u32) {
        // The last start that is not beyond the index; empty commits share a start with the next.
        let offset = self.starts.partition_point(|&start| start <= index) - 1;
        (offset as u64, index - self.starts[offset])
    }
}

/// Jobs of one queue in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub by_state: [u64; JobState::COUNT],
    pub waiting_by_lane: [u32; Lane::COUNT],
}

impl Tally {
    pub fn open(&self) -> u64 {
        self.by_state[..JobState::Succeeded as usize].iter().sum()
    }

    pub fn finished(&self) -> u64 {
        self.by_state[JobState::Succeeded as usize..].iter().sum()
    }

    pub fn of(&self, state: JobState) -> u64 {
        self.by_state[state as usize]
    }

    pub fn row(&self, queue: QueueNumber) -> TallyRow {
        let waiting = self.waiting_by_lane.iter().any(|&n| n > 0);
        TallyRow {
            queue,
            by_state: self.by_state.to_vec(),
            waiting_by_lane: if waiting { self.waiting_by_lane.to_vec() } else { Vec::new() },
        }
    }

    /// Adds a job (or takes one away).
    fn count(&mut self, entry: &Entry, change: i64) {
        let Phase::Is(state) = entry.phase else { return };
        let count = &mut self.by_state[state as usize];
        *count = count.saturating_add_signed(change);
        if state == JobState::Waiting {
            let count = &mut self.waiting_by_lane[entry.lane.index()];
            *count = count.saturating_add_signed(change as i32);
        }
    }

    pub fn from_row(row: &TallyRow) -> Self {
        let mut tally = Self::default();
        tally.by_state.iter_mut().zip(&row.by_state).for_each(|(to, from)| *to = *from);
        tally.waiting_by_lane.iter_mut().zip(&row.waiting_by_lane).for_each(|(to, from)| *to = *from);
        tally
    }
}

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub name: SegmentName,
    pub first_commit: u64,
    pub commits: u64,
    pub jobs: u32,
    pub bytes: u64,
    /// As of which commit its latest summary was written.
    pub summary: Option<CommitRef>,
    /// Jobs were added since that summary.
    pub grown: bool,
    /// Entries whose state changed since that summary.
    pub changed: Vec<u32>,
    /// States younger than the summary of a segment that is not loaded.
    pub younger: Vec<YoungerState>,
    pub loaded: Option<Loaded>,
    /// By queue index, always up to date.
    pub tallies: BTreeMap<u32, Tally>,
    /// Which of its jobs wait, if it is not loaded; none if this owner has never had it in memory.
    pub groups: Option<Vec<Group>>,
    /// As of when it was last asked for.
    earliest_due_ms: u64,
    earliest_due_fresh: bool,
    pub last_end_ms: u64,
    pub sealed: bool,
    pub condemned: bool,
    /// Being read.
    pub loading: bool,
    /// Its open jobs are counted by slot.
    pub slots_counted: bool,
}

/// Waiting jobs of a segment that are alike to whoever chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    pub queue: u32,
    pub kind: u32,
    pub lane: Lane,
    pub suspect: bool,
    /// The one that has waited longest.
    pub first: Turn,
}

impl Segment {
    pub fn new(name: SegmentName, first_commit: u64) -> Self {
        Self {
            name,
            first_commit,
            commits: 0,
            jobs: 0,
            bytes: 0,
            summary: None,
            grown: false,
            changed: Vec::new(),
            younger: Vec::new(),
            loaded: Some(Loaded::default()),
            tallies: BTreeMap::new(),
            groups: None,
            earliest_due_ms: 0,
            earliest_due_fresh: true,
            last_end_ms: 0,
            sealed: false,
            condemned: false,
            loading: false,
            slots_counted: true,
        }
    }

    pub fn has_commit(&self, epoch_number: u32, commit: u64) -> bool {
        self.name.epoch_number == epoch_number
            && commit >= self.first_commit
            && commit - self.first_commit < self.commits
    }

    /// Nothing has changed since its summary was written.
    pub fn is_summarised(&self) -> bool {
        self.summary.is_some() && !self.grown && self.changed.is_empty()
    }

    /// Marks an entry as younger than the summary.
    pub fn touch(&mut self, index: u32) {
        if let Some(entry) = self.loaded.as_mut().and_then(|loaded| loaded.entries.get_mut(index as usize))
            && !entry.changed
        {
            entry.changed = true;
            self.changed.push(index);
        }
    }

    /// Totals follow a change of one job.
    pub fn count(&mut self, before: &Entry, after: &Entry) {
        let tally = self.tallies.entry(after.queue).or_default();
        tally.count(before, -1);
        tally.count(after, 1);
        if let Phase::Is(state) = after.phase
            && state.is_final()
        {
            self.last_end_ms = self.last_end_ms.max(after.time_ms);
        }
        self.earliest_due_fresh = false;
    }

    /// Counts a segment that was just read. Returns the totals that it had.
    pub fn recount(&mut self) -> BTreeMap<u32, Tally> {
        let mut tallies: BTreeMap<u32, Tally> = BTreeMap::new();
        for entry in self.loaded.iter().flat_map(|loaded| &loaded.entries) {
            tallies.entry(entry.queue).or_default().count(entry, 1);
        }
        self.earliest_due_fresh = false;
        std::mem::replace(&mut self.tallies, tallies)
    }

    /// When something in it becomes due, Unix ms; 0 is never.
    pub fn earliest_due_ms(&mut self) -> u64 {
        if let Some(loaded) = self.loaded.as_ref().filter(|_| !self.earliest_due_fresh) {
            let due = |entry: &Entry| match entry.phase {
                Phase::Is(JobState::Scheduled) => earliest(entry.time_ms, entry.deadline_ms),
                _ if entry.is_pending() => entry.deadline_ms,
                _ => 0,
            };
            self.earliest_due_ms = loaded.entries.iter().map(due).fold(0, earliest);
            self.earliest_due_fresh = true;
        }
        self.earliest_due_ms
    }

    pub fn set_earliest_due_ms(&mut self, due_ms: u64) {
        self.earliest_due_ms = due_ms;
    }

    /// Jobs that are not final.
    pub fn open(&self) -> u64 {
        self.tallies.values().map(Tally::open).sum()
    }

    pub fn of(&self, state: JobState) -> u64 {
        self.tallies.values().map(|tally| tally.of(state)).sum()
    }

    /// Which of its jobs wait. `number` is the engine's of the segment.
    pub fn waiting_groups(&self, number: u32) -> Vec<Group> {
        let waiting = |(index, entry): (usize, &Entry)| {
            let job = JobRef { segment: number, index: index as u32 };
            (entry.phase == Phase::Is(JobState::Waiting)).then_some(Group {
                queue: entry.queue,
                kind: entry.kind,
                lane: entry.lane,
                suspect: entry.interruptions > 0,
                first: Turn { since_ms: entry.time_ms, job },
            })
        };
        let entries = self.loaded.iter().flat_map(|loaded| loaded.entries.iter().enumerate());
        let mut groups: Vec<Group> = entries.filter_map(waiting).collect();
        groups.sort_unstable();
        groups.dedup_by_key(|group| (group.queue, group.kind, group.lane, group.suspect));
        groups.shrink_to_fit();
        groups
    }

    /// All that is needed to load it again. Only of a loaded segment.
    pub fn summarise(
        &self,
        kinds: &Interner,
        queue_number: impl Fn(u32) -> QueueNumber,
    ) -> Option<SummaryRow> {
        let loaded = self.loaded.as_ref()?;
        let mut strings = Interner::default();
        let mut row = SummaryRow::default();
        for (position, &start) in loaded.starts.iter().enumerate() {
            let end = loaded.starts.get(position + 1).map_or(loaded.entries.len() as u32, |&end| end);
            row.jobs_per_commit.push(end - start);
        }
        let deadlines = loaded.entries.iter().any(|entry| entry.deadline_ms != 0);
        for (index, entry) in loaded.entries.iter().enumerate() {
            row.queues.push(queue_number(entry.queue));
            row.kinds.push(strings.index(kinds.text(entry.kind)));
            row.states.push(entry.state_row(loaded.moved.get(&(index as u32)).copied()));
            if deadlines {
                row.deadlines_ms.push(entry.deadline_ms);
            }
        }
        (row.slots, row.slots_alike) = slots(&loaded.entries);
        let foreign =
            |(&index, id): (&u32, &JobId)| ForeignId { index, id: Bytes::copy_from_slice(&id.to_bytes()) };
        row.foreign_ids = loaded.foreign.iter().map(foreign).collect();
        row.strings = strings.into_texts();
        Some(row)
    }

    /// States younger than the summary, whether it is loaded or not.
    pub fn younger_states(&self) -> Vec<YoungerState> {
        let Some(loaded) = &self.loaded else { return self.younger.clone() };
        let state = |&index: &u32| {
            let moved_to = loaded.moved.get(&index).copied();
            YoungerState { index, state: Some(loaded.entries[index as usize].state_row(moved_to)) }
        };
        self.changed.iter().map(state).collect()
    }

    /// Forgets which entries are younger than the summary: there is a new one.
    pub fn summarised(&mut self, as_of: CommitRef) {
        self.summary = Some(as_of);
        self.grown = false;
        let changed = std::mem::take(&mut self.changed);
        if let Some(loaded) = &mut self.loaded {
            changed.iter().for_each(|&index| loaded.entries[index as usize].changed = false);
        }
    }

    /// The segment's row in progress.
    pub fn row(&mut self, queue_number: impl Fn(u32) -> QueueNumber) -> SegmentRow {
        let earliest_due_ms = self.earliest_due_ms();
        SegmentRow {
            name: Some(self.name),
            first_commit: self.first_commit,
            commits: self.commits,
            jobs: self.jobs,
            bytes: self.bytes,
            summary: self.summary,
            younger: self.younger_states(),
            tallies: self.tallies.iter().map(|(queue, tally)| tally.row(queue_number(*queue))).collect(),
            earliest_due_ms,
            last_end_ms: self.last_end_ms,
            sealed: self.sealed,
            condemned: self.condemned,
            slots_counted: self.slots_counted,
        }
    }

    /// Id of a job of this (loaded) segment.
    pub fn id(&self, partition: PartitionId, index: u32) -> JobId {
        let loaded = self.loaded.as_ref().expect("only jobs of loaded segments are referred to");
        loaded.foreign.get(&index).copied().unwrap_or_else(|| {
            let (offset, place) = loaded.offset_and_place(index);
            JobId::new(partition, self.name.epoch_number, self.first_commit + offset, place as u16)
        })
    }

    /// Present place of a job of this (loaded) segment.
    pub fn place(&self, index: u32) -> Place {
        let loaded = self.loaded.as_ref().expect("only jobs of loaded segments are referred to");
        let (offset, place) = loaded.offset_and_place(index);
        Place { epoch_number: self.name.epoch_number, commit: self.first_commit + offset, place }
    }
}

/// Slots of a segment's jobs, as a summary has them.
fn slots(entries: &[Entry]) -> (Vec<u32>, u32) {
    let first = entries.first().map_or(Routed::Anywhere, |entry| entry.routed);
    match entries.iter().all(|entry| entry.routed == first) {
        true => (Vec::new(), first.number() + 1),
        false => (entries.iter().map(|entry| entry.routed.number()).collect(), 0),
    }
}

/// The slot of a job in a summary.
pub(crate) fn routed_in(summary: &SummaryRow, index: usize) -> Option<Routed> {
    match (summary.slots_alike, summary.slots.is_empty()) {
        (0, true) => Some(Routed::Unknown),
        (0, false) => summary.slots.get(index).map(|number| Routed::from_number(*number)),
        (number, _) => Some(Routed::from_number(number - 1)),
    }
}

/// The earlier of two times, 0 being none.
pub(crate) fn earliest(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}

/// All segments of a partition, oldest first, under numbers that stay while this owner lasts.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    base: u32,
    list: VecDeque<Segment>,
}

impl Segments {
    pub fn push(&mut self, segment: Segment) -> u32 {
        self.list.push_back(segment);
        self.base + self.list.len() as u32 - 1
    }

    pub fn get(&self, number: u32) -> Option<&Segment> {
        self.list.get(number.checked_sub(self.base)? as usize)
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.list.get_mut(number.checked_sub(self.base)? as usize)
    }

    pub fn numbers(&self) -> std::ops::Range<u32> {
        self.base..self.base + self.list.len() as u32
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &Segment)> {
        self.list.iter().enumerate().map(|(position, segment)| (self.base + position as u32, segment))
    }

    pub fn last_number(&self) -> Option<u32> {
        (!self.list.is_empty()).then(|| self.base + self.list.len() as u32 - 1)
    }

    pub fn pop_oldest(&mut self) -> Option<Segment> {
        let oldest = self.list.pop_front();
        self.base += u32::from(oldest.is_some());
        oldest
    }

    /// The segment that holds a commit. Epochs and their commits rise along the list.
    pub fn find(&self, epoch_number: u32, commit: u64) -> Option<u32> {
        let after = self.list.partition_point(|segment| {
            (segment.name.epoch_number, segment.first_commit) <= (epoch_number, commit)
        });
        let position = after.checked_sub(1)?;
        self.list[position].has_commit(epoch_number, commit).then(|| self.base + position as u32)
    }

    pub fn entry(&self, job: JobRef) -> Option<&Entry> {
        self.get(job.segment)?.loaded.as_ref()?.entries.get(job.index as usize)
    }

    pub fn entry_mut(&mut self, job: JobRef) -> Option<&mut Entry> {
        self.get_mut(job.segment)?.loaded.as_mut()?.entries.get_mut(job.index as usize)
    }
}
