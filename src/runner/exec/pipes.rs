//! A program's three pipes.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::runner::Output;

const READ_BYTES: usize = 64 << 10;
/// So much of the end of stderr is kept for the error text.
const LAST_BYTES_MAX: usize = 4 << 10;

/// Writes the payload and closes stdin. A program that does not want it is free not to read.
pub(super) async fn feed(mut stdin: Sender, payload: Bytes) {
    // An error means that the program has closed its end.
    let _ = stdin.write_all(&payload).await;
}

/// What a program wrote to stdout: its result, as long as it is not too long.
pub(super) struct Stdout {
    bytes_max: usize,
    bytes: Vec<u8>,
    /// It was too long, and all of it went into the log.
    pub(super) is_over: bool,
}

impl Stdout {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: Vec::new(), is_over: false }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }

    /// Reads to the end. Nothing read is lost when this is dropped earlier.
    pub(super) async fn read(&mut self, mut pipe: Receiver, output: &Output) {
        let mut buffer = vec![0; READ_BYTES];
        // An error is an end, too: there is nothing more to read.
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            let read = &buffer[..read];
            if !self.is_over && self.bytes.len() + read.len() > self.bytes_max {
                self.is_over = true;
                output.write(&std::mem::take(&mut self.bytes)).await;
            }
            if self.is_over {
                output.write(read).await;
            } else {
                self.bytes.extend_from_slice(read);
            }
        }
    }
}

/// The last bytes of stderr, which goes into the log.
#[derive(Default)]
pub(super) struct LastBytes {
    bytes: VecDeque<u8>,
}

impl LastBytes {
    pub(super) async fn read(&mut self, mut pipe: Receiver, output: &Output) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            let read = &buffer[..read];
            self.keep(read);
            output.write(read).await;
        }
    }

    fn keep(&mut self, read: &[u8]) {
        let read = &read[read.len().saturating_sub(LAST_BYTES_MAX)..];
        let overflow = (self.bytes.len() + read.len()).saturating_sub(LAST_BYTES_MAX);
        self.bytes.drain(..overflow);
        self.bytes.extend(read);
    }

    /// The last lines that say something, whole if possible.
    pub(super) fn last_lines(self, lines_max: usize) -> String {
        let is_cut = self.bytes.len() == LAST_BYTES_MAX;
        let bytes = Vec::from(self.bytes);
        let text = String::from_utf8_lossy(&bytes);
        let text = match text.split_once('\n') {
            Some((_, rest)) if is_cut => rest,
            _ => &text,
        };
        let mut lines: Vec<&str> =
            text.lines().rev().map(str::trim_end).filter(|line| !line.is_empty()).take(lines_max).collect();
        lines.reverse();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_lines(text: &str) -> String {
        let mut last = LastBytes::default();
        text.as_bytes().chunks(1_000).for_each(|chunk| last.keep(chunk));
        last.last_lines(3)
    }

    #[test]
    fn the_last_lines_that_say_something_are_kept() {
        assert_eq!(last_lines("a\nb\n\nc\r\n  \nd\n"), "b\nc\nd");
        assert_eq!(last_lines(""), "");
    }

    #[test]
    fn a_cut_line_is_left_out_unless_it_is_the_only_one() {
        assert_eq!(last_lines(&format!("{}\nend\n", "x".repeat(5_000))), "end");
        assert_eq!(last_lines(&"y".repeat(5_000)), "y".repeat(LAST_BYTES_MAX));
    }
}
