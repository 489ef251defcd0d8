//! How often a partition that is taken over waits for the store: it stands still meanwhile, and in a
//! cluster each wait is a round trip to a quorum.

use std::mem::take;

use bytes::Bytes;

use super::core::{Core, Input, Output, decode_summary};
use crate::engine::{AttemptEnd, EngineSettings, Event};
use crate::model::{Backoff, JobId, NewJob, Outcome, PartitionId, QueueSettings};
use crate::store::memory::MemoryStore;
use crate::store::{AppendOutcome, Store};
use crate::worker::protocol::{ProtocolSettings, Reply, perform};

const PARTITION: PartitionId = PartitionId { group: 1, index: 0 };
const QUEUE: u32 = 1;
const RUNNER: u64 = 1;
const NOW_MS: u64 = 1_700_000_000_000;

/// An owner on a store whose answers come in rounds: all that is asked is answered before anything
/// more is asked.
struct Rounds<'a> {
    store: &'a MemoryStore,
    core: Core,
    asked: Vec<Output>,
    handed_out: Vec<(JobId, u32)>,
    /// A runner has slots for it as soon as it is open.
    has_runner: bool,
}

impl<'a> Rounds<'a> {
    fn start(store: &'a MemoryStore, incarnation: u64) -> Self {
        let protocol = ProtocolSettings::default();
        let core = Core::new(PARTITION, Bytes::new(), EngineSettings::default(), protocol);
        let mut rounds = Self { store, core, asked: Vec::new(), handed_out: Vec::new(), has_runner: false };
        let settings = Box::new(QueueSettings::default());
        rounds.input(Input::Queue { number: QUEUE, settings, paused: false });
        rounds.input(Input::Start { incarnation });
        rounds
    }

    fn input(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.core.handle(NOW_MS, input, &mut outputs);
        self.take_in(outputs);
    }

    fn take_in(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Call { .. } | Output::ReadTokens | Output::LoadSegment { .. } => {
                    self.asked.push(output)
                }
                Output::HandOut(hand_out) => self.handed_out.push((hand_out.job, hand_out.attempt)),
                Output::Opened { .. } if self.has_runner => self.offer(),
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn flush(&mut self) {
        let mut outputs = Vec::new();
        self.core.flush(NOW_MS, &mut outputs);
        self.take_in(outputs);
    }

    /// Slots of a runner, as soon as they can be offered.
    fn offer(&mut self) {
        let (name, kinds) = ("here".to_owned(), vec!["noop".to_owned()]);
        self.input(Input::Event(Event::RunnerUp { runner: RUNNER, name, kinds }));
        self.input(Input::Event(Event::Pull { runner: RUNNER, attempts: 4 }));
    }

    /// Answers all that is asked.
    async fn round(&mut self) {
        for output in take(&mut self.asked) {
            let input = match output {
                Output::Call { call, request } => {
                    let reply = match perform(self.store, request).await {
                        // As in a store that needs a fence read of its own.
                        Reply::Appended(AppendOutcome::Fenced) => Reply::Appended(AppendOutcome::Durable),
                        reply => reply,
                    };
                    Input::Called { call, reply }
                }
                Output::LoadSegment { segment, key, as_of } => {
                    let summary = self.store.summary(key, as_of).await.expect("it is there");
                    let summary = decode_summary(&summary.expect("it is there")).expect("it is whole");
                    Input::Event(Event::SegmentLoaded { segment, summary: Box::new(summary) })
                }
                _ => Input::Tokens(Vec::new()),
            };
            self.input(input);
        }
        self.flush();
    }

    /// Rounds until something has been handed out to a runner.
    async fn until_handed_out(&mut self) -> usize {
        self.has_runner = true;
        let mut rounds = 0;
        while self.handed_out.is_empty() {
            assert!(!self.asked.is_empty(), "nothing more happens");
            self.round().await;
            rounds += 1;
        }
        rounds
    }

    async fn settle(&mut self) {
        self.flush();
        while !self.asked.is_empty() {
            self.round().await;
        }
    }
}

/// An owner that has run some jobs of more, and is gone or has handed over.
async fn predecessor(store: &MemoryStore, hands_over: bool) {
    let mut owner = Rounds::start(store, 10);
    owner.settle().await;
    for ticket in 0..8 {
        let jobs = (0..16).map(|_| NewJob::new("noop", "1")).collect();
        owner.input(Input::Event(Event::Enqueue { ticket, queue: QUEUE, jobs }));
        owner.settle().await;
    }
    owner.offer();
    owner.settle().await;
    let end = AttemptEnd {
        outcome: Outcome::Succeeded { result: Bytes::new() },
        max_attempts: 1,
        backoff: Backoff::default(),
        exit_code: None,
        output: None,
        output_dropped_bytes: 0,
    };
    let (job, attempt) = owner.handed_out[0];
    owner.input(Input::Event(Event::Finish { ticket: 100, job, attempt, end }));
    owner.settle().await;
    if hands_over {
        owner.input(Input::Event(Event::Recall { runner: RUNNER, attempts: u32::MAX }));
        owner.input(Input::WantProgress);
        owner.settle().await;
    }
    owner.input(Input::Stop);
}

#[tokio::test]
async fn a_partition_that_is_handed_over_starts_a_job_after_few_round_trips() {
    let store = MemoryStore::new();
    predecessor(&store, true).await;
    // Highest claim, claim, all claims with progress and tokens, rows, summary, row 0, fence.
    assert_eq!(Rounds::start(&store, 20).until_handed_out().await, 7);
}

#[tokio::test]
async fn a_dead_workers_partition_starts_a_job_after_few_round_trips() {
    let store = MemoryStore::new();
    predecessor(&store, false).await;
    // The tail is written again.
    assert_eq!(Rounds::start(&store, 20).until_handed_out().await, 8);
}
