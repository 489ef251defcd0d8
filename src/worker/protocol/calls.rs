//! Calls of the store: sent, answered, and made again with the same bytes until they are known to
//! have happened.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Epoch, PartitionId};
use crate::store::{
    Append, AppendOutcome, Claim, CommitKey, SegmentKey, Store, StoreError, StoreErrorKind, StoredCommit,
    WriteOutcome,
};

use super::take_over::Part;
use super::{Effect, ProtocolSettings};
use crate::sim::mutation::{Mutation, active};

/// A call of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parameters of the port's functions")]
pub enum Request {
    /// [`Store::claims`].
    Claims { partition: PartitionId, below: Option<Epoch>, limit: usize },
    /// [`Store::insert_claim`].
    InsertClaim { partition: PartitionId, claim: Claim },
    /// [`Store::highest_claim`]: a fence read.
    Highest { partition: PartitionId },
    /// [`Store::progress`].
    Progress { partition: PartitionId, epoch: Epoch, limit: usize },
    /// [`Store::commits`].
    Commits { segment: SegmentKey, from: u64, limit: usize, bytes_max: usize },
    /// [`Store::repeat_commit`].
    Repeat { append: Box<Append> },
    /// [`Store::append`].
    Append { append: Box<Append> },
    /// [`Store::put_summary`].
    PutSummary { segment: SegmentKey, as_of: CommitKey, summary: bytes::Bytes },
    /// [`Store::put_progress`].
    PutProgress { partition: PartitionId, as_of: CommitKey, progress: bytes::Bytes },
    /// [`Store::drop_segment`].
    DropSegment { segment: SegmentKey },
    /// [`Store::prune`].
    Prune { partition: PartitionId, keep: CommitKey, summaries: Vec<(SegmentKey, CommitKey)> },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of [`Request::Claims`].
    Claims(Result<Vec<Claim>, StoreError>),
    /// Of [`Request::Highest`].
    Highest(Result<Option<Claim>, StoreError>),
    /// Of [`Request::Progress`].
    Progress(Result<Vec<(u64, bytes::Bytes)>, StoreError>),
    /// Of [`Request::Commits`].
    Commits(Result<Vec<StoredCommit>, StoreError>),
    /// Of [`Request::Append`].
    Appended(AppendOutcome),
    /// Of all other writes.
    Written(WriteOutcome),
}

/// Makes a call.
pub async fn perform(store: &dyn Store, request: Request) -> Reply {
    match request {
        Request::Claims { partition, below, limit } => {
            Reply::Claims(store.claims(partition, below, limit).await)
        }
        Request::InsertClaim { partition, claim } => {
            Reply::Written(store.insert_claim(partition, claim).await)
        }
        Request::Highest { partition } => Reply::Highest(store.highest_claim(partition).await),
        Request::Progress { partition, epoch, limit } => {
            Reply::Progress(store.progress(partition, epoch, limit).await)
        }
        Request::Commits { segment, from, limit, bytes_max } => {
            Reply::Commits(store.commits(segment, from, limit, bytes_max).await)
        }
        Request::Repeat { append } => Reply::Written(store.repeat_commit(*append).await),
        Request::Append { append } => Reply::Appended(store.append(*append).await),
        Request::PutSummary { segment, as_of, summary } => {
            Reply::Written(store.put_summary(segment, as_of, summary).await)
        }
        Request::PutProgress { partition, as_of, progress } => {
            Reply::Written(store.put_progress(partition, as_of, progress).await)
        }
        Request::DropSegment { segment } => Reply::Written(store.drop_segment(segment).await),
        Request::Prune { partition, keep, summaries } => {
            Reply::Written(store.prune(partition, keep, summaries).await)
        }
    }
}

/// What a call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    TakeOver(Part),
    /// `sent`: the moment at which it was sent first.
    Append {
        commit: u64,
        sent: u64,
    },
    /// `begun`: the moment at which this try began; `covers`: commits that were durable by then.
    Fence {
        begun: u64,
        covers: Option<u64>,
    },
    Summary,
    Progress,
    Prune,
    Drop(SegmentKey),
}

/// What an answer means.
#[derive(Debug)]
pub(super) enum Outcome {
    Done(What, Reply),
    /// It will be made again.
    Again,
    /// Nobody waits for it.
    Stale,
    Superseded(Epoch),
    Failed(StoreError),
}

#[derive(Debug)]
struct Open {
    what: What,
    request: Request,
    tries: u32,
}

/// Calls that are not known to have happened.
#[derive(Debug)]
pub(super) struct Calls {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// Calls to be made again: when, which.
    later: BTreeSet<(u64, u64)>,
    in_trouble: bool,
    retry_delay_ms: u64,
    retry_delay_max_ms: u64,
}

impl Calls {
    pub fn new(settings: &ProtocolSettings) -> Self {
        Self {
            next: 0,
            open: BTreeMap::new(),
            later: BTreeSet::new(),
            in_trouble: false,
            retry_delay_ms: settings.retry_delay_ms.max(1),
            retry_delay_max_ms: settings.retry_delay_max_ms.max(1),
        }
    }

    pub fn send(&mut self, what: What, request: Request, effects: &mut Vec<Effect>) {
        self.next += 1;
        effects.push(Effect::Call { call: self.next, request: request.clone() });
        self.open.insert(self.next, Open { what, request, tries: 1 });
    }

    pub fn answered(&mut self, now_ms: u64, call: u64, reply: Reply, effects: &mut Vec<Effect>) -> Outcome {
        if let Some(reply) = self.planted(call, &reply) {
            return self.happened(call, reply, effects);
        }
        let error = match &reply {
            Reply::Appended(AppendOutcome::Superseded(by)) => return Outcome::Superseded(*by),
            Reply::Claims(Err(error))
            | Reply::Highest(Err(error))
            | Reply::Progress(Err(error))
            | Reply::Commits(Err(error))
            | Reply::Appended(AppendOutcome::Unknown(error) | AppendOutcome::Refused(error))
            | Reply::Written(WriteOutcome::Unknown(error) | WriteOutcome::Refused(error)) => error.clone(),
            _ => return self.happened(call, reply, effects),
        };
        if !self.open.contains_key(&call) {
            return Outcome::Stale;
        }
        if !may_heal(error.kind) {
            return Outcome::Failed(error);
        }
        self.again(now_ms, call, error, effects);
        Outcome::Again
    }

    /// A planted bug: what is not known is taken for done.
    fn planted(&self, call: u64, reply: &Reply) -> Option<Reply> {
        let durable = match (reply, &self.open.get(&call)?.request) {
            (Reply::Appended(AppendOutcome::Unknown(_)), _) if active(Mutation::UnknownIsDurable) => {
                return Some(Reply::Appended(AppendOutcome::Durable));
            }
            (_, Request::Repeat { .. }) => active(Mutation::RepeatUnknownIsDurable),
            (_, Request::InsertClaim { .. }) => active(Mutation::ClaimUnknownIsDurable),
            _ => false,
        };
        durable.then_some(Reply::Written(WriteOutcome::Durable))
    }

    fn happened(&mut self, call: u64, reply: Reply, effects: &mut Vec<Effect>) -> Outcome {
        // A call that was made twice is answered twice.
        let Some(open) = self.open.remove(&call) else { return Outcome::Stale };
        self.later.retain(|(_, other)| *other != call);
        if self.in_trouble && matches!(open.what, What::Append { .. } | What::TakeOver(_)) {
            self.in_trouble = false;
            effects.push(Effect::Trouble(None));
        }
        Outcome::Done(open.what, reply)
    }

    fn again(&mut self, now_ms: u64, call: u64, error: StoreError, effects: &mut Vec<Effect>) {
        let Some(open) = self.open.get_mut(&call) else { return };
        let doublings = (open.tries - 1).min(20);
        open.tries = open.tries.saturating_add(1);
        let delay_ms = (self.retry_delay_ms << doublings).min(self.retry_delay_max_ms);
        self.later.insert((now_ms + delay_ms, call));
        effects.push(Effect::WakeAt(now_ms + delay_ms));
        if !self.in_trouble && matches!(open.what, What::Append { .. } | What::TakeOver(_)) {
            self.in_trouble = true;
            effects.push(Effect::Trouble(Some(error)));
        }
    }

    /// Makes those calls again whose time has come.
    pub fn wake(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        // A clock that was set back must not stretch a delay.
        let latest_ms = now_ms.saturating_add(self.retry_delay_max_ms);
        if self.later.last().is_some_and(|(at_ms, _)| *at_ms > latest_ms) {
            self.later = self.later.iter().map(|&(at_ms, call)| (at_ms.min(latest_ms), call)).collect();
        }
        while let Some(&(at_ms, call)) = self.later.first().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.later.remove(&(at_ms, call));
            if let Some(open) = self.open.get(&call) {
                effects.push(Effect::Call { call, request: open.request.clone() });
            }
        }
        if let Some((at_ms, _)) = self.later.first() {
            effects.push(Effect::WakeAt(*at_ms));
        }
    }

    pub fn forget(&mut self) {
        self.open.clear();
        self.later.clear();
    }
}

/// Waiting can help.
fn may_heal(kind: StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::Unavailable | StoreErrorKind::Full | StoreErrorKind::Permission => true,
        StoreErrorKind::Damaged
        | StoreErrorKind::NewerFormat
        | StoreErrorKind::Locked
        | StoreErrorKind::Moved
        | StoreErrorKind::Invalid
        | StoreErrorKind::Unsupported => false,
    }
}

pub(super) fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, what)
}
