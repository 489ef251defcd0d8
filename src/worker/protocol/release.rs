//! Release: in the order of commits, after they are durable and a fence read begun after that.
//!
//! Moments are counted, not measured: every append and every fence read gets the next number when
//! it begins, so "begun after" is a comparison.

use std::collections::BTreeMap;

use crate::model::{Epoch, PartitionId};
use crate::store::{Append, AppendOutcome, SegmentKey};

use super::calls::{Calls, Request, What};
use super::{Effect, NewCommit};
use crate::sim::mutation::{Mutation, active};

/// A commit that is durable and not yet released.
#[derive(Clone, Copy, Debug)]
struct Durable {
    /// A fence read was part of the same atomic step.
    fenced: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    ticket: u64,
    /// Evidence must have begun after this moment.
    after: u64,
    /// Commits given by then.
    commits: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Releases {
    moment: u64,
    given: u64,
    /// Not yet released.
    durable: BTreeMap<u64, Durable>,
    /// Commits released: all below it.
    released: u64,
    /// Commits durable without a gap: all below it.
    gapless: u64,
    /// Commits covered by a fence read begun after they were durable: all below it.
    covered: u64,
    reading_fence: bool,
    /// The latest moment at which evidence began that this epoch is the highest.
    evidence: u64,
    /// Evidence is wanted that begins after this moment.
    wanted_after: Option<u64>,
    tickets: Vec<Ticket>,
}

impl Releases {
    /// Commits given and not yet released: what is held in memory is bounded by it.
    pub fn in_flight(&self) -> u64 {
        self.given - self.released
    }

    /// The latest moment that was given out.
    pub fn now(&self) -> u64 {
        self.moment
    }

    /// Commits released: all below this.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// The latest moment at which evidence began.
    pub fn latest_evidence(&self) -> u64 {
        self.evidence
    }

    pub fn append(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        commit: NewCommit,
        calls: &mut Calls,
        effects: &mut Vec<Effect>,
    ) {
        assert_eq!(commit.commit, self.given, "commits are given in order");
        self.given += 1;
        self.moment += 1;
        let what = What::Append { commit: commit.commit, sent: self.moment };
        let append = Append {
            segment: SegmentKey { partition, epoch, segment: commit.segment },
            commit: commit.commit,
            row: commit.row,
            blobs: commit.blobs,
            entries: commit.entries,
        };
        calls.send(what, Request::Append { append: Box::new(append) }, effects);
        if active(Mutation::ReleaseBeforeDurable) {
            self.durable.insert(commit.commit, Durable { fenced: true });
            self.gapless = self.given;
            self.release(effects);
        }
    }

    pub fn appended(&mut self, commit: u64, sent: u64, outcome: &AppendOutcome, effects: &mut Vec<Effect>) {
        let fenced = *outcome == AppendOutcome::Fenced || active(Mutation::NoFence);
        if active(Mutation::ReleaseBeforeDurable) {
            return;
        }
        self.durable.insert(commit, Durable { fenced });
        while self.durable.contains_key(&self.gapless) {
            self.gapless += 1;
        }
        if active(Mutation::ReleaseOutOfOrder) {
            self.gapless = self.gapless.max(commit + 1);
        }
        if fenced {
            self.evidence = self.evidence.max(sent);
        }
        self.release(effects);
    }

    /// A fence read that began at `begun`, when all commits below `covers` were durable, has passed.
    pub fn fence_passed(&mut self, begun: u64, covers: Option<u64>, effects: &mut Vec<Effect>) {
        self.reading_fence = false;
        self.evidence = self.evidence.max(begun);
        let covers = if active(Mutation::FenceBegunEarly) { Some(self.gapless) } else { covers };
        self.covered = self.covered.max(covers.unwrap_or(0));
        self.release(effects);
    }

    pub fn fence(&mut self, ticket: u64) {
        self.tickets.push(Ticket { ticket, after: self.moment, commits: self.given });
    }

    /// Somebody needs evidence that begins after that moment.
    pub fn want_evidence_after(&mut self, moment: u64) {
        self.wanted_after = Some(self.wanted_after.map_or(moment, |other| other.max(moment)));
    }

    /// Begins a fence read if something waits for one.
    pub fn read_fence(&mut self, partition: PartitionId, calls: &mut Calls, effects: &mut Vec<Effect>) {
        self.wanted_after = self.wanted_after.filter(|after| *after >= self.evidence);
        let uncovered = (self.released..self.gapless)
            .any(|commit| commit >= self.covered && !self.durable.get(&commit).is_some_and(|row| row.fenced));
        let asked = self.tickets.iter().any(|ticket| ticket.after >= self.evidence);
        if self.reading_fence || !(uncovered || asked || self.wanted_after.is_some()) {
            return;
        }
        self.reading_fence = true;
        self.moment += 1;
        let what = What::Fence { begun: self.moment, covers: Some(self.gapless) };
        calls.send(what, Request::Highest { partition }, effects);
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        let before = self.released;
        while self.released < self.gapless {
            let fenced = self.durable.get(&self.released).is_some_and(|row| row.fenced);
            if self.released >= self.covered && !fenced {
                break;
            }
            self.durable.remove(&self.released);
            self.released += 1;
        }
        if self.released > before {
            effects.push(Effect::Released { up_to: self.released - 1 });
        }
        let (evidence, released) = (self.evidence, self.released);
        self.tickets.retain(|ticket| {
            let fenced = ticket.after < evidence || active(Mutation::TicketWithoutFence);
            let passed = fenced && ticket.commits <= released;
            if passed {
                effects.push(Effect::FencePassed { ticket: ticket.ticket });
            }
            !passed
        });
    }
}
