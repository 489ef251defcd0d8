//! One run: workers, their store, producers and the oracle, driven by the heap.
//!
//! ```text
//! chaos (faults, claims at any time) ─▶ healing (no faults, one worker claims) ─▶ drained, or too late
//! ```

use bytes::Bytes;

use crate::worker::protocol::{Effect, Event as Input, Protocol, Request};

use super::app::{Opening, PARTITION};
use super::env::{Env, Fault, Faults};
use super::oracle::{Invariant, Oracle, Violation, drained};
use super::owners::{Owner, settings};
use super::plan::Plan;
use super::store::{Answer, Ask, Caller, SimStore, StoreEvent};
use super::work::{describe, has_failed, kind_of};

/// Calls for summaries are numbered from here.
pub(super) const SUMMARY_CALLS: u64 = 1 << 32;
/// Events of one run.
const STEPS_MAX: u64 = 400_000;
/// Facts that must still get through after the faults.
const LAST_FACTS: u64 = 3;
/// Time to heal, in usual delays of a message, beside the length of the chaos.
const HEAL_DELAYS: u64 = 3_000;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// In the store.
    Store(StoreEvent),
    /// A call is answered.
    Answer { caller: Caller, answer: Answer },
    /// A worker wanted to be woken.
    Wake { worker: usize, life: u64 },
    /// Somebody tries to claim.
    Claim,
    /// A worker claims.
    ClaimBy { worker: usize },
    /// A worker's program starts again.
    Restart { worker: usize },
    /// A paused worker goes on.
    Resume { worker: usize },
    /// A producer brings a fact.
    Produce,
    /// Facts are done, a reply waits for a fence.
    Finish,
    /// A replica is lost.
    LoseReplica,
    /// A worker's coordinator is cut off.
    Cut,
    /// A worker's clock is set.
    SetClock,
    /// The faults are over.
    Heal,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Events.
    pub steps: u64,
    /// Simulated time, ms.
    pub simulated_ms: u64,
    /// Faults.
    pub faults: Faults,
    /// Take-overs.
    pub taken_over: u64,
    /// Facts acknowledged.
    pub acknowledged: u64,
    /// Take-overs that came upon a hole when a higher claim was there already.
    pub stale_damage: u64,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// The story, if it was wanted.
    pub story: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub env: Env,
    pub store: SimStore,
    pub owners: Vec<Owner>,
    pub oracle: Oracle,
    pub next_fact: u64,
    pub last_facts: Vec<u64>,
    heal_by_ms: Option<u64>,
    taken_over: u64,
    pub stale_damage: u64,
}

/// Runs a plan.
pub fn run(plan: Plan, story: bool) -> Outcome {
    let mut world = World::new(plan, story);
    world.run();
    let World { env, oracle, taken_over, stale_damage, .. } = world;
    Outcome {
        steps: env.step,
        simulated_ms: env.now_ms,
        faults: env.faults,
        taken_over,
        acknowledged: oracle.acknowledged() as u64,
        stale_damage,
        trace_hash: env.trace_hash(),
        violation: oracle.violation,
        story: env.story.unwrap_or_default(),
    }
}

impl World {
    fn new(plan: Plan, story: bool) -> Self {
        let mut env = Env::new(plan, story);
        let owners = (0..plan.workers)
            .map(|_| Owner { up: true, ahead_ms: env.rng.below(5_000), ..Owner::default() })
            .collect();
        env.after(0, Event::Claim);
        for _ in 0..plan.facts {
            let at_ms = env.rng.below(plan.chaos_ms);
            env.after(at_ms, Event::Produce);
            let at_ms = env.rng.below(plan.chaos_ms);
            env.after(at_ms, Event::Finish);
        }
        if plan.replica_down_every_ms > 0 {
            env.after(plan.replica_down_every_ms / 2, Event::LoseReplica);
        }
        if plan.cut_every_ms > 0 {
            env.after(plan.cut_every_ms / 2, Event::Cut);
        }
        env.after(plan.chaos_ms / 2, Event::SetClock);
        env.after(plan.chaos_ms, Event::Heal);
        Self {
            env,
            store: SimStore::new(plan.store),
            owners,
            oracle: Oracle::default(),
            next_fact: 1,
            last_facts: Vec::new(),
            heal_by_ms: None,
            taken_over: 0,
            stale_damage: 0,
        }
    }

    fn run(&mut self) {
        while self.oracle.violation.is_none() {
            let Some((at_ms, sequence, event)) = self.env.heap.pop() else { break };
            self.env.now_ms = at_ms;
            self.env.step += 1;
            self.env.hash(&[at_ms, sequence, kind_of(&event)]);
            if self.heal_by_ms.is_some_and(|by_ms| at_ms > by_ms) || self.env.step > STEPS_MAX {
                let text = format!("not drained {} ms after the faults", at_ms - self.env.plan.chaos_ms);
                self.oracle.violated(Invariant::Drains, text);
                break;
            }
            self.happen(event);
            if self.is_drained() {
                break;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Store(event) => self.store.handle(&mut self.env, event),
            Event::Answer { caller: Caller { worker, .. }, .. }
            | Event::Wake { worker, .. }
            | Event::ClaimBy { worker } => {
                if self.owners[worker].paused {
                    self.owners[worker].inbox.push_back(event);
                } else {
                    self.take(event);
                    self.go_on(worker);
                }
            }
            Event::Claim => self.somebody_claims(),
            Event::Restart { worker } => {
                if !self.owners[worker].up {
                    self.owners[worker].up = true;
                    self.env.after(1, Event::ClaimBy { worker });
                }
            }
            Event::Resume { worker } => self.resume(worker),
            Event::Produce => self.produce(),
            Event::Finish => self.finish(),
            Event::LoseReplica => {
                let replica = self.env.rng.below(3) as usize;
                if self.env.chaos {
                    self.env.after(0, Event::Store(StoreEvent::Down { replica }));
                    if self.env.rng.chance(500) {
                        let replica = (replica + 1) % 3;
                        self.env.after(0, Event::Store(StoreEvent::Down { replica }));
                    }
                    let next_ms = 1 + self.env.rng.below(self.env.plan.replica_down_every_ms * 2);
                    self.env.after(next_ms, Event::LoseReplica);
                }
            }
            Event::Cut => {
                if self.env.chaos {
                    let worker = self.env.rng.below(self.env.plan.workers) as usize;
                    self.store.cut(&mut self.env, worker);
                    let next_ms = 1 + self.env.rng.below(self.env.plan.cut_every_ms * 2);
                    self.env.after(next_ms, Event::Cut);
                }
            }
            Event::SetClock => {
                let worker = self.env.rng.below(self.env.plan.workers) as usize;
                self.env.faults.count(Fault::Clock);
                self.owners[worker].ahead_ms = self.env.rng.below(10_000);
                self.owners[worker].bounds.clock_set = true;
            }
            Event::Heal => self.heal(),
        }
    }

    fn somebody_claims(&mut self) {
        if !self.env.chaos {
            return;
        }
        let worker = self.env.rng.below(self.env.plan.workers) as usize;
        let owns = self.owners[worker].protocol.is_some();
        if !owns || self.env.rng.chance(100) {
            self.env.after(0, Event::ClaimBy { worker });
        }
        if self.env.rng.chance(self.env.plan.together) {
            let other = self.env.rng.below(self.env.plan.workers) as usize;
            let delay_ms = self.env.delay();
            self.env.after(delay_ms, Event::ClaimBy { worker: other });
        }
        let next_ms = 1 + self.env.rng.below(self.env.plan.claim_every_ms * 2 + 1);
        self.env.after(next_ms, Event::Claim);
    }

    fn heal(&mut self) {
        self.env.chaos = false;
        self.store.heal();
        self.env.tell(|| "the faults are over".to_owned());
        let plan = self.env.plan;
        self.heal_by_ms = Some(plan.chaos_ms * 4 + plan.delay_ms * HEAL_DELAYS);
        for worker in 0..self.owners.len() {
            self.env.after(0, Event::Restart { worker });
            self.env.after(0, Event::Resume { worker });
        }
        self.env.after(1, Event::ClaimBy { worker: 0 });
        for _ in 0..LAST_FACTS {
            self.last_facts.push(self.next_fact);
            self.next_fact += 1;
        }
        self.env.after(1, Event::Produce);
    }

    fn is_drained(&self) -> bool {
        let app = self.owners.first().and_then(|owner| owner.app.as_ref());
        !self.env.chaos && app.is_some_and(|app| drained(&self.oracle, app, &self.last_facts))
    }

    /// One thing comes in at a worker that is not paused.
    fn take(&mut self, event: Event) {
        match event {
            Event::Answer { caller, answer } => self.answered(caller, answer),
            Event::Wake { worker, life } if self.owners[worker].life == life => {
                self.feed(worker, Input::Wake);
            }
            Event::ClaimBy { worker } => self.claim(worker),
            _ => {}
        }
    }

    fn claim(&mut self, worker: usize) {
        if !self.owners[worker].up || !self.env.chaos && worker != 0 {
            return;
        }
        let incarnation = self.incarnation();
        let owner = &mut self.owners[worker];
        owner.let_go();
        let name = Bytes::from(format!("worker {worker}"));
        owner.protocol = Some(Protocol::new(PARTITION, name, settings(&self.env.plan)));
        self.env.tell(|| format!("worker {worker} claims, incarnation {incarnation:016x}"));
        self.feed(worker, Input::Start { incarnation });
    }

    fn answered(&mut self, caller: Caller, answer: Answer) {
        let Caller { worker, life, call } = caller;
        let now_ms = self.clock_ms(worker);
        let owner = &mut self.owners[worker];
        if owner.life != life {
            return;
        }
        match answer {
            Answer::Reply(reply) => {
                owner.bounds.answered(call, now_ms, has_failed(&reply));
                self.feed(worker, Input::Reply { call, reply });
            }
            Answer::Summary(result) => self.summary_read(worker, call, result),
        }
    }

    /// A worker's clock, ms.
    pub fn clock_ms(&self, worker: usize) -> u64 {
        self.env.now_ms + self.owners[worker].ahead_ms
    }

    /// Gives something to a worker's protocol.
    pub fn feed(&mut self, worker: usize, input: Input) {
        let now_ms = self.clock_ms(worker);
        let owner = &mut self.owners[worker];
        let Some(protocol) = &mut owner.protocol else { return };
        let mut effects = Vec::new();
        protocol.handle(now_ms, input, &mut effects);
        owner.effects.extend(effects);
    }

    /// A worker does what it has to do, unless it crashes or is paused on the way.
    pub(super) fn go_on(&mut self, worker: usize) {
        loop {
            while !self.owners[worker].effects.is_empty() {
                if self.env.fault(self.env.plan.crash, Fault::Crash) {
                    return self.crash(worker);
                }
                if self.env.fault(self.env.plan.pause, Fault::Pause) {
                    return self.pause(worker);
                }
                if let Some(effect) = self.owners[worker].effects.pop_front() {
                    self.effect(worker, effect);
                }
            }
            if !self.commit(worker) {
                return;
            }
        }
    }

    fn crash(&mut self, worker: usize) {
        self.env.tell(|| format!("worker {worker} crashes"));
        self.owners[worker].crash();
        let later_ms = 1 + self.env.rng.below(self.env.plan.pause_ms + 1);
        self.env.after(later_ms, Event::Restart { worker });
    }

    fn pause(&mut self, worker: usize) {
        self.owners[worker].paused = true;
        let pause_ms = 1 + self.env.rng.below(self.env.plan.pause_ms + 1);
        self.env.tell(|| format!("worker {worker} is paused for {pause_ms} ms"));
        self.env.after(pause_ms, Event::Resume { worker });
    }

    fn resume(&mut self, worker: usize) {
        if !std::mem::take(&mut self.owners[worker].paused) {
            return;
        }
        self.env.tell(|| format!("worker {worker} goes on"));
        self.go_on(worker);
        while !self.owners[worker].paused
            && let Some(event) = self.owners[worker].inbox.pop_front()
        {
            self.take(event);
            self.go_on(worker);
        }
    }

    fn effect(&mut self, worker: usize, effect: Effect) {
        let life = self.owners[worker].life;
        match effect {
            Effect::Call { call, request } => self.call(worker, call, request),
            Effect::TakenOver(accepted) => self.taken_over(worker, *accepted),
            Effect::Released { up_to } => self.released(worker, up_to),
            Effect::FencePassed { ticket } => {
                if let Some(epoch) = self.owners[worker].epoch {
                    self.oracle.fence_passed(epoch, ticket, &self.store.durable);
                }
            }
            Effect::Dropped { segment } => {
                self.env.tell(|| format!("worker {worker} dropped {} of {}", segment.segment, segment.epoch));
                if let Some(app) = &mut self.owners[worker].app {
                    app.dropped(segment);
                }
            }
            Effect::Superseded { by } => {
                self.env.tell(|| format!("worker {worker} is superseded by {by}"));
                self.ended(worker);
            }
            Effect::Failed(error) => {
                self.env.tell(|| format!("worker {worker} fails: {error}"));
                let epoch = self.owners[worker].epoch;
                self.oracle.damaged(epoch, &error.message, &self.store.durable);
                self.ended(worker);
            }
            Effect::WakeAt(at_ms) => {
                let delay_ms = at_ms.saturating_sub(self.clock_ms(worker));
                self.env.after(delay_ms, Event::Wake { worker, life });
            }
            Effect::ProgressDurable { as_of } => {
                self.env.tell(|| format!("worker {worker}: progress as of {as_of} is durable"));
            }
            Effect::Claimed | Effect::Trouble(_) => {}
        }
    }

    fn call(&mut self, worker: usize, call: u64, request: Request) {
        let now_ms = self.clock_ms(worker);
        let owner = &mut self.owners[worker];
        let caller = Caller { worker, life: owner.life, call };
        if let Request::InsertClaim { claim, .. } = &request {
            owner.epoch = Some(claim.epoch);
        }
        let segments = owner.app.as_ref().map_or(0, |app| app.segments());
        let bounded = owner.bounds.called(call, now_ms, &settings(&self.env.plan), segments);
        if let Err(text) = bounded {
            self.oracle.violated(Invariant::Bounded, text);
        }
        self.env.hash(&[worker as u64, call]);
        self.env.tell(|| format!("worker {worker} ▶ {}", describe(&request)));
        self.store.call(&mut self.env, caller, Ask::Call(request));
    }

    fn taken_over(&mut self, worker: usize, accepted: crate::worker::protocol::Accepted) {
        self.taken_over += 1;
        let epoch = accepted.epoch;
        self.env.tell(|| {
            let cuts: Vec<_> =
                accepted.chain.iter().map(|l| format!("{}:{}", l.epoch_number, l.cut)).collect();
            let (chain, tail) = (cuts.join(" "), accepted.tail.len());
            let progress =
                accepted.progress.as_ref().map(|(at, _)| format!("{}/{}", at.epoch_number, at.commit));
            format!(
                "worker {worker} has taken over as {epoch}: chain {chain}, progress {progress:?}, tail {tail}"
            )
        });
        match Opening::new(accepted) {
            Ok(opening) => {
                let missing = opening.missing.clone();
                let count = missing.len();
                self.owners[worker].summaries = missing;
                self.owners[worker].opening = Some(opening);
                (0..count).for_each(|index| self.read_summary(worker, index));
                self.open_if_read(worker);
            }
            Err(what) => self.damaged(worker, &what),
        }
    }
}
