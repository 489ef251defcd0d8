//! Rows that a list will need, read in ranges: a store that is far away is asked a few times for a
//! page, not twice for each job.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use prost::Message;

use crate::model::row::{CommitRef, CommitRow, SegmentName};
use crate::store::{StoreError, StoredCommit};
use crate::worker::RequestError;

use super::super::owner::core::segment_key;
use super::Reader;

/// Rows of one range; of these, so many in a row may be of no use.
const RANGE_ROWS_MAX: u64 = 256;
const GAP_MAX: u64 = 4;
/// Bytes of rows over all ranges: what is beyond is read one by one.
const BYTES_MAX: usize = 8 << 20;
/// Ranges that are read at once.
const TOGETHER: usize = 8;

/// Rows by their commits.
pub(super) type Ahead = Arc<HashMap<CommitRef, (SegmentName, Arc<CommitRow>)>>;

impl Reader {
    /// A reader of the same partition that has most of these rows at hand.
    pub(super) async fn with_rows(&self, wanted: BTreeSet<CommitRef>) -> Result<Self, RequestError> {
        let segments = self.owner.peek(move |engine| {
            let mut by_segment: BTreeMap<(u32, u64, u32), Vec<u64>> = BTreeMap::new();
            for at in wanted {
                if let Some(name) = engine.segment_of(at) {
                    let name = (name.epoch_number, name.incarnation, name.segment);
                    by_segment.entry(name).or_default().push(at.commit);
                }
            }
            by_segment
        });
        let mut asked = Vec::new();
        for ((epoch_number, incarnation, segment), commits) in segments.await? {
            let name = SegmentName { epoch_number, incarnation, segment };
            asked.extend(ranges(&commits).into_iter().map(|range| (name, range)));
        }
        let bytes_max = BYTES_MAX / asked.len().max(1);
        let reads = stream::iter(asked).map(|(name, range)| async move {
            let rows = (range.end() - range.start() + 1) as usize;
            let key = segment_key(self.partition(), name);
            let stored = self.store.commits(key, *range.start(), rows, bytes_max).await?;
            Ok::<_, StoreError>((name, stored))
        });
        let mut rows = HashMap::new();
        let mut reads = reads.buffer_unordered(TOGETHER);
        while let Some((name, stored)) = reads.try_next().await? {
            for StoredCommit { commit, row } in stored {
                // What can't be decoded is said when it is read for itself.
                if let Ok(row) = CommitRow::decode(row) {
                    rows.insert(CommitRef { epoch_number: name.epoch_number, commit }, (name, Arc::new(row)));
                }
            }
        }
        drop(reads);
        Ok(Self { ahead: Some(Arc::new(rows)), ..self.clone() })
    }
}

/// Ranges that hold these commits, which are in order. One that is alone is not worth a range.
fn ranges(commits: &[u64]) -> Vec<RangeInclusive<u64>> {
    let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
    for commit in commits {
        match ranges.last_mut() {
            Some(last) if commit - last.end() <= GAP_MAX && commit - last.start() < RANGE_ROWS_MAX => {
                *last = *last.start()..=*commit;
            }
            _ => ranges.push(*commit..=*commit),
        }
    }
    ranges.retain(|range| range.start() < range.end());
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_near_each_other_are_read_together_and_never_too_many() {
        assert_eq!(ranges(&[1, 2, 5, 20, 40, 41]), [1..=5, 40..=41]);
        let all: Vec<u64> = (0..600).collect();
        assert_eq!(ranges(&all), [0..=255, 256..=511, 512..=599]);
        assert_eq!(ranges(&[]), []);
    }
}
