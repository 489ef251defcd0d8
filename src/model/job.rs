//! Jobs and attempts, as the engine and the runners see them.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Backoff, Epoch, JobId, PartitionId};

/// States of a job, as users see them. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum JobState {
    /// May be started now.
    Waiting = 0,
    /// Due later: a delay, a retry's back-off, a snooze.
    Scheduled = 1,
    /// Waits for other jobs.
    Blocked = 2,
    /// An attempt is with a runner.
    Running = 3,
    /// Done.
    Succeeded = 4,
    /// Attempts used up; kept until retried or cleared.
    Failed = 5,
    /// Ended without success by a person, or because its deadline passed.
    Cancelled = 6,
}

impl JobState {
    /// How many states there are.
    pub const COUNT: usize = 7;
    /// All states, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Waiting,
        Self::Scheduled,
        Self::Blocked,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The reverse of `as u8`.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// No attempt will be made any more, unless somebody retries it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A priority level, 9 (first) … 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// Lanes are 1 … `COUNT`.
    pub const COUNT: usize = 9;
    /// The lane of a job that asks for none.
    pub const DEFAULT: Self = Self(5);

    /// The lane of that number, 1 … 9.
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::COUNT as u8).contains(&number).then_some(Self(number))
    }

    /// 1 … 9.
    pub fn number(self) -> u8 {
        self.0
    }

    /// 0 … 8, to index with.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// When a new job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At once.
    Now,
    /// So many milliseconds after it is enqueued.
    After(u64),
    /// At that time, Unix ms; a past time means now.
    At(u64),
}

/// A job to be enqueued. Bounds have been checked by whoever made it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Which handler runs it.
    pub kind: String,
    /// Returned unchanged.
    pub payload: Bytes,
    /// What the payload is; empty is `application/json`.
    pub content_type: String,
    /// Jobs of one key go to one partition.
    pub key: Option<String>,
    /// Lane.
    pub lane: Lane,
    /// When it is due.
    pub due: Due,
    /// Not to be started after, Unix ms.
    pub deadline_ms: Option<u64>,
    /// Longest run of one attempt, ms; none is the queue's.
    pub timeout_ms: Option<u64>,
    /// Failed attempts until the job has failed; none is the queue's.
    pub max_attempts: Option<u32>,
    /// None is the queue's.
    pub backoff: Option<Backoff>,
    /// Idempotency token: a repetition answers the first one's id.
    pub token: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Handed to the handler.
    pub headers: Vec<(String, String)>,
}

impl NewJob {
    /// A job of that kind with that payload, due now, all else by default.
    pub fn new(kind: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            kind: kind.into(),
            payload: payload.into(),
            content_type: String::new(),
            key: None,
            lane: Lane::DEFAULT,
            due: Due::Now,
            deadline_ms: None,
            timeout_ms: None,
            max_attempts: None,
            backoff: None,
            token: None,
            tags: Vec::new(),
            headers: Vec::new(),
        }
    }
}

/// One try at running a job, as handed to a runner. Its start is durable.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The job.
    pub job: JobId,
    /// Where the owner is that wants the report.
    pub partition: PartitionId,
    /// The owner's epoch: with `attempt` the fencing token for the handler's own side effects.
    pub epoch: Epoch,
    /// 1 for the first. No number is used twice.
    pub attempt: u32,
    /// Namespace of the queue.
    pub namespace: Arc<str>,
    /// Name of the queue.
    pub queue: Arc<str>,
    /// Which handler.
    pub kind: Arc<str>,
    /// The payload.
    pub payload: Bytes,
    /// What the payload is.
    pub content_type: String,
    /// The key, empty for none.
    pub key: String,
    /// Handed to the handler.
    pub headers: Vec<(String, String)>,
    /// Longest run, ms; 0 is unlimited.
    pub timeout_ms: u64,
    /// Not to be started after, Unix ms; 0 is none.
    pub deadline_ms: u64,
    /// Failed attempts before this one.
    pub failures: u32,
    /// How many failed attempts there may be.
    pub max_attempts: u32,
    /// An earlier attempt was interrupted: this one may kill its runner.
    pub suspect: bool,
    /// Blob that the attempt's output is kept under: number, and the segment it is dropped with.
    pub output_blob: u64,
    /// See `output_blob`.
    pub output_segment: super::row::SegmentName,
}

/// What a handler wishes to happen after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// As the policy says.
    Policy,
    /// After so many milliseconds, if attempts are left.
    After(u64),
    /// Not at all.
    GiveUp,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was to do.
    Succeeded {
        /// The result, at most [`super::limits::RESULT_BYTES_MAX`].
        result: Bytes,
    },
    /// It did not.
    Failed {
        /// What went wrong, for people.
        error: String,
        /// Class of the error, for policies and groups: `exit`, `signal`, `timeout`, `spawn`, or the handler's own.
        class: String,
        /// The handler's wish.
        retry: Retry,
    },
    /// The handler asked for another time without using up an attempt.
    Snoozed {
        /// Delay, ms.
        delay_ms: u64,
    },
    /// Given back unstarted.
    Released,
    /// Ended because the owner revoked it (cancelled), or because the worker stops before it was done.
    Interrupted {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// In one word, as it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Snoozed { .. } => "snoozed",
            Self::Released => "released",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}
