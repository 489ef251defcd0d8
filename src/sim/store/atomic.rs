//! One place: every call is one atomic step, and an append is fenced within it.

use crate::store::AppendOutcome;
use crate::worker::protocol::{Reply, Request};

use super::super::env::{Env, Fault};
use super::super::world::Event;
use super::rows::{Rows, Write};
use super::{Answer, Ask, Caller, DurableSince, StoreEvent, answer, failed, read, write_of, written};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Atomic {
    rows: Rows,
}

impl Atomic {
    pub fn call(&mut self, env: &mut Env, caller: Caller, ask: Ask) {
        let delay_ms = env.delay();
        env.after(delay_ms, Event::Store(StoreEvent::Step { caller, ask: Box::new(ask) }));
    }

    pub fn handle(&mut self, env: &mut Env, event: StoreEvent, durable: &mut DurableSince) {
        let StoreEvent::Step { caller, ask } = event else { return };
        if env.fault(env.plan.lost, Fault::Refused) {
            return answer(env, caller, failed(&ask, write_of(&ask).is_some()));
        }
        let Some(write) = write_of(&ask) else {
            return answer(env, caller, read(&ask, &self.rows));
        };
        let unknown = env.fault(env.plan.given_up, Fault::Unknown);
        if unknown && env.rng.chance(500) {
            return answer(env, caller, failed(&ask, false));
        }
        let mut reply = written(&ask);
        if let Ask::Call(Request::Append { append }) = &*ask {
            let highest = self.rows.claims().next().map(|claim| claim.epoch);
            if let Some(higher) = highest.filter(|highest| *highest > append.segment.epoch) {
                let superseded = Reply::Appended(AppendOutcome::Superseded(higher));
                return answer(env, caller, Answer::Reply(superseded));
            }
            if highest == Some(append.segment.epoch) {
                reply = Answer::Reply(Reply::Appended(AppendOutcome::Fenced));
            }
        }
        self.apply(env, &write, durable);
        answer(env, caller, if unknown { failed(&ask, false) } else { reply });
    }

    fn apply(&mut self, env: &Env, write: &Write, durable: &mut DurableSince) {
        self.rows.apply(write);
        durable.note(write, env.step);
    }
}
