//! Who counts: claims, the journal, the fence and the cut (`docs/proof.md`), for one partition and one
//! claim of it, without I/O.
//!
//! ```text
//! Start ─▶ list claims ─▶ claim ─▶ list again ─▶ read journals, newest epoch down ─▶ write the tail
//!                                                                                     again
//!                                                                                       │ TakenOver
//!  Superseded ◀─ a higher claim ─ owning: append ─▶ durable ─▶ fence read ─▶ Released ◀──┘
//! ```
//!
//! It says which calls of the store are to be made ([`Effect::Call`], see [`perform`]) and takes
//! their answers. Keeps INV-1 and INV-2: effects rest on [`Effect::Released`], which is given in
//! order, and only for commits that were durable before a fence read began that still showed this
//! epoch as the highest. No clock is part of that; time serves the delays between tries only.
//!
//! On failure: an unknown or refused write is repeated with the same bytes, for ever, with growing
//! delays ([`Effect::Trouble`] says so meanwhile); what can't be read or understood ends the claim
//! ([`Effect::Failed`]), though only if no higher claim is why; a higher claim ends it too ([`Effect::Superseded`]). After either nothing
//! more comes out: the next claim is made by a new [`Protocol`] with a new incarnation.

#![deny(clippy::disallowed_methods)]

mod calls;
mod event;
mod look;
mod release;
mod take_over;
#[cfg(test)]
mod tests;
mod upkeep;

use bytes::Bytes;

use crate::model::{Epoch, PartitionId};
use crate::sim::mutation::{Mutation, active};
use crate::store::StoreError;

pub use calls::{Reply, Request, perform};
pub use event::{Accepted, Effect, Event, NewCommit, NewProgress};
pub(crate) use look::look;

use calls::{Calls, Outcome, What};
use release::Releases;
use take_over::{Part, TakeOver};
use upkeep::Upkeep;

/// Bounds of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolSettings {
    /// Commits that may be given and not yet released.
    pub appends_in_flight_max: usize,
    /// Delay before the second try of a call, ms; it doubles from try to try …
    pub retry_delay_ms: u64,
    /// … up to this.
    pub retry_delay_max_ms: u64,
    /// Rows of one page that is read at a take-over.
    pub page_rows_max: usize,
    /// Bytes of one such page.
    pub page_bytes_max: usize,
}

impl Default for ProtocolSettings {
    fn default() -> Self {
        Self {
            appends_in_flight_max: 8,
            retry_delay_ms: 50,
            retry_delay_max_ms: 2_000,
            page_rows_max: 1_024,
            page_bytes_max: 4 << 20,
        }
    }
}

#[derive(Debug)]
enum Phase {
    Idle,
    TakingOver(Box<TakeOver>),
    Owning(Box<Owning>),
    /// Superseded, failed or stopped: nothing more comes out.
    Ended,
}

/// The owner's side, once the partition has been taken over.
#[derive(Debug)]
struct Owning {
    epoch: Epoch,
    releases: Releases,
    upkeep: Upkeep,
    /// What looks damaged, and the moment after which a fence read must have begun that shows that
    /// this is not because of a higher claim.
    damage: Option<(StoreError, u64)>,
}

/// One claim of one partition.
#[derive(Debug)]
pub struct Protocol {
    partition: PartitionId,
    owner: Bytes,
    settings: ProtocolSettings,
    phase: Phase,
    calls: Calls,
}

impl Protocol {
    /// A claim to be made. `owner` is written into it, for people and for routing.
    pub fn new(partition: PartitionId, owner: Bytes, settings: ProtocolSettings) -> Self {
        Self { partition, owner, settings, phase: Phase::Idle, calls: Calls::new(&settings) }
    }

    /// True if one more commit may be given.
    pub fn can_append(&self) -> bool {
        match &self.phase {
            Phase::Owning(owning) => {
                owning.releases.in_flight() < self.settings.appends_in_flight_max as u64
                    && owning.upkeep.has_room()
            }
            _ => false,
        }
    }

    /// The epoch, once the partition has been taken over.
    pub fn epoch(&self) -> Option<Epoch> {
        match &self.phase {
            Phase::Owning(owning) => Some(owning.epoch),
            _ => None,
        }
    }

    /// Takes one event in. What is to be done is added to `effects`.
    ///
    /// # Panics
    /// If a commit is given out of its order, or before the partition has been taken over.
    pub fn handle(&mut self, now_ms: u64, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Start { incarnation } => {
                let take_over =
                    TakeOver::start(self.partition, self.owner.clone(), incarnation, self.settings);
                self.calls.send(What::TakeOver(Part::First), take_over.first_request(), effects);
                self.phase = Phase::TakingOver(Box::new(take_over));
            }
            Event::Reply { call, reply } => self.answered(now_ms, call, reply, effects),
            Event::Wake => {
                if !matches!(self.phase, Phase::Ended) {
                    self.calls.wake(now_ms, effects);
                }
            }
            Event::Stop => self.end(),
            Event::Commit(_)
            | Event::Fence { .. }
            | Event::Progress(_)
            | Event::Drop { .. }
            | Event::Damaged(_) => {
                self.owning_event(event, effects);
            }
        }
    }

    fn owning_event(&mut self, event: Event, effects: &mut Vec<Effect>) {
        let Phase::Owning(owning) = &mut self.phase else {
            // After the end nobody waits for anything; before the take-over it is a mistake.
            assert!(matches!(self.phase, Phase::Ended), "the partition has not been taken over");
            return;
        };
        let Owning { epoch, releases, upkeep, damage } = &mut **owning;
        match event {
            Event::Commit(commit) => {
                releases.append(self.partition, *epoch, commit, &mut self.calls, effects);
            }
            Event::Fence { ticket } => releases.fence(ticket),
            Event::Progress(progress) => upkeep.progress(progress),
            Event::Drop { segment, condemned_by } => upkeep.condemned(segment, condemned_by),
            Event::Damaged(error) => {
                damage.get_or_insert((error, releases.now()));
            }
            Event::Start { .. } | Event::Reply { .. } | Event::Wake | Event::Stop => {}
        }
        self.go_on(effects);
    }

    fn answered(&mut self, now_ms: u64, call: u64, reply: Reply, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        match self.calls.answered(now_ms, call, reply, effects) {
            Outcome::Again | Outcome::Stale => {}
            Outcome::Failed(error) => {
                self.end();
                effects.push(Effect::Failed(error));
            }
            Outcome::Superseded(by) => self.superseded(by, effects),
            Outcome::Done(What::TakeOver(part), reply) => self.take_over(part, reply, effects),
            Outcome::Done(what, reply) => self.done(what, reply, effects),
        }
    }

    fn take_over(&mut self, part: Part, reply: Reply, effects: &mut Vec<Effect>) {
        let Phase::TakingOver(take_over) = &mut self.phase else { return };
        if take_over.is_claiming() {
            effects.push(Effect::Claimed);
        }
        match take_over.go_on(part, reply) {
            take_over::Next::Ask(requests) => {
                for (part, request) in requests {
                    self.calls.send(What::TakeOver(part), request, effects);
                }
            }
            take_over::Next::Wait => {}
            take_over::Next::Superseded(by) => self.superseded(by, effects),
            take_over::Next::Failed(error) => {
                self.end();
                effects.push(Effect::Failed(error));
            }
            take_over::Next::Done(accepted) => {
                let epoch = accepted.epoch;
                let (releases, upkeep) = (Releases::default(), Upkeep::new(self.partition, epoch));
                self.phase = Phase::Owning(Box::new(Owning { epoch, releases, upkeep, damage: None }));
                effects.push(Effect::TakenOver(accepted));
            }
        }
    }

    fn done(&mut self, what: What, reply: Reply, effects: &mut Vec<Effect>) {
        let Phase::Owning(owning) = &mut self.phase else { return };
        let Owning { epoch, releases, upkeep, .. } = &mut **owning;
        match (what, reply) {
            (What::Append { commit, sent }, Reply::Appended(outcome)) => {
                releases.appended(commit, sent, &outcome, effects);
            }
            (What::Fence { begun, covers }, Reply::Highest(Ok(highest))) => match highest {
                Some(claim) if claim.epoch == *epoch || active(Mutation::FenceIgnoresHigherClaim) => {
                    releases.fence_passed(begun, covers, effects);
                }
                Some(claim) if claim.epoch > *epoch => return self.superseded(claim.epoch, effects),
                _ => {
                    let what = format!("the claim {epoch} of partition {} is gone", self.partition);
                    self.end();
                    effects.push(Effect::Failed(calls::damaged(what)));
                    return;
                }
            },
            (what, _) => upkeep.done(what, releases.now(), effects),
        }
        self.go_on(effects);
    }

    /// Whatever has become possible by what has just happened.
    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Owning(owning) = &mut self.phase else { return };
        let Owning { releases, upkeep, damage, .. } = &mut **owning;
        if let Some((error, _)) = damage.take_if(|(_, after)| *after < releases.latest_evidence()) {
            self.end();
            effects.push(Effect::Failed(error));
            return;
        }
        if let Some((_, after)) = damage {
            releases.want_evidence_after(*after);
        }
        let (begun, wanted) = upkeep.go_on(
            releases.released(),
            releases.latest_evidence(),
            releases.now(),
            &mut self.calls,
            effects,
        );
        if wanted {
            releases.want_evidence_after(begun);
        }
        releases.read_fence(self.partition, &mut self.calls, effects);
    }

    fn superseded(&mut self, by: Epoch, effects: &mut Vec<Effect>) {
        self.end();
        effects.push(Effect::Superseded { by });
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.calls.forget();
    }
}
