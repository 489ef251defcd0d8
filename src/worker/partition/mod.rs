//! What can be asked about one partition, wherever its owner is.
//!
//! ```text
//! front ─▶ router ─┬─ owner here ───────────────────────────▶ Operation::run ─▶ reader, owner
//!                  └─ owner elsewhere ─ peer link ─ service ─▶ Operation::run (there)
//! ```
//!
//! An [`Operation`] is the same in both cases; only what crosses the link is encoded. Hot ones
//! (enqueues, ends of attempts) are protobuf, the rest is the JSON of the API.

mod attempts;
mod enqueue;
mod jobs;
mod local;
mod look;
mod queues;
mod service;
mod wire;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::worker::RequestError;
use crate::worker::reader::Reader;

pub(crate) use attempts::{Finish, Held};
pub(crate) use enqueue::{Enqueue, Placed};
pub(crate) use jobs::{AsNew, Change, GetHistory, GetJob, GetOutput, WaitForJob, same_namespace};
pub(crate) use local::Local;
pub(crate) use look::{Facts, LOCATED_MAX, Locate, Located, Told};
pub(crate) use queues::{Count, Ids, KnownTokens, List};
pub(crate) use service::Service;

/// Something that can be asked about one partition.
#[async_trait]
pub(crate) trait Operation: Clone + Send + Sync + Sized + 'static {
    /// Names it on the link. Never used for something else.
    const KIND: u32;
    /// Whether asking again does no harm when the outcome of the first time is not known.
    const REPEATABLE: bool;
    /// What is answered.
    type Answer: Send + 'static;

    /// Whether this one may be asked again ([`Operation::REPEATABLE`] may depend on what is asked).
    fn repeatable(&self) -> bool {
        Self::REPEATABLE
    }

    /// For the link.
    fn encode(&self) -> Bytes;
    /// The reverse; everything is checked that [`Operation::run`] relies on.
    fn decode(bytes: Bytes) -> Result<Self, RequestError>;
    /// For the link.
    fn encode_answer(answer: Self::Answer) -> Bytes;
    /// The reverse.
    fn decode_answer(bytes: Bytes) -> Result<Self::Answer, RequestError>;

    /// Does it where the owner is.
    async fn run(self, local: &Local, reader: Reader) -> Result<Self::Answer, RequestError>;
}

fn to_json<T: Serialize>(value: &T) -> Bytes {
    // Nothing that crosses the link has a map with keys that are not texts.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(bytes).map_err(|error| not_understood(&error.to_string()))
}

/// Another version of qdo, or not one at all.
fn not_understood(what: &str) -> RequestError {
    RequestError::Invalid { field: None, message: format!("another worker was not understood: {what}") }
}

/// Codec of operations whose parts are those of the API.
macro_rules! json_codec {
    () => {
        fn encode(&self) -> bytes::Bytes {
            super::to_json(self)
        }

        fn decode(bytes: bytes::Bytes) -> Result<Self, crate::worker::RequestError> {
            super::from_json(&bytes)
        }

        fn encode_answer(answer: Self::Answer) -> bytes::Bytes {
            super::to_json(&answer)
        }

        fn decode_answer(bytes: bytes::Bytes) -> Result<Self::Answer, crate::worker::RequestError> {
            super::from_json(&bytes)
        }
    };
}
use json_codec;
