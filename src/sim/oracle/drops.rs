//! Nothing goes that a successor may need (DESIGN.md §4, *Progress* and *Dropping*).

use bytes::Bytes;
use prost::Message;

use crate::model::Epoch;
use crate::model::row::{ProgressRow, SegmentName};
use crate::sim::heap::Time;
use crate::sim::log::key;
use crate::sim::store::{Durable, Fact};
use crate::store::{CommitKey, SegmentKey};

use super::{Oracle, Progress};

impl Oracle {
    /// Progress is sent: its commit is released, its summaries are durable.
    pub fn writing_progress(&mut self, now: Time, as_of: CommitKey, row: &Bytes, durable: &Durable) {
        let released = self.released.get(&as_of.epoch).copied();
        self.demand_rule(released.is_some_and(|last| last >= as_of.commit), || {
            format!("progress as of {as_of:?} was sent when {released:?} was released")
        });
        let Ok(row) = ProgressRow::decode(row.clone()) else {
            return self.fail(|| format!("progress as of {as_of:?} can't be read"));
        };
        // What a superseded owner writes may be gone already: its successor has pruned it.
        let superseded = durable.higher_claim(as_of.epoch, now).is_some();
        let mut live = std::collections::BTreeSet::new();
        for segment in row.segments.iter().filter(|segment| !segment.condemned) {
            let Some(name) = segment.name else { continue };
            live.insert(name);
            let Some(summary) = segment.summary else { continue };
            let link = row.chain.iter().find(|link| link.epoch_number == summary.epoch_number);
            let epoch = link.map(|link| Epoch { number: link.epoch_number, incarnation: link.incarnation });
            let at = epoch.map(|epoch| CommitKey { epoch, commit: summary.commit });
            let there = at.is_some_and(|at| durable.since(Fact::Summary(key(name), at)).is_some());
            self.demand_rule(there || superseded, || {
                format!("progress as of {as_of:?} was sent before the summary of {name:?} was durable")
            });
        }
        self.progress.entry(as_of).or_insert(Progress { live });
    }

    /// Old progress and summaries are deleted.
    pub fn pruning(&mut self, keep: CommitKey, durable: &Durable) {
        let since = durable.since(Fact::Progress(keep));
        let evidence = self.evidence.get(&keep.epoch).copied();
        let holds = matches!((since, evidence), (Some(since), Some(began)) if since <= began);
        self.demand_rule(holds, || {
            format!(
                "pruned for progress {keep:?}, durable since {since:?}, by a fence read begun at {evidence:?}"
            )
        });
    }

    /// A segment is deleted by that epoch.
    pub fn dropping(&mut self, epoch: Epoch, segment: SegmentKey, durable: &Durable) {
        let name = SegmentName {
            epoch_number: segment.epoch.number,
            incarnation: segment.epoch.incarnation,
            segment: segment.segment,
        };
        let last = self.released.get(&epoch).copied();
        let own = last.into_iter().flat_map(|last| (0..=last).map(|commit| (epoch, commit)));
        let history: Vec<(Epoch, u64)> = self.history(epoch).chain(own).collect();
        let by = history
            .iter()
            .find(|key| self.rows.get(key).is_some_and(|row| row.condemned.contains(&name)))
            .copied();
        let Some((by_epoch, by_commit)) = by else {
            return self.demand_rule(false, || {
                format!("{epoch} drops {segment:?}, which nothing released condemns")
            });
        };
        let from = if by_epoch == epoch { by_commit } else { 0 };
        let evidence = self.evidence.get(&epoch).copied();
        let own_progress = CommitKey { epoch, commit: from }..=CommitKey { epoch, commit: u64::MAX };
        let holds = self.progress.range(own_progress).any(|(as_of, progress)| {
            let since = durable.since(Fact::Progress(*as_of));
            !progress.live.contains(&name)
                && matches!((since, evidence), (Some(since), Some(began)) if since <= began)
        });
        self.demand_rule(holds, || {
            format!("{epoch} drops {segment:?}: no fence read began after progress without it was durable")
        });
    }
}
