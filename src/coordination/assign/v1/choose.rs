//! Which partitions move, and which of the gaining workers gets which.
//!
//! A worker that has too many gives from the group of which it has the most; a worker that gets some
//! gets them from the group of which it has the least.

use std::collections::{BTreeMap, BinaryHeap};

use super::classes::Classes;
use super::counts::Counts;
use super::{Candidate, Class, Place, Worker, liking, mix};
use crate::model::GroupNumber;

/// The owner of each place, in order.
pub(super) fn choose(
    classes: &Classes,
    counts: &Counts,
    candidates: &[Candidate<'_>],
) -> Vec<Option<Worker>> {
    let mut owners: Vec<Option<Worker>> = classes.places.iter().map(|place| place.owner).collect();
    for class in 0..classes.eligible.len() {
        let mut gaining = Gaining::new(classes, counts, class);
        give(classes, counts, class, &gaining, candidates, &mut owners);
        gaining.take(classes, class, candidates, &mut owners);
    }
    owners
}

/// A group that a worker has partitions of, by what is given first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    partitions: usize,
    hash: u64,
    group: GroupNumber,
}

/// Frees what owners have too much of.
fn give(
    classes: &Classes,
    counts: &Counts,
    class: Class,
    gaining: &Gaining,
    candidates: &[Candidate<'_>],
    owners: &mut [Option<Worker>],
) {
    let surplus = |worker: Worker| counts.kept[class][worker].saturating_sub(counts.wanted[class][worker]);
    let mut held: BTreeMap<Worker, BTreeMap<GroupNumber, Vec<usize>>> = BTreeMap::new();
    for at in &classes.members[class] {
        if let Some(owner) = owners[*at].filter(|owner| surplus(*owner) > 0) {
            let group = classes.places[*at].partition.group;
            held.entry(owner).or_default().entry(group).or_default().push(*at);
        }
    }
    for (worker, mut groups) in held {
        let hash = |group: GroupNumber| mix(candidates[worker].hash ^ u64::from(group));
        let holding = |(group, places): (&GroupNumber, &Vec<usize>)| Holding {
            partitions: places.len(),
            hash: hash(*group),
            group: *group,
        };
        let mut heap: BinaryHeap<Holding> = groups.iter().map(holding).collect();
        for places in groups.values_mut() {
            // Given from the end: what is liked best elsewhere goes first.
            places.sort_by_cached_key(|at| gaining.liking(&classes.places[*at], candidates));
        }
        for _ in 0..surplus(worker) {
            // A worker has what it has too much of.
            let Some(mut most) = heap.pop() else { break };
            if let Some(at) = groups.get_mut(&most.group).and_then(Vec::pop) {
                owners[at] = None;
            }
            most.partitions -= 1;
            if most.partitions > 0 {
                heap.push(most);
            }
        }
    }
}

/// The workers that get more of a class, and how many.
struct Gaining {
    workers: Vec<(Worker, u32)>,
}

impl Gaining {
    fn new(classes: &Classes, counts: &Counts, class: Class) -> Self {
        let gain =
            |worker: &Worker| counts.wanted[class][*worker].saturating_sub(counts.kept[class][*worker]);
        let workers = classes.eligible[class].iter().map(|worker| (*worker, gain(worker)));
        Self { workers: workers.filter(|(_, gain)| *gain > 0).collect() }
    }

    fn liking(&self, place: &Place, candidates: &[Candidate<'_>]) -> u64 {
        self.workers.iter().map(|(worker, _)| liking(&candidates[*worker], place)).max().unwrap_or(0)
    }

    /// Gives what is free to them.
    fn take(
        &mut self,
        classes: &Classes,
        class: Class,
        candidates: &[Candidate<'_>],
        owners: &mut [Option<Worker>],
    ) {
        if self.workers.is_empty() {
            return;
        }
        let mut free: BTreeMap<GroupNumber, Vec<usize>> = BTreeMap::new();
        for at in classes.members[class].iter().filter(|at| owners[**at].is_none()) {
            free.entry(classes.places[*at].partition.group).or_default().push(*at);
        }
        let mut groups: Vec<(GroupNumber, Vec<usize>)> = free.into_iter().collect();
        // The largest first: they are the hardest to spread.
        groups.sort_by_key(|(group, places)| (std::cmp::Reverse(places.len()), *group));
        for (group, places) in groups {
            let mut of_group = of_group(classes, owners, group, candidates.len());
            for at in places {
                let best =
                    self.workers.iter_mut().filter(|(_, gain)| *gain > 0).max_by_key(|(worker, gain)| {
                        let fewest = std::cmp::Reverse(of_group[*worker]);
                        (fewest, *gain, liking(&candidates[*worker], &classes.places[at]))
                    });
                // There is as much to get as is free, or nobody can serve it.
                let Some((worker, gain)) = best else { return };
                *gain -= 1;
                of_group[*worker] += 1;
                owners[at] = Some(*worker);
            }
        }
    }
}

/// How many partitions of a group each worker has.
fn of_group(classes: &Classes, owners: &[Option<Worker>], group: GroupNumber, workers: usize) -> Vec<u32> {
    let first = classes.places.partition_point(|place| place.partition.group < group);
    let in_group = classes.places[first..].iter().take_while(|place| place.partition.group == group);
    let mut counts = vec![0; workers];
    for (at, _) in in_group.enumerate() {
        if let Some(owner) = owners[first + at] {
            counts[owner] += 1;
        }
    }
    counts
}
