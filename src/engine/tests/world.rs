//! One partition's engines, one after another, over a store in memory.
//!
//! Nothing happens by itself: the test says when a commit becomes durable, when it is released, when
//! a read is answered, who dies. What the engine does is compared with [`Facts`] as it comes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use prost::Message;

use super::facts::{Facts, Rules};
use super::store::FakeStore;
use crate::engine::*;
use crate::model::row::{ChainLink, CommitRef, JobRow, Origin, SegmentName, SummaryRow};
use crate::model::{
    Backoff, Epoch, JobId, JobState, NewJob, Outcome, PartitionId, QueueNumber, QueueSettings, Retry, Span,
    limits,
};

pub const PARTITION: PartitionId = PartitionId { group: 7, index: 3 };
pub const START_MS: u64 = 1_700_000_000_000;

/// A runner, as it sees itself. It outlives owners.
#[derive(Clone, Debug, Default)]
pub struct FakeRunner {
    pub kinds: Vec<String>,
    pub running: Vec<(JobId, u32)>,
}

/// What an engine waits for.
#[derive(Debug)]
pub enum Read {
    Summary { segment: u32, name: SegmentName, as_of: CommitRef },
    Jobs { segment: u32, name: SegmentName, jobs: Vec<RewriteRequest> },
}

/// A commit that was taken, with the progress that came with it.
pub struct InFlight {
    pub commit: Commit,
    pub progress: Option<Progress>,
    pub durable: bool,
}

pub struct World {
    pub settings: EngineSettings,
    pub queues: BTreeMap<QueueNumber, (QueueSettings, bool)>,
    pub engine: Engine,
    pub now_ms: u64,
    pub store: FakeStore,
    pub chain: Vec<ChainLink>,
    pub in_flight: VecDeque<InFlight>,
    /// Progress whose commit is released, not yet durable.
    pub progress_waiting: VecDeque<Progress>,
    pub reads: VecDeque<Read>,
    /// Slots that an owner has said to be closed.
    pub closed_slots: BTreeSet<u16>,
    /// Condemned and released: by which commit of which epoch.
    pub drops: Vec<(SegmentName, u64)>,
    pub progress_durable: Option<u64>,
    pub runners: BTreeMap<RunnerId, FakeRunner>,
    next_ticket: Ticket,
    events: u64,
    next_runner: RunnerId,
    pub replies: HashMap<Ticket, Reply>,
    /// Facts of all commits that were taken.
    pub taken: Facts,
    /// Facts of all that is released.
    pub released: Facts,
    pub released_up_to: Option<u64>,
    /// Attempts that were ever handed out.
    pub handed_out: BTreeSet<(JobId, u32)>,
    /// Hand-outs in order.
    pub order: Vec<HandOut>,
    pub revoked: Vec<(RunnerId, JobId, u32, Revocation)>,
    pub ended: Vec<(JobId, JobState)>,
    pub starved: usize,
    /// Jobs that a producer was told of.
    pub acknowledged: BTreeSet<JobId>,
    /// Successes that a runner was told to be taken note of.
    pub succeeded: BTreeSet<JobId>,
    /// Tickets of finishes that would be successes.
    pub finishing: HashMap<Ticket, JobId>,
    /// Tickets of reports that must not be accepted.
    pub never_accepted: BTreeSet<Ticket>,
    /// Tickets of this owner.
    pub asked: BTreeSet<Ticket>,
    /// Tokens of requests: queue, and by position.
    pub enqueued: HashMap<Ticket, (QueueNumber, Vec<Option<String>>)>,
    /// Jobs that tokens were answered with, and when.
    tokens: HashMap<(QueueNumber, String), (JobId, u64)>,
    /// Each event's share of the journal is taken at once: the order of facts is exact.
    stepwise: bool,
}

impl World {
    pub fn new() -> Self {
        Self::with(EngineSettings::default())
    }

    pub fn with(settings: EngineSettings) -> Self {
        let queues =
            BTreeMap::from([(1, (QueueSettings::default(), false)), (2, (QueueSettings::default(), false))]);
        let taken = TakenOver {
            epoch: Epoch { number: 1, incarnation: 1_001 },
            chain: Vec::new(),
            origin: Origin { head: None },
            progress: None,
            tail: Vec::new(),
            queues: queues.iter().map(|(&number, (set, paused))| (number, set.clone(), *paused)).collect(),
            tokens: Vec::new(),
            passed_over: 0,
        };
        let mut effects = Vec::new();
        let engine =
            Engine::open(PARTITION, settings, taken, START_MS, &mut effects).expect("a new partition opens");
        let mut world = Self {
            settings,
            queues,
            engine,
            now_ms: START_MS,
            store: FakeStore::default(),
            chain: Vec::new(),
            in_flight: VecDeque::new(),
            progress_waiting: VecDeque::new(),
            reads: VecDeque::new(),
            drops: Vec::new(),
            closed_slots: BTreeSet::new(),
            progress_durable: None,
            runners: BTreeMap::new(),
            next_ticket: 0,
            events: 0,
            next_runner: 100,
            replies: HashMap::new(),
            taken: Facts::default(),
            released: Facts::default(),
            released_up_to: None,
            handed_out: BTreeSet::new(),
            order: Vec::new(),
            revoked: Vec::new(),
            ended: Vec::new(),
            starved: 0,
            acknowledged: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            finishing: HashMap::new(),
            never_accepted: BTreeSet::new(),
            asked: BTreeSet::new(),
            enqueued: HashMap::new(),
            tokens: HashMap::new(),
            stepwise: false,
        };
        world.take_in(effects);
        world
    }

    // Events.

    pub fn event(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.engine.handle(self.now_ms, event, &mut effects).expect("the journal adds up");
        self.take_in(effects);
        self.events += 1;
        if self.engine.loaded_jobs < 300 || self.events.is_multiple_of(4_999) {
            super::invariants::check(&self.engine);
        }
        if self.stepwise {
            while self.take() {}
        }
    }

    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.asked.insert(self.next_ticket);
        self.next_ticket
    }

    /// Requests that this owner has not answered.
    pub fn unanswered(&self) -> Vec<Ticket> {
        self.asked.iter().filter(|ticket| !self.replies.contains_key(ticket)).copied().collect()
    }

    /// Takes what each event adds to the journal at once, so that the order of facts is exact.
    pub fn stepwise(&mut self, stepwise: bool) {
        self.stepwise = stepwise;
    }

    pub fn enqueue(&mut self, queue: QueueNumber, jobs: Vec<NewJob>) -> Ticket {
        let ticket = self.ticket();
        self.enqueued.insert(ticket, (queue, jobs.iter().map(|job| job.token.clone()).collect()));
        self.event(Event::Enqueue { ticket, queue, jobs });
        ticket
    }

    pub fn command(&mut self, job: JobId, command: Command) -> Ticket {
        let ticket = self.ticket();
        self.event(Event::Command { ticket, job, place: None, command });
        ticket
    }

    /// As whoever routes commands does: if the engine does not know where, the index is asked.
    pub fn command_by_index(&mut self, job: JobId, command: Command) -> Reply {
        let ticket = self.command(job, command);
        self.settle();
        let reply = self.reply(ticket);
        if reply != Reply::WhereIsIt {
            return reply;
        }
        let places = self.store.places_of(job);
        for place in places {
            let ticket = self.ticket();
            self.event(Event::Command { ticket, job, place: Some(place), command });
            self.settle();
            let reply = self.reply(ticket);
            if reply != Reply::WhereIsIt && reply != Reply::UnknownJob {
                return reply;
            }
        }
        Reply::WhereIsIt
    }

    pub fn finish(&mut self, job: JobId, attempt: u32, outcome: Outcome) -> Ticket {
        self.finish_as(job, attempt, end(outcome))
    }

    pub fn finish_as(&mut self, job: JobId, attempt: u32, end: AttemptEnd) -> Ticket {
        let ticket = self.ticket();
        for runner in self.runners.values_mut() {
            runner.running.retain(|other| *other != (job, attempt));
        }
        if matches!(end.outcome, Outcome::Succeeded { .. }) {
            self.finishing.insert(ticket, job);
        }
        self.event(Event::Finish { ticket, job, attempt, end });
        ticket
    }

    pub fn runner(&mut self, runner: RunnerId, kinds: &[&str], room: u32) {
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
        self.runners.entry(runner).or_default().kinds = kinds.clone();
        self.event(Event::RunnerUp { runner, name: format!("host:{runner}"), kinds });
        self.pull(runner, room);
    }

    /// A name that no runner has had.
    pub fn new_runner(&mut self) -> RunnerId {
        self.next_runner += 1;
        self.next_runner
    }

    pub fn pull(&mut self, runner: RunnerId, attempts: u32) {
        if attempts > 0 {
            self.event(Event::Pull { runner, attempts });
        }
    }

    pub fn runner_gone(&mut self, runner: RunnerId) {
        self.runners.remove(&runner);
        self.event(Event::RunnerGone { runner });
    }

    pub fn pause(&mut self, queue: QueueNumber, paused: bool) {
        let entry = self.queues.entry(queue).or_default();
        entry.1 = paused;
        let settings = entry.0.clone();
        self.event(Event::Queue { number: queue, settings, paused });
    }

    pub fn set_queue(&mut self, queue: QueueNumber, settings: QueueSettings) {
        let paused = self.queues.get(&queue).is_some_and(|(_, paused)| *paused);
        self.queues.insert(queue, (settings.clone(), paused));
        self.event(Event::Queue { number: queue, settings, paused });
    }

    /// Time passes, and the engine is woken as it asked to be.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        for _ in 0..5_000 {
            match self.engine.next_wake_ms() {
                Some(at_ms) if at_ms <= until && self.engine.is_open() => {
                    let stands = at_ms <= self.now_ms;
                    self.now_ms = self.now_ms.max(at_ms);
                    self.event(Event::Tick);
                    self.settle();
                    if stands && self.engine.next_wake_ms() == Some(at_ms) {
                        break;
                    }
                }
                _ => break,
            }
        }
        self.now_ms = until;
        self.event(Event::Tick);
    }

    // Effects.

    pub fn take_in(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { ticket, reply } => self.replied(ticket, reply),
                Effect::ReplyFenced { ticket, reply } => {
                    assert!(self.in_flight.is_empty(), "a fenced reply rests on what is not released");
                    self.replied(ticket, reply);
                }
                Effect::Prefetch { .. } => {}
                Effect::HandOut(hand_out) => self.handed(*hand_out),
                Effect::Revoke { runner, job, attempt, why } => {
                    self.revoked.push((runner, job, attempt, why));
                    if why == Revocation::Cancelled
                        && let Some(runner) = self.runners.get_mut(&runner)
                    {
                        runner.running.retain(|other| *other != (job, attempt));
                    }
                }
                Effect::Recalled { .. } => {}
                Effect::Starved => self.starved += 1,
                Effect::Ended { job, state } => {
                    let fact = &self.released.jobs[&job];
                    assert!(
                        fact.history.iter().any(|(kind, ..)| *kind as i32 != 0),
                        "{job} ended without a fact"
                    );
                    self.ended.push((job, state));
                }
                Effect::LoadSegment { segment, name, as_of } => {
                    self.reads.push_back(Read::Summary { segment, name, as_of });
                }
                Effect::ReadForRewrite { segment, name, jobs } => {
                    assert!(!jobs.is_empty(), "nothing is asked for");
                    self.reads.push_back(Read::Jobs { segment, name, jobs });
                }
                Effect::SlotsClosed { slots } => {
                    let closed = &self.released.closed_slots;
                    assert!(slots.iter().all(|slot| closed.contains(slot)), "closed, and not released");
                    self.closed_slots.extend(slots);
                }
                Effect::Drop { name, condemned_by } => self.drops.push((name, condemned_by)),
            }
        }
    }

    fn replied(&mut self, ticket: Ticket, reply: Reply) {
        if let Reply::Enqueued(jobs) = &reply {
            let (queue, tokens) = self.enqueued.remove(&ticket).expect("an enqueue was asked for");
            for ((id, _, repeated), token) in jobs.iter().zip(tokens) {
                assert!(self.released.jobs.contains_key(id), "{id} is acknowledged, and not released");
                let known = self.acknowledged.contains(id);
                assert!(*repeated || !known, "{id} is acknowledged as new twice");
                self.acknowledged.insert(*id);
                self.answered_token(queue, token, *id, *repeated);
            }
        }
        if reply == (Reply::Finished { accepted: true }) {
            assert!(!self.never_accepted.contains(&ticket), "a late report was accepted");
        }
        if let (Reply::Finished { accepted: true }, Some(job)) = (&reply, self.finishing.get(&ticket)) {
            let fact = &self.released.jobs[job];
            assert!(
                matches!(fact.state, Some(JobState::Succeeded) | None),
                "{job} was reported as done, and is {:?}",
                fact.state
            );
            self.succeeded.insert(*job);
        }
        assert!(self.replies.insert(ticket, reply).is_none(), "ticket {ticket} is answered twice");
    }

    /// A token that was answered lately is answered alike.
    fn answered_token(&mut self, queue: QueueNumber, token: Option<String>, id: JobId, repeated: bool) {
        let Some(token) = token else { return assert!(!repeated, "{id} had no token") };
        match self.tokens.get(&(queue, token.clone())) {
            Some((first, at_ms)) if self.now_ms < at_ms + limits::TOKEN_AGE_MS_MAX => {
                assert_eq!(*first, id, "{token} was answered with another job before");
            }
            _ => drop(self.tokens.insert((queue, token), (id, self.now_ms))),
        }
    }

    fn handed(&mut self, hand_out: HandOut) {
        let (job, attempt) = (hand_out.job, hand_out.attempt);
        assert!(self.handed_out.insert((job, attempt)), "{job} attempt {attempt} is handed out twice");
        let fact = &self.released.jobs[&job];
        let started = fact
            .history
            .iter()
            .any(|(kind, number, _)| *kind == crate::model::row::MarkerKind::Started && *number == attempt);
        assert!(started, "{job} attempt {attempt} is handed out, and its start is not released");
        let body = self.store.body(hand_out.place);
        assert_eq!(body.row.payload, fact.row.payload, "{job} is handed out with another payload");
        assert_eq!(hand_out.queue, fact.queue);
        if let Some(runner) = self.runners.get_mut(&hand_out.runner) {
            assert!(runner.kinds.contains(&fact.kind), "{job} is handed to a runner that can't run it");
            runner.running.push((job, attempt));
        }
        self.order.push(hand_out);
    }

    /// A job's row where it is now.
    pub fn body_of(&self, job: JobId) -> JobRow {
        self.store.body(self.released.jobs[&job].place).row
    }

    pub fn reply(&self, ticket: Ticket) -> Reply {
        self.replies.get(&ticket).unwrap_or_else(|| panic!("ticket {ticket} is not answered")).clone()
    }

    /// The ids of an enqueue that is released.
    pub fn ids(&self, ticket: Ticket) -> Vec<JobId> {
        match self.reply(ticket) {
            Reply::Enqueued(jobs) => jobs.into_iter().map(|(id, ..)| id).collect(),
            other => panic!("not enqueued: {other:?}"),
        }
    }

    // The store's and the protocol's share.

    /// Takes one commit, if there is one.
    pub fn take(&mut self) -> bool {
        let announced = self.engine.has_commit();
        let Some((commit, progress)) = self.engine.take_commit(self.now_ms) else {
            assert!(!announced, "a commit was announced, and there is none");
            return false;
        };
        assert!(announced, "a commit came unannounced");
        let epoch = self.engine.epoch();
        let expected = self.taken_commits();
        assert_eq!(commit.commit, expected, "commits have no gap");
        let encoded = commit.row.encoded_len();
        assert!(encoded <= limits::COMMIT_BYTES_MAX, "a commit of {encoded} bytes");
        assert!(
            commit.row.jobs.len() <= limits::COMMIT_JOBS_MAX,
            "{} jobs in a commit",
            commit.row.jobs.len()
        );
        assert_eq!(commit.row.origin.is_some(), commit.commit == 0, "row 0, and only it, has an origin");
        if let Some(progress) = &progress {
            assert_eq!(progress.as_of, commit.commit, "progress is as of its commit");
        }
        let rules = self.stepwise.then(|| self.rules());
        let name = segment_name(epoch, commit.segment);
        self.taken.add(PARTITION, name, commit.commit, &commit.row, rules.as_ref());
        self.in_flight.push_back(InFlight { commit, progress, durable: false });
        true
    }

    fn rules(&self) -> Rules {
        let kinds = self.runners.iter().map(|(id, runner)| (format!("host:{id}"), runner.kinds.clone()));
        Rules {
            kinds: kinds.collect(),
            paused: self.queues.iter().filter(|(_, (_, paused))| *paused).map(|(queue, _)| *queue).collect(),
            unloaded: self.engine.unloaded > 0,
        }
    }

    fn taken_commits(&self) -> u64 {
        self.in_flight
            .back()
            .map(|last| last.commit.commit + 1)
            .unwrap_or_else(|| self.released_up_to.map_or(0, |up_to| up_to + 1))
    }

    /// The n-th commit in flight becomes durable.
    pub fn make_durable(&mut self, n: usize) {
        let epoch = self.engine.epoch();
        let Some(flight) = self.in_flight.get_mut(n).filter(|flight| !flight.durable) else { return };
        flight.durable = true;
        let name = segment_name(epoch, flight.commit.segment);
        self.store.append(name, &flight.commit);
    }

    /// What is durable without a gap is released.
    pub fn release(&mut self) -> bool {
        let mut up_to = None;
        while self.in_flight.front().is_some_and(|flight| flight.durable) {
            let Some(flight) = self.in_flight.pop_front() else { break };
            let epoch = self.engine.epoch();
            let commit = flight.commit.commit;
            let name = segment_name(epoch, flight.commit.segment);
            self.released.add(PARTITION, name, commit, &flight.commit.row, None);
            self.progress_waiting.extend(flight.progress);
            up_to = Some(commit);
        }
        let Some(up_to) = up_to else { return false };
        self.released_up_to = Some(up_to);
        self.event(Event::Released { up_to });
        true
    }

    /// The oldest released progress becomes durable; what it makes superfluous is pruned.
    pub fn write_progress(&mut self) -> bool {
        let Some(progress) = self.progress_waiting.pop_front() else { return false };
        let number = self.engine.epoch().number;
        let as_of = CommitRef { epoch_number: number, commit: progress.as_of };
        for (name, summary) in &progress.summaries {
            self.store.summaries.insert((*name, as_of), summary.encode_to_vec().into());
        }
        for row in &progress.row.segments {
            if let (Some(name), Some(summary)) = (row.name, row.summary) {
                assert!(
                    self.store.summaries.contains_key(&(name, summary)),
                    "progress names a summary of {name:?} as of {summary:?} that was never written"
                );
            }
        }
        self.store.progress.insert((number, progress.as_of), progress.row.encode_to_vec().into());
        self.store.progress.retain(|&at, _| at >= (number, progress.as_of));
        let in_use: HashMap<SegmentName, CommitRef> = progress.in_use.iter().copied().collect();
        self.store.summaries.retain(|(name, as_of), _| in_use.get(name).is_none_or(|keep| as_of >= keep));
        self.progress_durable = Some(progress.as_of);
        self.event(Event::ProgressDurable { as_of: progress.as_of });
        true
    }

    /// Answers the n-th read.
    pub fn answer(&mut self, n: usize) -> bool {
        let Some(read) = self.reads.remove(n) else { return false };
        match read {
            Read::Summary { segment, name, as_of } => {
                let bytes = self
                    .store
                    .summaries
                    .get(&(name, as_of))
                    .unwrap_or_else(|| panic!("no summary of {name:?} as of {as_of:?} to load"));
                let summary = Box::new(SummaryRow::decode(&bytes[..]).expect("a summary"));
                self.event(Event::SegmentLoaded { segment, summary });
            }
            Read::Jobs { segment, name, jobs } => {
                let jobs = jobs.iter().map(|request| self.store.read_for_rewrite(name, request)).collect();
                self.event(Event::Rewrite { segment, jobs });
            }
        }
        true
    }

    /// Drops the n-th condemned segment, if progress allows it by now.
    pub fn drop_segment(&mut self, n: usize) -> bool {
        let Some(&(name, condemned_by)) = self.drops.get(n) else { return false };
        if self.progress_durable.is_none_or(|as_of| as_of < condemned_by) {
            return false;
        }
        self.drops.remove(n);
        for job in self.released.jobs.values().filter(|job| job.segment == name) {
            assert!(job.gone, "a segment is dropped with a job in it that is not gone");
        }
        self.store.drop_segment(name);
        self.event(Event::Dropped { name });
        true
    }

    /// Lets everything come to rest, without time passing.
    pub fn settle(&mut self) {
        for _ in 0..1_000 {
            let mut busy = self.take();
            for n in 0..self.in_flight.len() {
                self.make_durable(n);
            }
            busy |= self.release();
            busy |= self.write_progress();
            busy |= self.answer(0);
            busy |= (0..self.drops.len()).any(|n| self.drop_segment(n));
            if !busy {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.reads);
    }

    /// All jobs of a state, by the facts.
    pub fn in_state(&self, state: JobState) -> Vec<JobId> {
        let of_state = |(id, fact): (&JobId, &super::facts::Fact)| {
            (!fact.gone && fact.state_at(self.now_ms) == Some(state)).then_some(*id)
        };
        self.released.jobs.iter().filter_map(of_state).collect()
    }

    pub fn state(&self, job: JobId) -> Option<JobState> {
        self.released.jobs[&job].state_at(self.now_ms)
    }
}

pub fn segment_name(epoch: Epoch, segment: u32) -> SegmentName {
    SegmentName { epoch_number: epoch.number, incarnation: epoch.incarnation, segment }
}

/// An end with the usual policy, without jitter.
pub fn end(outcome: Outcome) -> AttemptEnd {
    AttemptEnd {
        outcome,
        max_attempts: 3,
        backoff: Backoff { base: Span::from_secs(10), factor: 2.0, cap: Span::from_secs(60), jitter: 0.0 },
        exit_code: None,
        output: None,
        output_dropped_bytes: 0,
    }
}

pub fn success() -> Outcome {
    Outcome::Succeeded { result: Bytes::from_static(b"done") }
}

pub fn failure() -> Outcome {
    Outcome::Failed { error: "it broke".into(), class: "exit".into(), retry: Retry::Policy }
}

pub fn job(kind: &str) -> NewJob {
    NewJob::new(kind, Bytes::from_static(b"{}"))
}

pub fn jobs(kind: &str, count: usize) -> Vec<NewJob> {
    (0..count).map(|n| NewJob::new(kind, Bytes::from(n.to_string()))).collect()
}
