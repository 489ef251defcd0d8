//! The HTTP API: requests in, answers out.
//!
//! ```text
//! connection ─ serve ─ front (host, origin, token, room, metrics) ─ route ─ parse ─ dyn Requests
//! ```
//!
//! Nothing here knows how a job is kept or run: handlers turn bytes into calls of
//! [`crate::worker::Requests`] and its answers into JSON. Every answer that is an error is a
//! [`Problem`], made in `error.rs`. It is bounded everywhere (INV-8): connections, requests in
//! flight, bytes of bodies, waits; a request beyond a bound is refused at once with `Retry-After`.
//! On shutdown, waits and streams end, and what is being answered gets a bounded time.

mod admin;
mod body;
mod cluster;
mod enqueue;
mod error;
mod extract;
#[doc(hidden)]
pub mod fake;
mod front;
mod guard;
mod io;
mod jobs;
mod openapi;
pub mod parse;
mod preface;
mod queues;
mod serve;
mod settings;

pub use admin::{BackupRequest, Counters};
pub use enqueue::{EnqueueRequest, EnqueuedMany};
pub use error::{PROBLEM_JSON, Problem, ProblemKind};
pub use front::router;
pub use jobs::PriorityRequest;
pub use openapi::openapi;
pub use queues::QueueRequest;
pub use serve::{serve, serve_with_peers};
pub use settings::{ApiSettings, ListenError, check_listen};
