//! Progress and summaries: what a successor starts from instead of the whole journal.

use crate::model::row::{ChainLink, CommitRef, ProgressRow, SegmentName, SegmentRow, SummaryRow, TallyRow};

use super::{Engine, Progress};

/// Version of the reader that understands what is written here.
const MIN_READER: u32 = 1;
/// The same once a slot is closed: one that does not know that would take new jobs of it.
const CLOSED_SLOTS_READER: u32 = 2;
/// States younger than its summary that progress carries for one segment; above it, the summary is
/// written anew.
const YOUNGER_MAX: usize = 64;
/// The same over all segments.
const YOUNGER_TOTAL_MAX: usize = 4_096;

impl Engine {
    /// Progress as of the commit that was closed last, if it is due. Nothing may be in the making.
    pub(super) fn progress_if_due(&mut self) -> Option<Progress> {
        let (commits, bytes) = self.since_progress;
        let due = commits >= self.settings.progress_commits || bytes >= self.settings.progress_bytes;
        if !due && !self.progress_wanted {
            return None;
        }
        self.since_progress = (0, 0);
        self.progress_wanted = false;
        let as_of = CommitRef { commit: self.journal.current().commit - 1, ..self.journal.current() };
        let summaries = self.summaries_due(as_of);
        let row = self.progress_row(as_of);
        let in_use =
            self.segments.iter().filter_map(|(_, segment)| Some((segment.name, segment.summary?))).collect();
        Some(Progress { as_of: as_of.commit, row, summaries, in_use })
    }

    fn summaries_due(&mut self, as_of: CommitRef) -> Vec<(SegmentName, SummaryRow)> {
        let leaving = &self.leaving;
        let mut summaries = Vec::new();
        let mut younger_total = 0;
        for number in self.segments.numbers() {
            let Some(segment) = self.segments.get_mut(number) else { continue };
            let younger = segment.changed.len();
            younger_total += younger;
            let leaves = leaving.contains(&number) || segment.sealed && younger > 0 && segment.open() == 0;
            let due = segment.grown
                || younger > YOUNGER_MAX
                || younger_total > YOUNGER_TOTAL_MAX
                || leaves && younger > 0;
            if !due || segment.loaded.is_none() {
                continue;
            }
            younger_total -= younger;
            let queues = &self.queues;
            if let Some(summary) = segment.summarise(&self.kinds, |index| queues.get(index).number) {
                summaries.push((segment.name, summary));
            }
            segment.summarised(as_of);
        }
        summaries
    }

    fn progress_row(&mut self, as_of: CommitRef) -> ProgressRow {
        let queues = &self.queues;
        let number = |index| queues.get(index).number;
        let mut segments: Vec<SegmentRow> = self
            .condemned
            .iter()
            .map(|&name| SegmentRow { name: Some(name), condemned: true, ..SegmentRow::default() })
            .collect();
        for each in self.segments.numbers() {
            segments.extend(self.segments.get_mut(each).map(|segment| segment.row(number)));
        }
        // Epochs with nothing left of them are named no more.
        let oldest = segments.iter().filter_map(|segment| segment.name).map(|name| name.epoch_number).min();
        self.chain.retain(|link| oldest.is_some_and(|oldest| link.epoch_number >= oldest));
        let own = ChainLink {
            epoch_number: self.epoch.number,
            incarnation: self.epoch.incarnation,
            cut: as_of.commit,
        };
        let tallies = self.queues.iter().filter(|queue| queue.by_state.iter().any(|&count| count > 0));
        ProgressRow {
            min_reader: if self.slots.has_closed() { CLOSED_SLOTS_READER } else { MIN_READER },
            chain: self.chain.iter().copied().chain([own]).collect(),
            time_ms: self.now_ms,
            slots: Some(self.slots.row()),
            segments,
            tallies: tallies
                .map(|queue| TallyRow {
                    queue: queue.number,
                    by_state: queue.by_state.to_vec(),
                    waiting_by_lane: Vec::new(),
                })
                .collect(),
        }
    }
}
