//! Running attempts: handlers by kind, and what every attempt gets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::model::{Attempt, Outcome};

mod exec;
mod function;
mod noop;
mod output;
pub(crate) mod pool;
mod registry;
mod runs;
mod text;

#[doc(hidden)]
pub use exec::complaints_about_control;
pub use exec::{ExecHandler, ExecSettings};
pub use function::{FnHandler, Wish};
pub use noop::NoopHandler;
pub use output::{ChunkSink, KeptOutput, Output};
pub use registry::{HandlerError, HandlerSettings, Handlers};
pub use runs::{Leftovers, RunsFolder};

/// The code for one kind of job.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt to its end. Must end soon after `context.revoked` fires; the time limit of
    /// the attempt is the handler's to keep, since only it can end what it has started.
    async fn run(&self, context: Context) -> Report;
}

/// What a handler gets with an attempt.
#[derive(Clone)]
pub struct Context {
    /// The attempt; its start is durable.
    pub attempt: Arc<Attempt>,
    /// Fires when the attempt must end: cancelled, or the worker stops.
    pub revoked: CancellationToken,
    /// Takes the attempt's output, bounded, while it runs.
    pub output: Output,
}

/// How an attempt ended, with what a person wants to see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Exit code, or 128 plus the signal's number.
    pub exit_code: Option<i32>,
}

/// Why an attempt was interrupted, as far as its handler knows.
const INTERRUPTED: &str = "it was cancelled, or its worker stopped";

/// Waits until an attempt's time is up: for ever if it has no limit.
async fn time_limit(timeout_ms: u64) {
    match timeout_ms {
        0 => std::future::pending().await,
        ms => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../docs/handlers.md")]
struct HandlersDocs;
