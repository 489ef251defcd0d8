//! INV-2: of two epochs that released, the later one has all that the earlier one released, on one chain.

use crate::model::Epoch;

use super::Oracle;

impl Oracle {
    /// An epoch has released up to that commit: compared with all others that ever released.
    pub(super) fn check_chain(&mut self, epoch: Epoch) {
        let others: Vec<Epoch> = self.released.keys().copied().filter(|other| *other != epoch).collect();
        for other in others {
            let (older, newer) = (epoch.min(other), epoch.max(other));
            let Some(&last) = self.released.get(&older) else { continue };
            let accepted = self.ancestors(newer).into_iter().find(|(ancestor, _)| *ancestor == older);
            let holds = accepted.is_some_and(|(_, cut)| cut >= last);
            self.demand(holds, || {
                format!(
                    "{newer} released, and of {older}, which released up to {last}, it accepted {:?}",
                    accepted.map(|(_, cut)| cut)
                )
            });
        }
    }
}
