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

/// The tables with a partition's rows, in an order in which they may be written elsewhere: what a
/// commit names before the commit, and claims last, so that nothing written before them is fenced.
#[cfg(feature = "sqlite")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Table {
    Blobs,
    Places,
    Tokens,
    Commits,
    Summaries,
    Progress,
    Claims,
}

#[cfg(feature = "sqlite")]
impl Table {
    /// All of them, in that order.
    pub const ALL: [Self; 7] = [
        Self::Blobs,
        Self::Places,
        Self::Tokens,
        Self::Commits,
        Self::Summaries,
        Self::Progress,
        Self::Claims,
    ];

    /// The one after it.
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table > self)
    }

    /// The scope of the index that it is for that partition; none if it is no part of the index.
    pub fn scope(self, partition: PartitionId) -> Option<String> {
        match self {
            Self::Places => Some(format!("place/{partition}")),
            Self::Tokens => Some(format!("token/{partition}")),
            _ => None,
        }
    }
}

/// Some rows of a partition.
#[cfg(feature = "sqlite")]
#[derive(Debug, Default)]
pub(super) struct RowPage {
    pub rows: Vec<StoredRow>,
    /// Bytes of their values.
    pub bytes: usize,
    /// Where the next page begins; none if this is the last.
    pub next: Option<String>,
}
