//! The simulated store: three replicas behind coordinators, or one place where every call is one
//! atomic step.
//!
//! ```text
//! write: call ─▶ coordinator ─▶ each replica (lost, late, twice, when it is back) ─▶ two acks ─▶ durable
//! read:  call ─▶ coordinator ─▶ two replicas ─▶ differ? repaired first ─▶ merged
//! either: time is up, or the coordinator gives up ─▶ not known, and it may still happen
//! ```

mod atomic;
mod quorum;
mod rows;

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::model::Epoch;
use crate::store::{AppendOutcome, CommitKey, SegmentKey, StoreError, StoreErrorKind, WriteOutcome};
use crate::worker::protocol::{Reply, Request};

use super::env::Env;
use super::plan::StoreKind;
use super::world::Event;

use atomic::Atomic;
use quorum::Quorum;
pub use rows::{Rows, What, Write};

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which worker.
    pub worker: usize,
    /// Which of its lives and claims.
    pub life: u64,
    /// Which call.
    pub call: u64,
}

/// What is asked of the store.
#[derive(Clone, Debug)]
pub enum Ask {
    /// By the protocol.
    Call(Request),
    /// By the application that opens.
    Summary(SegmentKey, CommitKey),
}

/// The answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To the protocol.
    Reply(Reply),
    /// To the application.
    Summary(Result<Option<Bytes>, StoreError>),
}

/// What happens inside.
#[derive(Clone, Debug)]
pub enum StoreEvent {
    /// A write reaches a replica.
    Arrive { op: u64, replica: usize, write: Rc<Write> },
    /// Its acknowledgement reaches the coordinator.
    Ack { op: u64, replica: usize },
    /// A read reaches a replica.
    Read { op: u64, replica: usize },
    /// What it has reaches the coordinator.
    ReadBack { op: u64, replica: usize, rows: Vec<Write> },
    /// The coordinator gives up.
    GiveUp { op: u64 },
    /// A replica is lost.
    Down { replica: usize },
    /// It is back, with what it had.
    Up { replica: usize },
    /// A call reaches the store that has but one place.
    Step { caller: Caller, ask: Box<Ask> },
}

/// The moment, counted in steps, at which something became durable.
#[derive(Debug, Default)]
pub struct DurableSince {
    /// Commits.
    pub commits: HashMap<CommitKey, u64>,
    /// Claims, in the order in which they became durable.
    pub claims: Vec<(Epoch, u64)>,
}

impl DurableSince {
    fn note(&mut self, write: &Write, step: u64) {
        match write {
            Write::Commit(segment, commit, _) => {
                let key = CommitKey { epoch: segment.epoch, commit: *commit };
                self.commits.entry(key).or_insert(step);
            }
            Write::Claim(claim) if self.claims.iter().all(|(epoch, _)| *epoch != claim.epoch) => {
                self.claims.push((claim.epoch, step));
            }
            _ => {}
        }
    }

    /// When a claim above that epoch was first durable.
    pub fn claim_above(&self, epoch: Epoch) -> Option<u64> {
        self.claims.iter().filter(|(other, _)| *other > epoch).map(|(_, step)| *step).min()
    }
}

#[derive(Debug)]
enum Kind {
    Quorum(Box<Quorum>),
    Atomic(Atomic),
}

/// See the module.
#[derive(Debug)]
pub struct SimStore {
    kind: Kind,
    /// What is durable since when.
    pub durable: DurableSince,
}

impl SimStore {
    /// An empty store.
    pub fn new(kind: StoreKind) -> Self {
        let kind = match kind {
            StoreKind::Quorum => Kind::Quorum(Box::default()),
            StoreKind::Atomic => Kind::Atomic(Atomic::default()),
        };
        Self { kind, durable: DurableSince::default() }
    }

    /// A call leaves a worker.
    pub fn call(&mut self, env: &mut Env, caller: Caller, ask: Ask) {
        match &mut self.kind {
            Kind::Quorum(quorum) => quorum.call(env, caller, ask),
            Kind::Atomic(atomic) => atomic.call(env, caller, ask),
        }
    }

    /// Something happens inside.
    pub fn handle(&mut self, env: &mut Env, event: StoreEvent) {
        match &mut self.kind {
            Kind::Quorum(quorum) => quorum.handle(env, event, &mut self.durable),
            Kind::Atomic(atomic) => atomic.handle(env, event, &mut self.durable),
        }
    }

    /// The coordinator that a worker talks to is cut off from all replicas but one, for a while.
    pub fn cut(&mut self, env: &mut Env, worker: usize) {
        if let Kind::Quorum(quorum) = &mut self.kind {
            quorum.cut(env, worker);
        }
    }

    /// Faults are over: all replicas are there.
    pub fn heal(&mut self) {
        if let Kind::Quorum(quorum) = &mut self.kind {
            quorum.heal();
        }
    }
}

/// What a call writes; none if it reads.
fn write_of(ask: &Ask) -> Option<Write> {
    let Ask::Call(request) = ask else { return None };
    match request.clone() {
        Request::InsertClaim { claim, .. } => Some(Write::Claim(claim)),
        Request::Repeat { append } | Request::Append { append } => {
            Some(Write::Commit(append.segment, append.commit, append.row))
        }
        Request::PutSummary { segment, as_of, summary } => Some(Write::Summary(segment, as_of, summary)),
        Request::PutProgress { as_of, progress, .. } => Some(Write::Progress(as_of, progress)),
        Request::DropSegment { segment } => Some(Write::Drop(segment)),
        Request::Prune { keep, summaries, .. } => Some(Write::Prune(keep, summaries)),
        Request::Claims { .. }
        | Request::Highest { .. }
        | Request::Progress { .. }
        | Request::Commits { .. } => None,
    }
}

fn what_of(ask: &Ask) -> What {
    match ask {
        Ask::Summary(segment, as_of) => What::Summary(*segment, *as_of),
        Ask::Call(Request::Progress { epoch, .. }) => What::Progress(*epoch),
        Ask::Call(Request::Commits { segment, from, .. }) => What::Commits(*segment, *from),
        Ask::Call(_) => What::Claims,
    }
}

/// The answer to a read from merged rows.
fn read(ask: &Ask, rows: &Rows) -> Answer {
    let request = match ask {
        Ask::Summary(segment, as_of) => return Answer::Summary(Ok(rows.summary(*segment, *as_of))),
        Ask::Call(request) => request,
    };
    Answer::Reply(match request {
        Request::Claims { below, limit, .. } => {
            let lower = rows.claims().filter(|claim| below.is_none_or(|below| claim.epoch < below));
            Reply::Claims(Ok(lower.take(*limit).collect()))
        }
        Request::Progress { epoch, limit, .. } => Reply::Progress(Ok(rows.progress(*epoch, *limit))),
        Request::Commits { segment, from, limit, .. } => {
            Reply::Commits(Ok(rows.commits(*segment, *from, *limit)))
        }
        _ => Reply::Highest(Ok(rows.claims().next())),
    })
}

/// The answer to a write that is durable.
fn written(ask: &Ask) -> Answer {
    Answer::Reply(match ask {
        Ask::Call(Request::Append { .. }) => Reply::Appended(AppendOutcome::Durable),
        _ => Reply::Written(WriteOutcome::Durable),
    })
}

/// The answer if nothing is known, or (of a write) that it did not happen.
fn failed(ask: &Ask, refused: bool) -> Answer {
    let kind = if refused { StoreErrorKind::Full } else { StoreErrorKind::Unavailable };
    let error = StoreError::new(kind, "a planned fault");
    let request = match ask {
        Ask::Summary(..) => return Answer::Summary(Err(error)),
        Ask::Call(request) => request,
    };
    Answer::Reply(match request {
        Request::Claims { .. } => Reply::Claims(Err(error)),
        Request::Highest { .. } => Reply::Highest(Err(error)),
        Request::Progress { .. } => Reply::Progress(Err(error)),
        Request::Commits { .. } => Reply::Commits(Err(error)),
        Request::Append { .. } if refused => Reply::Appended(AppendOutcome::Refused(error)),
        Request::Append { .. } => Reply::Appended(AppendOutcome::Unknown(error)),
        _ if refused => Reply::Written(WriteOutcome::Refused(error)),
        _ => Reply::Written(WriteOutcome::Unknown(error)),
    })
}

fn answer(env: &mut Env, caller: Caller, answer: Answer) {
    let delay_ms = env.delay();
    env.after(delay_ms, Event::Answer { caller, answer });
}
