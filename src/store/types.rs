//! What goes in and out of the port.

use bytes::Bytes;

use crate::model::{Epoch, PartitionId};

/// A claim: an epoch, and who claimed (for people and for routing; the order decides).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The epoch claimed.
    pub epoch: Epoch,
    /// Worker id and address, at most 1 KiB.
    pub owner: Bytes,
}

/// A document and its version, which rises with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// To compare with in the next write.
    pub version: u64,
    /// The document.
    pub value: Bytes,
}

/// Outcome of a compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Written; the new version.
    Applied(u64),
    /// Somebody else was first; what is there now.
    Conflict(Option<Document>),
    /// Not known: read, and decide again.
    Unknown(StoreError),
    /// Known not to have happened.
    Refused(StoreError),
}

/// Outcome of a write that may be repeated blindly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is durable.
    Durable,
    /// Not known: repeat it with the same bytes, or abandon it for ever.
    Unknown(StoreError),
    /// Known not to have happened (a full disk, say). May be repeated.
    Refused(StoreError),
}

/// Outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Durable, and a fence read within the same atomic step showed this epoch as the highest:
    /// all commits durable by then are covered by it.
    Fenced,
    /// Durable; a fence read has yet to begin.
    Durable,
    /// A higher claim was seen in the same atomic step; nothing was written.
    Superseded(Epoch),
    /// Not known: repeat it with the same bytes, or abandon it with its epoch.
    Unknown(StoreError),
    /// Known not to have happened. May be repeated with the same bytes.
    Refused(StoreError),
}

/// A segment of a partition's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch whose journal it is.
    pub epoch: Epoch,
    /// Number of the segment, from 0.
    pub segment: u32,
}

/// A commit of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitKey {
    /// The epoch whose journal it is in.
    pub epoch: Epoch,
    /// Its number, from 0.
    pub commit: u64,
}

/// One chunk of a blob, at most [`crate::model::limits::CHUNK_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobChunk {
    /// Number of the blob, never used twice in an epoch.
    pub blob: u64,
    /// Number of the chunk, from 0.
    pub chunk: u32,
    /// The bytes.
    pub bytes: Bytes,
}

/// An entry of the index. It never changes; whether it is live is decided by the job's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// What kind of look-up, and for which partition: `token/7/0`, `place/7/0` …
    pub scope: String,
    /// A time bucket or a hash bucket.
    pub bucket: u64,
    /// What is looked up.
    pub term: Bytes,
    /// What is found: a job id, a place, a packed list. Part of the key: one term may have several.
    pub value: Bytes,
}

/// One commit to be written: one row, and what must be durable with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Partition, epoch, segment.
    pub segment: SegmentKey,
    /// Number of the commit.
    pub commit: u64,
    /// The encoded [`crate::model::row::CommitRow`]: fixed before the first try, never changed.
    pub row: Bytes,
    /// Blobs that the row names.
    pub blobs: Vec<BlobChunk>,
    /// Index entries of its jobs.
    pub entries: Vec<IndexEntry>,
}

/// A commit that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCommit {
    /// Its number.
    pub commit: u64,
    /// Its row.
    pub row: Bytes,
}

/// What a backend has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Calls of any kind.
    pub calls: u64,
    /// Commits written.
    pub commits: u64,
    /// Bytes of commit rows written.
    pub commit_bytes: u64,
    /// Transactions (SQLite) or requests (Cassandra) that made something durable.
    pub transactions: u64,
    /// fsyncs known to the backend.
    pub fsyncs: u64,
    /// Fence reads that cost a call of their own.
    pub fence_reads: u64,
}

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHealth {
    /// What it is, for people: "SQLite 3.50", "Apache Cassandra 5.0.5".
    pub backend: String,
    /// What an acknowledged write survives, in the worst place that was asked.
    pub durability: Durability,
    /// The same as a sentence, with what to do if it is less than could be.
    pub durability_note: String,
    /// Copies of each row, if the backend keeps several.
    pub replicas: Option<u32>,
    /// The servers of the store; none if it is in this process.
    pub nodes: Vec<StoreNode>,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it is in the memory of processes.
    Memory,
    /// The end of processes; the last moments before a power cut may be lost where it strikes.
    Process,
    /// It could not be found out.
    Unknown,
    /// A power cut, too.
    Power,
}

/// A server of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreNode {
    /// Its address.
    pub address: String,
    /// Its data centre, if it has one.
    pub datacenter: Option<String>,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Its version, if it is known.
    pub version: Option<String>,
    /// There is a connection to it.
    pub up: bool,
}

/// What went wrong with a store, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Away, busy, timed out: try again.
    Unavailable,
    /// No space left: nothing was written; goes on by itself when there is space.
    Full,
    /// The data is damaged: nothing is repaired or reset by itself.
    Damaged,
    /// Written by a newer version of qdo.
    NewerFormat,
    /// Another process has it open.
    Locked,
    /// Its jobs were copied into another store.
    Moved,
    /// It may not be read or written by this user.
    Permission,
    /// The call makes no sense (a row over the size limit, other bytes under a known key).
    Invalid,
    /// The backend has no such operation.
    Unsupported,
}

/// A failure of the store, with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What can be done about it.
    pub kind: StoreErrorKind,
    /// What was wrong with what, lower case, no full stop.
    pub message: String,
}

impl StoreError {
    /// A failure of that kind.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
