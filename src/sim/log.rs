//! A small application in the engine's place: numbered facts in segments, progress, summaries, drops.
//!
//! It drives the product's protocol as the engine's owner does, and keeps so little state that the
//! oracle can say exactly what it must be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message;

use crate::model::row::{
    ChainLink, CommitRef, CommitRow, JobRow, Origin, ProgressRow, SegmentName, SegmentRow, TallyRow,
};
use crate::model::{Epoch, PartitionId};
use crate::store::{CommitKey, SegmentKey};
use crate::worker::protocol::{
    Accepted, Effect, Event, NewCommit, NewProgress, Protocol, ProtocolSettings, Reply, Request,
};

/// The partition of all runs.
pub(crate) const PARTITION: PartitionId = PartitionId { group: 1, index: 0 };

/// Names a fact.
pub(crate) type FactId = u64;

/// How the log is cut up, for one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSettings {
    pub segment_commits: u64,
    pub segments_kept: usize,
    pub progress_commits: u64,
    pub facts_per_commit: usize,
    pub protocol: ProtocolSettings,
}

/// What the log wants done, or has to say.
#[derive(Debug)]
pub(crate) enum Out {
    Call {
        call: u64,
        request: Request,
    },
    ReadSummary {
        call: u64,
        segment: SegmentKey,
        as_of: CommitKey,
    },
    WakeAt(u64),
    TakenOver {
        epoch: Epoch,
        origin: Origin,
    },
    /// It has loaded what it starts from: facts, by its own account; condemned segments.
    Opened {
        facts: BTreeSet<FactId>,
        counted: u64,
    },
    Released {
        up_to: u64,
    },
    Acknowledged {
        fact: FactId,
        commit: u64,
    },
    /// A look at the state that was asked for; it rests on nothing that is not released.
    Looked {
        ticket: u64,
        facts: BTreeSet<FactId>,
    },
    Superseded,
    Failed(String),
}

#[derive(Clone, Debug)]
struct Segment {
    name: SegmentName,
    first_commit: u64,
    commits: u64,
    facts: Vec<FactId>,
    summary: Option<CommitRef>,
    /// Since its last summary.
    grown: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Log {
    settings: LogSettings,
    pub protocol: Protocol,
    effects: Vec<Effect>,
    accepted: Option<Box<Accepted>>,
    /// Summaries that are awaited: call, index of the segment.
    loading: BTreeMap<u64, usize>,
    next_call: u64,
    epoch: Option<Epoch>,
    origin: Option<Origin>,
    chain: Vec<ChainLink>,
    segments: VecDeque<Segment>,
    condemned: Vec<SegmentName>,
    pending: VecDeque<FactId>,
    next_commit: u64,
    waiting: VecDeque<(u64, Vec<FactId>, Vec<SegmentName>)>,
    since_progress: u64,
    looks: BTreeMap<u64, BTreeSet<FactId>>,
}

/// Calls of the log itself are told from the protocol's by their numbers.
const OWN_CALLS: u64 = 1 << 40;

pub(crate) fn key(name: SegmentName) -> SegmentKey {
    let epoch = Epoch { number: name.epoch_number, incarnation: name.incarnation };
    SegmentKey { partition: PARTITION, epoch, segment: name.segment }
}

/// Facts of a row.
pub(crate) fn facts_of(row: &CommitRow) -> Vec<FactId> {
    row.jobs.iter().filter_map(|job| Some(u64::from_be_bytes(job.payload[..].try_into().ok()?))).collect()
}

impl Log {
    pub fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            protocol: Protocol::new(PARTITION, Bytes::from_static(b"sim"), settings.protocol),
            effects: Vec::new(),
            accepted: None,
            loading: BTreeMap::new(),
            next_call: OWN_CALLS,
            epoch: None,
            origin: None,
            chain: Vec::new(),
            segments: VecDeque::new(),
            condemned: Vec::new(),
            pending: VecDeque::new(),
            next_commit: 0,
            waiting: VecDeque::new(),
            since_progress: 0,
            looks: BTreeMap::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.epoch.is_some() && self.accepted.is_none()
    }

    /// Gives the protocol an event, and does what follows from it.
    pub fn handle(&mut self, now_ms: u64, event: Event, outs: &mut Vec<Out>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.protocol.handle(now_ms, event, &mut effects);
        for effect in effects.drain(..) {
            self.effect(now_ms, effect, outs);
        }
        if self.effects.is_empty() {
            self.effects = effects;
        }
    }

    /// The answer to a call: the protocol's or the log's own.
    pub fn reply(
        &mut self,
        now_ms: u64,
        call: u64,
        reply: Result<Reply, Option<Bytes>>,
        outs: &mut Vec<Out>,
    ) {
        match reply {
            Ok(reply) => self.handle(now_ms, Event::Reply { call, reply }, outs),
            Err(summary) => self.loaded(now_ms, call, summary, outs),
        }
        self.pump(now_ms, outs);
    }

    /// Takes a fact, if it is open.
    pub fn offer(&mut self, now_ms: u64, fact: FactId, outs: &mut Vec<Out>) {
        if self.is_open() && self.pending.len() < 64 && !self.pending.contains(&fact) {
            self.pending.push_back(fact);
            self.pump(now_ms, outs);
        }
    }

    /// Somebody wants to see all facts.
    pub fn look(&mut self, now_ms: u64, ticket: u64, outs: &mut Vec<Out>) -> bool {
        if !self.is_open() || self.next_commit == 0 {
            return false;
        }
        let facts = self.segments.iter().flat_map(|segment| segment.facts.iter().copied()).collect();
        self.looks.insert(ticket, facts);
        self.handle(now_ms, Event::Fence { ticket }, outs);
        true
    }

    fn effect(&mut self, now_ms: u64, effect: Effect, outs: &mut Vec<Out>) {
        match effect {
            Effect::Call { call, request } => outs.push(Out::Call { call, request }),
            Effect::TakenOver(accepted) => self.taken_over(now_ms, accepted, outs),
            Effect::Released { up_to } => {
                outs.push(Out::Released { up_to });
                while self.waiting.front().is_some_and(|(commit, ..)| *commit <= up_to) {
                    let Some((commit, facts, condemned)) = self.waiting.pop_front() else { break };
                    outs.extend(facts.into_iter().map(|fact| Out::Acknowledged { fact, commit }));
                    for name in condemned {
                        self.drop_segment(now_ms, name, commit, outs);
                    }
                }
            }
            Effect::FencePassed { ticket } => {
                let facts = self.looks.remove(&ticket).unwrap_or_default();
                outs.push(Out::Looked { ticket, facts });
            }
            Effect::ProgressDurable { .. } | Effect::Trouble(_) => {}
            Effect::Dropped { segment } => self.condemned.retain(|name| key(*name) != segment),
            Effect::Superseded { .. } => outs.push(Out::Superseded),
            Effect::WakeAt(at_ms) => outs.push(Out::WakeAt(at_ms)),
            Effect::Failed(error) => outs.push(Out::Failed(error.to_string())),
        }
    }

    fn drop_segment(&mut self, now_ms: u64, name: SegmentName, condemned_by: u64, outs: &mut Vec<Out>) {
        self.handle(now_ms, Event::Drop { segment: key(name), condemned_by }, outs);
    }

    fn taken_over(&mut self, now_ms: u64, accepted: Box<Accepted>, outs: &mut Vec<Out>) {
        outs.push(Out::TakenOver { epoch: accepted.epoch, origin: accepted.origin.clone() });
        self.epoch = Some(accepted.epoch);
        self.origin = Some(accepted.origin.clone());
        self.chain = accepted.chain.clone();
        let rows = accepted.progress.iter().flat_map(|(_, progress)| &progress.segments);
        for row in rows {
            let name = row.name.unwrap_or_default();
            if row.condemned {
                self.condemned.push(name);
                continue;
            }
            let (first_commit, commits, summary) = (row.first_commit, row.commits, row.summary);
            let (facts, grown) = (Vec::new(), false);
            self.segments.push_back(Segment { name, first_commit, commits, facts, summary, grown });
        }
        self.accepted = Some(accepted);
        for index in 0..self.segments.len() {
            if self.segments[index].summary.is_some() {
                self.load(index, outs);
            }
        }
        if self.loading.is_empty() {
            self.open(now_ms, outs);
        }
    }

    fn load(&mut self, index: usize, outs: &mut Vec<Out>) {
        let segment = &self.segments[index];
        let Some(as_of) = segment.summary else { return };
        let Some(link) = self.chain.iter().find(|link| link.epoch_number == as_of.epoch_number) else {
            outs.push(Out::Failed("a summary of an epoch that is not on the chain".into()));
            return;
        };
        let epoch = Epoch { number: link.epoch_number, incarnation: link.incarnation };
        self.next_call += 1;
        self.loading.insert(self.next_call, index);
        let as_of = CommitKey { epoch, commit: as_of.commit };
        outs.push(Out::ReadSummary { call: self.next_call, segment: key(segment.name), as_of });
    }

    fn loaded(&mut self, now_ms: u64, call: u64, summary: Option<Bytes>, outs: &mut Vec<Out>) {
        let Some(index) = self.loading.remove(&call) else { return };
        let Some(summary) = summary else {
            outs.push(Out::Failed(format!("a summary of {:?} is missing", self.segments[index])));
            return;
        };
        self.segments[index].facts = summary.chunks_exact(8).filter_map(read_fact).collect();
        if self.loading.is_empty() {
            self.open(now_ms, outs);
        }
    }

    /// No answer came: it is read again.
    pub fn read_again(&mut self, call: u64, outs: &mut Vec<Out>) {
        if let Some(index) = self.loading.remove(&call) {
            self.load(index, outs);
        }
    }

    fn open(&mut self, now_ms: u64, outs: &mut Vec<Out>) {
        let (Some(accepted), Some(epoch)) = (self.accepted.take(), self.epoch) else { return };
        let tallies = accepted.progress.iter().flat_map(|(_, progress)| &progress.tallies);
        let mut counted: u64 = tallies.flat_map(|tally| &tally.by_state).sum();
        for commit in &accepted.tail {
            counted += facts_of(&commit.row).len() as u64;
            self.replay(commit.segment, commit.commit, &commit.row);
            for name in &commit.row.condemned {
                counted -= self.condemn(*name).min(counted);
            }
        }
        let facts = self.segments.iter().flat_map(|segment| segment.facts.iter().copied()).collect();
        outs.push(Out::Opened { facts, counted });
        let name = SegmentName { epoch_number: epoch.number, incarnation: epoch.incarnation, segment: 0 };
        self.grow(name, 0);
        for name in self.condemned.clone() {
            self.drop_segment(now_ms, name, 0, outs);
        }
        self.pump(now_ms, outs);
    }

    fn grow(&mut self, name: SegmentName, first_commit: u64) {
        let facts = Vec::new();
        self.segments.push_back(Segment {
            name,
            first_commit,
            commits: 0,
            facts,
            summary: None,
            grown: false,
        });
    }

    fn replay(&mut self, name: SegmentName, commit: u64, row: &CommitRow) {
        if self.segments.iter().all(|segment| segment.name != name) {
            self.grow(name, commit);
        }
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.name == name) {
            segment.commits += 1;
            segment.grown = true;
            segment.facts.extend(facts_of(row));
        }
    }

    /// Its facts are final. Returns how many there were.
    fn condemn(&mut self, name: SegmentName) -> u64 {
        let Some(index) = self.segments.iter().position(|segment| segment.name == name) else { return 0 };
        self.condemned.push(name);
        self.segments.remove(index).map_or(0, |segment| segment.facts.len() as u64)
    }

    /// Commits what there is, as long as there is room.
    fn pump(&mut self, now_ms: u64, outs: &mut Vec<Out>) {
        while self.is_open()
            && self.protocol.can_append()
            && (!self.pending.is_empty() || self.next_commit == 0)
        {
            self.commit(now_ms, outs);
        }
    }

    fn commit(&mut self, now_ms: u64, outs: &mut Vec<Out>) {
        let Some(epoch) = self.epoch else { return };
        let commit = self.next_commit;
        self.next_commit += 1;
        let many = self.settings.facts_per_commit.min(self.pending.len());
        let facts: Vec<FactId> = self.pending.drain(..many).collect();
        let mut condemned = Vec::new();
        if self.segments.len() > self.settings.segments_kept
            && let Some(oldest) = self.segments.front().map(|segment| segment.name)
        {
            self.condemn(oldest);
            condemned.push(oldest);
        }
        let job = |fact: &FactId| JobRow { payload: fact.to_be_bytes().to_vec().into(), ..JobRow::default() };
        let row = CommitRow {
            origin: self.origin.take(),
            jobs: facts.iter().map(job).collect(),
            condemned: condemned.clone(),
            ..CommitRow::default()
        };
        let Some(growing) = self.segments.back_mut() else { return };
        growing.commits += 1;
        growing.grown = true;
        growing.facts.extend(&facts);
        let (name, full) = (growing.name, growing.commits >= self.settings.segment_commits);
        self.waiting.push_back((commit, facts, condemned));
        if full {
            self.grow(SegmentName { segment: name.segment + 1, ..name }, commit + 1);
        }
        let row = row.encode_to_vec().into();
        let (blobs, entries) = (Vec::new(), Vec::new());
        let new = NewCommit { segment: name.segment, commit, row, blobs, entries };
        self.handle(now_ms, Event::Commit(new), outs);
        self.since_progress += 1;
        if self.since_progress >= self.settings.progress_commits {
            self.since_progress = 0;
            let progress = self.progress(epoch, commit);
            self.handle(now_ms, Event::Progress(progress), outs);
        }
    }

    fn progress(&mut self, epoch: Epoch, as_of: u64) -> NewProgress {
        let at = CommitRef { epoch_number: epoch.number, commit: as_of };
        let mut summaries = Vec::new();
        for segment in self.segments.iter_mut().filter(|segment| segment.grown) {
            let facts: Vec<u8> = segment.facts.iter().flat_map(|fact| fact.to_be_bytes()).collect();
            summaries.push((key(segment.name), facts.into()));
            segment.summary = Some(at);
            segment.grown = false;
        }
        let condemned = self.condemned.iter().map(|name| SegmentRow {
            name: Some(*name),
            condemned: true,
            ..SegmentRow::default()
        });
        let live = self.segments.iter().map(|segment| SegmentRow {
            name: Some(segment.name),
            first_commit: segment.first_commit,
            commits: segment.commits,
            jobs: segment.facts.len() as u32,
            summary: segment.summary,
            ..SegmentRow::default()
        });
        let segments: Vec<SegmentRow> = condemned.chain(live).collect();
        let oldest = segments.iter().filter_map(|row| row.name).map(|name| name.epoch_number).min();
        self.chain.retain(|link| oldest.is_some_and(|oldest| link.epoch_number >= oldest));
        let own = ChainLink { epoch_number: epoch.number, incarnation: epoch.incarnation, cut: as_of };
        let count = self.segments.iter().map(|segment| segment.facts.len() as u64).sum();
        let row = ProgressRow {
            min_reader: 1,
            chain: self.chain.iter().copied().chain([own]).collect(),
            segments,
            tallies: vec![TallyRow { queue: 1, by_state: vec![count], waiting_by_lane: Vec::new() }],
            ..ProgressRow::default()
        };
        NewProgress { as_of, row: row.encode_to_vec().into(), summaries, in_use: self.in_use(epoch) }
    }

    fn in_use(&self, own: Epoch) -> Vec<(SegmentKey, CommitKey)> {
        let epochs =
            self.chain.iter().map(|link| Epoch { number: link.epoch_number, incarnation: link.incarnation });
        let by_number: BTreeMap<u32, Epoch> =
            epochs.chain([own]).map(|epoch| (epoch.number, epoch)).collect();
        let in_use = self.segments.iter().filter_map(|segment| {
            let as_of = segment.summary?;
            let epoch = *by_number.get(&as_of.epoch_number)?;
            Some((key(segment.name), CommitKey { epoch, commit: as_of.commit }))
        });
        in_use.collect()
    }
}

fn read_fact(bytes: &[u8]) -> Option<FactId> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}
