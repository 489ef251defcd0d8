//! What workers do beside claiming: open, commit, release, and what producers see of it.

use bytes::Bytes;

use crate::store::{AppendOutcome, StoreError, WriteOutcome};
use crate::worker::protocol::{Event as Input, Reply, Request};

use super::app::Item;
use super::mutation::{Mutation, active};
use super::store::{Ask, Caller};
use super::world::{Event, SUMMARY_CALLS, World};

impl World {
    /// Asks for a summary that the new owner's application needs.
    pub(super) fn read_summary(&mut self, worker: usize, index: usize) {
        let owner = &self.owners[worker];
        let Some(&(segment, as_of)) = owner.summaries.get(index) else { return };
        let caller = Caller { worker, life: owner.life, call: SUMMARY_CALLS + index as u64 };
        self.store.call(&mut self.env, caller, Ask::Summary(segment, as_of));
    }

    pub(super) fn summary_read(
        &mut self,
        worker: usize,
        call: u64,
        result: Result<Option<Bytes>, StoreError>,
    ) {
        let index = (call - SUMMARY_CALLS) as usize;
        let Ok(summary) = result else { return self.read_summary(worker, index) };
        let owner = &mut self.owners[worker];
        let (Some(opening), Some((segment, _))) = (&mut owner.opening, owner.summaries.get(index)) else {
            return;
        };
        match opening.loaded(*segment, summary) {
            Ok(()) => self.open_if_read(worker),
            Err(what) => self.damaged(worker, &what),
        }
    }

    /// Opens the application once all its summaries are read.
    pub(super) fn open_if_read(&mut self, worker: usize) {
        let owner = &mut self.owners[worker];
        let Some(opening) = owner.opening.take_if(|opening| opening.missing.is_empty()) else { return };
        let chain = opening.chain().to_vec();
        match opening.open(&self.env.plan) {
            Ok(app) => {
                if let Some(epoch) = owner.epoch {
                    self.oracle.taken_over(epoch, &chain, app.log.facts());
                }
                owner.app = Some(app);
            }
            Err(what) => self.damaged(worker, &what),
        }
    }

    /// The application can't make sense of what was accepted.
    pub(super) fn damaged(&mut self, worker: usize, what: &str) {
        self.env.tell(|| format!("worker {worker} can't go on: {what}"));
        let epoch = self.owners[worker].epoch;
        self.oracle.damaged(epoch, what, &self.store.durable);
        self.stale_damage += 1;
        self.ended(worker);
    }

    /// The claim is over; the worker may try again.
    pub(super) fn ended(&mut self, worker: usize) {
        self.owners[worker].let_go();
        if self.env.chaos {
            if self.env.rng.chance(700) {
                return;
            }
        } else if worker != 0 {
            return;
        }
        let delay_ms = self.env.plan.delay_ms * self.env.rng.between(1, 40);
        self.env.after(delay_ms, Event::ClaimBy { worker });
    }

    pub(super) fn released(&mut self, worker: usize, up_to: u64) {
        let owner = &mut self.owners[worker];
        let (Some(app), Some(epoch)) = (&mut owner.app, owner.epoch) else { return };
        let facts = app.released(up_to);
        self.env.hash(&[worker as u64, up_to]);
        self.env.tell(|| format!("worker {worker} releases up to {up_to}: facts {facts:?}"));
        self.oracle.released(epoch, up_to, &facts, &self.store.durable);
        if !self.env.chaos
            && worker == 0
            && let Some(app) = &mut self.owners[worker].app
        {
            // All facts are to be done in the end, so that all segments go.
            app.open_facts().into_iter().for_each(|fact| app.add(Item::Done(fact)));
        }
    }

    /// A worker commits what there is. False if there is nothing, or no room.
    pub(super) fn commit(&mut self, worker: usize) -> bool {
        let now_ms = self.clock_ms(worker);
        let owner = &mut self.owners[worker];
        let (Some(app), Some(protocol), Some(epoch)) = (&mut owner.app, &owner.protocol, owner.epoch) else {
            return false;
        };
        if !protocol.can_append() || !app.has_commit() {
            return false;
        }
        let (inputs, segment, row) = app.commit(now_ms);
        self.oracle.committed(epoch, owner.given, segment, row);
        owner.given += 1;
        inputs.into_iter().for_each(|input| self.feed(worker, input));
        true
    }

    /// A producer brings a fact to somebody who takes it.
    pub(super) fn produce(&mut self) {
        if !self.env.chaos {
            return self.produce_last();
        }
        let fact = self.next_fact;
        self.next_fact += 1;
        let owning: Vec<usize> = self.owning();
        let Some(&worker) = self.env.rng.pick(&owning) else { return };
        if let Some(app) = &mut self.owners[worker].app {
            app.add(Item::New(fact));
        }
        self.run_on(worker);
    }

    /// The last facts are brought again until they are there.
    fn produce_last(&mut self) {
        if let Some(app) = &mut self.owners[0].app {
            let there = app.log.facts();
            for fact in &self.last_facts {
                if !there.contains_key(fact) && !self.oracle.is_acknowledged(*fact) && !app.holds(*fact) {
                    app.add(Item::New(*fact));
                }
            }
            app.open_facts().into_iter().for_each(|fact| app.add(Item::Done(fact)));
            app.want_progress();
        }
        self.run_on(0);
        self.env.after(self.env.plan.delay_ms * 20, Event::Produce);
    }

    /// Some facts are done, and somebody asks for something that needs no commit.
    pub(super) fn finish(&mut self) {
        let owning = self.owning();
        let Some(&worker) = self.env.rng.pick(&owning) else { return };
        let Some(app) = &mut self.owners[worker].app else { return };
        for fact in app.open_facts() {
            if self.env.rng.chance(400) {
                app.add(Item::Done(fact));
            }
        }
        if self.env.rng.chance(300) {
            self.ask(worker);
        }
        self.run_on(worker);
    }

    /// A request whose reply rests on what is there.
    fn ask(&mut self, worker: usize) {
        let owner = &mut self.owners[worker];
        let Some(epoch) = owner.epoch else { return };
        owner.tickets += 1;
        let (ticket, given) = (owner.tickets, owner.given);
        self.oracle.ticket(epoch, ticket, self.env.step, given);
        self.feed(worker, Input::Fence { ticket });
    }

    fn owning(&self) -> Vec<usize> {
        let owns = |worker: &usize| self.owners[*worker].app.is_some() && !self.owners[*worker].paused;
        (0..self.owners.len()).filter(owns).collect()
    }

    fn run_on(&mut self, worker: usize) {
        if !self.owners[worker].paused {
            self.go_on(worker);
        }
    }

    /// The incarnation of a new claim.
    pub(super) fn incarnation(&mut self, worker: usize) -> u64 {
        if active(Mutation::IncarnationUsedAgain) { worker as u64 + 1 } else { self.env.rng.bits() }
    }
}

/// True if the call will have to be made again.
pub(super) fn has_failed(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Claims(Err(_))
            | Reply::Highest(Err(_))
            | Reply::Progress(Err(_))
            | Reply::Commits(Err(_))
            | Reply::Appended(AppendOutcome::Unknown(_) | AppendOutcome::Refused(_))
            | Reply::Written(WriteOutcome::Unknown(_) | WriteOutcome::Refused(_))
    )
}

/// A call, for the story.
pub(super) fn describe(request: &Request) -> String {
    match request {
        Request::Claims { below, .. } => format!("claims below {below:?}"),
        Request::InsertClaim { claim, .. } => format!("claim {}", claim.epoch),
        Request::Highest { .. } => "highest claim".to_owned(),
        Request::Progress { epoch, .. } => format!("progress of {epoch}"),
        Request::Commits { segment, from, .. } => {
            format!("commits of {} segment {} from {from}", segment.epoch, segment.segment)
        }
        Request::Repeat { append } => format!("repeat {} of {}", append.commit, append.segment.epoch),
        Request::Append { append } => format!("append {} of {}", append.commit, append.segment.epoch),
        Request::PutSummary { segment, as_of, .. } => {
            format!("summary of {} segment {} as of {}", segment.epoch, segment.segment, as_of.commit)
        }
        Request::PutProgress { as_of, .. } => format!("progress as of {}/{}", as_of.epoch, as_of.commit),
        Request::DropSegment { segment } => format!("drop {} segment {}", segment.epoch, segment.segment),
        Request::Prune { keep, .. } => format!("prune below {}/{}", keep.epoch, keep.commit),
    }
}

/// The kind of an event, for the trace.
pub(super) fn kind_of(event: &Event) -> u64 {
    match event {
        Event::Store(_) => 1,
        Event::Answer { .. } => 2,
        Event::Wake { .. } => 3,
        Event::Claim => 4,
        Event::ClaimBy { .. } => 5,
        Event::Restart { .. } => 6,
        Event::Resume { .. } => 7,
        Event::Produce => 8,
        Event::Finish => 9,
        Event::LoseReplica => 10,
        Event::SetClock => 11,
        Event::Heal => 12,
    }
}
