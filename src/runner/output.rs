//! An attempt's output: streamed to the store while it runs, bounded, its end kept.

use async_trait::async_trait;
use bytes::Bytes;

/// Where chunks of output go. Chunk numbers start at 0 and have no gap.
#[async_trait]
pub trait ChunkSink: Send + Sync + 'static {
    /// Keeps a chunk; returns when it is durable, or false if it can't be kept (the attempt goes on).
    async fn put(&self, chunk: u32, bytes: Bytes) -> bool;
}

/// What was kept of an attempt's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptOutput {
    /// Chunks kept.
    pub chunks: u32,
    /// Bytes kept.
    pub bytes: u64,
    /// Bytes left out between the kept start and the kept end.
    pub dropped_bytes: u64,
}

/// Takes output. Cheap to clone.
#[derive(Clone)]
pub struct Output {}
