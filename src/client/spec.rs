//! A job as a client describes it: the JSON of an enqueue.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{Backoff, Span};

/// A job to be enqueued. What is not set is the queue's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JobSpec {
    /// Which handler runs it.
    pub kind: String,
    /// The payload's bytes, in base64: whatever they are, they arrive unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the payload is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Jobs of one key go to one partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Lane, 9 is first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// How long it waits at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// Not to be started after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Longest run of one attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Failed attempts until it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Delays between attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Idempotency token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Handed to the handler.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A token that nobody else uses: 128 random bits.
pub fn random_token() -> String {
    let mut bits = [0u8; 16];
    // Without the system's randomness no process works; the time would not be unique.
    getrandom::fill(&mut bits).expect("the system gives random bits");
    format!("qdo-{:032x}", u128::from_be_bytes(bits))
}
