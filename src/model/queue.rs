//! Queues and groups: documents in the store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{GroupNumber, MovingSlots, QueueNumber, SlotMap, Span};

/// How long to wait after a failed attempt.
///
/// The delay after the n-th failure is `min(cap, base × factor^(n−1))`, of which the share
/// `jitter` is scaled by a hash of job id and attempt (so it is the same for every reader):
/// `delay × (1 − jitter + jitter × hash)`, with `hash` in 0 … 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// Delay after the first failure.
    #[schema(value_type = String, example = "1s")]
    pub base: Span,
    /// Factor from delay to delay, 1 … 100.
    pub factor: f64,
    /// Longest delay.
    #[schema(value_type = String, example = "1h")]
    pub cap: Span,
    /// Share of the delay that is jittered, 0 … 1.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Span::from_secs(1), factor: 2.0, cap: Span::from_secs(3_600), jitter: 0.2 }
    }
}

/// Settings of a queue. Every one has a default that is right for most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Failed attempts until a job has failed.
    pub max_attempts: u32,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// Interrupted attempts (their runner died) until a job has failed; counted apart.
    pub max_interruptions: u32,
    /// Longest run of one attempt; 0s is unlimited.
    #[schema(value_type = String, example = "15m")]
    pub timeout: Span,
    /// How long finished jobs can be looked at, at least: whole segments are dropped.
    #[schema(value_type = String, example = "3d")]
    pub retention: Span,
    /// How many finished jobs of a partition are kept at least, if `retention` would keep more;
    /// 0 is no such bound.
    pub retention_count: u64,
    /// How long failed jobs are kept; 0s is until they are retried or cleared.
    #[schema(value_type = String, example = "30d")]
    pub failed_retention: Span,
    /// Jobs that may wait; an enqueue beyond it is refused; 0 is no such bound.
    pub backlog_max: u64,
    /// Classes of errors after which a job is not tried again, unless its handler asked for that.
    pub give_up_on: Vec<String>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            backoff: Backoff::default(),
            max_interruptions: 3,
            timeout: Span::from_secs(0),
            retention: Span::from_secs(3 * 86_400),
            retention_count: 0,
            failed_retention: Span::from_secs(0),
            backlog_max: 0,
            give_up_on: Vec::new(),
        }
    }
}

/// The document `queue/<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueDocument {
    /// Its number.
    pub number: QueueNumber,
    /// Name of its group, in the same namespace.
    pub group: String,
    /// Its settings.
    pub settings: QueueSettings,
    /// No attempts are started.
    pub paused: bool,
    /// When it was created, Unix ms.
    pub created_ms: u64,
}

/// The document `group/<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupDocument {
    /// Its number.
    pub number: GroupNumber,
    /// How many partitions it has. May grow, never shrinks.
    pub partitions: u16,
    /// Without `slots`: routing values are spread over so many of the first partitions, slot by slot in
    /// turn; 0 is all.
    #[serde(default)]
    pub keyed_partitions: u16,
    /// Which slot is with which partition; none in a group that has never grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<MovingSlots>,
    /// When it was created, Unix ms.
    pub created_ms: u64,
}

/// The document `counter/groups` or `counter/queues`: the last number given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CounterDocument {
    /// Numbers are given one after another.
    Given(u32),
    /// Many were taken at once.
    Raised {
        /// The last of them.
        last: u32,
        /// Who took them, so that he knows it himself if he was never told.
        by: String,
    },
}

impl CounterDocument {
    /// The last number given.
    pub fn last(&self) -> u32 {
        match self {
            Self::Given(last) | Self::Raised { last, .. } => *last,
        }
    }
}

impl GroupDocument {
    /// Which slot is with which partition.
    pub fn slot_map(&self) -> SlotMap {
        match &self.slots {
            Some(slots) => SlotMap::Each(Box::new(slots.clone())),
            None if self.keyed_partitions == 0 => SlotMap::Even(self.partitions),
            None => SlotMap::Even(self.keyed_partitions.min(self.partitions)),
        }
    }

    /// Changes which slot is with which partition.
    pub fn set_slot_map(&mut self, map: SlotMap) {
        (self.keyed_partitions, self.slots) = match map {
            SlotMap::Even(partitions) => (partitions, None),
            SlotMap::Each(slots) => (self.keyed_partitions, Some(*slots)),
        };
    }
}
