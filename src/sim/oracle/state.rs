//! What an owner starts from is what its history says: facts and counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Epoch;
use crate::model::row::SegmentName;
use crate::sim::log::FactId;

use super::Oracle;

impl Oracle {
    /// An owner has loaded its state.
    pub fn started(&mut self, epoch: Epoch, facts: BTreeSet<FactId>, counted: u64) {
        self.started.insert(epoch, (facts, counted));
    }

    /// Compared when the epoch releases for the first time: one that never does may have read anything.
    pub(super) fn check_start(&mut self, epoch: Epoch) {
        let Some((facts, counted)) = self.started.remove(&epoch) else { return };
        let mut segments: BTreeMap<SegmentName, Vec<FactId>> = BTreeMap::new();
        for (of, commit) in self.history(epoch).collect::<Vec<_>>() {
            let Some(row) = self.rows.get(&(of, commit)) else {
                return self.fail(|| format!("{epoch} accepted {of}/{commit}, which nobody wrote"));
            };
            let name =
                SegmentName { epoch_number: of.number, incarnation: of.incarnation, segment: row.segment };
            segments.entry(name).or_default().extend(&row.facts);
            for condemned in &row.condemned {
                segments.remove(condemned);
            }
        }
        let expected: BTreeSet<FactId> = segments.values().flatten().copied().collect();
        let difference: Vec<&FactId> = expected.symmetric_difference(&facts).collect();
        self.demand(difference.is_empty(), || {
            format!("{epoch} started from other facts than its history has: {difference:?}")
        });
        let count = segments.values().map(|facts| facts.len() as u64).sum::<u64>();
        self.demand(count == counted, || format!("{epoch} counts {counted} facts, and there are {count}"));
    }

    /// Facts whose segment some commit of a history condemns.
    pub(super) fn condemned_facts(&self, history: &[(Epoch, u64)]) -> BTreeSet<FactId> {
        let rows = || history.iter().filter_map(|key| Some((key.0, self.rows.get(key)?)));
        let condemned: BTreeSet<SegmentName> =
            rows().flat_map(|(_, row)| row.condemned.iter().copied()).collect();
        rows()
            .filter(|(epoch, row)| {
                condemned.contains(&SegmentName {
                    epoch_number: epoch.number,
                    incarnation: epoch.incarnation,
                    segment: row.segment,
                })
            })
            .flat_map(|(_, row)| row.facts.iter().copied())
            .collect()
    }
}
