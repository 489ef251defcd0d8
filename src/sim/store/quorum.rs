//! Three replicas, and what coordinators do with them.

use std::collections::HashMap;
use std::rc::Rc;

use crate::worker::protocol::Request;

use super::super::env::{Env, Fault};
use super::super::world::Event;
use super::rows::{Rows, Write};
use super::{Ask, Caller, DurableSince, StoreEvent, answer, failed, read, what_of, write_of, written};

const REPLICAS: usize = 3;
const QUORUM: u32 = 2;
/// Longest time that a coordinator waits, in usual delays.
const TIMEOUT_DELAYS: u64 = 40;

#[derive(Debug)]
struct Op {
    caller: Caller,
    ask: Ask,
    /// Replicas that have acknowledged the write, or its repair, by bit.
    acks: u32,
    /// Replicas asked, by bit (reads).
    asked: u32,
    /// What replicas have sent (reads).
    read: Vec<(usize, Vec<Write>)>,
    /// Rows in the making of the answer.
    merged: Rows,
    repairing: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quorum {
    replicas: [Rows; REPLICAS],
    down: [bool; REPLICAS],
    /// Workers whose coordinator reaches but one replica, and until when.
    cuts: HashMap<usize, (usize, u64)>,
    ops: HashMap<u64, Op>,
    next: u64,
}

impl Quorum {
    pub fn call(&mut self, env: &mut Env, caller: Caller, ask: Ask) {
        self.next += 1;
        let op = self.next;
        let write = write_of(&ask);
        let repeats = matches!(ask, Ask::Call(Request::Repeat { .. }));
        self.ops.insert(
            op,
            Op {
                caller,
                ask,
                acks: 0,
                asked: 0,
                read: Vec::new(),
                merged: Rows::default(),
                repairing: false,
            },
        );
        let timeout_ms = env.plan.delay_ms * TIMEOUT_DELAYS;
        let nobody = repeats && env.fault(env.plan.repeat_given_up, Fault::Unknown);
        let given_up = nobody || env.fault(env.plan.given_up, Fault::Unknown);
        let give_up_ms = if given_up { env.rng.below(env.plan.delay_ms * 4) } else { timeout_ms };
        env.after(give_up_ms, Event::Store(StoreEvent::GiveUp { op }));
        // The way to the coordinator.
        if env.fault(env.plan.lost / 2, Fault::Lost) {
            return;
        }
        let way_ms = env.delay();
        match write {
            Some(write) => {
                // A coordinator that crashes has reached some replicas, or none.
                let some = if nobody { 0 } else { env.rng.below(1 << REPLICAS) };
                let reached = if given_up { some } else { u64::MAX };
                self.send_write(env, op, way_ms, &Rc::new(write), reached);
            }
            None => self.send_read(env, op, way_ms),
        }
    }

    fn send_write(&self, env: &mut Env, op: u64, way_ms: u64, write: &Rc<Write>, reached: u64) {
        for replica in (0..REPLICAS).filter(|replica| reached & 1 << replica != 0) {
            self.send_to(env, op, way_ms, replica, write);
        }
    }

    fn send_to(&self, env: &mut Env, op: u64, way_ms: u64, replica: usize, write: &Rc<Write>) {
        let arrive = || Event::Store(StoreEvent::Arrive { op, replica, write: Rc::clone(write) });
        let far_ms = env.plan.chaos_ms / 2 + env.plan.delay_ms;
        if !self.reaches(env, op, replica) || env.fault(env.plan.lost, Fault::Lost) {
            return;
        }
        let late = env.fault(env.plan.late, Fault::Late);
        let delay_ms = way_ms + if late { env.rng.below(far_ms) } else { env.delay() };
        env.after(delay_ms, arrive());
        if env.fault(env.plan.twice, Fault::Twice) {
            let again_ms = way_ms + env.rng.below(far_ms);
            env.after(again_ms, arrive());
        }
    }

    /// Two replicas, mostly such as are there.
    fn send_read(&mut self, env: &mut Env, op: u64, way_ms: u64) {
        let first = env.rng.below(REPLICAS as u64) as usize;
        let mut order = [first, (first + 1) % REPLICAS, (first + 2) % REPLICAS];
        if env.rng.chance(500) {
            order.swap(1, 2);
        }
        if env.rng.chance(800) {
            order.sort_by_key(|&replica| self.down[replica]);
        }
        for &replica in order.iter().take(QUORUM as usize) {
            if let Some(open) = self.ops.get_mut(&op) {
                open.asked |= 1 << replica;
            }
            if self.reaches(env, op, replica) && !env.fault(env.plan.lost, Fault::Lost) {
                let delay_ms = way_ms + env.delay();
                env.after(delay_ms, Event::Store(StoreEvent::Read { op, replica }));
            }
        }
    }

    pub fn handle(&mut self, env: &mut Env, event: StoreEvent, durable: &mut DurableSince) {
        match event {
            StoreEvent::Arrive { op, replica, write } => self.arrive(env, op, replica, &write, durable),
            StoreEvent::Ack { op, replica } => self.ack(env, op, replica),
            StoreEvent::Read { op, replica } => self.read_at(env, op, replica),
            StoreEvent::ReadBack { op, replica, rows } => self.read_back(env, op, replica, rows),
            StoreEvent::GiveUp { op } => {
                if let Some(open) = self.ops.remove(&op) {
                    answer(env, open.caller, failed(&open.ask, false));
                }
            }
            StoreEvent::Down { replica } => self.lose(env, replica),
            StoreEvent::Up { replica } => {
                self.down[replica] = false;
                env.tell(|| format!("replica {replica} is back"));
            }
            StoreEvent::Step { .. } => {}
        }
    }

    pub fn heal(&mut self) {
        self.down = [false; REPLICAS];
        self.cuts.clear();
    }

    pub fn cut(&mut self, env: &mut Env, worker: usize) {
        env.faults.count(Fault::Cut);
        let (replica, length_ms) =
            (env.rng.below(REPLICAS as u64) as usize, env.rng.below(env.plan.cut_every_ms * 2 + 1));
        self.cuts.insert(worker, (replica, env.now_ms + length_ms));
        env.tell(|| format!("worker {worker} reaches but replica {replica} for {length_ms} ms"));
    }

    fn reaches(&self, env: &Env, op: u64, replica: usize) -> bool {
        let cut = self.ops.get(&op).and_then(|open| self.cuts.get(&open.caller.worker));
        cut.is_none_or(|&(near, until_ms)| near == replica || until_ms < env.now_ms)
    }

    fn lose(&mut self, env: &mut Env, replica: usize) {
        if !env.chaos || self.down[replica] {
            return;
        }
        env.faults.count(Fault::ReplicaDown);
        self.down[replica] = true;
        env.tell(|| format!("replica {replica} is lost"));
        let back_ms = 1 + env.rng.below(env.plan.chaos_ms / 5 + 1);
        env.after(back_ms, Event::Store(StoreEvent::Up { replica }));
    }

    fn arrive(
        &mut self,
        env: &mut Env,
        op: u64,
        replica: usize,
        write: &Rc<Write>,
        durable: &mut DurableSince,
    ) {
        if self.down[replica] {
            // A hint may be kept for it; it is delivered whenever.
            if env.rng.chance(300) {
                let later_ms = 1 + env.rng.below(env.plan.chaos_ms + 1);
                let write = Rc::clone(write);
                env.after(later_ms, Event::Store(StoreEvent::Arrive { op: 0, replica, write }));
            }
            return;
        }
        self.replicas[replica].apply(write);
        let have = self.replicas.iter().filter(|rows| rows.has(write)).count();
        if have >= QUORUM as usize {
            durable.note(write, env.step);
        }
        if op != 0 && !env.fault(env.plan.lost, Fault::Lost) {
            let delay_ms = env.delay();
            env.after(delay_ms, Event::Store(StoreEvent::Ack { op, replica }));
        }
    }

    fn ack(&mut self, env: &mut Env, op: u64, replica: usize) {
        let Some(open) = self.ops.get_mut(&op) else { return };
        open.acks |= 1 << replica;
        let enough = if open.repairing {
            open.acks & open.asked == open.asked
        } else {
            open.acks.count_ones() >= QUORUM
        };
        if enough && let Some(open) = self.ops.remove(&op) {
            let reply = if open.repairing { read(&open.ask, &open.merged) } else { written(&open.ask) };
            answer(env, open.caller, reply);
        }
    }

    fn read_at(&mut self, env: &mut Env, op: u64, replica: usize) {
        let Some(open) = self.ops.get(&op) else { return };
        if self.down[replica] || env.fault(env.plan.lost, Fault::Lost) {
            return;
        }
        let rows = self.replicas[replica].read(&what_of(&open.ask));
        let delay_ms = env.delay();
        env.after(delay_ms, Event::Store(StoreEvent::ReadBack { op, replica, rows }));
    }

    fn read_back(&mut self, env: &mut Env, op: u64, replica: usize, rows: Vec<Write>) {
        let Some(open) = self.ops.get_mut(&op) else { return };
        rows.iter().for_each(|write| open.merged.apply(write));
        open.read.push((replica, rows));
        let [(first, its), (second, others)] = open.read.as_slice() else { return };
        let missing_there = others.iter().filter(|write| !its.contains(write)).map(|write| (*first, write));
        let missing_here = its.iter().filter(|write| !others.contains(write)).map(|write| (*second, write));
        let repairs: Vec<_> = missing_there
            .chain(missing_here)
            .map(|(replica, write)| (replica, Rc::new(write.clone())))
            .collect();
        if repairs.is_empty() || !env.plan.read_repair {
            if let Some(open) = self.ops.remove(&op) {
                answer(env, open.caller, read(&open.ask, &open.merged));
            }
            return;
        }
        // The answer waits for the repair. One acknowledgement per replica stands for all of its
        // rows, so it is sent with the last of them.
        open.repairing = true;
        open.acks = 0;
        let asked = [*first, *second];
        open.asked = asked.iter().fold(0, |bits, replica| bits | 1 << replica);
        for replica in asked {
            let mut of_replica = repairs.iter().filter(|(other, _)| *other == replica).peekable();
            if of_replica.peek().is_none() {
                open.acks |= 1 << replica;
            }
        }
        self.repair(env, op, &repairs);
    }

    fn repair(&self, env: &mut Env, op: u64, repairs: &[(usize, Rc<Write>)]) {
        for replica in 0..REPLICAS {
            let of_replica = repairs.iter().filter(|(other, _)| *other == replica);
            let delay_ms = env.delay();
            let lost = !self.reaches(env, op, replica) || env.fault(env.plan.lost, Fault::Lost);
            let count = of_replica.clone().count();
            for (index, (_, write)) in of_replica.enumerate() {
                if !lost {
                    let last = index + 1 == count;
                    let op = if last { op } else { 0 };
                    let write = Rc::clone(write);
                    env.after(delay_ms, Event::Store(StoreEvent::Arrive { op, replica, write }));
                }
            }
        }
    }
}
