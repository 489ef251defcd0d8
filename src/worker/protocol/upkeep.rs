//! Progress and summaries, and what may go because of them.
//!
//! ```text
//! progress: given ─released─▶ summaries ─▶ row ─▶ durable ─fence read begun after─▶ prune
//! drop:     given ─condemned released, progress at or after it durable─▶ fence ─▶ dropped
//! ```
//!
//! A claimant reads only after its claim is durable: if a fence read that began after progress was
//! durable does not see the claim, the claimant will read that progress or a later one, and needs
//! nothing of what goes now (`docs/proof.md`, 5).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::{Epoch, PartitionId};
use crate::store::{CommitKey, SegmentKey};

use super::calls::{Calls, Request, What};
use super::{Effect, NewProgress};
use crate::sim::mutation::{Mutation, active};

/// Progress rows that may wait for their turn: with more, no commit is taken.
const PROGRESS_WAITING_MAX: usize = 4;
/// Summaries of one progress that are on their way at once.
const SUMMARIES_AT_ONCE: usize = 8;
/// Segments that are being dropped at once.
const DROPS_AT_ONCE: usize = 8;

#[derive(Debug)]
struct Writing {
    as_of: u64,
    /// None once it has been sent.
    row: Option<Bytes>,
    in_use: Vec<(SegmentKey, CommitKey)>,
    /// Not yet sent.
    summaries: VecDeque<(SegmentKey, Bytes)>,
    /// On their way.
    in_flight: usize,
}

#[derive(Debug)]
struct Prune {
    keep: u64,
    summaries: Vec<(SegmentKey, CommitKey)>,
    /// Needs a fence read begun after this moment.
    after: u64,
}

#[derive(Debug)]
struct Condemned {
    segment: SegmentKey,
    by: u64,
    /// Progress at or after it is durable since this moment.
    after: Option<u64>,
    sent: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Upkeep {
    partition: PartitionId,
    epoch: Epoch,
    waiting: VecDeque<NewProgress>,
    writing: Option<Writing>,
    durable: Option<u64>,
    prune: Option<Prune>,
    pruning: bool,
    condemned: Vec<Condemned>,
}

impl Upkeep {
    pub fn new(partition: PartitionId, epoch: Epoch) -> Self {
        Self {
            partition,
            epoch,
            waiting: VecDeque::new(),
            writing: None,
            durable: None,
            prune: None,
            pruning: false,
            condemned: Vec::new(),
        }
    }

    /// One more progress row may be given.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < PROGRESS_WAITING_MAX
    }

    pub fn progress(&mut self, progress: NewProgress) {
        self.waiting.push_back(progress);
    }

    pub fn condemned(&mut self, segment: SegmentKey, by: u64) {
        self.condemned.push(Condemned { segment, by, after: None, sent: false });
    }

    /// A call has happened, and `now` is the latest moment.
    pub fn done(&mut self, what: What, now: u64, effects: &mut Vec<Effect>) {
        match what {
            What::Summary => {
                if let Some(writing) = &mut self.writing {
                    writing.in_flight = writing.in_flight.saturating_sub(1);
                }
            }
            What::Progress => {
                let Some(Writing { as_of, in_use, .. }) = self.writing.take() else { return };
                self.durable = Some(as_of);
                self.prune = Some(Prune { keep: as_of, summaries: in_use, after: now });
                effects.push(Effect::ProgressDurable { as_of });
            }
            What::Prune => self.pruning = false,
            What::Drop(segment) => {
                self.condemned.retain(|condemned| condemned.segment != segment);
                effects.push(Effect::Dropped { segment });
            }
            What::TakeOver(_) | What::Append { .. } | What::Fence { .. } => {}
        }
    }

    /// Sends what may be sent now that all commits below `released` are released and the latest
    /// evidence began at `evidence`. Returns the moment after which evidence is wanted, if any is.
    pub fn go_on(
        &mut self,
        released: u64,
        evidence: u64,
        now: u64,
        calls: &mut Calls,
        effects: &mut Vec<Effect>,
    ) -> (u64, bool) {
        self.write_progress(released, calls, effects);
        let prune = self.prune_if_fenced(evidence, calls, effects);
        let drops = self.drop_if_fenced(released, evidence, now, calls, effects);
        (prune.unwrap_or(0).max(drops.unwrap_or(0)), prune.is_some() || drops.is_some())
    }

    fn write_progress(&mut self, released: u64, calls: &mut Calls, effects: &mut Vec<Effect>) {
        let early = active(Mutation::ProgressBeforeRelease);
        if self.writing.is_none()
            && self.waiting.front().is_some_and(|progress| progress.as_of < released || early)
            && let Some(progress) = self.waiting.pop_front()
        {
            self.writing = Some(Writing {
                as_of: progress.as_of,
                row: Some(progress.row),
                in_use: progress.in_use,
                summaries: progress.summaries.into(),
                in_flight: 0,
            });
        }
        let Some(writing) = &mut self.writing else { return };
        let as_of = CommitKey { epoch: self.epoch, commit: writing.as_of };
        while writing.in_flight < SUMMARIES_AT_ONCE
            && let Some((segment, summary)) = writing.summaries.pop_front()
        {
            writing.in_flight += 1;
            calls.send(What::Summary, Request::PutSummary { segment, as_of, summary }, effects);
        }
        if (writing.in_flight == 0 || active(Mutation::ProgressBeforeSummaries))
            && let Some(progress) = writing.row.take()
        {
            if active(Mutation::PruneBeforeProgress) {
                let (keep, summaries) = (writing.as_of, writing.in_use.clone());
                self.prune = Some(Prune { keep, summaries, after: 0 });
            }
            let request = Request::PutProgress { partition: self.partition, as_of, progress };
            calls.send(What::Progress, request, effects);
        }
    }

    fn prune_if_fenced(
        &mut self,
        evidence: u64,
        calls: &mut Calls,
        effects: &mut Vec<Effect>,
    ) -> Option<u64> {
        if self.pruning {
            return None;
        }
        let prune = self.prune.take_if(|prune| prune.after < evidence || active(Mutation::PruneWithoutFence));
        let Some(Prune { keep, summaries, .. }) = prune else {
            return self.prune.as_ref().map(|prune| prune.after);
        };
        self.pruning = true;
        let keep = CommitKey { epoch: self.epoch, commit: keep };
        let request = Request::Prune { partition: self.partition, keep, summaries };
        calls.send(What::Prune, request, effects);
        None
    }

    fn drop_if_fenced(
        &mut self,
        released: u64,
        evidence: u64,
        now: u64,
        calls: &mut Calls,
        effects: &mut Vec<Effect>,
    ) -> Option<u64> {
        let mut wanted = None;
        let mut sent = self.condemned.iter().filter(|condemned| condemned.sent).count();
        for condemned in self.condemned.iter_mut().filter(|condemned| !condemned.sent) {
            let in_progress = self.durable.is_some_and(|as_of| as_of >= condemned.by);
            let covered = condemned.by < released && (in_progress || active(Mutation::DropWithoutProgress));
            if !covered {
                continue;
            }
            let after = *condemned.after.get_or_insert(now);
            if after < evidence || active(Mutation::DropWithoutFence) {
                if sent >= DROPS_AT_ONCE {
                    break;
                }
                sent += 1;
                condemned.sent = true;
                let request = Request::DropSegment { segment: condemned.segment };
                calls.send(What::Drop(condemned.segment), request, effects);
            } else {
                wanted = wanted.max(Some(after));
            }
        }
        wanted
    }
}
