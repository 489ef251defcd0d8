//! What goes into a partition's engine and what comes out.

#![expect(missing_docs, reason = "a variant's sentence explains its fields, whose names say the rest")]

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::row::{
    BlobRef, ChainLink, CommitRef, CommitRow, JobRow, MarkerRow, Origin, Place, ProgressRow, SegmentName,
    SummaryRow,
};
use crate::model::{Backoff, Epoch, JobId, JobState, NewJob, Outcome, QueueNumber, QueueSettings};

/// Names a request, so that its answer finds the way back. Chosen by the caller, never twice.
pub type Ticket = u64;
/// Names a runner for as long as this owner knows it.
pub type RunnerId = u64;

/// Something that happened to a partition.
#[derive(Debug)]
pub enum Event {
    /// Settings of a queue, before its first job and whenever they change.
    Queue { number: QueueNumber, settings: QueueSettings, paused: bool },
    /// Jobs to be enqueued, all of one queue.
    Enqueue { ticket: Ticket, queue: QueueNumber, jobs: Vec<NewJob> },
    /// Slots that are wanted in other partitions: each is closed once no job of it is open.
    Leaving { slots: BTreeSet<u16> },
    /// A runner is there: its name for the record, and the kinds that it runs.
    RunnerUp { runner: RunnerId, name: String, kinds: Vec<String> },
    /// A runner has room for so many more attempts.
    Pull { runner: RunnerId, attempts: u32 },
    /// A runner wants room back that it had offered; answered by [`Effect::Recalled`].
    Recall { runner: RunnerId, attempts: u32 },
    /// A runner is known dead: its attempts were interrupted.
    RunnerGone { runner: RunnerId },
    /// Every attempt that was running before this owner came is known to be dead.
    OrphansGone,
    /// An attempt that was running before this owner came is with no runner.
    OrphanGone { job: JobId, attempt: u32 },
    /// An attempt was marked as started before this owner came, and was never handed out.
    OrphanUnstarted { job: JobId, attempt: u32 },
    /// An attempt ended.
    Finish { ticket: Ticket, job: JobId, attempt: u32, end: AttemptEnd },
    /// Somebody wants something done with one job.
    Command { ticket: Ticket, job: JobId, place: Option<Place>, command: Command },
    /// What [`Effect::ReadForRewrite`] asked for: every job that it named.
    Rewrite { segment: u32, jobs: Vec<RewrittenJob> },
    /// A summary that was asked for.
    SegmentLoaded { segment: u32, summary: Box<SummaryRow> },
    /// All commits up to that one are durable and fenced.
    Released { up_to: u64 },
    /// Progress as of that commit, and its summaries, are durable.
    ProgressDurable { as_of: u64 },
    /// A condemned segment is gone from the store.
    Dropped { name: SegmentName },
    /// Time has passed.
    Tick,
}

/// How an attempt ended, and the job's own policy for what follows (from its body).
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// How.
    pub outcome: Outcome,
    /// Failed attempts until the job has failed.
    pub max_attempts: u32,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Exit code, or 128 plus the signal's number.
    pub exit_code: Option<i32>,
    /// Output that was kept.
    pub output: Option<BlobRef>,
    /// Bytes of output that were not.
    pub output_dropped_bytes: u64,
}

/// What can be done with one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// End it.
    Cancel,
    /// Failed or cancelled: write it anew, waiting.
    Retry,
    /// Scheduled: due now.
    RunNow,
    /// Another lane.
    SetPriority(u8),
    /// End it if need be, and forget it.
    Delete,
    /// A running attempt is to be ended; the job waits again.
    Interrupt,
}

/// A job as it is written again.
#[derive(Clone, Debug)]
pub struct RewrittenJob {
    /// Index in its present segment.
    pub index: u32,
    /// Its row, kinds and content type by name.
    pub row: JobRow,
    /// Kind.
    pub kind: String,
    /// Content type, empty for JSON.
    pub content_type: String,
    /// Its markers, oldest first, with runners by name in `strings`.
    pub history: Vec<MarkerRow>,
    /// Texts of the history.
    pub strings: Vec<String>,
    /// Blobs that row and history name, by old reference, with their chunks.
    pub blobs: Vec<(BlobRef, Vec<Bytes>)>,
    /// When it was first enqueued, Unix ms.
    pub enqueued_ms: u64,
    /// Its latest marker when it was asked for: if there is a newer one by now, it is read again.
    pub last: Option<CommitRef>,
}

/// What is to be done for a partition.
#[derive(Debug)]
pub enum Effect {
    /// Answer a request. What it rests on is released.
    Reply { ticket: Ticket, reply: Reply },
    /// Answer a request after a fence read begun now, and the release of all commits until now.
    ReplyFenced { ticket: Ticket, reply: Reply },
    /// The body of that commit will be needed soon.
    Prefetch { segment: SegmentName, commit: u64 },
    /// Give an attempt to a runner. Its start is released.
    HandOut(Box<HandOut>),
    /// Tell a runner to end an attempt.
    Revoke { runner: RunnerId, job: JobId, attempt: u32, why: Revocation },
    /// Answer to [`Event::Recall`]: so many offers are taken back.
    Recalled { runner: RunnerId, attempts: u32 },
    /// Jobs of these kinds wait and no runner has room: whoever has, pulls.
    Starved,
    /// A job is final; whoever waits for it can look.
    Ended { job: JobId, state: JobState },
    /// Read a summary; answered by [`Event::SegmentLoaded`].
    LoadSegment { segment: u32, name: SegmentName, as_of: CommitRef },
    /// Read bodies and history of those jobs; answered by [`Event::Rewrite`].
    ReadForRewrite { segment: u32, name: SegmentName, jobs: Vec<RewriteRequest> },
    /// No owner of this partition takes new jobs of these slots any more.
    SlotsClosed { slots: Vec<u16> },
    /// A segment may be dropped once the conditions of `docs/proof.md` (5) hold.
    Drop { name: SegmentName, condemned_by: u64 },
}

/// One job to be read for [`Effect::ReadForRewrite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewriteRequest {
    /// Index in the segment.
    pub index: u32,
    /// Its commit.
    pub commit: u64,
    /// Its place in the commit.
    pub place: u32,
    /// Commit of its latest marker.
    pub last: Option<CommitRef>,
}

/// Why an attempt is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The job was cancelled: its end needs no report.
    Cancelled,
    /// The attempt is to be given back.
    Interrupted,
}

/// An attempt to be handed to a runner; the body is found by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOut {
    /// To whom.
    pub runner: RunnerId,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Where the body is.
    pub segment: SegmentName,
    /// Where the body is.
    pub place: Place,
    /// Queue.
    pub queue: QueueNumber,
    /// Failed attempts so far.
    pub failures: u32,
    /// An earlier attempt was interrupted.
    pub suspect: bool,
    /// Blob for its output, in `output_segment`.
    pub output_blob: u64,
    /// The segment that the output is dropped with.
    pub output_segment: SegmentName,
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Taken, or had been.
    Enqueued(Vec<(JobId, JobState, bool)>),
    /// Done with the job, which is now in that state.
    Done(JobState),
    /// Taken note of, or nothing to do: the attempt is not the running one any more.
    Finished { accepted: bool },
    /// Some are of slots that have left this partition: nothing was done.
    SlotsLeft,
    /// No queue of that number is known here.
    UnknownQueue,
    /// The queue's backlog bound is reached.
    BacklogFull { max: u64 },
    /// The partition has met as many kinds (or queues) as it can keep apart: use fewer names.
    TooMany { what: &'static str, max: usize },
    /// No such job was ever here.
    UnknownJob,
    /// The job's first place is gone: look in the index for a newer one, and ask again with it.
    WhereIsIt,
    /// The job is not in a state for that.
    WrongState(JobState),
}

/// A commit, ready to be appended.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its segment in this epoch's journal.
    pub segment: u32,
    /// Its number.
    pub commit: u64,
    /// The row, decoded: bodies for hand-outs.
    pub row: CommitRow,
    /// Chunks that must be durable first: blob, chunk, bytes.
    pub blobs: Vec<(u64, u32, Bytes)>,
    /// Index entries that must be durable first.
    pub entries: Vec<Entry>,
}

/// An index entry of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which look-up.
    pub scope: Scope,
    /// Bucket.
    pub bucket: u64,
    /// Term.
    pub term: Bytes,
    /// Value.
    pub value: Bytes,
}

/// Look-ups that the engine writes entries for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Idempotency tokens, by time.
    Token,
    /// New places of jobs written again, by id.
    Place,
}

/// Progress as of a commit, and the summaries that must be durable before it.
#[derive(Clone, Debug)]
pub struct Progress {
    /// As of this commit of this epoch.
    pub as_of: u64,
    /// The row.
    pub row: ProgressRow,
    /// Summaries, all as of the same commit.
    pub summaries: Vec<(SegmentName, SummaryRow)>,
    /// Summaries that are in use after this progress.
    pub in_use: Vec<(SegmentName, CommitRef)>,
}

/// What a new owner starts from (`docs/proof.md`, 4).
#[derive(Clone, Debug)]
pub struct TakenOver {
    /// The new epoch.
    pub epoch: Epoch,
    /// Epochs before it whose rows may still be there, oldest first.
    pub chain: Vec<ChainLink>,
    /// To be put into row 0.
    pub origin: Origin,
    /// The latest progress on the chain, and the commit that it is as of.
    pub progress: Option<(CommitRef, ProgressRow)>,
    /// Accepted commits after it, in order.
    pub tail: Vec<TailCommit>,
    /// Queues of the partition: number, settings, whether paused.
    pub queues: Vec<(QueueNumber, QueueSettings, bool)>,
    /// Tokens found in the index: hash, job, time.
    pub tokens: Vec<([u8; 16], JobId, u64)>,
    /// Claims that came to nothing: they were looked at, and will be by the next owner.
    pub passed_over: usize,
}

/// An accepted commit after the latest progress.
#[derive(Clone, Debug)]
pub struct TailCommit {
    /// Its segment.
    pub segment: SegmentName,
    /// Its number.
    pub commit: u64,
    /// Bytes of its row.
    pub bytes: u64,
    /// Its row.
    pub row: CommitRow,
}
