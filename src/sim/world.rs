//! One run: workers that want one partition, a store, a coordinator, producers, and an oracle.
//!
//! ```text
//! chaos (faults of the kinds that the seed has drawn) ──▶ healed ──▶ all is acknowledged ──▶ checked
//! ```
//!
//! Whatever fails is the run's first violation, and ends it.

use super::faults::{ALL_FAULTS, Fault, Faults};
use super::heap::{Heap, MS, SECOND, Time};
use super::lock::{Lock, LockStep};
use super::log::{FactId, LogSettings};
use super::node::{Node, NodeStep};
use super::oracle::Oracle;
use super::producers::Producers;
use super::rng::Rng;
use super::store::{Around, Ops, StoreKind, StoreStep};
use super::trace::Trace;
use crate::model::Epoch;
use crate::worker::protocol::ProtocolSettings;

/// Events of one run: more means that something goes round in circles.
const EVENTS_MAX: u64 = 2_000_000;
/// After the faults everything is acknowledged within this.
const HEALED_WITHIN: Time = 180 * SECOND;

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Step {
    Store(StoreStep),
    Node {
        node: usize,
        life: Option<u64>,
        step: NodeStep,
    },
    Lock(LockStep),
    Produce,
    Offer {
        fact: FactId,
    },
    Look,
    /// An effect leaves a worker.
    Acknowledge {
        fact: FactId,
        epoch: Epoch,
        commit: u64,
    },
    Heal,
    GiveUp,
}

/// What a run is made of, apart from its seed.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Keep the story.
    pub trace: bool,
    /// Workers at most.
    pub nodes_max: usize,
    /// Kinds of fault that may happen, by bit.
    pub fault_mask: u32,
    /// Facts at most.
    pub facts_max: u64,
    /// A broken rule counts only if harm comes of it.
    pub outcomes_only: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { trace: false, nodes_max: 5, fault_mask: ALL_FAULTS, facts_max: 120, outcomes_only: false }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct RunReport {
    /// Hash of all that happened.
    pub hash: u64,
    /// What went wrong first.
    pub violation: Option<String>,
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Faults, in the order of their kinds.
    pub(crate) faults: [u64; Fault::ALL.len()],
    /// Epochs that took over.
    pub take_overs: u64,
    /// Events.
    pub events: u64,
    /// The story, if it was asked for.
    pub lines: Vec<String>,
}

pub(crate) struct World {
    pub heap: Heap<Step>,
    pub rng: Rng,
    pub faults: Faults,
    pub trace: Trace,
    pub ops: Ops,
    pub oracle: Oracle,
    pub nodes: Vec<Node>,
    pub lock: Lock,
    pub producers: Producers,
    pub log: LogSettings,
    pub healed: bool,
    pub take_overs: u64,
}

/// Runs one seed.
pub fn run(seed: u64, options: RunOptions) -> RunReport {
    let mut world = World::new(seed, options);
    world.plan(options);
    let mut events = 0;
    while world.oracle.violation().is_none()
        && events < EVENTS_MAX
        && let Some(step) = world.heap.next()
    {
        events += 1;
        if world.step(step) {
            break;
        }
    }
    if events >= EVENTS_MAX {
        world.oracle.fail(|| format!("{EVENTS_MAX} events, and no end"));
    }
    if let Some(violation) = world.oracle.violation() {
        let violation = violation.to_owned();
        world.trace.note(world.heap.now(), &[99], || format!("VIOLATION: {violation}"));
    }
    RunReport {
        hash: world.trace.hash(),
        violation: world.oracle.violation().map(str::to_owned),
        simulated_us: world.heap.now(),
        faults: world.faults.counts(),
        take_overs: world.take_overs,
        events,
        lines: world.trace.into_lines(),
    }
}

impl World {
    fn new(seed: u64, options: RunOptions) -> Self {
        let mut rng = Rng::new(seed);
        let faults = Faults::draw(&mut rng, options.fault_mask);
        let kind = if rng.chance(750_000) { StoreKind::Cluster } else { StoreKind::File };
        let nodes = rng.between(2, 5).min(options.nodes_max.max(1) as u64) as usize;
        let protocol = ProtocolSettings {
            appends_in_flight_max: rng.between(1, 8) as usize,
            page_rows_max: rng.between(1, 8) as usize,
            ..ProtocolSettings::default()
        };
        let log = LogSettings {
            segment_commits: rng.between(1, 5),
            segments_kept: rng.between(1, 6) as usize,
            progress_commits: rng.between(1, 8),
            facts_per_commit: rng.between(1, 4) as usize,
            protocol,
        };
        let mut chance = rng.fork();
        Self {
            heap: Heap::new(),
            ops: Ops::new(kind, &mut chance),
            faults,
            trace: Trace::new(options.trace),
            oracle: Oracle::new(options.outcomes_only),
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            lock: Lock::default(),
            producers: Producers::new(rng.between(5, options.facts_max.max(5))),
            log,
            healed: false,
            take_overs: 0,
            rng,
        }
    }

    /// Plans the run: when it ends, and the faults that come from outside.
    fn plan(&mut self, options: RunOptions) {
        let facts = self.producers.wanted;
        let text = format!(
            "{} workers, {:?}, {facts} facts, {:?}; faults of {} kinds may happen",
            self.nodes.len(),
            self.ops.kind,
            self.log,
            options.fault_mask.count_ones(),
        );
        self.trace.note(0, &[facts], || text);
        let chaos = self.rng.between(5 * SECOND, 40 * SECOND);
        let quiet = self.faults.strikes(&mut self.rng, Fault::QuietHour, 300_000);
        let hour = if quiet { 3_600 * SECOND } else { 0 };
        self.producers.plan(chaos, hour, &mut self.rng, &mut self.heap);
        self.heap.at(chaos + hour, Step::Heal);
        self.heap.at(chaos + hour + HEALED_WITHIN, Step::GiveUp);
        self.heap.at(MS, Step::Lock(LockStep::Grant));
        for _ in 0..self.rng.below(12) {
            let at = self.rng.below(chaos);
            self.heap.at(at, Step::Look);
        }
        self.plan_node_faults(chaos);
        self.plan_lock_faults(chaos);
        self.plan_replica_faults(chaos);
    }

    fn plan_replica_faults(&mut self, chaos: Time) {
        let replicas = self.ops.kind.replicas() as u64;
        for (fault, most) in [(Fault::ReplicaDown, 4), (Fault::ReplicaReplaced, 2), (Fault::DiskFull, 3)] {
            if !self.faults.allows(fault) {
                continue;
            }
            for _ in 0..self.rng.below(most + 1) {
                let (at, long) = (self.rng.below(chaos), self.rng.spread(15 * SECOND));
                let replica = self.rng.below(replicas) as usize;
                if fault == Fault::DiskFull {
                    self.heap.at(at, Step::Store(StoreStep::Full(true)));
                    self.heap.at(at + long, Step::Store(StoreStep::Full(false)));
                    continue;
                }
                if fault == Fault::ReplicaReplaced && replicas < 3 {
                    continue;
                }
                self.faults.count(fault);
                self.heap.at(at, Step::Store(StoreStep::Down(replica)));
                if fault == Fault::ReplicaReplaced {
                    self.heap.at(at + long, Step::Store(StoreStep::Rebuilt(replica)));
                }
                self.heap.at(at + long, Step::Store(StoreStep::Up(replica)));
            }
        }
    }

    /// One step. True if the run is over.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Store(step) => {
                let mut around =
                    Around { heap: &mut self.heap, rng: &mut self.rng, faults: &mut self.faults };
                if let Some(answered) = self.ops.step(step, &mut around) {
                    let node = answered.caller.node;
                    self.at_node(node, None, NodeStep::Answered(Box::new(answered)));
                }
                if let Some(clash) = self.ops.clash.take() {
                    self.oracle.clash(clash);
                }
            }
            Step::Node { node, life, step } => self.at_node(node, life, step),
            Step::Lock(step) => self.lock_step(step),
            Step::Produce => self.produce(),
            Step::Offer { fact } => self.offer(fact),
            Step::Look => self.ask_to_look(),
            Step::Acknowledge { fact, epoch, commit } => {
                self.trace.note(self.heap.now(), &[1, fact, commit], || {
                    format!("fact {fact} is acknowledged by {epoch} in commit {commit}")
                });
                self.oracle.acknowledged(self.heap.now(), fact, epoch, commit);
            }
            Step::Heal => self.heal(),
            Step::GiveUp => {
                let missing = self.producers.missing(&self.oracle);
                self.oracle.fail(|| format!("not healed: facts {missing:?} are still not acknowledged"));
            }
        }
        self.healed && self.is_drained()
    }

    fn heal(&mut self) {
        self.trace.note(self.heap.now(), &[2], || "the faults are over".into());
        self.healed = true;
        self.faults.end();
        self.ops.heal();
        self.heal_nodes();
        self.heal_lock();
        // Whatever happened before, what comes now gets through.
        self.producers.add_probes(5, &mut self.heap);
    }

    /// All facts are acknowledged, and one owner has them all.
    fn is_drained(&mut self) -> bool {
        if !self.producers.all_acknowledged(&self.oracle) {
            return false;
        }
        let owners = self.nodes.iter().filter_map(Node::epoch);
        if let Some(last) = owners.max() {
            self.oracle.check_acknowledged(last);
        }
        true
    }
}
