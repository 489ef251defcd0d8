//! Accepted history is one chain; what was released is on it, for every later owner that releases;
//! and an owner's state is what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Epoch;
use crate::model::row::{ChainLink, CommitRow, SegmentName};

use super::super::app::{Item, Log, items};

#[derive(Debug)]
struct Taken {
    chain: Vec<ChainLink>,
    facts: BTreeMap<u64, bool>,
}

/// Every commit that was ever made, and what claimants went on from.
#[derive(Debug, Default)]
pub(super) struct History {
    rows: BTreeMap<(Epoch, u64), (SegmentName, CommitRow)>,
    taken: BTreeMap<Epoch, Taken>,
}

impl History {
    pub fn committed(&mut self, epoch: Epoch, commit: u64, segment: SegmentName, row: CommitRow) {
        self.rows.insert((epoch, commit), (segment, row));
    }

    pub fn taken_over(&mut self, epoch: Epoch, chain: &[ChainLink], facts: BTreeMap<u64, bool>) {
        self.taken.insert(epoch, Taken { chain: chain.to_vec(), facts });
    }

    /// Epochs and cuts before that epoch, newest first, as its first rows name them.
    fn chain(&self, epoch: Epoch) -> Result<Vec<(Epoch, u64)>, String> {
        let mut chain = Vec::new();
        let mut at = epoch;
        loop {
            let (_, first) = self.rows.get(&(at, 0)).ok_or_else(|| format!("{at} has no first row"))?;
            let origin = first.origin.as_ref().ok_or_else(|| format!("row 0 of {at} names no origin"))?;
            let Some(head) = origin.head else { return Ok(chain) };
            let before = Epoch { number: head.epoch_number, incarnation: head.incarnation };
            if before >= at {
                return Err(format!("{at} goes on from {before}"));
            }
            chain.push((before, head.cut));
            at = before;
        }
    }

    /// The state that a claimant went on from is what its chain makes.
    pub fn check_state(&self, epoch: Epoch) -> Result<(), String> {
        let chain = self.chain(epoch)?;
        let taken = self.taken.get(&epoch).ok_or_else(|| format!("{epoch} never took over"))?;
        for link in &taken.chain {
            let named = Epoch { number: link.epoch_number, incarnation: link.incarnation };
            if !chain.contains(&(named, link.cut)) {
                return Err(format!(
                    "{epoch} counts {named} up to {} as accepted, its rows do not",
                    link.cut
                ));
            }
        }
        let mut log = Log::default();
        for &(before, cut) in chain.iter().rev() {
            for commit in 0..=cut {
                let Some((segment, row)) = self.rows.get(&(before, commit)) else {
                    return Err(format!("{epoch} accepts commit {commit} of {before}, which was never made"));
                };
                log.apply(*segment, row)?;
            }
        }
        let expected = log.facts();
        if expected == taken.facts {
            return Ok(());
        }
        let missing = expected.iter().find(|(fact, done)| taken.facts.get(fact) != Some(done));
        let other = taken.facts.iter().find(|(fact, done)| expected.get(fact) != Some(done));
        Err(format!("{epoch} has another state than its history: {missing:?} there, {other:?} here"))
    }

    /// What an earlier epoch released is on the chain of a later one.
    pub fn check_contains(&self, later: Epoch, earlier: Epoch, last: u64) -> Result<(), String> {
        let chain = self.chain(later)?;
        match chain.iter().find(|(epoch, _)| *epoch == earlier) {
            Some((_, cut)) if *cut >= last => Ok(()),
            Some((_, cut)) => Err(format!("{earlier} released up to {last}, {later} accepts it up to {cut}")),
            None => Err(format!("{earlier} released up to {last}, {later} does not accept it at all")),
        }
    }

    /// Every acknowledged fact was brought in by a commit of the epoch or of its chain.
    pub fn check_facts(&self, epoch: Epoch, acknowledged: &BTreeSet<u64>) -> Result<(), String> {
        let mut known = BTreeSet::new();
        for (of, cut) in self.chain(epoch)?.into_iter().chain([(epoch, u64::MAX)]) {
            for (_, row) in self.rows.range((of, 0)..=(of, cut)).map(|(_, row)| row) {
                known.extend(items(row).into_iter().filter_map(|item| match item {
                    Item::New(fact) => Some(fact),
                    Item::Done(_) => None,
                }));
            }
        }
        match acknowledged.difference(&known).next() {
            Some(fact) => Err(format!("fact {fact} was acknowledged, and {epoch} knows nothing of it")),
            None => Ok(()),
        }
    }
}
