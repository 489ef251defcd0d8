//! A handler that does nothing: measures what the queue itself costs.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Context, Handler, Report};
use crate::model::Outcome;

/// Succeeds at once, with an empty result.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopHandler;

#[async_trait]
impl Handler for NoopHandler {
    async fn run(&self, _: Context) -> Report {
        Report { outcome: Outcome::Succeeded { result: Bytes::new() }, exit_code: None }
    }
}
