//! The stored rows, as protobuf messages (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! Old readers meet new rows and the other way round: fields are only ever added, numbers are
//! never used twice, and what a reader does not know it skips. `docs/format.md` lists them.

use bytes::Bytes;

/// Points at one commit: the epoch's number is enough, no number stands for two epochs with rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct CommitRef {
    /// Number of the epoch.
    #[prost(uint32, tag = "1")]
    pub epoch_number: u32,
    /// Number of the commit in the epoch's journal.
    #[prost(uint64, tag = "2")]
    pub commit: u64,
}

/// Points at one job: where its row is now (its id says where it was first).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Place {
    /// Number of the epoch.
    #[prost(uint32, tag = "1")]
    pub epoch_number: u32,
    /// Number of the commit.
    #[prost(uint64, tag = "2")]
    pub commit: u64,
    /// Place among the jobs of the commit.
    #[prost(uint32, tag = "3")]
    pub place: u32,
}

/// One epoch of the accepted history and the last of its commits that belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct ChainLink {
    /// Number of the epoch.
    #[prost(uint32, tag = "1")]
    pub epoch_number: u32,
    /// Incarnation of the epoch.
    #[prost(fixed64, tag = "2")]
    pub incarnation: u64,
    /// The last accepted commit of the epoch (its cut).
    #[prost(uint64, tag = "3")]
    pub cut: u64,
}

/// What row 0 of a journal says of its predecessor (`docs/proof.md`, 4).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Origin {
    /// The head that this epoch goes on from; none for the first epoch of a partition.
    #[prost(message, optional, tag = "1")]
    pub head: Option<ChainLink>,
}

/// One commit: exactly one stored row.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitRow {
    /// Partition time when the commit was closed, Unix milliseconds. Never runs backwards.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// In row 0, and only there.
    #[prost(message, optional, tag = "2")]
    pub origin: Option<Origin>,
    /// Texts that jobs and markers of this commit point to by index: kinds, content types, runners.
    #[prost(string, repeated, tag = "3")]
    pub strings: Vec<String>,
    /// New jobs, and jobs written again.
    #[prost(message, repeated, tag = "4")]
    pub jobs: Vec<JobRow>,
    /// Facts about jobs, in the order in which they became true.
    #[prost(message, repeated, tag = "5")]
    pub markers: Vec<MarkerRow>,
    /// Segments that this commit condemns: all their jobs are final, past retention or copied.
    #[prost(message, repeated, tag = "6")]
    pub condemned: Vec<SegmentName>,
    /// Slots that this commit closes: from then on the partition takes no new job of them.
    #[prost(uint32, repeated, tag = "7")]
    pub closed_slots: Vec<u32>,
}

/// Names a segment of a partition's journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct SegmentName {
    /// Number of the epoch.
    #[prost(uint32, tag = "1")]
    pub epoch_number: u32,
    /// Incarnation of the epoch.
    #[prost(fixed64, tag = "2")]
    pub incarnation: u64,
    /// Number of the segment in the epoch's journal, from 0.
    #[prost(uint32, tag = "3")]
    pub segment: u32,
}

/// Bytes kept beside the journal: a payload over 16 KiB, a result over 4 KiB, an attempt's output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct BlobRef {
    /// The segment that it is dropped with.
    #[prost(message, optional, tag = "1")]
    pub segment: Option<SegmentName>,
    /// Number of the blob, never used twice in an epoch.
    #[prost(uint64, tag = "2")]
    pub blob: u64,
    /// Number of chunks, from 0.
    #[prost(uint32, tag = "3")]
    pub chunks: u32,
    /// Total length, bytes.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Header {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// How long to wait before the next attempt; see [`crate::model::Backoff`] for the formula.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct BackoffRow {
    /// Delay after the first failure, ms.
    #[prost(uint64, tag = "1")]
    pub base_ms: u64,
    /// Factor between delays, in hundredths (200 doubles).
    #[prost(uint32, tag = "2")]
    pub factor_percent: u32,
    /// Longest delay, ms.
    #[prost(uint64, tag = "3")]
    pub cap_ms: u64,
    /// Share of the delay that is jittered, percent.
    #[prost(uint32, tag = "4")]
    pub jitter_percent: u32,
}

/// A job as it was enqueued.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobRow {
    /// Number of the queue.
    #[prost(uint32, tag = "1")]
    pub queue: u32,
    /// Index of the kind in `strings`.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// The payload, if it is kept inline.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
    /// The payload, if it is kept beside.
    #[prost(message, optional, tag = "4")]
    pub payload_blob: Option<BlobRef>,
    /// Index of the content type in `strings`, plus one; 0 is `application/json`.
    #[prost(uint32, tag = "5")]
    pub content_type: u32,
    /// The key; empty for none.
    #[prost(string, tag = "6")]
    pub key: String,
    /// Lane, 1 … 9; 0 is the default, 5.
    #[prost(uint32, tag = "7")]
    pub priority: u32,
    /// Not to be started before, Unix ms; 0 is now.
    #[prost(uint64, tag = "8")]
    pub run_at_ms: u64,
    /// When it was enqueued, Unix ms; 0 is the commit's time.
    #[prost(uint64, tag = "9")]
    pub enqueued_ms: u64,
    /// Not to be started after, Unix ms; 0 is never.
    #[prost(uint64, tag = "10")]
    pub deadline_ms: u64,
    /// Longest run of one attempt, ms; 0 is the queue's.
    #[prost(uint64, tag = "11")]
    pub timeout_ms: u64,
    /// Failed attempts until the job has failed; 0 is the queue's.
    #[prost(uint32, tag = "12")]
    pub max_attempts: u32,
    /// The job's own back-off; none is the queue's.
    #[prost(message, optional, tag = "13")]
    pub backoff: Option<BackoffRow>,
    /// Free name/value pairs, handed to the handler.
    #[prost(message, repeated, tag = "14")]
    pub headers: Vec<Header>,
    /// Tags.
    #[prost(string, repeated, tag = "15")]
    pub tags: Vec<String>,
    /// Set if this is a job written again: by compaction, or because a failed job is retried.
    #[prost(message, optional, tag = "16")]
    pub again: Option<AgainRow>,
    /// Hash of the idempotency token, 16 bytes; empty for none.
    #[prost(bytes = "bytes", tag = "17")]
    pub token: Bytes,
    /// Slot of its routing value, plus one; 0 if it has none, or has a key, which tells it.
    #[prost(uint32, tag = "18")]
    pub slot: u32,
}

/// What a job that is written again brings along.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgainRow {
    /// The job's id, 16 bytes: it was first written elsewhere.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Where it was until now.
    #[prost(message, optional, tag = "2")]
    pub from: Option<Place>,
    /// Its state.
    #[prost(message, optional, tag = "3")]
    pub state: Option<StateRow>,
    /// Its markers so far, oldest first; the oldest beyond the bound are left out.
    #[prost(message, repeated, tag = "4")]
    pub history: Vec<MarkerRow>,
    /// Texts that the history points to by index.
    #[prost(string, repeated, tag = "5")]
    pub strings: Vec<String>,
}

/// A job's state in a summary, in progress, or in a job written again.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StateRow {
    /// A [`crate::model::JobState`] by number.
    #[prost(uint32, tag = "1")]
    pub state: u32,
    /// Attempts started so far: the number of the latest attempt.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    /// Attempts that failed, counted against `max_attempts`.
    #[prost(uint32, tag = "3")]
    pub failures: u32,
    /// Attempts that were interrupted, counted apart.
    #[prost(uint32, tag = "4")]
    pub interruptions: u32,
    /// Waiting and scheduled: due at; running: lease ends at; final: ended at. Unix ms.
    #[prost(uint64, tag = "5")]
    pub time_ms: u64,
    /// Lane now; 0 is the default.
    #[prost(uint32, tag = "6")]
    pub priority: u32,
    /// The commit with the job's latest marker.
    #[prost(message, optional, tag = "7")]
    pub last: Option<CommitRef>,
    /// Set if the job has been written again elsewhere: look there.
    #[prost(message, optional, tag = "8")]
    pub moved_to: Option<Place>,
    /// When it becomes more urgent than its turn: order among the jobs of its lane; 0 is its id's.
    #[prost(uint64, tag = "9")]
    pub order: u64,
}

/// The kinds of marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MarkerKind {
    /// Not used.
    None = 0,
    /// An attempt is handed to a runner. Durable before the handler runs.
    Started = 1,
    /// The attempt succeeded: final.
    Succeeded = 2,
    /// The attempt failed and no attempt is left: final, kept until retried or cleared.
    Failed = 3,
    /// The attempt failed; the next may start at `due_ms`.
    Retry = 4,
    /// The handler asked for another time without using up an attempt.
    Snoozed = 5,
    /// Given back unstarted; costs nothing.
    Released = 6,
    /// The attempt's runner died: neither success nor failure; the next may start at `due_ms`.
    Interrupted = 7,
    /// Cancelled by somebody: final.
    Cancelled = 8,
    /// Its deadline passed before it could be started: final.
    Expired = 9,
    /// Due now instead of later, by command.
    RunNow = 10,
    /// Another lane, by command.
    Prioritized = 11,
    /// Written again elsewhere in this partition; `moved_to` says where.
    Moved = 12,
    /// Forgotten by command: `gone` from now on.
    Deleted = 13,
}

/// A durable fact about a job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MarkerRow {
    /// The job, by its present place.
    #[prost(message, optional, tag = "1")]
    pub job: Option<Place>,
    /// What happened.
    #[prost(enumeration = "MarkerKind", tag = "2")]
    pub kind: i32,
    /// The attempt that it is about.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The commit with the job's marker before this one: the way back through its history.
    #[prost(message, optional, tag = "4")]
    pub previous: Option<CommitRef>,
    /// When it happened, Unix ms; 0 is the commit's time.
    #[prost(uint64, tag = "5")]
    pub time_ms: u64,
    /// Next due (retry, snooze, interruption) or the lease's end (start), Unix ms.
    #[prost(uint64, tag = "6")]
    pub due_ms: u64,
    /// Runner of a start: index in `strings`, plus one.
    #[prost(uint32, tag = "7")]
    pub runner: u32,
    /// What went wrong, at most [`crate::model::limits::ERROR_TEXT_CHARS_MAX`] characters.
    #[prost(string, tag = "8")]
    pub error: String,
    /// Class of the error, for policies and groups.
    #[prost(string, tag = "9")]
    pub error_class: String,
    /// The result, if it is kept inline.
    #[prost(bytes = "bytes", tag = "10")]
    pub result: Bytes,
    /// The result, if it is kept beside.
    #[prost(message, optional, tag = "11")]
    pub result_blob: Option<BlobRef>,
    /// The attempt's captured output. Of a start: where it goes to, in the segment of the marker's
    /// commit, as many chunks as there will be.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<BlobRef>,
    /// Bytes of output that were left out between the kept start and the kept end.
    #[prost(uint64, tag = "13")]
    pub output_dropped_bytes: u64,
    /// The new lane (prioritized).
    #[prost(uint32, tag = "14")]
    pub priority: u32,
    /// The new place (moved).
    #[prost(message, optional, tag = "15")]
    pub moved_to: Option<Place>,
    /// How the handler ended: exit code, or 128 plus the signal's number. Present with `ended`.
    #[prost(int32, optional, tag = "16")]
    pub exit_code: Option<i32>,
    /// Process running the attempt, for a person who looks: `host:pid`.
    #[prost(string, tag = "17")]
    pub process: String,
}

/// A sealed (or, in progress, still growing) segment's state as of a commit: all that is needed
/// to choose and to count its jobs without reading their bodies.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SummaryRow {
    /// Texts that `kinds` points to.
    #[prost(string, repeated, tag = "1")]
    pub strings: Vec<String>,
    /// Number of jobs in each commit of the segment, from its first commit on.
    #[prost(uint32, repeated, tag = "2")]
    pub jobs_per_commit: Vec<u32>,
    /// Per job: its queue.
    #[prost(uint32, repeated, tag = "3")]
    pub queues: Vec<u32>,
    /// Per job: its kind, an index in `strings`.
    #[prost(uint32, repeated, tag = "4")]
    pub kinds: Vec<u32>,
    /// Per job: its state.
    #[prost(message, repeated, tag = "5")]
    pub states: Vec<StateRow>,
    /// Jobs whose id is not that of their place: index in the segment, and id.
    #[prost(message, repeated, tag = "6")]
    pub foreign_ids: Vec<ForeignId>,
    /// Per job: its deadline, Unix ms; 0 is none. Empty if none has one.
    #[prost(uint64, repeated, tag = "7")]
    pub deadlines_ms: Vec<u64>,
    /// Per job: the slot of its routing value, plus one; 0 is none; 4,097 is one that was not written
    /// down. Empty if all are alike: `slots_alike`.
    #[prost(uint32, repeated, tag = "8")]
    pub slots: Vec<u32>,
    /// What an empty `slots` stands for, plus one; 0: nothing was written down of any job.
    #[prost(uint32, tag = "9")]
    pub slots_alike: u32,
}

/// A job in a segment that was first written elsewhere.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ForeignId {
    /// Index of the job in the segment.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Its id, 16 bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub id: Bytes,
}

/// One segment in progress.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SegmentRow {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub name: Option<SegmentName>,
    /// Its first commit.
    #[prost(uint64, tag = "2")]
    pub first_commit: u64,
    /// Its commits so far.
    #[prost(uint64, tag = "3")]
    pub commits: u64,
    /// Its jobs so far.
    #[prost(uint32, tag = "4")]
    pub jobs: u32,
    /// Bytes of its rows so far, without blobs.
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    /// Its latest summary, if there is one: the commit as of which it was written.
    #[prost(message, optional, tag = "6")]
    pub summary: Option<CommitRef>,
    /// States younger than that summary.
    #[prost(message, repeated, tag = "7")]
    pub younger: Vec<YoungerState>,
    /// Jobs by queue and state.
    #[prost(message, repeated, tag = "8")]
    pub tallies: Vec<TallyRow>,
    /// Earliest due time of its scheduled jobs, Unix ms; 0 if it has none.
    #[prost(uint64, tag = "9")]
    pub earliest_due_ms: u64,
    /// Time of the last end of a job in it, Unix ms.
    #[prost(uint64, tag = "10")]
    pub last_end_ms: u64,
    /// True once no commit will be added.
    #[prost(bool, tag = "11")]
    pub sealed: bool,
    /// Condemned by a commit, not yet known to be dropped.
    #[prost(bool, tag = "12")]
    pub condemned: bool,
    /// Its open jobs are in the `slots` of progress.
    #[prost(bool, tag = "13")]
    pub slots_counted: bool,
}

/// A state younger than the segment's summary.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct YoungerState {
    /// Index of the job in the segment.
    #[prost(uint32, tag = "1")]
    pub index: u32,
    /// Its state.
    #[prost(message, optional, tag = "2")]
    pub state: Option<StateRow>,
}

/// How many jobs of one queue are in which state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TallyRow {
    /// The queue.
    #[prost(uint32, tag = "1")]
    pub queue: u32,
    /// By [`crate::model::JobState`] number.
    #[prost(uint64, repeated, tag = "2")]
    pub by_state: Vec<u64>,
    /// Waiting jobs by lane, 1 … 9 (index 0 is lane 1). Empty if none wait.
    #[prost(uint32, repeated, tag = "3")]
    pub waiting_by_lane: Vec<u32>,
}

/// A partition's segments with their totals, as of a released commit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProgressRow {
    /// A worker whose reader is older than this does not claim.
    #[prost(uint32, tag = "1")]
    pub min_reader: u32,
    /// Epochs whose rows may still be there, oldest first; the last is the writer's own, and its
    /// cut is the commit that this progress is as of.
    #[prost(message, repeated, tag = "2")]
    pub chain: Vec<ChainLink>,
    /// The partition's time as of the commit, Unix ms.
    #[prost(uint64, tag = "3")]
    pub time_ms: u64,
    /// Segments, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub segments: Vec<SegmentRow>,
    /// Jobs by queue and state, over all segments.
    #[prost(message, repeated, tag = "5")]
    pub tallies: Vec<TallyRow>,
    /// Open jobs by slot, and closed slots. None: slots are not known of any job, and none is closed.
    #[prost(message, optional, tag = "6")]
    pub slots: Option<SlotsRow>,
}

/// Slots of routing values in a partition, as of progress.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SlotsRow {
    /// Slots with open jobs.
    #[prost(uint32, repeated, tag = "1")]
    pub slots: Vec<u32>,
    /// Per slot of `slots`: how many.
    #[prost(uint64, repeated, tag = "2")]
    pub open: Vec<u64>,
    /// Open jobs with a routing value whose slot was not written down.
    #[prost(uint64, tag = "3")]
    pub unknown: u64,
    /// Slots that are closed.
    #[prost(uint32, repeated, tag = "4")]
    pub closed: Vec<u32>,
}

/// A document's value for a queue or group is JSON; this is what an index entry of the `token`
/// scope holds: the tokened jobs of one commit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokensRow {
    /// Time of the commit, Unix ms.
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    /// 16-byte hashes, one after another.
    #[prost(bytes = "bytes", tag = "2")]
    pub hashes: Bytes,
    /// Place of each job in the commit.
    #[prost(uint32, repeated, tag = "3")]
    pub places: Vec<u32>,
}

impl From<&crate::model::Backoff> for BackoffRow {
    fn from(backoff: &crate::model::Backoff) -> Self {
        Self {
            base_ms: backoff.base.ms,
            factor_percent: (backoff.factor * 100.0).round() as u32,
            cap_ms: backoff.cap.ms,
            jitter_percent: (backoff.jitter * 100.0).round() as u32,
        }
    }
}

impl From<&BackoffRow> for crate::model::Backoff {
    fn from(row: &BackoffRow) -> Self {
        Self {
            base: crate::model::Span::from_ms(row.base_ms),
            factor: f64::from(row.factor_percent) / 100.0,
            cap: crate::model::Span::from_ms(row.cap_ms),
            jitter: f64::from(row.jitter_percent) / 100.0,
        }
    }
}

#[cfg(test)]
mod tests;
