//! Producers: facts that are offered again and again, at one worker or another, until somebody says
//! that they are safe. A fact that was not acknowledged is unknown, never absent.

use std::collections::BTreeSet;

use super::heap::{Heap, MS, SECOND, Time};
use super::log::FactId;
use super::node::NodeStep;
use super::oracle::Oracle;
use super::rng::Rng;
use super::world::{Step, World};

/// See the module.
#[derive(Debug)]
pub(crate) struct Producers {
    pub wanted: u64,
    made: u64,
    open: BTreeSet<FactId>,
}

impl Producers {
    pub fn new(wanted: u64) -> Self {
        Self { wanted, made: 0, open: BTreeSet::new() }
    }

    /// Facts are made over the whole time of chaos, or with a quiet hour between.
    pub fn plan(&mut self, chaos: Time, quiet: Time, rng: &mut Rng, heap: &mut Heap<Step>) {
        let pause_after = rng.below(chaos);
        for _ in 0..self.wanted {
            let at = rng.below(chaos);
            heap.at(if at > pause_after { at + quiet } else { at }, Step::Produce);
        }
    }

    pub fn add_probes(&mut self, many: u64, heap: &mut Heap<Step>) {
        self.wanted += many;
        (0..many).for_each(|n| heap.after((n + 1) * 100 * MS, Step::Produce));
    }

    pub fn missing(&self, oracle: &Oracle) -> Vec<FactId> {
        self.open.iter().copied().filter(|fact| !oracle.is_acknowledged(*fact)).collect()
    }

    pub fn all_acknowledged(&mut self, oracle: &Oracle) -> bool {
        self.open.retain(|fact| !oracle.is_acknowledged(*fact));
        self.made == self.wanted && self.open.is_empty()
    }
}

impl World {
    pub(super) fn produce(&mut self) {
        self.producers.made += 1;
        let fact = self.producers.made;
        self.producers.open.insert(fact);
        self.offer(fact);
    }

    pub(super) fn offer(&mut self, fact: FactId) {
        if self.oracle.is_acknowledged(fact) {
            return;
        }
        let believers: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].believes).collect();
        let anyone = self.rng.below(self.nodes.len() as u64) as usize;
        let to = self.rng.pick(&believers).filter(|_| self.rng.chance(850_000)).unwrap_or(anyone);
        self.trace.note(self.heap.now(), &[3, fact, to as u64], || {
            format!("fact {fact} is offered to worker {to}")
        });
        let way = self.rng.spread(5 * MS);
        self.heap.after(way, Step::Node { node: to, life: None, step: NodeStep::Offer(fact) });
        let patience = self.rng.between(500 * MS, 4 * SECOND);
        self.heap.after(patience, Step::Offer { fact });
    }

    pub(super) fn ask_to_look(&mut self) {
        let to = self.rng.below(self.nodes.len() as u64) as usize;
        self.at_node(to, None, NodeStep::Look);
    }
}
