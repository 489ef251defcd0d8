//! The link between workers: calls from one to another, over one kept-alive connection.
//!
//! A transport; it knows nothing of jobs. A worker that calls another has one HTTP/2 connection
//! (prior knowledge) to it, at the port of the HTTP API, and on it one request whose body and answer
//! last as long as the link and carry frames both ways:
//!
//! ```text
//! Peers ─▶ ClientLink ═ POST /peer/v1/link ═▶ PeerServer ─▶ ServerLink ─▶ dyn PeerService
//!            calls by number  ◀═══ frames ═══▶  calls by number
//! ```
//!
//! - **A call** is one message there, with a kind and the time that is left, and any number of
//!   messages both ways after it. All calls share the link; long messages are cut into pieces.
//! - **Batching**: all frames that wait are written as one chunk, and nothing waits for more.
//! - **What has happened** is part of every error ([`CallError`]): not served, not known, answered.
//! - **Bounds** (INV-8): calls and queued bytes of a link (a caller waits for room until its deadline),
//!   unread bytes of a call (credit), links, and the bytes of all requests being served. The reading
//!   side of a link never waits for one call, so a slow reader stops its own sender only.
//! - **Failure**: pings find a peer that is silent within seconds; its calls end, and the link is made
//!   anew, with growing pauses, when it is next needed.
//! - **Who may**: both sides show that they know the cluster secret (`secret.rs`); a server answers
//!   only for the worker that the client means.

mod call;
mod client;
mod connect;
mod error;
mod frame;
mod limits;
mod outbox;
mod peers;
mod reader;
mod secret;
mod seldom;
mod server;
mod serving;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use call::{Call, CallReceiver, CallSender, ServerCall};
pub use error::CallError;
pub use frame::{Decoder, FrameError};
pub use limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
pub use peers::Peers;
pub use secret::{ClusterSecret, PeerListenError, SECRET_CHARS_MIN, SecretTooShort, check_peers};
pub use server::PeerServer;
pub use serving::PeerService;

/// The path of the one request that makes a link.
pub(super) const PATH: &str = "/peer/v1/link";

/// Bounds and habits of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Links to other workers, and from them.
    pub links_max: usize,
    /// Calls of one link at once; more wait, or are refused by the server.
    pub calls_max: usize,
    /// Bytes that wait to be written to one link; more wait.
    pub queued_bytes_max: usize,
    /// Bytes of all requests that are being served; more are refused.
    pub served_bytes_max: usize,
    /// A link that nobody has used for so long is ended.
    pub idle: Duration,
    /// A peer that has said nothing for so long is pinged.
    pub ping_interval: Duration,
    /// If it has not answered after so long, it is taken for dead.
    pub ping_timeout: Duration,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            links_max: 1_024,
            calls_max: 16_384,
            queued_bytes_max: 4 << 20,
            served_bytes_max: 256 << 20,
            idle: Duration::from_secs(300),
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(4),
        }
    }
}
