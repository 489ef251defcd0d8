//! A small application in place of the engine: a log of numbered facts.
//!
//! A fact is brought in, and later done. Segments have a few commits each; one whose facts are all
//! done is condemned and dropped. Progress names the segments left, summaries have their facts. Row
//! formats are the product's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message;

use crate::model::row::{
    ChainLink, CommitRef, CommitRow, Origin, ProgressRow, SegmentName, SegmentRow, SummaryRow,
};
use crate::model::{Epoch, PartitionId};
use crate::store::{CommitKey, SegmentKey};
use crate::worker::protocol::{Accepted, Event, NewCommit, NewProgress};

use super::mutation::{Mutation, active};
use super::plan::Plan;

/// The partition of all runs.
pub const PARTITION: PartitionId = PartitionId { group: 1, index: 0 };

/// What a commit says of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is there.
    New(u64),
    /// It is done.
    Done(u64),
}

impl Item {
    fn text(self) -> String {
        match self {
            Self::New(fact) => format!("n{fact}"),
            Self::Done(fact) => format!("d{fact}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, number) = text.split_at_checked(1)?;
        let fact = number.parse().ok()?;
        match kind {
            "n" => Some(Self::New(fact)),
            "d" => Some(Self::Done(fact)),
            _ => None,
        }
    }
}

/// The items of a row.
pub fn items(row: &CommitRow) -> Vec<Item> {
    row.strings.iter().filter_map(|text| Item::parse(text)).collect()
}

/// What follows from accepted commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Segments that are not condemned, with their facts: true if done.
    pub segments: BTreeMap<SegmentName, BTreeMap<u64, bool>>,
    /// Condemned, not known to be dropped.
    pub condemned: BTreeSet<SegmentName>,
}

impl Log {
    /// Takes a commit in. An error says what does not add up.
    pub fn apply(&mut self, segment: SegmentName, row: &CommitRow) -> Result<(), String> {
        self.segments.entry(segment).or_default();
        for item in items(row) {
            match item {
                Item::New(fact) => {
                    self.segments.entry(segment).or_default().insert(fact, false);
                }
                Item::Done(fact) => {
                    let done = self.segments.values_mut().find_map(|facts| facts.get_mut(&fact));
                    *done.ok_or_else(|| format!("fact {fact} is done and not there"))? = true;
                }
            }
        }
        for name in &row.condemned {
            self.segments
                .remove(name)
                .ok_or_else(|| format!("segment {name:?} is condemned and not there"))?;
            self.condemned.insert(*name);
        }
        Ok(())
    }

    /// All facts that are there: true if done.
    pub fn facts(&self) -> BTreeMap<u64, bool> {
        self.segments.values().flatten().map(|(&fact, &done)| (fact, done)).collect()
    }
}

/// A new owner's application, until its summaries are read.
#[derive(Debug)]
pub struct Opening {
    accepted: Accepted,
    /// Summaries to be read.
    pub missing: Vec<(SegmentKey, CommitKey)>,
    log: Log,
    summaries: BTreeMap<SegmentName, CommitKey>,
}

impl Opening {
    /// Begins with what was accepted.
    pub fn new(accepted: Accepted) -> Result<Self, String> {
        let mut opening =
            Self { accepted, missing: Vec::new(), log: Log::default(), summaries: BTreeMap::new() };
        let Some((_, progress)) = &opening.accepted.progress else { return Ok(opening) };
        for segment in &progress.segments {
            let name = segment.name.ok_or("a segment without a name")?;
            if segment.condemned {
                opening.log.condemned.insert(name);
                continue;
            }
            let summary = segment.summary.ok_or("a segment without a summary")?;
            let mut chain = opening.accepted.chain.iter();
            let link = chain.find(|link| link.epoch_number == summary.epoch_number);
            let link =
                link.ok_or_else(|| format!("the chain does not name epoch {}", summary.epoch_number))?;
            let epoch = Epoch { number: link.epoch_number, incarnation: link.incarnation };
            let as_of = CommitKey { epoch, commit: summary.commit };
            opening.log.segments.insert(name, BTreeMap::new());
            opening.summaries.insert(name, as_of);
            opening.missing.push((key(name), as_of));
        }
        Ok(opening)
    }

    /// Epochs before, with their cuts.
    pub fn chain(&self) -> &[ChainLink] {
        &self.accepted.chain
    }

    /// A summary was read.
    pub fn loaded(&mut self, segment: SegmentKey, summary: Option<Bytes>) -> Result<(), String> {
        self.missing.retain(|(missing, _)| *missing != segment);
        let bytes = summary.ok_or_else(|| format!("the summary of {segment:?} is gone"))?;
        let row = SummaryRow::decode(bytes).map_err(|error| error.to_string())?;
        let facts = row.strings.iter().filter_map(|text| Item::parse(text)).map(|item| match item {
            Item::New(fact) => (fact, false),
            Item::Done(fact) => (fact, true),
        });
        self.log.segments.insert(name(segment), facts.collect());
        Ok(())
    }

    /// All summaries are read: applies the tail.
    pub fn open(self, plan: &Plan) -> Result<App, String> {
        let Self { accepted, mut log, summaries, .. } = self;
        let mut changed: BTreeSet<SegmentName> = BTreeSet::new();
        for commit in &accepted.tail {
            changed.extend(touched(&log, commit.segment, &commit.row));
            log.apply(commit.segment, &commit.row)?;
        }
        changed.retain(|name| log.segments.contains_key(name));
        Ok(App {
            epoch: accepted.epoch,
            chain: accepted.chain,
            origin: Some(accepted.origin),
            log,
            summaries,
            changed,
            items: Vec::new(),
            next_commit: 0,
            segment: 0,
            commits_in_segment: 0,
            since_progress: accepted.tail.len() as u64,
            given: VecDeque::new(),
            open: BTreeSet::new(),
            segment_commits: plan.segment_commits,
            progress_commits: plan.progress_commits,
        })
    }
}

fn touched(log: &Log, segment: SegmentName, row: &CommitRow) -> Vec<SegmentName> {
    let mut touched = vec![segment];
    for item in items(row) {
        if let Item::Done(fact) = item {
            let of_fact = log.segments.iter().filter(|(_, facts)| facts.contains_key(&fact));
            touched.extend(of_fact.map(|(name, _)| *name));
        }
    }
    touched
}

/// An owner's application.
#[derive(Debug)]
pub struct App {
    epoch: Epoch,
    chain: Vec<ChainLink>,
    /// For row 0.
    origin: Option<Origin>,
    /// As of the last commit given.
    pub log: Log,
    summaries: BTreeMap<SegmentName, CommitKey>,
    /// Segments that changed since their summary.
    changed: BTreeSet<SegmentName>,
    items: Vec<Item>,
    next_commit: u64,
    segment: u32,
    commits_in_segment: u64,
    since_progress: u64,
    /// Given and not released: commit and its new facts.
    given: VecDeque<(u64, Vec<u64>)>,
    /// Released facts that are not done.
    open: BTreeSet<u64>,
    segment_commits: u64,
    progress_commits: u64,
}

impl App {
    /// Items for the next commit.
    pub fn add(&mut self, item: Item) {
        if let Item::Done(fact) = item
            && !self.open.remove(&fact)
        {
            return;
        }
        self.items.push(item);
    }

    /// Facts that could be done next.
    pub fn open_facts(&self) -> Vec<u64> {
        self.open.iter().copied().collect()
    }

    /// The facts of its predecessors may be done too, once the own row 0 is released.
    fn inherit(&mut self) {
        let facts = self.log.facts();
        let pending: BTreeSet<u64> = self.given.iter().flat_map(|(_, facts)| facts).copied().collect();
        self.open =
            facts.iter().filter(|(fact, done)| !**done && !pending.contains(fact)).map(|(f, _)| *f).collect();
    }

    /// Segments, condemned ones too.
    pub fn segments(&self) -> usize {
        self.log.segments.len() + self.log.condemned.len()
    }

    /// A fact that is about to be committed.
    pub fn holds(&self, fact: u64) -> bool {
        self.items.contains(&Item::New(fact))
    }

    /// Nothing waits to be given or released.
    pub fn is_settled(&self) -> bool {
        self.items.is_empty()
            && self.given.is_empty()
            && self.next_commit > 0
            && self.log.condemned.is_empty()
    }

    /// Commits up to that one are released: their facts are acknowledged.
    pub fn released(&mut self, up_to: u64) -> Vec<u64> {
        let first = self.given.front().is_some_and(|(commit, _)| *commit == 0);
        let mut facts = Vec::new();
        while self.given.front().is_some_and(|(commit, _)| *commit <= up_to)
            && let Some((_, new)) = self.given.pop_front()
        {
            facts.extend(new);
        }
        if first {
            self.inherit();
        } else {
            self.open.extend(&facts);
        }
        facts
    }

    /// A segment is gone.
    pub fn dropped(&mut self, segment: SegmentKey) {
        self.log.condemned.remove(&name(segment));
    }

    /// True if there is something to commit.
    pub fn has_commit(&self) -> bool {
        let progress_due = self.since_progress >= self.progress_commits && !self.log.condemned.is_empty();
        self.next_commit == 0 || !self.items.is_empty() || progress_due || !self.doomed().is_empty()
    }

    /// Sealed segments whose facts are all done.
    fn doomed(&self) -> Vec<SegmentName> {
        let current = self.name_of(self.segment);
        let sealed = self.log.segments.iter().filter(|(name, _)| **name != current);
        sealed.filter(|(_, facts)| facts.values().all(|done| *done)).map(|(name, _)| *name).collect()
    }

    fn name_of(&self, segment: u32) -> SegmentName {
        SegmentName { epoch_number: self.epoch.number, incarnation: self.epoch.incarnation, segment }
    }

    /// Closes a commit: what the protocol is to be told, and the row for those who watch.
    pub fn commit(&mut self, time_ms: u64) -> (Vec<Event>, SegmentName, CommitRow) {
        if self.commits_in_segment >= self.segment_commits {
            self.segment += 1;
            self.commits_in_segment = 0;
        }
        let segment = self.name_of(self.segment);
        let commit = self.next_commit;
        let items = std::mem::take(&mut self.items);
        let mut origin = self.origin.take();
        if active(Mutation::RowZeroWithoutOrigin) {
            origin = origin.map(|_| Origin { head: None });
        }
        let condemned = self.doomed();
        let strings = items.iter().map(|item| item.text()).collect();
        let row = CommitRow { time_ms, origin, strings, condemned, ..CommitRow::default() };
        self.changed.extend(touched(&self.log, segment, &row));
        let adds_up = self.log.apply(segment, &row);
        debug_assert_eq!(adds_up, Ok(()), "an owner's own commit adds up");
        self.next_commit += 1;
        self.commits_in_segment += 1;
        self.since_progress += 1;
        let new = items.iter().filter_map(|item| match item {
            Item::New(fact) => Some(*fact),
            Item::Done(_) => None,
        });
        self.given.push_back((commit, new.collect()));
        let bytes = Bytes::from(row.encode_to_vec());
        let number = self.segment;
        let mut events = vec![Event::Commit(NewCommit {
            segment: number,
            commit,
            row: bytes,
            blobs: vec![],
            entries: vec![],
        })];
        // Its predecessor may have condemned some and not dropped them.
        let condemned: Vec<_> =
            if commit == 0 { self.log.condemned.iter().copied().collect() } else { row.condemned.clone() };
        events.extend(condemned.iter().map(|name| Event::Drop { segment: key(*name), condemned_by: commit }));
        if self.since_progress >= self.progress_commits {
            self.since_progress = 0;
            events.push(Event::Progress(self.progress(commit)));
        }
        (events, segment, row)
    }

    /// Progress as of the commit that was closed last is wanted.
    pub fn want_progress(&mut self) {
        self.since_progress = self.progress_commits;
    }

    fn progress(&mut self, as_of: u64) -> NewProgress {
        let at = CommitKey { epoch: self.epoch, commit: as_of };
        self.changed.retain(|name| self.log.segments.contains_key(name));
        let mut summaries = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let facts = self.log.segments.get(&name).into_iter().flatten();
            let text = |(&fact, &done)| if done { Item::Done(fact) } else { Item::New(fact) }.text();
            let row = SummaryRow { strings: facts.map(text).collect(), ..SummaryRow::default() };
            summaries.push((key(name), Bytes::from(row.encode_to_vec())));
            self.summaries.insert(name, at);
        }
        self.summaries.retain(|name, _| self.log.segments.contains_key(name));
        let row = self.progress_row(as_of);
        let in_use = self.summaries.iter().map(|(name, as_of)| (key(*name), *as_of)).collect();
        NewProgress { as_of, row: Bytes::from(row.encode_to_vec()), summaries, in_use }
    }

    fn progress_row(&self, as_of: u64) -> ProgressRow {
        let condemned = self.log.condemned.iter().map(|&name| SegmentRow {
            name: Some(name),
            condemned: true,
            ..SegmentRow::default()
        });
        let kept = self.summaries.iter().map(|(&name, as_of)| SegmentRow {
            name: Some(name),
            summary: Some(CommitRef { epoch_number: as_of.epoch.number, commit: as_of.commit }),
            ..SegmentRow::default()
        });
        let segments: Vec<_> = condemned.chain(kept).collect();
        let named = |segment: &SegmentRow| Some(segment.name?.epoch_number);
        let oldest = segments.iter().filter_map(named).min().unwrap_or(self.epoch.number);
        let chain = self.chain.iter().filter(|link| link.epoch_number >= oldest).copied();
        let own =
            ChainLink { epoch_number: self.epoch.number, incarnation: self.epoch.incarnation, cut: as_of };
        ProgressRow { min_reader: 1, chain: chain.chain([own]).collect(), segments, ..ProgressRow::default() }
    }
}

fn key(name: SegmentName) -> SegmentKey {
    let epoch = Epoch { number: name.epoch_number, incarnation: name.incarnation };
    SegmentKey { partition: PARTITION, epoch, segment: name.segment }
}

fn name(key: SegmentKey) -> SegmentName {
    SegmentName { epoch_number: key.epoch.number, incarnation: key.epoch.incarnation, segment: key.segment }
}
