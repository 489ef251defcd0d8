//! What is asked and answered at the outside: the JSON of the HTTP API and of `qdo … -o json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{JobId, JobState, QueueSettings};

/// Answer to an enqueue, one per job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Enqueued {
    /// The job's id, the same for life.
    #[schema(value_type = String)]
    pub id: JobId,
    /// The partition that took it, `group/index`.
    pub partition: String,
    /// Its state when it was taken (for a repetition: now).
    pub state: JobState,
    /// True if the token had been seen: this is the id of the first one.
    pub repeated: bool,
}

/// One attempt on record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// 1 for the first.
    pub attempt: u32,
    /// When it was handed to the runner.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When its end was reported.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The runner, `host:pid:incarnation`.
    pub runner: Option<String>,
    /// `running`, `succeeded`, `failed`, `snoozed`, `released`, `interrupted`, `cancelled`.
    pub outcome: String,
    /// What went wrong.
    pub error: Option<String>,
    /// Class of the error.
    pub error_class: Option<String>,
    /// Exit code, or 128 plus the signal's number.
    pub exit_code: Option<i32>,
    /// Bytes of captured output that are kept.
    pub output_bytes: u64,
    /// Bytes of output that were left out between the kept start and the kept end.
    pub output_dropped_bytes: u64,
}

/// All that is known about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// The job's id.
    #[schema(value_type = String)]
    pub id: JobId,
    /// Namespace.
    pub namespace: String,
    /// Queue.
    pub queue: String,
    /// Partition, `group/index`.
    pub partition: String,
    /// Kind.
    pub kind: String,
    /// State.
    pub state: JobState,
    /// In one sentence, why it is in that state and what it waits for.
    pub reason: String,
    /// Key.
    pub key: Option<String>,
    /// Lane, 9 is first.
    pub priority: u8,
    /// Payload, if it is JSON or UTF-8 text.
    pub payload: Option<serde_json::Value>,
    /// Payload in base64, if it is neither.
    pub payload_base64: Option<String>,
    /// What the payload is.
    pub content_type: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<String>,
    /// When it was enqueued.
    #[schema(value_type = String, format = DateTime)]
    pub enqueued_at: Timestamp,
    /// When it is due, if later.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub run_at: Option<Timestamp>,
    /// Deadline.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// When the latest attempt started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended for good.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Attempts started.
    pub attempt: u32,
    /// Attempts that failed.
    pub failures: u32,
    /// Attempts that were interrupted.
    pub interruptions: u32,
    /// Failed attempts until it has failed.
    pub max_attempts: u32,
    /// Result, if it is JSON or UTF-8 text.
    pub result: Option<serde_json::Value>,
    /// Result in base64, if it is neither.
    pub result_base64: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
    /// Class of that error.
    pub error_class: Option<String>,
    /// Every attempt on record, oldest first. Left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
}

/// One event of a job's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEvent {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What: `enqueued`, `started`, `succeeded`, `failed`, `retry`, `snoozed`, …
    pub event: String,
    /// The attempt that it is about.
    pub attempt: Option<u32>,
    /// More, for people.
    pub detail: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where to go on; none at the end.
    pub cursor: Option<String>,
    /// Partitions whose owner did not answer in time: their jobs are not in this list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_partitions: Vec<u16>,
}

/// Jobs per state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Counts {
    /// May be started now.
    pub waiting: u64,
    /// Due later.
    pub scheduled: u64,
    /// Waiting for other jobs.
    pub blocked: u64,
    /// With a runner.
    pub running: u64,
    /// Done, and still kept.
    pub succeeded: u64,
    /// Failed for good, and kept.
    pub failed: u64,
    /// Cancelled or expired, and still kept.
    pub cancelled: u64,
}

impl Counts {
    /// The counts by the numbers of [`JobState`].
    pub fn from_array(by_state: [u64; JobState::COUNT]) -> Self {
        let [waiting, scheduled, blocked, running, succeeded, failed, cancelled] = by_state;
        Self { waiting, scheduled, blocked, running, succeeded, failed, cancelled }
    }

    /// Adds another's, state by state.
    pub fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.scheduled += other.scheduled;
        self.blocked += other.blocked;
        self.running += other.running;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
    }

    /// Jobs that are not final.
    pub fn open(&self) -> u64 {
        self.waiting + self.scheduled + self.blocked + self.running
    }
}

/// What happened in the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Rates {
    /// Jobs enqueued.
    pub enqueued: u64,
    /// Attempts started.
    pub started: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
}

impl Rates {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.enqueued += other.enqueued;
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
    }
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Partitions of that group.
    pub partitions: u16,
    /// No attempts are started.
    pub paused: bool,
    /// Settings.
    pub settings: QueueSettings,
    /// Jobs per state.
    pub counts: Counts,
    /// Age of the oldest waiting job in seconds; none if none waits.
    pub oldest_waiting_seconds: Option<f64>,
    /// What happened in the last minute.
    pub last_minute: Rates,
    /// Partitions whose owner did not answer in time: counts and rates are without theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_partitions: Vec<u16>,
    /// Of the 4,096 slots that keys are spread over: how many wait to go to a partition that was added.
    #[serde(default)]
    pub slots_to_move: u64,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A page of queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueuePage {
    /// The queues, by name.
    pub queues: Vec<QueueView>,
    /// Where to go on; none at the end.
    pub cursor: Option<String>,
}

/// How many jobs a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// Jobs changed.
    pub jobs: u64,
}
