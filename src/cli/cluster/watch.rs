//! Looking again and again.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::cli::exit::{Exit, Failure};
use crate::cli::out::{Out, say_error};

/// Clears a terminal and goes to its upper left.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows what `look` gives: once, or every so many seconds until the process is ended or nobody reads.
/// What fails the first time ends it; later it is said, since what is watched may come back.
pub(super) async fn repeat(
    every_seconds: Option<u64>,
    out: &Out,
    mut look: impl AsyncFnMut() -> Result<String, Failure>,
) -> Result<Exit, Failure> {
    let mut text = look().await?;
    let Some(seconds) = every_seconds else {
        out.line(&text)?;
        return Ok(Exit::Ok);
    };
    let is_screen = io::stdout().is_terminal() && !out.is_json();
    loop {
        if is_screen {
            out.raw(CLEAR.as_bytes())?;
        }
        out.line(&text)?;
        loop {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            match look().await {
                Ok(seen) => {
                    text = seen;
                    break;
                }
                Err(Failure::Pipe) => return Err(Failure::Pipe),
                Err(Failure::Said(_, message)) => say_error(&message),
            }
        }
    }
}
