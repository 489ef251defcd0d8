//! INV-1: an acknowledged fact is never lost.

use crate::model::Epoch;
use crate::sim::heap::Time;
use crate::sim::log::FactId;

use super::Oracle;

impl Oracle {
    /// A producer was told.
    pub fn acknowledged(&mut self, now: Time, fact: FactId, epoch: Epoch, commit: u64) {
        self.acknowledged.entry(fact).or_insert((now, epoch, commit));
    }

    pub fn is_acknowledged(&self, fact: FactId) -> bool {
        self.acknowledged.contains_key(&fact)
    }

    /// At the end: all that was acknowledged is in the last owner's history.
    pub fn check_acknowledged(&mut self, last: Epoch) {
        let ancestors = self.ancestors(last);
        let lost = self.acknowledged.iter().find(|(_, (_, epoch, commit))| {
            *epoch != last && !ancestors.iter().any(|(ancestor, cut)| ancestor == epoch && commit <= cut)
        });
        if let Some((fact, (_, epoch, commit))) = lost {
            let what =
                format!("fact {fact} was acknowledged in {epoch}/{commit} and is not in {last}'s history");
            self.fail(|| what);
        }
    }
}
