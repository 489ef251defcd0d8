//! Frames out of an HTTP body.

use std::future::poll_fn;
use std::pin::Pin;

use hyper::body::{Body as _, Incoming};

use super::frame::{Decoder, FrameError, Kind};
use super::state::Violation;

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the link was ended by the other side")]
    Ended,
    #[error("the link has broken: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the other side sent {0}")]
    Frame(#[from] FrameError),
    #[error("the other side broke the protocol: {0}")]
    Violation(#[from] Violation),
}

/// Reads frames.
#[derive(Debug)]
pub(super) struct Reader {
    incoming: Incoming,
    decoder: Decoder,
}

impl Reader {
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming, decoder: Decoder::default() }
    }

    /// From now on, frames may be as long as calls need.
    pub fn greeted(&mut self) {
        self.decoder.greeted();
    }

    /// The next frame. Nothing is lost if this is dropped while it waits.
    pub async fn next(&mut self) -> Result<Kind, ReadError> {
        loop {
            if let Some(kind) = self.decoder.next()? {
                return Ok(kind);
            }
            let frame = poll_fn(|context| Pin::new(&mut self.incoming).poll_frame(context)).await;
            let frame = frame.ok_or(ReadError::Ended)??;
            if let Ok(bytes) = frame.into_data() {
                self.decoder.feed(&bytes);
            }
        }
    }
}
