//! An attempt's output: streamed to the store while it runs, bounded, its end kept.
//!
//! ```text
//! write ─▶ head, 256 KiB ──▶ chunks ──▶ sink, by a task of its own while something is pending
//!      └─▶ after that: ring of the last 64 KiB; what falls out of it is counted
//! finish ─▶ what is pending, then "[… N bytes left out …]" and the ring
//! ```
//!
//! [`Output::write`] never waits for the sink: memory is bounded by the head and the ring, so a
//! program that prints a gigabyte is slowed down by a copy in memory only. While nothing is pending
//! there is no task and no timer.
//!
//! On failure: a chunk that the sink refuses is offered again, the same bytes under the same number
//! (INV-6: a key never gets other bytes). After [`PUT_TRIES`] refusals nothing more is kept, and what
//! would have been is counted as dropped. The attempt goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Bytes kept of the beginning.
pub(crate) const HEAD_BYTES_MAX: usize = 256 << 10;
/// Bytes kept of the end.
pub(crate) const TAIL_BYTES_MAX: usize = 64 << 10;
/// A chunk goes out when so much is gathered …
pub(crate) const CHUNK_BYTES: usize = 64 << 10;
/// … or so long after its first byte.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(300);
/// How often a chunk is offered to the sink.
const PUT_TRIES: u32 = 3;
/// The kept end begins with a whole line if one begins within so many bytes.
const LINE_LOOK_BYTES: usize = 4 << 10;

/// Where chunks of output go. Chunk numbers start at 0 and have no gap.
#[async_trait]
pub trait ChunkSink: Send + Sync + 'static {
    /// Keeps a chunk; returns when it is durable, or false if it can't be kept (the attempt goes on).
    /// A refused chunk may be offered again with the same number and bytes.
    async fn put(&self, chunk: u32, bytes: Bytes) -> bool;
}

/// What was kept of an attempt's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptOutput {
    /// Chunks kept.
    pub chunks: u32,
    /// Bytes of these chunks.
    pub bytes: u64,
    /// Bytes left out between the kept start and the kept end.
    pub dropped_bytes: u64,
}

/// Takes output. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    sink: Arc<dyn ChunkSink>,
    gathered: Mutex<Gathered>,
    /// A full chunk is pending, or the output is finished.
    wake: Notify,
}

#[derive(Default)]
struct Gathered {
    /// Bytes of the head that have not been handed to the sink.
    pending: BytesMut,
    /// Bytes that the head has taken so far.
    head_bytes: usize,
    head_ends_line: bool,
    tail: VecDeque<u8>,
    kept: KeptOutput,
    /// The sink has refused a chunk for good.
    refused: bool,
    finished: bool,
    /// Hands pending chunks to the sink; none while nothing is pending.
    flusher: Option<JoinHandle<()>>,
}

impl Output {
    /// Output that goes to that sink. To be written to inside a tokio runtime.
    pub fn new(sink: Arc<dyn ChunkSink>) -> Self {
        let shared = Shared { sink, gathered: Mutex::default(), wake: Notify::new() };
        Self { shared: Some(Arc::new(shared)) }
    }

    /// Output that nobody wants.
    pub fn discard() -> Self {
        Self { shared: None }
    }

    /// Takes bytes. What comes after [`Output::finish`] is ignored.
    pub async fn write(&self, bytes: &[u8]) {
        let Some(shared) = &self.shared else { return };
        let mut gathered = shared.lock();
        if gathered.finished {
            return;
        }
        gathered.take(bytes);
        if gathered.pending.len() >= CHUNK_BYTES {
            shared.wake.notify_one();
        }
        if !gathered.pending.is_empty() && gathered.flusher.is_none() {
            gathered.flusher = Some(tokio::spawn(flush(shared.clone())));
        }
    }

    /// Hands all that is left to the sink and says what was kept.
    pub async fn finish(&self) -> KeptOutput {
        let Some(shared) = &self.shared else { return KeptOutput::default() };
        let flusher = {
            let mut gathered = shared.lock();
            gathered.finished = true;
            gathered.flusher.take()
        };
        shared.wake.notify_one();
        if let Some(flusher) = flusher
            && flusher.await.is_err()
        {
            shared.lock().refuse(0);
        }
        let tail = shared.lock().take_tail();
        if let Some(tail) = tail {
            shared.put(tail).await;
        }
        shared.lock().kept
    }
}

/// Hands chunks to the sink until nothing is pending.
async fn flush(shared: Arc<Shared>) {
    loop {
        let due = Instant::now() + FLUSH_AFTER;
        while !shared.lock().is_due() && tokio::time::timeout_at(due, shared.wake.notified()).await.is_ok() {}
        let chunk = {
            let mut gathered = shared.lock();
            let chunk_bytes = gathered.pending.len().min(CHUNK_BYTES);
            gathered.pending.split_to(chunk_bytes).freeze()
        };
        shared.put(chunk).await;
        let mut gathered = shared.lock();
        if gathered.pending.is_empty() {
            gathered.pending = BytesMut::new();
            if !gathered.finished {
                gathered.flusher = None;
            }
            return;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing panics while it is held, and a half-taken write would still be valid.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers a chunk under the next number. Only one caller at a time.
    async fn put(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let number = self.lock().kept.chunks;
        for tried in 1..=PUT_TRIES {
            if self.sink.put(number, bytes.clone()).await {
                let mut gathered = self.lock();
                gathered.kept.chunks += 1;
                gathered.kept.bytes += bytes.len() as u64;
                return;
            }
            if tried < PUT_TRIES {
                tokio::time::sleep(FLUSH_AFTER).await;
            }
        }
        self.lock().refuse(bytes.len());
    }
}

impl Gathered {
    /// The next chunk does not have to wait.
    fn is_due(&self) -> bool {
        self.finished || self.pending.len() >= CHUNK_BYTES
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.refused {
            self.kept.dropped_bytes += bytes.len() as u64;
            return;
        }
        let room = HEAD_BYTES_MAX - self.head_bytes;
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        if let Some(last) = head.last() {
            self.pending.extend_from_slice(head);
            self.head_bytes += head.len();
            self.head_ends_line = *last == b'\n';
        }
        let (out, rest) = rest.split_at(rest.len().saturating_sub(TAIL_BYTES_MAX));
        let overflow = (self.tail.len() + rest.len()).saturating_sub(TAIL_BYTES_MAX);
        self.tail.drain(..overflow);
        self.tail.extend(rest);
        self.kept.dropped_bytes += (out.len() + overflow) as u64;
    }

    /// The sink takes nothing more: these bytes and all that is held are dropped.
    fn refuse(&mut self, bytes: usize) {
        self.refused = true;
        self.kept.dropped_bytes += (bytes + self.pending.len() + self.tail.len()) as u64;
        self.pending = BytesMut::new();
        self.tail = VecDeque::new();
    }

    /// The last chunk: the mark, if something was left out, and the kept end.
    fn take_tail(&mut self) -> Option<Bytes> {
        let mut tail = Vec::from(std::mem::take(&mut self.tail));
        if tail.is_empty() || self.refused {
            return None;
        }
        if self.kept.dropped_bytes > 0 {
            let look = tail.len().min(LINE_LOOK_BYTES);
            let partial_line = tail[..look].iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            tail.drain(..partial_line);
            self.kept.dropped_bytes += partial_line as u64;
            let line_end = if self.head_ends_line { "" } else { "\n" };
            let mark = format!("{line_end}[… {} bytes left out …]\n", self.kept.dropped_bytes);
            tail.splice(..0, mark.into_bytes());
        }
        Some(tail.into())
    }
}

#[cfg(test)]
mod tests;
