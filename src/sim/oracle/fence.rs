//! INV-2: nothing is released whose fence read began before it was durable, or after a higher claim was.

use crate::model::Epoch;
use crate::sim::heap::Time;
use crate::sim::store::{Durable, Fact};

use super::Oracle;

impl Oracle {
    /// A worker was told that its claim is the highest, by a read that began then.
    pub fn fence_read(&mut self, epoch: Epoch, began: Time, durable: &Durable) {
        let higher = durable.higher_claim(epoch, began);
        self.demand_rule(higher.is_none(), || {
            format!(
                "the store showed {epoch} as the highest to a read that began after {higher:?} was durable"
            )
        });
        let latest = self.evidence.entry(epoch).or_insert(began);
        *latest = (*latest).max(began);
    }

    /// An owner gives out the effects of its commits up to that one.
    pub fn released(&mut self, epoch: Epoch, up_to: u64, durable: &Durable) {
        let before = self.released.insert(epoch, up_to);
        let from = before.map_or(0, |last| last + 1);
        self.demand(from <= up_to, || format!("{epoch} released {up_to} after {before:?}"));
        let evidence = self.evidence.get(&epoch).copied();
        for commit in from..=up_to {
            let since = durable.since(Fact::Row(epoch, commit));
            let holds = matches!((since, evidence), (Some(since), Some(began)) if since <= began);
            self.demand_rule(holds, || {
                format!(
                    "{epoch} released {commit}, durable since {since:?}; its latest fence read began at {evidence:?}"
                )
            });
        }
        if before.is_none() {
            self.check_start(epoch);
        }
        self.check_chain(epoch);
    }
}
