//! What must hold, seen from outside: it knows what was sent, what was on a quorum since when, and
//! what producers were told. One small file per invariant.
//!
//! | file | invariant |
//! | --- | --- |
//! | `acknowledged` | INV-1: what was acknowledged is in the history of every later owner that releases |
//! | `chain` | INV-2: accepted history is one chain; all that was released is in its successors |
//! | `fence` | INV-2: nothing is released but after durability and a fence read begun after that |
//! | `rows` | INV-6: row 0 names what was accepted, and that is durable; a number stands for one epoch |
//! | `drops` | nothing goes that a successor may need; progress and summaries in their order |
//! | `reads` | INV-9: an answer shows all that was acknowledged before its question |
//! | `state` | what an owner starts from is what its history says, counts too |

mod acknowledged;
mod chain;
mod drops;
mod fence;
mod reads;
mod rows;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Epoch;
use crate::model::row::SegmentName;
use crate::store::CommitKey;

use super::heap::Time;
use super::log::FactId;
use super::store::Durable;

/// A commit as it was sent first.
#[derive(Debug)]
struct Row {
    segment: u32,
    bytes: bytes::Bytes,
    facts: Vec<FactId>,
    condemned: Vec<SegmentName>,
}

/// A progress row as it was sent first.
#[derive(Debug)]
struct Progress {
    live: BTreeSet<SegmentName>,
}

/// What an epoch goes on from: the head and its cut.
type Parent = Option<(Epoch, u64)>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Only what came of it counts, not how: nobody is told of a rule that was broken without harm.
    outcomes_only: bool,
    violation: Option<String>,
    rows: BTreeMap<(Epoch, u64), Row>,
    progress: BTreeMap<CommitKey, Progress>,
    parents: BTreeMap<Epoch, Parent>,
    /// Epochs with rows, by number.
    numbers: BTreeMap<u32, Epoch>,
    /// The last commit that each epoch has released.
    released: BTreeMap<Epoch, u64>,
    /// When the latest fence read began that an epoch passed.
    evidence: BTreeMap<Epoch, Time>,
    /// What each epoch started from by its own account.
    started: BTreeMap<Epoch, (BTreeSet<FactId>, u64)>,
    /// First acknowledgement of each fact, and where it is.
    acknowledged: BTreeMap<FactId, (Time, Epoch, u64)>,
}

impl Oracle {
    pub fn new(outcomes_only: bool) -> Self {
        Self { outcomes_only, ..Self::default() }
    }

    /// The first thing that went wrong.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(what);
        }
    }

    /// A rule of DESIGN.md §4: that it was broken is a violation even if no harm came of it.
    fn demand_rule(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.demand(holds || self.outcomes_only, what);
    }

    /// Accepted epochs before this one with their cuts, newest first.
    fn ancestors(&self, epoch: Epoch) -> Vec<(Epoch, u64)> {
        let mut ancestors = Vec::new();
        let mut next = self.parents.get(&epoch).copied().flatten();
        while let Some((ancestor, cut)) = next {
            ancestors.push((ancestor, cut));
            // A chain that runs in a circle is a violation of its own; here it only has to end.
            next = self.parents.get(&ancestor).copied().flatten().filter(|(older, _)| *older < ancestor);
        }
        ancestors
    }

    /// Commits of the history that an epoch accepted, oldest first.
    fn history(&self, epoch: Epoch) -> impl Iterator<Item = (Epoch, u64)> {
        let mut ancestors = self.ancestors(epoch);
        ancestors.reverse();
        ancestors.into_iter().flat_map(|(epoch, cut)| (0..=cut).map(move |commit| (epoch, commit)))
    }

    /// A call was sent again with other bytes, or two owners used one key.
    pub fn clash(&mut self, what: String) {
        self.fail(|| what);
    }

    /// What is durable when a claim ends in failure: only a claimant that is not the highest any more
    /// may find that something is gone.
    pub fn failed(&mut self, now: Time, epoch: Option<Epoch>, what: &str, durable: &Durable) {
        let superseded = epoch.is_some_and(|epoch| durable.higher_claim(epoch, now).is_some());
        self.demand(superseded, || format!("the owner {epoch:?} failed though nobody came after it: {what}"));
    }
}
