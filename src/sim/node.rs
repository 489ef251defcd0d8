//! A worker: the product's protocol with a log on it, and what happens to processes.
//!
//! Everything inside is lost with a crash. While it is paused nothing reaches it; what was on its way
//! arrives when it goes on, its own effects included.

use std::collections::{BTreeMap, VecDeque};

use super::faults::Fault;
use super::heap::{MS, SECOND, Time};
use super::log::{FactId, Log, Out};
use super::store::{Answer, Answered, Around, Caller, Change, Query, Said, full, unavailable};
use super::story;
use super::world::{Step, World};
use crate::model::Epoch;
use crate::store::{AppendOutcome, WriteOutcome};
use crate::worker::protocol::{Event, Reply, Request};

/// Unix ms at which runs begin.
const START_MS: u64 = 1_700_000_000_000;
/// Calls of one claim that may be open at once: 8 appends, 8 summaries, 8 drops, a fence read, progress,
/// pruning; while it takes over, 8 rows that are written again.
const CALLS_MAX: usize = 27;

/// What happens to a worker.
#[derive(Debug)]
pub(crate) enum NodeStep {
    Answered(Box<Answered>),
    Wake,
    /// A word from the coordinator about one of its sessions.
    Lock {
        session: u64,
        holds: bool,
    },
    Claim,
    Offer(FactId),
    Look,
    Crash,
    Restart,
    Pause(Time),
    Clock(i64),
}

/// What a call that is on its way was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Claims,
    Highest,
    Progress,
    Commits,
    Append(Epoch),
    Write,
    Summary,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub up: bool,
    /// Raised by each crash, and by each claim: what belongs to an earlier one counts for nothing.
    pub life: u64,
    claim: u64,
    started: bool,
    paused_until: Time,
    skew_ms: i64,
    /// It thinks that it holds the lock.
    pub believes: bool,
    /// The latest session that it heard of.
    session: u64,
    log: Option<Log>,
    calls: BTreeMap<u64, Asked>,
    /// Questions: ticket, and when it was put.
    looks: BTreeMap<u64, Time>,
    next_look: u64,
}

impl Node {
    pub fn epoch(&self) -> Option<Epoch> {
        self.log.as_ref()?.protocol.epoch()
    }

    fn now_ms(&self, now: Time) -> u64 {
        (START_MS + now / MS).saturating_add_signed(self.skew_ms)
    }
}

impl World {
    pub(super) fn plan_node_faults(&mut self, chaos: Time) {
        for node in 0..self.nodes.len() {
            self.nodes[node].up = true;
            for (fault, most) in [(Fault::Crash, 4), (Fault::Pause, 4), (Fault::ClockJump, 3)] {
                if !self.faults.allows(fault) {
                    continue;
                }
                for _ in 0..self.rng.below(most) {
                    self.faults.count(fault);
                    let at = self.rng.below(chaos);
                    let step = match fault {
                        Fault::Crash => NodeStep::Crash,
                        Fault::Pause => NodeStep::Pause(self.rng.spread(120 * SECOND)),
                        _ => NodeStep::Clock(self.rng.below(7_200_000) as i64 - 3_600_000),
                    };
                    self.heap.at(at, Step::Node { node, life: None, step });
                }
            }
        }
    }

    pub(super) fn heal_nodes(&mut self) {
        for node in 0..self.nodes.len() {
            let now = self.heap.now();
            self.nodes[node].paused_until = self.nodes[node].paused_until.min(now + SECOND);
            if !self.nodes[node].up {
                self.heap.after(MS, Step::Node { node, life: None, step: NodeStep::Restart });
            }
        }
    }

    /// Something happens at a worker, if it is still the one that it is meant for.
    pub(super) fn at_node(&mut self, node: usize, life: Option<u64>, step: NodeStep) {
        let now = self.heap.now();
        let it = &mut self.nodes[node];
        if life.is_some_and(|life| life != it.life) {
            return;
        }
        let from_outside =
            matches!(step, NodeStep::Crash | NodeStep::Restart | NodeStep::Pause(_) | NodeStep::Clock(_));
        if it.paused_until > now && !from_outside {
            let until = it.paused_until;
            self.heap.at(until, Step::Node { node, life, step });
            return;
        }
        if !it.up && !matches!(step, NodeStep::Restart) {
            return;
        }
        match step {
            NodeStep::Answered(answered) => self.called(node, *answered),
            NodeStep::Wake => self.with_log(node, |log, now_ms, outs| log.handle(now_ms, Event::Wake, outs)),
            NodeStep::Lock { session, holds } => self.told(node, session, holds),
            NodeStep::Claim => self.claim(node),
            NodeStep::Offer(fact) => {
                self.with_log(node, |log, now_ms, outs| log.offer(now_ms, fact, outs));
            }
            NodeStep::Look => self.look(node),
            NodeStep::Crash => self.crash(node),
            NodeStep::Restart => {
                self.nodes[node].up = true;
                self.trace.note(now, &[10, node as u64], || format!("worker {node} is started again"));
            }
            NodeStep::Pause(long) => {
                if !self.healed {
                    self.nodes[node].paused_until = now + long;
                    self.trace.note(now, &[11, node as u64, long], || {
                        format!("worker {node} is paused for {} ms", long / MS)
                    });
                }
            }
            NodeStep::Clock(by_ms) => {
                self.nodes[node].skew_ms += by_ms;
                self.trace.note(now, &[12, node as u64], || format!("clock of worker {node}: {by_ms} ms"));
            }
        }
    }

    fn crash(&mut self, node: usize) {
        if self.healed {
            return;
        }
        let now = self.heap.now();
        self.trace.note(now, &[13, node as u64], || format!("worker {node} is killed"));
        let it = &mut self.nodes[node];
        let (life, skew_ms) = (it.life + 1, it.skew_ms);
        *it = Node { life, skew_ms, claim: it.claim, ..Node::default() };
        self.session_lost(node);
        let later = self.rng.spread(20 * SECOND);
        self.heap.after(later, Step::Node { node, life: None, step: NodeStep::Restart });
    }

    fn told(&mut self, node: usize, session: u64, holds: bool) {
        let it = &mut self.nodes[node];
        if session < it.session {
            return;
        }
        it.session = session;
        self.trace.note(self.heap.now(), &[21, node as u64, session], || {
            format!("worker {node} {} the lock", if holds { "holds" } else { "does not hold" })
        });
        it.believes = holds;
        if !holds {
            self.end_claim(node);
        } else if it.log.is_none() {
            self.claim(node);
        }
    }

    fn end_claim(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.log.take().is_some() {
            it.calls.clear();
            it.looks.clear();
            it.started = false;
        }
    }

    /// Claims the partition with bits drawn anew.
    fn claim(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if !it.believes || it.log.is_some() {
            return;
        }
        it.claim += 1;
        it.log = Some(Log::new(self.log));
        // Small numbers make for stories that can be read; the order of two is a matter of chance.
        let incarnation = self.rng.bits() >> 40 << 8 | node as u64;
        self.with_log(node, |log, now_ms, outs| log.handle(now_ms, Event::Start { incarnation }, outs));
    }

    fn look(&mut self, node: usize) {
        let now = self.heap.now();
        let it = &mut self.nodes[node];
        it.next_look += 1;
        let ticket = it.next_look;
        it.looks.insert(ticket, now);
        let mut taken = false;
        self.with_log(node, |log, now_ms, outs| taken = log.look(now_ms, ticket, outs));
        if !taken {
            self.nodes[node].looks.remove(&ticket);
        }
    }

    /// Gives something to the worker's log, and does what it asks for.
    fn with_log(&mut self, node: usize, give: impl FnOnce(&mut Log, u64, &mut Vec<Out>)) {
        let now_ms = self.nodes[node].now_ms(self.heap.now());
        let Some(log) = &mut self.nodes[node].log else { return };
        let mut outs = Vec::new();
        give(log, now_ms, &mut outs);
        for out in outs {
            self.carry_out(node, out);
        }
        let calls = self.nodes[node].calls.values().filter(|asked| **asked != Asked::Summary);
        let bounded = calls.count() <= CALLS_MAX;
        if !bounded {
            self.oracle.fail(|| format!("worker {node} has more than {CALLS_MAX} calls open"));
        }
    }

    fn carry_out(&mut self, node: usize, out: Out) {
        let now = self.heap.now();
        // What follows the end of a claim in the same breath is not said any more.
        if self.nodes[node].log.is_none() {
            return;
        }
        let epoch = self.nodes[node].epoch();
        match out {
            Out::Call { call, request } => self.call(node, call, request),
            Out::ReadSummary { call, segment, as_of } => {
                self.nodes[node].calls.insert(call, Asked::Summary);
                self.read(node, call, Query::Summary(segment, as_of));
            }
            Out::WakeAt(at_ms) => {
                let wait = at_ms.saturating_sub(self.nodes[node].now_ms(now)) * MS;
                let life = Some(self.nodes[node].life);
                self.heap.after(wait, Step::Node { node, life, step: NodeStep::Wake });
            }
            Out::TakenOver { epoch, origin } => {
                self.take_overs += 1;
                self.trace.note(now, &[14, node as u64, epoch.incarnation], || {
                    format!("worker {node} has taken over as {epoch}, on {:?}", origin.head)
                });
                self.oracle.taken_over(epoch, &origin);
            }
            Out::Opened { facts, counted } => {
                if let Some(epoch) = epoch {
                    self.oracle.started(epoch, facts, counted);
                }
            }
            Out::Released { up_to } => {
                let Some(epoch) = epoch else { return };
                self.trace.note(now, &[15, node as u64, up_to], || format!("{epoch} releases up to {up_to}"));
                self.oracle.released(epoch, up_to, &self.ops.durable);
            }
            Out::Acknowledged { fact, commit } => {
                let Some(epoch) = epoch else { return };
                let late = self.faults.strikes(&mut self.rng, Fault::LateEffect, 30_000);
                let wait = if late { self.rng.spread(60 * SECOND) } else { self.rng.spread(2 * MS) };
                self.heap.after(wait, Step::Acknowledge { fact, epoch, commit });
            }
            Out::Looked { ticket, facts } => {
                let asked = self.nodes[node].looks.remove(&ticket);
                if let (Some(asked), Some(epoch)) = (asked, epoch) {
                    self.trace.note(now, &[16, node as u64, ticket], || format!("{epoch} answers a look"));
                    self.oracle.answered(epoch, asked, &facts, &self.ops.durable);
                }
            }
            Out::Superseded => {
                self.trace.note(now, &[17, node as u64], || format!("worker {node} is superseded"));
                self.end_claim(node);
                self.claim_later(node);
            }
            Out::Failed(what) => {
                self.trace.note(now, &[18, node as u64], || format!("worker {node} fails: {what}"));
                let claimed = self.claimed(node);
                self.oracle.failed(now, claimed, &what, &self.ops.durable);
                self.end_claim(node);
                self.claim_later(node);
            }
        }
    }

    /// The claim that a worker is busy with, as the store has it.
    fn claimed(&self, node: usize) -> Option<Epoch> {
        self.nodes[node].epoch().or_else(|| {
            let claims = self.ops.replicas.iter().flat_map(|replica| replica.claims.keys());
            claims.copied().filter(|epoch| epoch.incarnation & 0xFF == node as u64).max()
        })
    }

    fn claim_later(&mut self, node: usize) {
        let wait = self.rng.between(50 * MS, 2 * SECOND);
        let life = Some(self.nodes[node].life);
        self.heap.after(wait, Step::Node { node, life, step: NodeStep::Claim });
    }

    fn call(&mut self, node: usize, call: u64, request: Request) {
        let (asked, query, changes) = match &request {
            Request::Claims { .. } => (Asked::Claims, true, VecDeque::new()),
            Request::Highest { .. } => (Asked::Highest, true, VecDeque::new()),
            Request::Progress { .. } => (Asked::Progress, true, VecDeque::new()),
            Request::Commits { .. } => (Asked::Commits, true, VecDeque::new()),
            Request::InsertClaim { claim, .. } => {
                (Asked::Write, false, [Change::Claim(claim.epoch, claim.owner.clone())].into())
            }
            Request::Append { append } => {
                self.oracle.appending(append, &self.ops.durable);
                let row = Change::Row(append.segment, append.commit, append.row.clone());
                (Asked::Append(append.segment.epoch), false, [row].into())
            }
            Request::Repeat { append } => {
                self.oracle.repeating(append);
                let row = Change::Again(append.segment, append.commit, append.row.clone());
                (Asked::Write, false, [row].into())
            }
            Request::PutSummary { segment, as_of, summary } => {
                (Asked::Write, false, [Change::Summary(*segment, *as_of, summary.clone())].into())
            }
            Request::PutProgress { as_of, progress, .. } => {
                self.oracle.writing_progress(self.heap.now(), *as_of, progress, &self.ops.durable);
                (Asked::Write, false, [Change::Progress(*as_of, progress.clone())].into())
            }
            Request::DropSegment { segment } => {
                if let Some(epoch) = self.nodes[node].epoch() {
                    self.oracle.dropping(epoch, *segment, &self.ops.durable);
                }
                (Asked::Write, false, [Change::Drop(*segment)].into())
            }
            Request::Prune { keep, summaries, .. } => {
                self.oracle.pruning(*keep, &self.ops.durable);
                (Asked::Write, false, [Change::Prune(*keep, summaries.clone())].into())
            }
        };
        self.trace.note(self.heap.now(), &[19, node as u64, call], || {
            format!("worker {node}: call {call}: {}", story::asked(&request))
        });
        self.nodes[node].calls.insert(call, asked);
        if query {
            self.read(node, call, Query::Protocol(request));
        } else {
            let (caller, mut around) = self.around(node, call);
            let ops = around.0;
            ops.write(caller, changes, &mut around.1);
        }
    }

    fn read(&mut self, node: usize, call: u64, query: Query) {
        let (caller, (ops, mut around)) = self.around(node, call);
        ops.read(caller, query, &mut around);
    }

    fn around(&mut self, node: usize, call: u64) -> (Caller, (&mut super::store::Ops, Around<'_>)) {
        let it = &self.nodes[node];
        let caller = Caller { node, life: it.life << 32 | it.claim, call };
        let around = Around { heap: &mut self.heap, rng: &mut self.rng, faults: &mut self.faults };
        (caller, (&mut self.ops, around))
    }

    /// The store answers.
    fn called(&mut self, node: usize, answered: Answered) {
        let it = &mut self.nodes[node];
        if answered.caller.life != it.life << 32 | it.claim {
            return;
        }
        let Some(asked) = it.calls.remove(&answered.caller.call) else { return };
        let call = answered.caller.call;
        let epoch = it.epoch();
        let said = &answered.said;
        self.trace.note(self.heap.now(), &[20, node as u64, call], || {
            format!("worker {node}: call {call} is answered: {}", story::said(said))
        });
        let reply = match (asked, answered.said) {
            (Asked::Summary, Said::Read(Answer::Value(summary, _))) => Err(summary),
            (Asked::Summary, _) => {
                return self.with_log(node, |log, _, outs| log.read_again(call, outs));
            }
            (asked, said) => Ok(reply(asked, said)),
        };
        // Whoever reads that it is the highest has evidence from the moment at which the read began.
        let shown = match (&reply, asked) {
            (Ok(Reply::Highest(Ok(Some(claim)))), _) => epoch.filter(|epoch| *epoch == claim.epoch),
            (Ok(Reply::Appended(AppendOutcome::Fenced)), Asked::Append(epoch)) => Some(epoch),
            _ => None,
        };
        if let Some(epoch) = shown {
            self.oracle.fence_read(epoch, answered.began, &self.ops.durable);
        }
        self.with_log(node, |log, now_ms, outs| log.reply(now_ms, call, reply, outs));
    }
}

/// The store's word in the product's terms.
fn reply(asked: Asked, said: Said) -> Reply {
    match (asked, said) {
        (Asked::Claims, Said::Read(Answer::Claims(claims, _))) => Reply::Claims(Ok(claims)),
        (Asked::Highest, Said::Read(Answer::Claims(claims, _))) => {
            Reply::Highest(Ok(claims.into_iter().next()))
        }
        (Asked::Progress, Said::Read(Answer::Progress(rows, _))) => Reply::Progress(Ok(rows)),
        (Asked::Commits, Said::Read(Answer::Commits(rows, _))) => Reply::Commits(Ok(rows)),
        (Asked::Append(_), Said::Append(outcome)) => Reply::Appended(outcome),
        (Asked::Append(_), Said::Durable) => Reply::Appended(AppendOutcome::Durable),
        (Asked::Append(_), Said::Refused) => Reply::Appended(AppendOutcome::Refused(full())),
        (Asked::Append(_), _) => Reply::Appended(AppendOutcome::Unknown(unavailable())),
        (Asked::Write, Said::Durable) => Reply::Written(WriteOutcome::Durable),
        (Asked::Write, Said::Refused) => Reply::Written(WriteOutcome::Refused(full())),
        (Asked::Write | Asked::Summary, _) => Reply::Written(WriteOutcome::Unknown(unavailable())),
        (Asked::Claims, _) => Reply::Claims(Err(unavailable())),
        (Asked::Highest, _) => Reply::Highest(Err(unavailable())),
        (Asked::Progress, _) => Reply::Progress(Err(unavailable())),
        (Asked::Commits, _) => Reply::Commits(Err(unavailable())),
    }
}
