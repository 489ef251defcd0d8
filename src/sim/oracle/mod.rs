//! What must hold, seen from outside: it knows every commit that any owner made, what was released
//! and when, and what producers were told. One file for each invariant.

mod bounds;
mod drains;
mod fence;
mod history;
mod needed;

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Epoch;
use crate::model::row::{ChainLink, CommitRow, SegmentName};

use super::store::DurableSince;

pub use bounds::Bounds;
pub use drains::drained;
use history::History;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub text: String,
}

/// The invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// All that was ever released, and every acknowledged fact, is in the history of every later
    /// owner that releases.
    NothingLost,
    /// Accepted history is one chain, and an owner's state is what follows from it.
    OneChain,
    /// Nothing is released unless it was durable before a higher claim was.
    Fenced,
    /// Nothing that a successor needs is dropped or pruned.
    NothingNeededDropped,
    /// What is on its way is bounded.
    Bounded,
    /// After the faults an owner takes over and gets everything done.
    Drains,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.text)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    history: History,
    /// The last commit that an epoch released.
    released: BTreeMap<Epoch, u64>,
    /// Acknowledged facts, and by whom.
    acknowledged: BTreeMap<u64, Epoch>,
    /// Fence tickets: asked at which step, commits given by then.
    tickets: BTreeMap<(Epoch, u64), (u64, u64)>,
    /// The first violation.
    pub violation: Option<Violation>,
}

impl Oracle {
    fn check(&mut self, invariant: Invariant, result: Result<(), String>) {
        if let (None, Err(text)) = (&self.violation, result) {
            self.violation = Some(Violation { invariant, text });
        }
    }

    /// Something is wrong for a reason that the world found.
    pub fn violated(&mut self, invariant: Invariant, text: impl Into<String>) {
        self.check(invariant, Err(text.into()));
    }

    /// An owner has made a commit.
    pub fn committed(&mut self, epoch: Epoch, commit: u64, segment: SegmentName, row: CommitRow) {
        self.history.committed(epoch, commit, segment, row);
    }

    /// A claimant goes on from there.
    pub fn taken_over(&mut self, epoch: Epoch, chain: &[ChainLink], facts: BTreeMap<u64, bool>) {
        self.history.taken_over(epoch, chain, facts);
    }

    /// An owner has released its commits up to that one.
    pub fn released(&mut self, epoch: Epoch, up_to: u64, facts: &[u64], durable: &DurableSince) {
        let first = !self.released.contains_key(&epoch);
        let from = self.released.insert(epoch, up_to).map_or(0, |last| last + 1);
        self.acknowledged.extend(facts.iter().map(|fact| (*fact, epoch)));
        self.check(Invariant::Fenced, fence::check(epoch, from..=up_to, durable));
        if first {
            self.check(Invariant::OneChain, self.history.check_state(epoch, durable));
            for (&earlier, &last) in self.released.range(..epoch) {
                let result = self.history.check_contains(epoch, earlier, last);
                if result.is_err() {
                    self.check(Invariant::NothingLost, result);
                    break;
                }
            }
            // An owner that was paused before an effect may come after its successors.
            let earlier = self.acknowledged.iter().filter(|(_, by)| **by <= epoch);
            let facts = earlier.map(|(fact, _)| *fact).collect();
            self.check(Invariant::NothingLost, self.history.check_facts(epoch, &facts));
        }
        let later: Vec<Epoch> = self.released.keys().filter(|other| **other > epoch).copied().collect();
        for other in later {
            self.check(Invariant::NothingLost, self.history.check_contains(other, epoch, up_to));
        }
    }

    /// A reply without a commit of its own is to wait for a fence read.
    pub fn ticket(&mut self, epoch: Epoch, ticket: u64, step: u64, given: u64) {
        self.tickets.insert((epoch, ticket), (step, given));
    }

    /// It is sent.
    pub fn fence_passed(&mut self, epoch: Epoch, ticket: u64, durable: &DurableSince) {
        let Some((step, given)) = self.tickets.remove(&(epoch, ticket)) else {
            return self.violated(Invariant::Fenced, format!("ticket {ticket} of {epoch} passed twice"));
        };
        let released = self.released.get(&epoch).map_or(0, |last| last + 1);
        let result = fence::check_ticket(epoch, step, given, released, durable);
        self.check(Invariant::Fenced, result);
    }

    /// A take-over came upon something that is not there or makes no sense.
    pub fn damaged(&mut self, epoch: Option<Epoch>, what: &str, durable: &DurableSince) {
        self.check(Invariant::NothingNeededDropped, needed::check(epoch, what, durable));
    }

    /// How many facts were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// True if that fact was acknowledged.
    pub fn is_acknowledged(&self, fact: u64) -> bool {
        self.acknowledged.contains_key(&fact)
    }
}
