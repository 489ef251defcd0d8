//! The coordinator: one lock, which decides who tries and never who counts. Sessions end before their
//! owner knows; now and then two hold it.

use super::faults::Fault;
use super::heap::{MS, SECOND, Time};
use super::node::NodeStep;
use super::world::{Step, World};

/// What is to happen at the coordinator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LockStep {
    /// The lock is free: somebody gets it.
    Grant,
    /// The holder's session ends.
    Expire,
    /// The session of a worker that is gone ends.
    Gone(usize),
    /// Somebody gets it though it is not free.
    GrantTwice,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lock {
    /// Who, and in which session.
    holder: Option<(usize, u64)>,
    sessions: u64,
}

impl World {
    pub(super) fn plan_lock_faults(&mut self, chaos: Time) {
        for (fault, step) in
            [(Fault::SessionExpired, LockStep::Expire), (Fault::TwoHolders, LockStep::GrantTwice)]
        {
            if !self.faults.allows(fault) {
                continue;
            }
            for _ in 0..self.rng.below(6) {
                self.faults.count(fault);
                let at = self.rng.below(chaos);
                self.heap.at(at, Step::Lock(step));
            }
        }
    }

    pub(super) fn lock_step(&mut self, step: LockStep) {
        match step {
            LockStep::Grant => {
                if self.lock.holder.is_none() {
                    self.grant(true);
                }
            }
            LockStep::GrantTwice if self.healed => {}
            LockStep::GrantTwice => self.grant(false),
            LockStep::Expire if self.healed => {}
            LockStep::Expire => {
                if let Some((holder, session)) = self.lock.holder.take() {
                    let late = self.rng.spread(30 * SECOND);
                    self.tell(holder, late, session, false);
                    let soon = self.rng.spread(SECOND);
                    self.heap.after(soon, Step::Lock(LockStep::Grant));
                }
            }
            LockStep::Gone(node) => {
                if let Some((_, session)) = self.lock.holder.take_if(|(holder, _)| *holder == node) {
                    self.tell(node, 0, session, false);
                    self.heap.after(MS, Step::Lock(LockStep::Grant));
                }
            }
        }
    }

    fn grant(&mut self, hold: bool) {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].up).collect();
        let Some(node) = self.rng.pick(&up) else {
            self.heap.after(SECOND, Step::Lock(LockStep::Grant));
            return;
        };
        self.lock.sessions += 1;
        let session = self.lock.sessions;
        if hold {
            self.lock.holder = Some((node, session));
        }
        let way = self.rng.spread(50 * MS);
        self.tell(node, way, session, true);
    }

    fn tell(&mut self, node: usize, after: Time, session: u64, holds: bool) {
        // A word to a life that is over reaches nobody.
        let life = Some(self.nodes[node].life);
        self.heap.after(after, Step::Node { node, life, step: NodeStep::Lock { session, holds } });
    }

    /// A worker is gone: its session ends after the time-out.
    pub(super) fn session_lost(&mut self, node: usize) {
        let time_out = self.rng.between(SECOND, 6 * SECOND);
        self.heap.after(time_out, Step::Lock(LockStep::Gone(node)));
    }

    pub(super) fn heal_lock(&mut self) {
        let sessions = self.lock.sessions;
        for node in 0..self.nodes.len() {
            if self.lock.holder.is_none_or(|(holder, _)| holder != node) {
                self.tell(node, 100 * MS, sessions, false);
            }
        }
        match self.lock.holder {
            Some((holder, session)) => self.tell(holder, 200 * MS, session, true),
            None => self.heap.after(200 * MS, Step::Lock(LockStep::Grant)),
        }
    }
}
