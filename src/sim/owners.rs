//! Workers that claim the same partition. No coordinator keeps them apart: anybody may try at any
//! time, crash between any two events, or stop for long and go on.

use std::collections::VecDeque;

use crate::model::Epoch;
use crate::store::{CommitKey, SegmentKey};
use crate::worker::protocol::{Accepted, Effect, Protocol, ProtocolSettings};

use super::app::{App, Opening};
use super::oracle::Bounds;
use super::plan::Plan;
use super::world::Event;

/// One worker.
#[derive(Debug, Default)]
pub struct Owner {
    /// Counts claims and crashes: answers to an earlier life are not heard.
    pub life: u64,
    /// The program runs.
    pub up: bool,
    /// The program is stopped, and goes on later.
    pub paused: bool,
    /// What comes in meanwhile.
    pub inbox: VecDeque<Event>,
    /// What is still to be done.
    pub effects: VecDeque<Effect>,
    /// Its clock is ahead by this, ms.
    pub ahead_ms: u64,
    /// Its claim.
    pub protocol: Option<Protocol>,
    /// What its claim goes on from, until that is durable.
    pub accepted: Option<Box<Accepted>>,
    /// Of a claim that has taken over: what is being read.
    pub opening: Option<Opening>,
    /// Of one that owns.
    pub app: Option<App>,
    /// Summaries that the application asked for.
    pub summaries: Vec<(SegmentKey, CommitKey)>,
    /// The epoch claimed.
    pub epoch: Option<Epoch>,
    /// Number of the last fence ticket.
    pub tickets: u64,
    /// Commits given.
    pub given: u64,
    /// Its calls.
    pub bounds: Bounds,
}

impl Owner {
    /// The claim is over: whatever is still answered is not heard.
    pub fn let_go(&mut self) {
        self.life += 1;
        self.effects.clear();
        self.protocol = None;
        self.accepted = None;
        self.opening = None;
        self.summaries.clear();
        self.app = None;
        self.epoch = None;
        self.tickets = 0;
        self.given = 0;
        self.bounds = Bounds::default();
    }

    /// The program is gone, with all that it knew.
    pub fn crash(&mut self) {
        self.let_go();
        self.up = false;
        self.paused = false;
        self.inbox.clear();
    }
}

/// The protocol's settings in a run.
pub fn settings(plan: &Plan) -> ProtocolSettings {
    ProtocolSettings {
        appends_in_flight_max: plan.in_flight,
        retry_delay_ms: plan.delay_ms * 2,
        retry_delay_max_ms: plan.delay_ms * 20,
        page_rows_max: plan.page_rows,
        page_bytes_max: 4 << 20,
    }
}
