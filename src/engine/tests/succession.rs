//! The owner dies, and another one goes on.

use prost::Message;

use super::world::*;
use crate::engine::*;
use crate::model::Epoch;
use crate::model::row::{ChainLink, CommitRef, CommitRow, Origin, ProgressRow, SummaryRow};

impl World {
    /// The owner dies. Of what is not released, the first `survive` commits are found by its
    /// successor; with the owner die its runners, if it is said so.
    pub fn crash(&mut self, survive: usize, runners_die: bool) {
        let survivors = self.in_flight.len().min(survive);
        for n in 0..survivors {
            self.make_durable(n);
        }
        let own = self.engine.epoch();
        for flight in self.in_flight.drain(survivors..).filter(|flight| flight.durable) {
            // Beyond the gap: void.
            self.store.rows.remove(&(own.number, flight.commit.commit));
        }
        self.in_flight.clear();
        self.progress_waiting.clear();
        self.reads.clear();
        self.drops.clear();
        self.finishing.clear();
        self.asked.clear();
        self.enqueued.clear();
        if runners_die {
            self.runners.clear();
        }
        self.take_over();
        if runners_die {
            while !self.engine.is_open() {
                assert!(self.answer(0), "what the engine waits for was never asked for");
            }
            self.event(Event::OrphansGone);
        }
    }

    /// Dies, and returns what a successor says that reads what it asks for.
    pub fn try_crash(&mut self) -> Result<(), TakeoverError> {
        self.reads.clear();
        self.take_over();
        while let Some(Read::Summary { segment, name, as_of }) = self.reads.pop_front() {
            let summary = SummaryRow::decode(&self.store.summaries[&(name, as_of)][..]).expect("a summary");
            let event = Event::SegmentLoaded { segment, summary: Box::new(summary) };
            self.engine.handle(self.now_ms, event, &mut Vec::new())?;
        }
        Ok(())
    }

    fn take_over(&mut self) {
        let own = self.engine.epoch();
        let cut =
            self.store.rows.keys().filter(|(epoch, _)| *epoch == own.number).map(|(_, commit)| *commit).max();
        if let Some(cut) = cut.or(self.released_up_to) {
            self.chain.push(ChainLink { epoch_number: own.number, incarnation: own.incarnation, cut });
        }
        let progress = self.store.progress.iter().next_back().map(|(&(epoch_number, commit), bytes)| {
            (CommitRef { epoch_number, commit }, ProgressRow::decode(&bytes[..]).expect("progress"))
        });
        let mut chain = progress.as_ref().map_or_else(Vec::new, |(_, row)| row.chain.clone());
        let known = chain.pop().map_or(0, |link| link.epoch_number);
        chain.extend(self.chain.iter().filter(|link| link.epoch_number >= known));
        let after = progress.as_ref().map_or((0, 0), |(at, _)| (at.epoch_number, at.commit + 1));
        let tail: Vec<TailCommit> = self
            .store
            .rows
            .range(after..)
            .map(|(&(_, commit), stored)| TailCommit {
                segment: stored.segment,
                commit,
                bytes: stored.bytes,
                row: CommitRow::clone(&stored.row),
            })
            .collect();
        self.facts_after_cut();
        let epoch = Epoch { number: own.number + 1, incarnation: u64::from(own.number) + 1_001 };
        let taken = TakenOver {
            epoch,
            chain,
            origin: Origin { head: self.chain.last().copied() },
            progress,
            tail,
            queues: self
                .queues
                .iter()
                .map(|(&number, (set, paused))| (number, set.clone(), *paused))
                .collect(),
            tokens: self.store.tokens(self.now_ms),
            passed_over: 0,
        };
        self.released_up_to = None;
        self.progress_durable = None;
        let mut effects = Vec::new();
        self.engine = Engine::open(PARTITION, self.settings, taken, self.now_ms, &mut effects)
            .expect("what was written can be taken over");
        self.take_in(effects);
    }

    /// What is not released, but survived, is history now; the rest never was.
    fn facts_after_cut(&mut self) {
        let mut facts = self.released.clone();
        let first = self.released_up_to.map_or(0, |up_to| up_to + 1);
        let own = self.engine.epoch().number;
        for (&(_, commit), stored) in self.store.rows.range((own, first)..(own + 1, 0)) {
            facts.add(PARTITION, stored.segment, commit, &stored.row, None);
        }
        self.released = facts.clone();
        self.taken = facts;
    }
}
