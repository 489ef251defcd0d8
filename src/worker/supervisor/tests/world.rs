//! A coordinator of its own, machines that talk to it, and time: all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::machine::Machine;
use super::super::types::{Call, ClockState, Input, Level, Output};
use super::{member, names, settings};
use crate::coordination::{
    CoordinationError, CoordinationErrorKind, LockOutcome, Member, PartitionName, SessionState, View,
    WorkerId,
};
use crate::model::PartitionId;

/// After so long without its worker, a session ends.
pub(super) const SESSION_MS: u64 = 10_000;

type SessionNumber = u64;

/// What can go wrong while it does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Per mille of calls whose outcome stays unknown.
    pub unknown: u64,
    /// Longest way of a call, an answer, a view, ms.
    pub way_ms: u64,
}

enum Event {
    Tell(usize, SessionNumber, Box<Input>),
    Arrive(usize, SessionNumber, Box<Output>),
    ShowView(usize, SessionNumber, u64, Arc<View>),
    Expire(SessionNumber),
    Wake(usize, u64),
}

pub(super) struct Node {
    pub machine: Machine,
    pub alive: bool,
    pub session: SessionNumber,
    shown: u64,
    pub owners: BTreeSet<PartitionId>,
    ending: BTreeMap<Call, PartitionId>,
    pub sure: bool,
    pub drained: bool,
    pub said: Vec<(Level, String)>,
    pub refused: Option<String>,
    wake_ms: u64,
    locks_in_flight: usize,
}

pub(super) struct World {
    pub now_ms: u64,
    seed: u64,
    pub faults: Faults,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub nodes: Vec<Node>,
    sessions: BTreeMap<SessionNumber, WorkerId>,
    members: BTreeMap<WorkerId, (Member, SessionNumber)>,
    pub locks: BTreeMap<PartitionId, (WorkerId, SessionNumber)>,
    pub drain_asked: BTreeSet<WorkerId>,
    catalog: u64,
    pub partitions: Vec<PartitionName>,
    version: u64,
    pub hand_overs: usize,
    pub let_goes: usize,
    pub owns: usize,
    /// Time at which each partition was last without an owner, or got one.
    pub reachable: bool,
}

impl World {
    pub fn new(seed: u64, partitions: u16) -> Self {
        Self {
            now_ms: 1_000,
            seed,
            faults: Faults { unknown: 0, way_ms: 5 },
            events: BTreeMap::new(),
            sequence: 0,
            nodes: Vec::new(),
            sessions: BTreeMap::new(),
            members: BTreeMap::new(),
            locks: BTreeMap::new(),
            drain_asked: BTreeSet::new(),
            catalog: 1,
            partitions: names(partitions),
            version: 0,
            hand_overs: 0,
            let_goes: 0,
            owns: 0,
            reachable: true,
        }
    }

    pub fn chance(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }

    fn way(&mut self) -> u64 {
        self.chance(self.faults.way_ms + 1)
    }

    fn at(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now_ms + after_ms, self.sequence), event);
    }

    /// A worker begins.
    pub fn start(&mut self) -> usize {
        let number = self.nodes.len();
        self.start_as(member(number))
    }

    pub fn start_as(&mut self, member: Member) -> usize {
        let number = self.nodes.len();
        let machine = Machine::new(settings(), member, number as u64 + 1);
        self.nodes.push(Node {
            machine,
            alive: true,
            session: 0,
            shown: 0,
            owners: BTreeSet::new(),
            ending: BTreeMap::new(),
            sure: false,
            drained: false,
            said: Vec::new(),
            refused: None,
            wake_ms: u64::MAX,
            locks_in_flight: 0,
        });
        let partitions = self.partitions.clone();
        self.tell(number, Input::CatalogChanged(partitions));
        self.tell(number, Input::Clock(ClockState::Right));
        number
    }

    pub fn id(&self, number: usize) -> WorkerId {
        self.nodes[number].machine.member().id
    }

    /// `kill -9`: its session goes on for a while.
    pub fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.alive = false;
        node.owners.clear();
        let session = node.session;
        self.at(SESSION_MS, Event::Expire(session));
    }

    /// It has ended as it should.
    fn leave(&mut self, number: usize) {
        self.nodes[number].alive = false;
        let session = self.nodes[number].session;
        self.expire(session);
    }

    /// The session ends, and its worker hears of it later than everybody else.
    pub fn lose_session(&mut self, number: usize, heard_after_ms: u64) {
        let session = self.nodes[number].session;
        if self.nodes[number].alive && session != 0 {
            self.tell(number, Input::Session(SessionState::Unsure));
            self.expire(session);
            self.at(
                heard_after_ms,
                Event::Tell(number, session, Box::new(Input::Session(SessionState::Lost))),
            );
        }
    }

    pub fn doubt_session(&mut self, number: usize, for_ms: u64) {
        let session = self.nodes[number].session;
        if self.nodes[number].alive && session != 0 {
            self.tell(number, Input::Session(SessionState::Unsure));
            self.at(for_ms, Event::Tell(number, session, Box::new(Input::Session(SessionState::Sure))));
        }
    }

    /// All nodes of the coordinator are gone; sessions live on.
    pub fn wipe(&mut self) {
        self.locks.clear();
        self.members.clear();
        self.changed();
    }

    pub fn ask_to_drain(&mut self, number: usize, drained: bool) {
        let id = self.id(number);
        if drained {
            self.drain_asked.insert(id);
        } else {
            self.drain_asked.remove(&id);
        }
        self.changed();
    }

    pub fn set_partitions(&mut self, count: u16) {
        self.partitions = names(count);
        self.catalog += 1;
        self.changed();
    }

    fn expire(&mut self, session: SessionNumber) {
        if self.sessions.remove(&session).is_some() {
            self.locks.retain(|_, (_, holder)| *holder != session);
            self.members.retain(|_, (_, of)| *of != session);
            self.changed();
        }
    }

    fn changed(&mut self) {
        self.version += 1;
        for number in 0..self.nodes.len() {
            self.show(number);
        }
    }

    fn show(&mut self, number: usize) {
        let session = self.nodes[number].session;
        if self.sessions.contains_key(&session) {
            let (after, version, view) = (self.way(), self.version, Arc::new(self.view()));
            self.at(after, Event::ShowView(number, session, version, view));
        }
    }

    pub fn view(&self) -> View {
        View {
            members: self.members.iter().map(|(id, (member, _))| (id.clone(), member.clone())).collect(),
            owners: self.locks.iter().map(|(partition, (id, _))| (*partition, id.clone())).collect(),
            drained: self.drain_asked.iter().cloned().collect(),
            catalog: self.catalog,
        }
    }

    pub fn tell(&mut self, number: usize, input: Input) {
        let node = &mut self.nodes[number];
        if !node.alive {
            return;
        }
        if matches!(input, Input::Lock { .. }) {
            node.locks_in_flight = node.locks_in_flight.saturating_sub(1);
        }
        if let Input::HandedOver { call, .. } = &input
            && let Some(partition) = node.ending.remove(call)
        {
            node.owners.remove(&partition);
        }
        let mut out = Vec::new();
        node.machine.handle(self.now_ms, input, &mut out);
        for output in out {
            self.done(number, output);
        }
    }

    fn done(&mut self, number: usize, output: Output) {
        let node = &mut self.nodes[number];
        match output {
            Output::Own(partition) => {
                self.owns += 1;
                assert!(node.owners.insert(partition), "{partition} is owned twice by one worker");
            }
            Output::LetGo(partition) => {
                self.let_goes += 1;
                node.owners.remove(&partition);
                node.ending.retain(|_, ending| *ending != partition);
            }
            Output::SetSure(sure) => node.sure = sure,
            Output::Say(level, text) => node.said.push((level, text)),
            Output::Refuse(text) => {
                node.refused = Some(text);
                self.leave(number);
            }
            Output::WakeAt(at_ms) => {
                assert!(at_ms > self.now_ms, "it would never sleep");
                node.wake_ms = at_ms;
                let after = at_ms - self.now_ms;
                self.at(after, Event::Wake(number, at_ms));
            }
            Output::Drained => {
                node.drained = true;
                assert!(node.owners.is_empty());
                self.leave(number);
            }
            Output::Forget => (node.session, node.shown, node.locks_in_flight) = (0, 0, 0),
            Output::HandOver { call, partition } => {
                self.hand_overs += 1;
                assert!(node.owners.contains(&partition), "{partition} is handed over and not owned");
                node.ending.insert(call, partition);
                let after = self.chance(200);
                let session = self.nodes[number].session;
                self.at(after, Event::Tell(number, session, Box::new(Input::HandedOver { call, partition })));
            }
            Output::ReloadCatalog { call } => {
                let (session, after) = (node.session, self.way());
                let partitions = (self.chance(1_000) >= self.faults.unknown).then(|| self.partitions.clone());
                let input = Box::new(Input::Catalog { call, partitions });
                self.at(after, Event::Tell(number, session, input));
            }
            call => {
                if matches!(call, Output::Lock { .. }) {
                    node.locks_in_flight += 1;
                    assert!(node.locks_in_flight <= 64, "too many locks at a time");
                }
                let (session, after) = (node.session, self.way());
                self.at(after, Event::Arrive(number, session, Box::new(call)));
            }
        }
    }

    /// A call reaches the coordinator, or does not.
    fn arrive(&mut self, number: usize, session: SessionNumber, call: Output) {
        let luck = self.chance(1_000);
        let unknown = luck < self.faults.unknown || !self.reachable;
        let happens = self.reachable && (!unknown || luck.is_multiple_of(2));
        let answer = match call {
            Output::Join { call, member } => return self.join(number, call, *member, unknown, happens),
            Output::Publish { call, member } => {
                let outcome = self.effect(session, unknown, happens, |world| {
                    world.members.insert(member.id.clone(), (*member, session));
                });
                Input::Published { call, outcome }
            }
            Output::Lock { call, partition } => {
                let id = self.id(number);
                let mut holder = None;
                let outcome = self.effect(session, unknown, happens, |world| {
                    let held = world.locks.entry(partition.id).or_insert((id, session));
                    holder = Some(held.clone());
                });
                let outcome = outcome.map(|()| match holder {
                    Some((_, of)) if of == session => LockOutcome::Locked,
                    Some((id, _)) => LockOutcome::Held(id),
                    None => unreachable!("it has arrived"),
                });
                Input::Lock { call, partition: partition.id, outcome }
            }
            Output::Unlock { call, partition } => {
                let outcome = self.effect(session, unknown, happens, |world| {
                    if world.locks.get(&partition.id).is_some_and(|(_, of)| *of == session) {
                        world.locks.remove(&partition.id);
                    }
                });
                Input::Unlock { call, partition: partition.id, outcome }
            }
            Output::RaiseCatalog { call } => {
                let outcome = self.effect(session, unknown, happens, |world| world.catalog += 1);
                Input::Raised { call, outcome }
            }
            other => unreachable!("{other:?} is no call"),
        };
        let after = self.way();
        self.at(after, Event::Tell(number, session, Box::new(answer)));
    }

    fn effect(
        &mut self,
        session: SessionNumber,
        unknown: bool,
        happens: bool,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), CoordinationError> {
        if !self.sessions.contains_key(&session) {
            return Err(CoordinationError::new(CoordinationErrorKind::SessionLost, "it is over"));
        }
        if happens {
            let before = (self.locks.clone(), self.members.clone(), self.catalog);
            change(self);
            if before != (self.locks.clone(), self.members.clone(), self.catalog) {
                self.changed();
            }
        }
        match unknown {
            true => Err(CoordinationError::new(CoordinationErrorKind::Unavailable, "no answer")),
            false => Ok(()),
        }
    }

    fn join(&mut self, number: usize, call: Call, member: Member, unknown: bool, happens: bool) {
        let node = &mut self.nodes[number];
        if !node.alive {
            return;
        }
        if unknown || !happens {
            let error = CoordinationError::new(CoordinationErrorKind::Unavailable, "away");
            return self.tell(number, Input::JoinFailed { call, error });
        }
        self.sequence += 1;
        let session = self.sequence;
        (node.session, node.shown) = (session, 0);
        self.sessions.insert(session, member.id.clone());
        self.members.insert(member.id.clone(), (member, session));
        self.tell(number, Input::Joined { call });
        self.changed();
    }

    /// Runs until then.
    pub fn run(&mut self, for_ms: u64) {
        let end_ms = self.now_ms + for_ms;
        while let Some((&(at_ms, sequence), _)) =
            self.events.first_key_value().filter(|((at, _), _)| *at <= end_ms)
        {
            let event = self.events.remove(&(at_ms, sequence)).expect("it was just seen");
            self.now_ms = at_ms;
            match event {
                Event::Tell(number, session, input) => {
                    if self.nodes[number].session == session
                        || matches!(*input, Input::HandedOver { .. } | Input::Catalog { .. })
                    {
                        self.tell(number, *input);
                    }
                }
                Event::Arrive(number, session, call) => self.arrive(number, session, *call),
                Event::ShowView(number, session, version, view) => {
                    let node = &mut self.nodes[number];
                    if node.session == session && node.shown < version {
                        node.shown = version;
                        self.tell(number, Input::View(view));
                    }
                }
                Event::Expire(session) => self.expire(session),
                Event::Wake(number, at_ms) => {
                    if self.nodes[number].wake_ms == at_ms {
                        self.tell(number, Input::Wake);
                    }
                }
            }
        }
        self.now_ms = end_ms;
    }

    /// Owners per living worker.
    pub fn loads(&self) -> Vec<usize> {
        self.nodes.iter().filter(|node| node.alive).map(|node| node.owners.len()).collect()
    }

    /// Every partition has one owner, who has its lock.
    pub fn check_owned(&self) {
        for partition in &self.partitions {
            let owners: Vec<WorkerId> = self
                .nodes
                .iter()
                .filter(|node| node.alive && node.owners.contains(&partition.id))
                .map(|node| node.machine.member().id)
                .collect();
            let lock = self.locks.get(&partition.id).map(|(id, _)| id.clone());
            assert_eq!(owners, lock.clone().into_iter().collect::<Vec<_>>(), "{partition}");
            assert!(lock.is_some(), "{partition} has no owner");
        }
        let known: BTreeSet<PartitionId> = self.partitions.iter().map(|name| name.id).collect();
        assert!(self.locks.keys().all(|partition| known.contains(partition)), "a lock of nothing");
    }

    /// No worker has more than one partition more than another.
    pub fn check_balanced(&self) {
        let loads = self.loads();
        let (least, most) = (loads.iter().min().copied(), loads.iter().max().copied());
        assert!(most <= least.map(|least| least + 1), "{loads:?} is not balanced");
    }
}
