//! Calls on their way between a worker, a coordinator and the replicas.

use std::collections::{BTreeMap, VecDeque};

use crate::sim::faults::{Fault, Faults};
use crate::sim::heap::{Heap, MS, SECOND, Time};
use crate::sim::rng::Rng;
use crate::store::{AppendOutcome, StoreError, StoreErrorKind};
use crate::worker::protocol::Request;

use super::replica::{Answer, Change, Query, Replica, merge};
use super::{Durable, Fact, StoreKind};

/// Whom an answer goes to: a worker, which life of it, and its own name of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub node: usize,
    pub life: u64,
    pub call: u64,
}

/// What is to happen in the store.
#[derive(Debug)]
pub(crate) enum StoreStep {
    Arrive { op: u64, replica: usize, change: Option<Box<Change>> },
    Respond { op: u64, replica: usize, answer: Answer, stage: u32 },
    TimeOut { op: u64 },
    Down(usize),
    Up(usize),
    Rebuilt(usize),
    Full(bool),
}

/// The store's word, on its way to the caller.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Read(Answer),
    Durable,
    /// An append to a file.
    Append(AppendOutcome),
    Unknown,
    Refused,
}

#[derive(Debug)]
struct Op {
    caller: Caller,
    began: Time,
    /// When a file took the write: reading the claim was part of that step.
    taken: Option<Time>,
    query: Option<Query>,
    /// Writes, one after another: the first is on its way.
    changes: VecDeque<Change>,
    stage: u32,
    responses: Vec<(usize, Answer)>,
    /// The coordinator does not live to answer.
    mute: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ops {
    pub kind: StoreKind,
    pub replicas: Vec<Replica>,
    up: Vec<bool>,
    full: bool,
    pub durable: Durable,
    next: u64,
    open: BTreeMap<u64, Op>,
    /// Longest way of a message, for this run.
    way_us: Time,
    read_repair: bool,
    /// Two writes with other bytes under one key.
    pub clash: Option<String>,
}

/// An answer that is ready.
#[derive(Debug)]
pub(crate) struct Answered {
    pub caller: Caller,
    pub said: Said,
    pub began: Time,
}

const TIME_OUT: Time = 2 * SECOND;

impl Ops {
    pub fn new(kind: StoreKind, rng: &mut Rng) -> Self {
        Self {
            kind,
            replicas: vec![Replica::default(); kind.replicas()],
            up: vec![true; kind.replicas()],
            full: false,
            durable: Durable::default(),
            next: 0,
            open: BTreeMap::new(),
            way_us: rng.between(200, 20 * MS),
            read_repair: rng.chance(800_000),
            clash: None,
        }
    }

    /// A read begins.
    pub fn read(&mut self, caller: Caller, query: Query, around: &mut Around<'_>) {
        self.begin(caller, Some(query), VecDeque::new(), around);
    }

    /// A write begins: of these one after another, each durable before the next is sent.
    pub fn write(&mut self, caller: Caller, changes: VecDeque<Change>, around: &mut Around<'_>) {
        self.begin(caller, None, changes, around);
    }

    fn begin(
        &mut self,
        caller: Caller,
        query: Option<Query>,
        changes: VecDeque<Change>,
        around: &mut Around<'_>,
    ) {
        self.next += 1;
        let mute = around.strikes(Fault::CoordinatorFails, 20_000);
        let began = around.heap.now();
        let (responses, stage) = (Vec::new(), 0);
        self.open
            .insert(self.next, Op { caller, began, taken: None, query, changes, stage, responses, mute });
        around.plan(TIME_OUT, StoreStep::TimeOut { op: self.next });
        self.send(self.next, around);
    }

    /// Sends an op's present stage to the replicas.
    fn send(&mut self, number: u64, around: &mut Around<'_>) {
        let Some(op) = self.open.get(&number) else { return };
        let change = op.changes.front().cloned();
        let reads = op.query.is_some();
        // A read asks two of three, now and then all.
        let skip = (reads && self.replicas.len() == 3 && around.rng.chance(800_000))
            .then(|| around.rng.below(3) as usize);
        for replica in (0..self.replicas.len()).filter(|replica| Some(*replica) != skip) {
            let step = || StoreStep::Arrive { op: number, replica, change: change.clone().map(Box::new) };
            let way = self.way(around);
            if around.strikes(Fault::LostRequest, 30_000) {
                continue;
            }
            if around.strikes(Fault::LateRequest, 30_000) {
                let late = around.rng.spread(20 * SECOND);
                around.plan(TIME_OUT + late, step());
            } else if !reads && around.strikes(Fault::HintedHandOff, 15_000) {
                let late = around.rng.between(10 * SECOND, 7_200 * SECOND);
                around.plan(late, step());
            } else {
                around.plan(way, step());
            }
            if !reads && around.strikes(Fault::TwiceDelivered, 20_000) {
                let late = around.rng.spread(600 * SECOND);
                around.plan(way + late, step());
            }
        }
    }

    fn way(&self, around: &mut Around<'_>) -> Time {
        50 + around.rng.spread(self.way_us)
    }

    /// Goes one step on; an answer may be ready.
    pub fn step(&mut self, step: StoreStep, around: &mut Around<'_>) -> Option<Answered> {
        match step {
            StoreStep::Arrive { op, replica, change } => self.arrive(op, replica, change, around),
            StoreStep::Respond { op, replica, answer, stage } => {
                self.respond(op, replica, answer, stage, around)
            }
            StoreStep::TimeOut { op } => {
                let Op { caller, began, .. } = self.open.remove(&op)?;
                Some(Answered { caller, began, said: Said::Unknown })
            }
            StoreStep::Down(replica) => {
                // Never two at a time: more than that is not promised.
                if self.up.iter().all(|up| *up) {
                    self.up[replica] = false;
                }
                None
            }
            StoreStep::Up(replica) => {
                self.up[replica] = true;
                None
            }
            StoreStep::Rebuilt(replica) => {
                self.rebuild(replica, around.heap.now());
                None
            }
            StoreStep::Full(full) => {
                self.full = full;
                None
            }
        }
    }

    /// The only way in which a lost replica comes back: with all that the two others have.
    fn rebuild(&mut self, replica: usize, now: Time) {
        let mut fresh = Replica::default();
        for (other, rows) in self.replicas.iter().enumerate() {
            if other != replica {
                fresh.take_in(rows);
            }
        }
        let old = std::mem::replace(&mut self.replicas[replica], fresh);
        let (before, after) = (old.facts(), self.replicas[replica].facts());
        before.difference(&after).for_each(|fact| self.durable.lost(*fact));
        let quorum = self.kind.quorum();
        after.difference(&before).for_each(|fact| self.durable.arrived(now, *fact, quorum));
    }

    fn arrive(
        &mut self,
        number: u64,
        replica: usize,
        change: Option<Box<Change>>,
        around: &mut Around<'_>,
    ) -> Option<Answered> {
        if !self.up[replica] {
            // Kept for it by another, and handed over when it is back.
            if let Some(change) = change {
                let later = around.rng.between(SECOND, 30 * SECOND);
                around.plan(later, StoreStep::Arrive { op: number, replica, change: Some(change) });
            }
            return None;
        }
        let stage = self.open.get(&number).map_or(0, |op| op.stage);
        let answer = match change {
            Some(change) => {
                if self.full && self.kind == StoreKind::File {
                    let Op { caller, began, .. } = self.open.remove(&number)?;
                    around.faults.count(Fault::DiskFull);
                    return Some(Answered { caller, began, said: Said::Refused });
                }
                if let Some(outcome) = self.superseded_in_file(&change) {
                    let Op { caller, began, .. } = self.open.remove(&number)?;
                    return Some(Answered { caller, began, said: Said::Append(outcome) });
                }
                let now = around.heap.now();
                self.apply(replica, &change, now);
                if let Some(op) = self.open.get_mut(&number) {
                    op.taken.get_or_insert(now);
                }
                Answer::Done
            }
            None => {
                let query = self.open.get(&number)?.query.as_ref()?;
                self.replicas[replica].read(query)
            }
        };
        if !around.strikes(Fault::LostAnswer, 30_000) {
            let way = self.way(around);
            around.plan(way, StoreStep::Respond { op: number, replica, answer, stage });
        }
        None
    }

    /// A file checks the claim in the append's own transaction. A repeated row of an accepted epoch
    /// comes as a change of its own kind and is not checked.
    fn superseded_in_file(&self, change: &Change) -> Option<AppendOutcome> {
        let Change::Row(segment, ..) = change else { return None };
        let higher = self.replicas[0].highest_claim().filter(|highest| *highest > segment.epoch)?;
        (self.kind == StoreKind::File).then_some(AppendOutcome::Superseded(higher))
    }

    fn apply(&mut self, replica: usize, change: &Change, now: Time) {
        match self.replicas[replica].apply(change) {
            Ok(true) => {
                if let Some(fact) = Fact::of(change) {
                    self.durable.arrived(now, fact, self.kind.quorum());
                }
            }
            Ok(false) => {}
            Err(()) => self.clash = Some(format!("other bytes under one key: {change:?}")),
        }
    }

    fn respond(
        &mut self,
        number: u64,
        replica: usize,
        answer: Answer,
        stage: u32,
        around: &mut Around<'_>,
    ) -> Option<Answered> {
        let quorum = self.kind.quorum();
        let op = self.open.get_mut(&number).filter(|op| op.stage == stage)?;
        if op.responses.iter().all(|(other, _)| *other != replica) {
            op.responses.push((replica, answer));
        }
        if op.responses.len() < quorum {
            return None;
        }
        if op.changes.len() > 1 {
            op.changes.pop_front();
            op.stage += 1;
            op.responses.clear();
            self.send(number, around);
            return None;
        }
        if op.mute {
            return None;
        }
        let Op { caller, began, taken, query, changes, responses, .. } = self.open.remove(&number)?;
        let Some(query) = query else {
            let appended = self.kind == StoreKind::File && matches!(changes.front(), Some(Change::Row(..)));
            let said = if appended { Said::Append(AppendOutcome::Fenced) } else { Said::Durable };
            let began = taken.filter(|_| appended).unwrap_or(began);
            return Some(Answered { caller, began, said });
        };
        let asked: Vec<usize> = responses.iter().map(|(replica, _)| *replica).collect();
        let mut answers = responses.into_iter().map(|(_, answer)| answer);
        let first = answers.next()?;
        let answer = answers.fold(first, |one, other| merge(&query, one, other));
        if self.read_repair {
            self.repair(&query, &answer, &asked, around.heap.now());
        }
        Some(Answered { caller, began, said: Said::Read(answer) })
    }

    /// Blocking read repair: what a read has put together is on all whom it asked before it is answered.
    fn repair(&mut self, query: &Query, answer: &Answer, asked: &[usize], now: Time) {
        let changes: Vec<Change> = match (query, answer) {
            (_, Answer::Claims(claims, _)) => {
                claims.iter().map(|claim| Change::Claim(claim.epoch, claim.owner.clone())).collect()
            }
            (Query::Protocol(Request::Progress { epoch, .. }), Answer::Progress(rows, _)) => rows
                .iter()
                .map(|(commit, row)| {
                    Change::Progress(crate::store::CommitKey { epoch: *epoch, commit: *commit }, row.clone())
                })
                .collect(),
            (Query::Protocol(Request::Commits { segment, .. }), Answer::Commits(rows, _)) => {
                rows.iter().map(|row| Change::Row(*segment, row.commit, row.row.clone())).collect()
            }
            _ => Vec::new(),
        };
        for change in &changes {
            for &replica in asked {
                self.apply(replica, change, now);
            }
        }
    }

    /// From now on all replicas are there.
    pub fn heal(&mut self) {
        self.up.iter_mut().for_each(|up| *up = true);
        self.full = false;
    }
}

/// What a step may draw from and plan on.
pub(crate) struct Around<'a> {
    pub heap: &'a mut Heap<crate::sim::world::Step>,
    pub rng: &'a mut Rng,
    pub faults: &'a mut Faults,
}

impl Around<'_> {
    fn plan(&mut self, delay: Time, step: StoreStep) {
        self.heap.after(delay, crate::sim::world::Step::Store(step));
    }

    fn strikes(&mut self, fault: Fault, per_million: u64) -> bool {
        self.faults.strikes(self.rng, fault, per_million)
    }
}

/// The error of a call that was not answered in time.
pub(crate) fn unavailable() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "no answer in time")
}

/// The error of a full disk.
pub(crate) fn full() -> StoreError {
    StoreError::new(StoreErrorKind::Full, "no space left")
}
