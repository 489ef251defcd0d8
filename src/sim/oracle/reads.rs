//! INV-9: an answer shows all that was acknowledged before its question, and comes from the owner.

use std::collections::BTreeSet;

use crate::model::Epoch;
use crate::sim::heap::Time;
use crate::sim::log::FactId;
use crate::sim::store::Durable;

use super::Oracle;

impl Oracle {
    /// A question that was put then is answered.
    pub fn answered(&mut self, epoch: Epoch, asked: Time, facts: &BTreeSet<FactId>, durable: &Durable) {
        let evidence = self.evidence.get(&epoch).copied();
        self.demand_rule(evidence.is_some_and(|began| began >= asked), || {
            format!("{epoch} answered a question of {asked} by a fence read begun at {evidence:?}")
        });
        let higher = durable.higher_claim(epoch, asked);
        self.demand_rule(higher.is_none(), || {
            format!("{epoch} answered a question that was put after {higher:?} was durable")
        });
        let missing: Vec<FactId> = self
            .acknowledged
            .iter()
            .filter(|(fact, (at, ..))| *at < asked && !facts.contains(fact))
            .map(|(fact, _)| *fact)
            .collect();
        if missing.is_empty() {
            return;
        }
        let last = self.rows.range((epoch, 0)..=(epoch, u64::MAX)).next_back().map_or(0, |((_, n), _)| *n);
        let given: Vec<(Epoch, u64)> =
            self.history(epoch).chain((0..=last).map(|commit| (epoch, commit))).collect();
        let condemned = self.condemned_facts(&given);
        let lost = missing.iter().find(|fact| !condemned.contains(fact)).copied();
        self.demand(lost.is_none(), || {
            format!("{epoch} answered without fact {lost:?}, acknowledged before")
        });
    }
}
