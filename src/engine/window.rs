//! Which segments' jobs are in memory: those with something to do soon, within a budget (INV-8).
//!
//! A segment is read because somebody asks for a job in it, because something in it is due, because
//! what a runner with room would get next is in it (then the runner waits for it: order is kept), or
//! ahead of need while the budget lasts. What was read is not read again for the same reason: of a
//! segment that has left memory it is known which of its jobs wait. Unloaded first are the newest.
//! Unloading needs a summary that is up to date and durable: it comes with the next progress.

use crate::model::row::{StateRow, SummaryRow, YoungerState};
use crate::model::{JobId, JobState, Lane};

use super::attempts::Running;
use super::lines::{Ahead, NONE_AHEAD, Turn};
use super::segment::{Entry, JobRef, Loaded, Phase, Segment, routed_in};
use super::takeover::TakeoverError;
use super::{Effect, Engine, Event, RunnerId};

/// Fewer waiting jobs than this in memory, and more are loaded.
const WAITING_LOW: usize = 4_096;

impl Engine {
    /// A request has to wait for a segment.
    pub(super) fn park(&mut self, segment: u32, event: Event) {
        self.parked.entry(segment).or_default().push(event);
        self.load(segment);
    }

    pub(super) fn load(&mut self, number: u32) {
        let Some(segment) = self.segments.get_mut(number) else { return };
        if segment.loading || segment.loaded.is_some() {
            return;
        }
        let Some(as_of) = segment.summary else { return };
        segment.loading = true;
        self.loading += 1;
        self.unloaded_due.remove(&(segment.earliest_due_ms(), number));
        self.effects.push(Effect::LoadSegment { segment: number, name: segment.name, as_of });
    }

    pub(super) fn segment_loaded(&mut self, number: u32, summary: &SummaryRow) -> Result<(), TakeoverError> {
        self.enter_loaded(number, summary)?;
        for event in self.parked.remove(&number).unwrap_or_default() {
            self.handle_open(event)?;
        }
        self.retention_due = true;
        Ok(())
    }

    /// Puts a summary's jobs into memory: entries, lines, timers, running attempts.
    pub(super) fn enter_loaded(&mut self, number: u32, summary: &SummaryRow) -> Result<(), TakeoverError> {
        let Some(segment) = self.segments.get_mut(number).filter(|segment| segment.loaded.is_none()) else {
            return Ok(());
        };
        let younger = std::mem::take(&mut segment.younger);
        let at = segment.summary.unwrap_or_default();
        let commits = segment.commits;
        let loaded = self.decode(summary, &younger);
        let loaded = loaded.filter(|loaded| loaded.starts.len() as u64 <= commits);
        let loaded = loaded.ok_or_else(|| self.inconsistent(at, "its summary does not fit its segment"))?;
        self.unloaded -= 1;
        self.loaded_jobs += loaded.entries.len();
        self.room_due = true;
        let Some(segment) = self.segments.get_mut(number) else { return Ok(()) };
        self.loading -= u32::from(std::mem::take(&mut segment.loading));
        segment.changed = younger.iter().map(|young| young.index).collect();
        segment.groups = None;
        segment.loaded = Some(loaded);
        if !std::mem::replace(&mut segment.slots_counted, true) {
            let entries = segment.loaded.iter().flat_map(|loaded| &loaded.entries);
            self.slots.count_segment(segment.open(), entries);
        }
        let before = segment.recount();
        for (queue, tally) in before {
            self.queues.recounted(queue, tally.by_state, [0; JobState::COUNT]);
        }
        for (queue, tally) in &segment.tallies {
            self.queues.recounted(*queue, [0; JobState::COUNT], tally.by_state);
        }
        self.take_up(number);
        self.look_ahead_anew();
        Ok(())
    }

    /// A segment's jobs from its summary; none if it makes no sense.
    fn decode(&mut self, summary: &SummaryRow, younger: &[YoungerState]) -> Option<Loaded> {
        let mut loaded = Loaded::default();
        let mut start = 0;
        for jobs in &summary.jobs_per_commit {
            loaded.starts.push(start);
            start = start.checked_add(*jobs)?;
        }
        if start as usize != summary.states.len() {
            return None;
        }
        let kinds: Vec<u32> = summary.strings.iter().map(|text| self.kinds.index(text)).collect();
        for (index, state) in summary.states.iter().enumerate() {
            let queue = self.queue_index(*summary.queues.get(index)?);
            let kind = *kinds.get(*summary.kinds.get(index)? as usize)?;
            let deadline_ms = summary.deadlines_ms.get(index).copied().unwrap_or(0);
            let mut entry = Entry {
                time_ms: 0,
                deadline_ms,
                last: Default::default(),
                queue,
                kind,
                attempt: 0,
                failures: 0,
                interruptions: 0,
                lane: Lane::DEFAULT,
                routed: routed_in(summary, index)?,
                phase: Phase::Forgotten,
                lined: false,
                changed: false,
            };
            entry.set_state(state);
            loaded.entries.push(entry);
            note_moved(&mut loaded, index as u32, state);
        }
        for young in younger {
            let (state, entry) = (young.state.as_ref()?, loaded.entries.get_mut(young.index as usize)?);
            entry.set_state(state);
            entry.changed = true;
            note_moved(&mut loaded, young.index, state);
        }
        for foreign in &summary.foreign_ids {
            loaded.foreign.insert(foreign.index, JobId::from_slice(&foreign.id)?);
        }
        Some(loaded)
    }

    /// Lines, timers, running attempts and places of a segment that has just come into memory.
    fn take_up(&mut self, number: u32) {
        let mut index = 0;
        let reference = |index| JobRef { segment: number, index };
        while let Some(entry) = self.segments.entry_mut(reference(index)) {
            entry.lined = entry.phase == Phase::Is(JobState::Waiting);
            let entry = *entry;
            if entry.phase == Phase::Is(JobState::Running) {
                self.running.insert(reference(index), Running { runner: None });
            }
            self.take_places(reference(index), &entry);
            index += 1;
        }
        let Some(loaded) = self.segments.get(number).and_then(|segment| segment.loaded.as_ref()) else {
            return;
        };
        let is_current = |index: u32| {
            loaded.entries.get(index as usize).is_some_and(|entry| entry.phase != Phase::Forgotten)
        };
        let current = loaded.foreign.iter().filter(|&(&index, _)| is_current(index));
        self.places.extend(current.map(|(&index, &id)| (id, reference(index))));
    }

    /// Gives lines, timers and places of a segment's jobs up; it has left memory.
    pub(super) fn let_go(&mut self, number: u32, loaded: &Loaded) {
        for (index, entry) in loaded.entries.iter().enumerate() {
            self.leave_places(JobRef { segment: number, index: index as u32 }, entry);
        }
        for id in loaded.foreign.values() {
            if self.places.get(id).is_some_and(|job| job.segment == number) {
                self.places.remove(id);
            }
        }
    }

    /// What a runner could get is to be looked for anew: the segments in memory are others, or
    /// queues were paused or resumed.
    pub(super) fn look_ahead_anew(&mut self) {
        self.nothing_ahead = false;
        self.runners.values_mut().for_each(|runner| runner.ahead = None);
    }

    /// For each lane, the foremost job for that runner that is not in memory.
    pub(super) fn look_ahead(&mut self, id: RunnerId) -> Option<Ahead> {
        if self.unloaded == 0 || self.nothing_ahead {
            return None;
        }
        let runner = self.runners.get(&id)?;
        if runner.ahead.is_some() {
            return runner.ahead;
        }
        let mut ahead = [NONE_AHEAD; Lane::COUNT];
        let note = |ahead: &mut Ahead, lane: usize, turn: Turn| ahead[lane] = ahead[lane].min(turn);
        for (number, segment) in self.segments.iter().filter(|(_, segment)| segment.loaded.is_none()) {
            for group in segment.groups.iter().flatten() {
                let may = runner.kinds.contains(&group.kind) && !(group.suspect && runner.suspect.is_some());
                if may && !self.lines.is_paused(group.queue) {
                    note(&mut ahead, group.lane.index(), group.first);
                }
            }
            let unknown = segment.tallies.iter().filter(|_| segment.groups.is_none());
            for (_, tally) in unknown.filter(|(queue, _)| !self.lines.is_paused(**queue)) {
                let lanes = tally.waiting_by_lane.iter().enumerate().filter(|(_, waiting)| **waiting > 0);
                // Since when is not known before it is read.
                let turn = Turn { since_ms: 0, job: JobRef { segment: number, index: 0 } };
                lanes.for_each(|(lane, _)| note(&mut ahead, lane, turn));
            }
        }
        self.runners.get_mut(&id)?.ahead = Some(ahead);
        Some(ahead)
    }

    /// Loads what is due, and more if little waits in memory; makes room if too much is loaded.
    pub(super) fn refill(&mut self) {
        if self.loaded_jobs > self.settings.window_jobs_max && std::mem::take(&mut self.room_due) {
            self.want_room();
        }
        if self.unloaded == 0 || self.loading > 0 {
            return;
        }
        if let Some(&(at_ms, number)) = self.unloaded_due.first()
            && at_ms <= self.now_ms
        {
            return self.load(number);
        }
        if self.nothing_ahead || self.lines.len() >= WAITING_LOW {
            return;
        }
        let ids: Vec<RunnerId> = self.runners.keys().copied().collect();
        let aheads: Vec<Ahead> = ids.into_iter().filter_map(|id| self.look_ahead(id)).collect();
        let next = (0..Lane::COUNT).rev().find_map(|lane| {
            let first = aheads.iter().map(|ahead| ahead[lane]).min();
            first.filter(|&turn| turn != NONE_AHEAD).map(|turn| turn.job.segment)
        });
        self.nothing_ahead = next.is_none();
        let fits = |number: &u32| {
            let jobs = self.segments.get(*number).map_or(0, |segment| segment.jobs as usize);
            self.loaded_jobs + jobs <= self.settings.window_jobs_max
        };
        if let Some(number) = next.filter(fits) {
            self.load(number);
        }
    }

    /// The next time at which a segment that is not loaded has something due.
    pub(super) fn earliest_unloaded_due(&self) -> Option<u64> {
        self.unloaded_due.first().map(|(at_ms, _)| *at_ms)
    }

    /// A segment may leave memory if nothing in it runs, is awaited or is being written.
    fn may_leave(&self, number: u32) -> bool {
        let Some(segment) = self.segments.get(number) else { return false };
        segment.sealed
            && segment.loaded.is_some()
            && self.compacting != Some(number)
            && segment.of(JobState::Running) == 0
            && !self.is_awaited(number)
    }

    /// Chooses what leaves to get back into the budget. What has an up-to-date summary leaves at
    /// once, the others with the next progress, which writes theirs.
    fn want_room(&mut self) {
        if !self.leaving.is_empty() {
            return;
        }
        for number in self.choose_leaving() {
            if self.can_be_read(number) {
                self.unload(number);
                continue;
            }
            let written = self.segments.get(number).is_some_and(Segment::is_summarised);
            self.leaving.push(number);
            self.progress_wanted |= !written;
        }
    }

    /// Its summary is up to date and durable.
    fn can_be_read(&self, number: u32) -> bool {
        self.segments.get(number).is_some_and(|segment| {
            let durable = segment.summary.is_some_and(|summary| {
                summary.epoch_number != self.epoch.number || self.progress_durable >= Some(summary.commit)
            });
            durable && segment.is_summarised()
        })
    }

    /// Newest first; those with nothing that could be started now before all others.
    fn choose_leaving(&self) -> Vec<u32> {
        let mut over = self.loaded_jobs.saturating_sub(self.settings.window_jobs_max);
        let may = self.segments.numbers().rev().filter(|&number| self.may_leave(number));
        let (startable, idle): (Vec<u32>, Vec<u32>) = may.partition(|&number| self.has_startable(number));
        let size = |number: u32| {
            let loaded = self.segments.get(number).and_then(|segment| segment.loaded.as_ref());
            loaded.map_or(0, |loaded| loaded.entries.len())
        };
        let wanted = |number: &u32| {
            let more = over > 0;
            over = over.saturating_sub(size(*number));
            more
        };
        idle.into_iter().chain(startable).take_while(wanted).collect()
    }

    /// Whether something in a loaded segment could be started if there was room.
    fn has_startable(&self, number: u32) -> bool {
        let Some(loaded) = self.segments.get(number).and_then(|segment| segment.loaded.as_ref()) else {
            return false;
        };
        loaded.entries.iter().any(|entry| {
            entry.phase == Phase::Is(JobState::Waiting)
                && self.is_run(entry.kind)
                && !self.lines.is_paused(entry.queue)
        })
    }

    /// Summaries up to that commit are durable: what had to wait for them leaves, and segments
    /// whose jobs are all final.
    pub(super) fn unload_what_may(&mut self, as_of: u64) {
        self.progress_durable = self.progress_durable.max(Some(as_of));
        self.room_due = true;
        let leaving = std::mem::take(&mut self.leaving);
        for number in self.segments.numbers() {
            let Some(segment) = self.segments.get_mut(number) else { continue };
            let wanted = leaving.contains(&number) || segment.sealed && segment.open() == 0;
            if wanted && self.may_leave(number) && self.can_be_read(number) {
                self.unload(number);
            }
        }
    }

    fn unload(&mut self, number: u32) {
        let Some(segment) = self.segments.get_mut(number) else { return };
        let due_ms = segment.earliest_due_ms();
        segment.groups = Some(segment.waiting_groups(number));
        let Some(loaded) = segment.loaded.take() else { return };
        self.loaded_jobs -= loaded.entries.len();
        self.unloaded += 1;
        if due_ms != 0 {
            self.unloaded_due.insert((due_ms, number));
        }
        self.let_go(number, &loaded);
        self.look_ahead_anew();
    }
}

fn note_moved(loaded: &mut Loaded, index: u32, state: &StateRow) {
    if let Some(place) = state.moved_to {
        loaded.moved.insert(index, place);
    }
}
