//! How many partitions of each class each worker should have.
//!
//! Each next partition goes to the worker that has, by capacity, the least with it (the method of
//! highest averages). Then, while a partition can go to a worker that has less with it than its owner
//! has now, it goes from the one who has the most to the one who has the least: of all ways to a
//! balance, steepest descent moves the fewest. Every move makes the sum over workers of
//! `n × (n + 1) / capacity` less, so there is an end.

use super::classes::Classes;
use super::{Class, Worker};

/// Numbers of partitions by class and worker.
pub(super) struct Counts {
    /// That may stay where they are.
    pub kept: Vec<Vec<u32>>,
    /// That there should be.
    pub wanted: Vec<Vec<u32>>,
}

struct Balance<'a> {
    eligible: &'a [Vec<Worker>],
    capacities: &'a [u64],
    /// Of each worker, over all classes.
    total: Vec<u64>,
    counts: Counts,
}

pub(super) fn balance(classes: &Classes, capacities: &[u64]) -> Counts {
    let mut kept = vec![vec![0; capacities.len()]; classes.eligible.len()];
    let mut orphans = vec![0_u32; classes.eligible.len()];
    let mut total = vec![0; capacities.len()];
    for place in &classes.places {
        match place.owner {
            Some(owner) => {
                kept[place.class][owner] += 1;
                total[owner] += 1;
            }
            None => orphans[place.class] += 1,
        }
    }
    let counts = Counts { wanted: kept.clone(), kept };
    let mut balance = Balance { eligible: &classes.eligible, capacities, total, counts };
    // Who has the least choice goes first.
    let mut order: Vec<Class> = (0..classes.eligible.len()).collect();
    order.sort_by_key(|class| classes.eligible[*class].len());
    for class in &order {
        balance.place(*class, orphans[*class]);
    }
    loop {
        let moved: Vec<bool> = order.iter().map(|class| balance.even_out(*class)).collect();
        if !moved.contains(&true) {
            return balance.counts;
        }
    }
}

impl Balance<'_> {
    fn place(&mut self, class: Class, orphans: u32) {
        for _ in 0..orphans {
            let Some(to) = self.least(class) else { return };
            self.counts.wanted[class][to] += 1;
            self.total[to] += 1;
        }
    }

    /// Moves partitions of a class until no move makes it better; whether there was one.
    fn even_out(&mut self, class: Class) -> bool {
        let mut moved = false;
        while let (Some(from), Some(to)) = (self.most(class), self.least(class)) {
            let has_now = self.total[from] * self.capacities[to];
            let would_have = (self.total[to] + 1) * self.capacities[from];
            if would_have >= has_now {
                break;
            }
            self.counts.wanted[class][from] -= 1;
            self.counts.wanted[class][to] += 1;
            self.total[from] -= 1;
            self.total[to] += 1;
            moved = true;
        }
        moved
    }

    /// Who would have the least with one more; of equals, one that gave some away, then the first.
    fn least(&self, class: Class) -> Option<Worker> {
        let (kept, wanted) = (&self.counts.kept[class], &self.counts.wanted[class]);
        self.eligible[class].iter().copied().min_by(|a, b| {
            let (a_has, b_has) = (self.total[*a] + 1, self.total[*b] + 1);
            let by_load = (a_has * self.capacities[*b]).cmp(&(b_has * self.capacities[*a]));
            by_load.then_with(|| (wanted[*a] >= kept[*a]).cmp(&(wanted[*b] >= kept[*b])))
        })
    }

    /// Who has the most, of those that have any of the class; of equals, one that got some, then the
    /// first.
    fn most(&self, class: Class) -> Option<Worker> {
        let (kept, wanted) = (&self.counts.kept[class], &self.counts.wanted[class]);
        let having = self.eligible[class].iter().copied().filter(|worker| wanted[*worker] > 0);
        having.min_by(|a, b| {
            let (a_has, b_has) = (self.total[*a], self.total[*b]);
            let by_load = (b_has * self.capacities[*a]).cmp(&(a_has * self.capacities[*b]));
            by_load.then_with(|| (wanted[*a] <= kept[*a]).cmp(&(wanted[*b] <= kept[*b])))
        })
    }
}
