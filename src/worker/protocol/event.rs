//! What goes into the protocol and what comes out.

use bytes::Bytes;

use crate::engine::TailCommit;
use crate::model::Epoch;
use crate::model::row::{ChainLink, CommitRef, Origin, ProgressRow};
use crate::store::{BlobChunk, CommitKey, IndexEntry, SegmentKey, StoreError};

use super::{Reply, Request};

/// Something that happened to a claim.
#[derive(Clone, Debug)]
pub enum Event {
    /// Claim the partition.
    Start {
        /// 64 random bits, drawn for this claim.
        incarnation: u64,
    },
    /// Answer to [`Effect::Call`].
    Reply {
        /// Which call.
        call: u64,
        /// Its answer.
        reply: Reply,
    },
    /// The next commit.
    Commit(NewCommit),
    /// Answered by [`Effect::FencePassed`] after all commits given until now are released, and a
    /// fence read that began after this event has passed.
    Fence {
        /// Chosen by the caller.
        ticket: u64,
    },
    /// Progress, to be written once the commit that it is as of is released.
    Progress(NewProgress),
    /// A segment to be dropped once the conditions of `docs/proof.md` (5) hold.
    Drop {
        /// Which.
        segment: SegmentKey,
        /// The commit of this epoch that condemns it.
        condemned_by: u64,
    },
    /// What was accepted can't be read or understood by those who went on from it. Answered by
    /// [`Effect::Failed`] if a fence read begun after this passes; else somebody with a higher claim
    /// is ahead, has removed what this claim no longer needs, and nothing is damaged.
    Damaged(StoreError),
    /// The time of [`Effect::WakeAt`] has come.
    Wake,
    /// Nothing more is to be sent.
    Stop,
}

/// A commit to be appended.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// Its segment in this epoch's journal.
    pub segment: u32,
    /// Its number, from 0, without gaps. Number 0 carries the origin of [`Accepted`].
    pub commit: u64,
    /// The encoded row.
    pub row: Bytes,
    /// Blobs that it names.
    pub blobs: Vec<BlobChunk>,
    /// Its index entries.
    pub entries: Vec<IndexEntry>,
}

/// Progress to be written.
#[derive(Clone, Debug)]
pub struct NewProgress {
    /// As of this commit of this epoch.
    pub as_of: u64,
    /// The encoded row.
    pub row: Bytes,
    /// Encoded summaries as of the same commit; durable before the row is written.
    pub summaries: Vec<(SegmentKey, Bytes)>,
    /// Summaries in use after this progress: others may go.
    pub in_use: Vec<(SegmentKey, CommitKey)>,
}

/// What a new owner goes on from.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The epoch claimed.
    pub epoch: Epoch,
    /// Epochs before it whose rows may still be there, with their cuts, oldest first.
    pub chain: Vec<ChainLink>,
    /// To be put into row 0.
    pub origin: Origin,
    /// The latest progress on the chain, and the commit that it is as of.
    pub progress: Option<(CommitRef, ProgressRow)>,
    /// Accepted commits after it, in order: durable.
    pub tail: Vec<TailCommit>,
}

/// Something to be done, or that has become true.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make this call; answered by [`Event::Reply`].
    Call {
        /// Names the call.
        call: u64,
        /// The call.
        request: Request,
    },
    /// The claim is durable: whoever reads from now on sees all that was released before it.
    Claimed,
    /// The partition is this claim's.
    TakenOver(Box<Accepted>),
    /// All commits up to that one are durable and fenced.
    Released {
        /// The last of them.
        up_to: u64,
    },
    /// See [`Event::Fence`].
    FencePassed {
        /// Of the event.
        ticket: u64,
    },
    /// Progress as of that commit, and its summaries, are durable.
    ProgressDurable {
        /// The commit.
        as_of: u64,
    },
    /// A segment is gone.
    Dropped {
        /// Which.
        segment: SegmentKey,
    },
    /// A higher claim was seen: nothing more is released.
    Superseded {
        /// That claim.
        by: Epoch,
    },
    /// Writes are refused or not answered (none: they are again).
    Trouble(Option<StoreError>),
    /// Send [`Event::Wake`] then, Unix ms.
    WakeAt(u64),
    /// The claim can't go on.
    Failed(StoreError),
}
