//! Progress and summaries, and what may go because of them.
//!
//! ```text
//! progress: given ─released─▶ summaries ─▶ row ─▶ durable ─fence read begun after─▶ prune
//! drop:     given ─condemned released, progress at or after it durable─▶ fence ─▶ dropped
//! ```
//!
//! A claimant reads only after its claim is durable: if a fence read that began after progress was
//! durable does not see the claim, the claimant will read that progress or a later one, and needs
//! nothing of what goes now (DESIGN.md §4, *Dropping*).

use std::collections::VecDeque;

use crate::model::{Epoch, PartitionId};
use crate::store::{CommitKey, SegmentKey};

use super::calls::{Calls, Request, What};
use super::{Effect, NewProgress};
use crate::sim::mutation::{Mutation, active};

#[derive(Debug)]
struct Writing {
    progress: NewProgress,
    summaries_left: usize,
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
                    writing.summaries_left = writing.summaries_left.saturating_sub(1);
                }
            }
            What::Progress => {
                let Some(Writing { progress, .. }) = self.writing.take() else { return };
                self.durable = Some(progress.as_of);
                self.prune = Some(Prune { keep: progress.as_of, summaries: progress.in_use, after: now });
                effects.push(Effect::ProgressDurable { as_of: progress.as_of });
            }
            What::Prune => self.pruning = false,
            What::Drop(segment) => {
                self.condemned.retain(|condemned| condemned.segment != segment);
                effects.push(Effect::Dropped { segment });
            }
            What::TakeOver | What::Append { .. } | What::Fence { .. } => {}
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
        let as_of = |progress: &NewProgress| CommitKey { epoch: self.epoch, commit: progress.as_of };
        let mut sent_now = false;
        let may_begin = self
            .waiting
            .front()
            .is_some_and(|progress| progress.as_of < released || active(Mutation::ProgressBeforeRelease));
        if self.writing.is_none()
            && may_begin
            && let Some(progress) = self.waiting.pop_front()
        {
            for (segment, summary) in &progress.summaries {
                let request = Request::PutSummary {
                    segment: *segment,
                    as_of: as_of(&progress),
                    summary: summary.clone(),
                };
                calls.send(What::Summary, request, effects);
            }
            let all = progress.summaries.len();
            let summaries_left = if active(Mutation::ProgressBeforeSummaries) { 0 } else { all };
            self.writing = Some(Writing { progress, summaries_left });
            sent_now = summaries_left > 0;
        }
        if let Some(Writing { progress, summaries_left }) = &mut self.writing
            && *summaries_left == 0
            && !sent_now
            && !progress.row.is_empty()
        {
            let as_of = CommitKey { epoch: self.epoch, commit: progress.as_of };
            // Taken out, so that it is sent once.
            let row = std::mem::take(&mut progress.row);
            if active(Mutation::PruneBeforeProgress) {
                let (keep, summaries) = (progress.as_of, progress.in_use.clone());
                self.prune = Some(Prune { keep, summaries, after: 0 });
            }
            let request = Request::PutProgress { partition: self.partition, as_of, progress: row };
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
        for condemned in self.condemned.iter_mut().filter(|condemned| !condemned.sent) {
            let in_progress = self.durable.is_some_and(|as_of| as_of >= condemned.by);
            let covered = condemned.by < released && (in_progress || active(Mutation::DropWithoutProgress));
            if !covered {
                continue;
            }
            let after = *condemned.after.get_or_insert(now);
            if after < evidence || active(Mutation::DropWithoutFence) {
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
