//! Rows as they are stored, for those that look at all of them.

use bytes::Bytes;

use super::{Claim, CommitKey, Document, IndexEntry, SegmentKey};
use crate::model::PartitionId;

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredRow {
    /// A namespace, group, queue …
    Document(String, Document),
    /// A claim of a partition.
    Claim(PartitionId, Claim),
    /// A commit: its segment, its number, its row.
    Commit(SegmentKey, u64, Bytes),
    /// A chunk of a blob: its segment, the blob, the chunk, its bytes.
    Blob(SegmentKey, u64, u32, Bytes),
    /// A segment's summary as of a commit.
    Summary(SegmentKey, CommitKey, Bytes),
    /// A partition's progress as of a commit.
    Progress(PartitionId, CommitKey, Bytes),
    /// An entry of the index.
    Entry(IndexEntry),
    /// A row that is damaged: a sentence that names it.
    Damaged(String),
}
