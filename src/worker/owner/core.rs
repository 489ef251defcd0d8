//! A partition's owner without I/O: who counts ([`super::super::protocol`]) and what follows from
//! what ([`crate::engine`]), put together.
//!
//! ```text
//! Start ─▶ claiming ─▶ reading the journal ─Accepted─▶ reading summaries ──▶ open ─▶ superseded / failed
//!         (protocol)      and the tokens                 (LoadSegment)
//!                          (ReadTokens)               writing the tail again
//! ```
//!
//! Requests that come before it is open wait here; whoever feeds it bounds them. A look at the
//! engine happens when nothing is being built, and its answer waits for a fence read begun after
//! it: so it shows only what is released (INV-2, INV-9). On supersession or failure it is thrown
//! away: a new one begins with a new claim.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::engine::{self, Engine, EngineSettings, HandOut, Reply, RewriteRequest, Scope, Ticket};
use crate::model::row::{ChainLink, CommitRef, CommitRow, SegmentName, SummaryRow};
use crate::model::{Epoch, JobId, JobState, PartitionId, QueueNumber, QueueSettings};
use crate::store::{BlobChunk, CommitKey, IndexEntry, SegmentKey, StoreError, StoreErrorKind};
use crate::worker::protocol::{
    Accepted, Effect as ProtocolEffect, Event as ProtocolEvent, NewCommit, NewProgress, Protocol,
    ProtocolSettings, Reply as CallReply, Request as CallRequest,
};

/// Tokens of a predecessor: hash, job, time.
pub(crate) type FoundTokens = Vec<([u8; 16], JobId, u64)>;

/// Something for the owner to take note of.
#[derive(Debug)]
pub(crate) enum Input {
    /// Claim the partition; 64 random bits drawn for this claim.
    Start { incarnation: u64 },
    /// Something happened to the partition.
    Event(engine::Event),
    /// Settings of a queue, also for the engine that is yet to come.
    Queue { number: QueueNumber, settings: Box<QueueSettings>, paused: bool },
    /// Slots that are wanted in other partitions, also for the engine that is yet to come.
    Leaving { slots: BTreeSet<u16> },
    /// Somebody wants to look; answered by [`Output::Evaluate`] and then [`Output::Fenced`].
    Look { ticket: u64 },
    /// Answer to [`Output::Call`].
    Called { call: u64, reply: CallReply },
    /// Answer to [`Output::ReadTokens`].
    Tokens(FoundTokens),
    /// Something that it rests on can't be read.
    Unreadable(StoreError),
    /// Progress is to be written soon, however little there was.
    WantProgress,
    /// Time has passed.
    Wake,
    /// Send nothing more.
    Stop,
}

/// Something to be done for the owner.
#[derive(Debug)]
pub(crate) enum Output {
    /// Perform it on the store; answered by [`Input::Called`].
    Call { call: u64, request: CallRequest },
    /// Read the tokens of the last ten minutes from the index. The claim is durable: tokens of commits
    /// that are written from now on are found in the journal, or never released.
    ReadTokens,
    /// Requests are answered from now on.
    Opened { epoch: Epoch },
    /// A commit is on its way: its bodies, for hand-outs.
    Bodies { at: CommitRef, row: Arc<CommitRow>, bytes: usize },
    /// Look at the engine now, and keep what was seen until [`Output::Fenced`].
    Evaluate { ticket: u64 },
    /// What was seen is released.
    Fenced { ticket: u64 },
    /// Answer a request.
    Reply { ticket: Ticket, reply: Reply },
    /// A body will be needed soon.
    Prefetch { segment: SegmentName, commit: u64 },
    /// Give an attempt to a runner.
    HandOut(Box<HandOut>),
    /// Tell the runner to end an attempt.
    Revoke { job: JobId, attempt: u32, why: engine::Revocation },
    /// So many offers are taken back.
    Recalled { attempts: u32 },
    /// Jobs wait and the runner has no room.
    Starved,
    /// Slots are closed for good, and that is released.
    SlotsClosed { slots: Vec<u16> },
    /// A job is final.
    Ended { job: JobId, state: JobState },
    /// Read a summary; answered by `Event::SegmentLoaded`.
    LoadSegment { segment: u32, key: SegmentKey, as_of: CommitKey },
    /// Read bodies and history; answered by `Event::Rewrite`.
    ReadForRewrite { segment: u32, name: SegmentName, jobs: Vec<RewriteRequest> },
    /// Progress as of the latest commits is durable.
    ProgressDurable,
    /// The store refuses or does not answer (none: it does again).
    Trouble(Option<StoreError>),
    /// Another owner has come.
    Superseded { by: Epoch },
    /// The partition can't be owned: it is parked.
    Failed(StoreError),
}

enum Fence {
    Reply(Ticket, Reply),
    Look(u64),
}

/// One claim's life.
pub(crate) struct Core {
    partition: PartitionId,
    settings: EngineSettings,
    protocol: Protocol,
    engine: Option<Engine>,
    accepted: Option<Box<Accepted>>,
    /// Read while the journal was.
    tokens: Option<FoundTokens>,
    queues: HashMap<QueueNumber, (QueueSettings, bool)>,
    leaving: BTreeSet<u16>,
    /// What came before it was open.
    held: VecDeque<engine::Event>,
    looks: VecDeque<u64>,
    fences: HashMap<u64, Fence>,
    next_fence: u64,
    /// All that was accepted is durable.
    taken_over: bool,
    opened: bool,
    protocol_wake_ms: Option<u64>,
    protocol_effects: Vec<ProtocolEffect>,
    engine_effects: Vec<engine::Effect>,
}

impl Core {
    /// An owner to be. `owner` is written into its claim, for people and for routing.
    pub fn new(
        partition: PartitionId,
        owner: Bytes,
        settings: EngineSettings,
        protocol: ProtocolSettings,
    ) -> Self {
        Self {
            partition,
            settings,
            protocol: Protocol::new(partition, owner, protocol),
            engine: None,
            accepted: None,
            tokens: None,
            queues: HashMap::new(),
            leaving: BTreeSet::new(),
            held: VecDeque::new(),
            looks: VecDeque::new(),
            fences: HashMap::new(),
            next_fence: 0,
            taken_over: false,
            opened: false,
            protocol_wake_ms: None,
            protocol_effects: Vec::new(),
            engine_effects: Vec::new(),
        }
    }

    /// The engine, to look at.
    pub fn engine(&mut self) -> Option<&mut Engine> {
        self.engine.as_mut().filter(|_| self.opened)
    }

    /// Nothing is being built or on its way.
    pub fn is_settled(&self) -> bool {
        self.opened && self.engine.as_ref().is_some_and(Engine::is_settled)
    }

    /// So many jobs may be in memory from now on.
    pub fn set_window(&mut self, jobs_max: usize) {
        self.settings.window_jobs_max = jobs_max;
        if let Some(engine) = &mut self.engine {
            engine.set_window(jobs_max);
        }
    }

    /// Progress has been asked for and is not on its way yet, or a commit is.
    pub fn owes_progress(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| self.opened && engine.has_commit() || !engine.is_settled())
    }

    /// When [`Input::Wake`] is due, Unix ms.
    pub fn next_wake_ms(&self) -> Option<u64> {
        let engine = self.engine.as_ref().filter(|_| self.opened).and_then(Engine::next_wake_ms);
        engine.into_iter().chain(self.protocol_wake_ms).min()
    }

    /// Takes one thing in. Commits are not sent before [`Core::flush`]: what came together goes together.
    pub fn handle(&mut self, now_ms: u64, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Start { incarnation } => {
                self.protocol(now_ms, ProtocolEvent::Start { incarnation }, outputs)
            }
            Input::Event(event) => self.event(now_ms, event, outputs),
            Input::Queue { number, settings, paused } => {
                self.queues.insert(number, ((*settings).clone(), paused));
                if self.engine.is_some() {
                    self.event(now_ms, engine::Event::Queue { number, settings: *settings, paused }, outputs);
                }
            }
            Input::Leaving { slots } => {
                self.leaving.clone_from(&slots);
                if self.opened {
                    self.event(now_ms, engine::Event::Leaving { slots }, outputs);
                }
            }
            Input::Look { ticket } => self.looks.push_back(ticket),
            Input::Called { call, reply } => {
                self.protocol(now_ms, ProtocolEvent::Reply { call, reply }, outputs);
            }
            Input::Tokens(tokens) => {
                self.tokens = Some(tokens);
                self.open_engine(now_ms, outputs);
            }
            Input::WantProgress => {
                if let Some(engine) = &mut self.engine {
                    engine.want_progress();
                }
            }
            Input::Unreadable(error) => self.protocol(now_ms, ProtocolEvent::Damaged(error), outputs),
            Input::Wake => self.wake(now_ms, outputs),
            Input::Stop => self.protocol(now_ms, ProtocolEvent::Stop, outputs),
        }
    }

    /// Sends what has gathered, as far as there is room for commits in flight, and lets those look
    /// who wait for a moment at which nothing is being built.
    pub fn flush(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        loop {
            let Some(engine) = self.engine.as_mut().filter(|_| self.opened) else { return };
            if !engine.has_commit() {
                break;
            }
            if !self.protocol.can_append() {
                return;
            }
            let Some((commit, progress)) = engine.take_commit(now_ms) else { break };
            let epoch_number = engine.epoch().number;
            self.append(now_ms, epoch_number, commit, outputs);
            if let Some(progress) = progress {
                let progress = self.encode_progress(progress);
                self.protocol(now_ms, ProtocolEvent::Progress(progress), outputs);
            }
        }
        while let Some(ticket) = self.looks.pop_front() {
            outputs.push(Output::Evaluate { ticket });
            self.fence(now_ms, Fence::Look(ticket), outputs);
        }
    }

    fn append(&mut self, now_ms: u64, epoch_number: u32, commit: engine::Commit, outputs: &mut Vec<Output>) {
        let row: Bytes = commit.row.encode_to_vec().into();
        let blobs =
            commit.blobs.into_iter().map(|(blob, chunk, bytes)| BlobChunk { blob, chunk, bytes }).collect();
        let partition = self.partition;
        let entries = commit
            .entries
            .into_iter()
            .map(|entry| IndexEntry {
                scope: scope_name(entry.scope, partition),
                bucket: entry.bucket,
                term: entry.term,
                value: entry.value,
            })
            .collect();
        let at = CommitRef { epoch_number, commit: commit.commit };
        outputs.push(Output::Bodies { at, row: Arc::new(commit.row), bytes: row.len() });
        let commit = NewCommit { segment: commit.segment, commit: commit.commit, row, blobs, entries };
        self.protocol(now_ms, ProtocolEvent::Commit(commit), outputs);
    }

    fn encode_progress(&self, progress: engine::Progress) -> NewProgress {
        let partition = self.partition;
        let incarnations: HashMap<u32, u64> =
            progress.row.chain.iter().map(|link| (link.epoch_number, link.incarnation)).collect();
        let in_use = progress
            .in_use
            .iter()
            .filter_map(|(name, as_of)| {
                let incarnation = *incarnations.get(&as_of.epoch_number)?;
                let epoch = Epoch { number: as_of.epoch_number, incarnation };
                Some((segment_key(partition, *name), CommitKey { epoch, commit: as_of.commit }))
            })
            .collect();
        NewProgress {
            as_of: progress.as_of,
            row: progress.row.encode_to_vec().into(),
            summaries: progress
                .summaries
                .iter()
                .map(|(name, summary)| (segment_key(partition, *name), summary.encode_to_vec().into()))
                .collect(),
            in_use,
        }
    }

    fn wake(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        if self.protocol_wake_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.protocol_wake_ms = None;
            self.protocol(now_ms, ProtocolEvent::Wake, outputs);
        }
        let due = self.engine().and_then(|engine| engine.next_wake_ms()).is_some_and(|at_ms| at_ms <= now_ms);
        if due {
            self.event(now_ms, engine::Event::Tick, outputs);
        }
    }

    fn event(&mut self, now_ms: u64, event: engine::Event, outputs: &mut Vec<Output>) {
        let Some(engine) = &mut self.engine else {
            self.held.push_back(event);
            return;
        };
        let opens = matches!(event, engine::Event::SegmentLoaded { .. });
        if !self.opened && !opens {
            self.held.push_back(event);
            return;
        }
        let mut effects = std::mem::take(&mut self.engine_effects);
        let outcome = engine.handle(now_ms, event, &mut effects);
        self.carry_out(now_ms, &mut effects, outputs);
        self.engine_effects = effects;
        if let Err(error) = outcome {
            self.damaged(now_ms, error.to_string(), outputs);
            return;
        }
        self.open_if_ready(now_ms, outputs);
    }

    /// Goes on once both the journal and the tokens have been read.
    fn open_engine(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        if self.accepted.is_none() {
            return;
        }
        let Some(tokens) = self.tokens.take() else { return };
        let Some(accepted) = self.accepted.take() else { return };
        let tokens = tokens.into_iter().filter(|(_, job, _)| is_accepted(&accepted.chain, *job)).collect();
        let taken = engine::TakenOver {
            epoch: accepted.epoch,
            chain: accepted.chain,
            origin: accepted.origin,
            progress: accepted.progress,
            tail: accepted.tail,
            queues: self
                .queues
                .iter()
                .map(|(number, (settings, paused))| (*number, settings.clone(), *paused))
                .collect(),
            tokens,
            passed_over: accepted.passed_over,
        };
        let mut effects = Vec::new();
        match Engine::open(self.partition, self.settings, taken, now_ms, &mut effects) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => {
                self.damaged(now_ms, error.to_string(), outputs);
                return;
            }
        }
        self.carry_out(now_ms, &mut effects, outputs);
        self.open_if_ready(now_ms, outputs);
    }

    /// What was accepted makes no sense: a failure, unless a higher claim is why.
    fn damaged(&mut self, now_ms: u64, what: String, outputs: &mut Vec<Output>) {
        let error = StoreError::new(StoreErrorKind::Damaged, what);
        self.protocol(now_ms, ProtocolEvent::Damaged(error), outputs);
    }

    fn open_if_ready(&mut self, now_ms: u64, outputs: &mut Vec<Output>) {
        let ready = self.taken_over && !self.opened;
        let Some(engine) = self.engine.as_ref().filter(|engine| ready && engine.is_open()) else { return };
        self.opened = true;
        outputs.push(Output::Opened { epoch: engine.epoch() });
        if !self.leaving.is_empty() {
            let slots = self.leaving.clone();
            self.event(now_ms, engine::Event::Leaving { slots }, outputs);
        }
        for event in std::mem::take(&mut self.held) {
            self.event(now_ms, event, outputs);
        }
    }

    fn carry_out(&mut self, now_ms: u64, effects: &mut Vec<engine::Effect>, outputs: &mut Vec<Output>) {
        for effect in effects.drain(..) {
            outputs.push(match effect {
                engine::Effect::Reply { ticket, reply } => Output::Reply { ticket, reply },
                engine::Effect::ReplyFenced { ticket, reply } => {
                    self.fence(now_ms, Fence::Reply(ticket, reply), outputs);
                    continue;
                }
                engine::Effect::Drop { name, condemned_by } => {
                    let segment = segment_key(self.partition, name);
                    self.protocol(now_ms, ProtocolEvent::Drop { segment, condemned_by }, outputs);
                    continue;
                }
                engine::Effect::Prefetch { segment, commit } => Output::Prefetch { segment, commit },
                engine::Effect::HandOut(hand_out) => Output::HandOut(hand_out),
                engine::Effect::Revoke { job, attempt, why, .. } => Output::Revoke { job, attempt, why },
                engine::Effect::Recalled { attempts, .. } => Output::Recalled { attempts },
                engine::Effect::Starved => Output::Starved,
                engine::Effect::SlotsClosed { slots } => Output::SlotsClosed { slots },
                engine::Effect::Ended { job, state } => Output::Ended { job, state },
                engine::Effect::LoadSegment { segment, name, as_of } => {
                    let epoch =
                        self.engine.as_ref().and_then(|engine| engine.epoch_numbered(as_of.epoch_number));
                    let Some(epoch) = epoch else {
                        let what =
                            format!("segment {name:?} has a summary of an epoch that is not on the chain");
                        self.damaged(now_ms, what, outputs);
                        continue;
                    };
                    let key = segment_key(self.partition, name);
                    Output::LoadSegment { segment, key, as_of: CommitKey { epoch, commit: as_of.commit } }
                }
                engine::Effect::ReadForRewrite { segment, name, jobs } => {
                    Output::ReadForRewrite { segment, name, jobs }
                }
            });
        }
    }

    fn fence(&mut self, now_ms: u64, what: Fence, outputs: &mut Vec<Output>) {
        self.next_fence += 1;
        let ticket = self.next_fence;
        self.fences.insert(ticket, what);
        self.protocol(now_ms, ProtocolEvent::Fence { ticket }, outputs);
    }

    fn protocol(&mut self, now_ms: u64, event: ProtocolEvent, outputs: &mut Vec<Output>) {
        let mut effects = std::mem::take(&mut self.protocol_effects);
        self.protocol.handle(now_ms, event, &mut effects);
        for effect in effects.drain(..) {
            self.protocol_effect(now_ms, effect, outputs);
        }
        if self.protocol_effects.capacity() < effects.capacity() {
            self.protocol_effects = effects;
        }
    }

    fn protocol_effect(&mut self, now_ms: u64, effect: ProtocolEffect, outputs: &mut Vec<Output>) {
        match effect {
            ProtocolEffect::Call { call, request } => outputs.push(Output::Call { call, request }),
            ProtocolEffect::Claimed => outputs.push(Output::ReadTokens),
            ProtocolEffect::Accepted(accepted) => {
                self.accepted = Some(accepted);
                self.open_engine(now_ms, outputs);
            }
            ProtocolEffect::TakenOver => {
                self.taken_over = true;
                self.open_if_ready(now_ms, outputs);
            }
            ProtocolEffect::Released { up_to } => {
                self.event(now_ms, engine::Event::Released { up_to }, outputs);
            }
            ProtocolEffect::FencePassed { ticket } => match self.fences.remove(&ticket) {
                Some(Fence::Reply(ticket, reply)) => outputs.push(Output::Reply { ticket, reply }),
                Some(Fence::Look(ticket)) => outputs.push(Output::Fenced { ticket }),
                None => {}
            },
            ProtocolEffect::ProgressDurable { as_of } => {
                self.event(now_ms, engine::Event::ProgressDurable { as_of }, outputs);
                outputs.push(Output::ProgressDurable);
            }
            ProtocolEffect::Dropped { segment } => {
                let name = SegmentName {
                    epoch_number: segment.epoch.number,
                    incarnation: segment.epoch.incarnation,
                    segment: segment.segment,
                };
                self.event(now_ms, engine::Event::Dropped { name }, outputs);
            }
            ProtocolEffect::Superseded { by } => outputs.push(Output::Superseded { by }),
            ProtocolEffect::Trouble(trouble) => outputs.push(Output::Trouble(trouble)),
            ProtocolEffect::WakeAt(at_ms) => {
                self.protocol_wake_ms = Some(self.protocol_wake_ms.map_or(at_ms, |other| other.min(at_ms)));
            }
            ProtocolEffect::Failed(error) => outputs.push(Output::Failed(error)),
        }
    }
}

/// True if the commit that a job was first written in lies on the chain. Entries of the index are
/// durable before their commit is; if that never became part of the history, a producer that repeats
/// its enqueue must not be told of a job that nobody will ever run (INV-1).
fn is_accepted(chain: &[ChainLink], job: JobId) -> bool {
    chain.iter().any(|link| link.epoch_number == job.epoch_number() && job.commit() <= link.cut)
}

/// The store's key of a segment.
pub(crate) fn segment_key(partition: PartitionId, name: SegmentName) -> SegmentKey {
    SegmentKey {
        partition,
        epoch: Epoch { number: name.epoch_number, incarnation: name.incarnation },
        segment: name.segment,
    }
}

/// The store's name of one of the engine's look-ups.
pub(crate) fn scope_name(scope: Scope, partition: PartitionId) -> String {
    match scope {
        Scope::Token => format!("token/{partition}"),
        Scope::Place => format!("place/{partition}"),
    }
}

/// Decodes a summary that was read.
pub(crate) fn decode_summary(bytes: &[u8]) -> Result<SummaryRow, StoreError> {
    SummaryRow::decode(bytes).map_err(|error| {
        StoreError::new(StoreErrorKind::Damaged, format!("a summary can't be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_commit_beyond_the_cut_names_no_job() {
        let partition = PartitionId { group: 1, index: 0 };
        let chain =
            [(2, 7), (5, 0)].map(|(epoch_number, cut)| ChainLink { epoch_number, incarnation: 1, cut });
        let accepted = |epoch, commit| is_accepted(&chain, JobId::new(partition, epoch, commit, 0));
        assert!(accepted(2, 7) && accepted(5, 0));
        assert!(!accepted(2, 8) && !accepted(5, 1), "beyond the cut");
        assert!(!accepted(4, 0), "an epoch that is passed over");
    }
}
