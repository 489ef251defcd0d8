//! A row as it is with other numbers of groups and queues.
//!
//! Places inside a partition (epochs, commits, segments) stay; job ids begin with the group's number and
//! get the new one. A row that this version can't write as it read it was written by a newer one, and
//! is refused rather than cut short.

use bytes::Bytes;
use prost::Message;

use super::super::{Claim, IndexEntry, SegmentKey, StoreError, StoreErrorKind, StoredRow};
use super::plan::Numbers;
use crate::model::row::{CommitRow, ProgressRow, SummaryRow, TallyRow};
use crate::model::{GroupDocument, JobId, PartitionId, QueueDocument};

/// What numbers are raised by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Renumber {
    groups: u32,
    queues: u32,
}

impl Renumber {
    /// Raises by what was planned.
    pub fn new(groups: &Numbers, queues: &Numbers) -> Self {
        Self { groups: groups.raised_by, queues: queues.raised_by }
    }

    /// Everything stays.
    fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The group's document in the target.
    pub fn group(self, document: &GroupDocument) -> GroupDocument {
        GroupDocument { number: self.group_number(document.number), ..document.clone() }
    }

    /// The queue's document in the target.
    pub fn queue(self, document: &QueueDocument) -> QueueDocument {
        QueueDocument { number: self.queue_number(document.number), ..document.clone() }
    }

    // Whether the highest fits was looked at before anything was planned.

    fn group_number(self, number: u32) -> u32 {
        number.saturating_add(self.groups)
    }

    fn queue_number(self, number: u32) -> u32 {
        number.saturating_add(self.queues)
    }

    fn partition(self, id: PartitionId) -> PartitionId {
        PartitionId { group: self.group_number(id.group), ..id }
    }

    fn segment(self, key: SegmentKey) -> SegmentKey {
        SegmentKey { partition: self.partition(key.partition), ..key }
    }

    /// The row in the target.
    pub fn row(self, row: StoredRow) -> Result<StoredRow, StoreError> {
        if self.is_none() {
            return Ok(row);
        }
        Ok(match row {
            other @ (StoredRow::Document(..) | StoredRow::Damaged(_)) => other,
            StoredRow::Claim(id, Claim { epoch, owner }) => {
                StoredRow::Claim(self.partition(id), Claim { epoch, owner })
            }
            StoredRow::Commit(key, number, bytes) => {
                let bytes = changed(&bytes, "a commit", |row| self.commit(row))?;
                StoredRow::Commit(self.segment(key), number, bytes)
            }
            StoredRow::Blob(key, blob, chunk, bytes) => {
                StoredRow::Blob(self.segment(key), blob, chunk, bytes)
            }
            StoredRow::Summary(key, as_of, bytes) => {
                let bytes = changed(&bytes, "a summary", |row| self.summary(row))?;
                StoredRow::Summary(self.segment(key), as_of, bytes)
            }
            StoredRow::Progress(id, as_of, bytes) => {
                let bytes = changed(&bytes, "a progress row", |row| self.progress(row))?;
                StoredRow::Progress(self.partition(id), as_of, bytes)
            }
            StoredRow::Entry(entry) => StoredRow::Entry(self.entry(entry)?),
        })
    }

    fn commit(self, row: &mut CommitRow) -> Option<()> {
        for job in &mut row.jobs {
            job.queue = self.queue_number(job.queue);
            if let Some(again) = &mut job.again {
                again.id = self.id(&again.id)?;
            }
        }
        Some(())
    }

    fn summary(self, row: &mut SummaryRow) -> Option<()> {
        row.queues.iter_mut().for_each(|queue| *queue = self.queue_number(*queue));
        for foreign in &mut row.foreign_ids {
            foreign.id = self.id(&foreign.id)?;
        }
        Some(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the other rows' are")]
    fn progress(self, row: &mut ProgressRow) -> Option<()> {
        let tallies = |tallies: &mut [TallyRow]| {
            tallies.iter_mut().for_each(|tally| tally.queue = self.queue_number(tally.queue));
        };
        tallies(&mut row.tallies);
        row.segments.iter_mut().for_each(|segment| tallies(&mut segment.tallies));
        Some(())
    }

    fn entry(self, entry: IndexEntry) -> Result<IndexEntry, StoreError> {
        let scope = entry.scope.split_once('/').and_then(|(kind, partition)| {
            let (group, index) = partition.split_once('/')?;
            let id = PartitionId { group: group.parse().ok()?, index: index.parse().ok()? };
            Some((kind, self.partition(id)))
        });
        let (kind, partition) = scope.ok_or_else(|| unknown("an index entry's scope"))?;
        let term = match kind {
            "place" => self.id(&entry.term).ok_or_else(|| unknown("a place's id"))?,
            // Its term is an epoch and a commit.
            "token" => entry.term,
            _ => return Err(unknown("an index entry's scope")),
        };
        Ok(IndexEntry { scope: format!("{kind}/{partition}"), term, ..entry })
    }

    fn id(self, bytes: &[u8]) -> Option<Bytes> {
        let id = JobId::from_slice(bytes)?;
        let new = JobId::new(self.partition(id.partition()), id.epoch_number(), id.commit(), id.place());
        Some(Bytes::copy_from_slice(&new.to_bytes()))
    }
}

/// The row with `change` made to it.
fn changed<T: Message + Default>(
    bytes: &Bytes,
    what: &str,
    change: impl FnOnce(&mut T) -> Option<()>,
) -> Result<Bytes, StoreError> {
    let damaged =
        |why: &str| StoreError::new(StoreErrorKind::Damaged, format!("{what} can't be read: {why}"));
    let mut row = T::decode(bytes.clone()).map_err(|error| damaged(&error.to_string()))?;
    if row.encode_to_vec() != *bytes {
        return Err(unknown(what));
    }
    change(&mut row).ok_or_else(|| damaged("a job's id is not 16 bytes"))?;
    Ok(row.encode_to_vec().into())
}

fn unknown(what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::NewerFormat,
        format!(
            "{what} was written by a newer version of qdo: use that one, or copy into an empty keyspace or file"
        ),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::row::{AgainRow, ForeignId, JobRow, SegmentRow};

    fn raise(groups: u32, queues: u32) -> Renumber {
        Renumber { groups, queues }
    }

    fn id(group: u32) -> JobId {
        JobId::new(PartitionId { group, index: 7 }, 3, 9, 2)
    }

    fn id_bytes(group: u32) -> Bytes {
        Bytes::copy_from_slice(&id(group).to_bytes())
    }

    #[test]
    fn every_number_is_raised_and_nothing_else() {
        let commit = |group, queue| {
            let again = AgainRow { id: id_bytes(group), ..AgainRow::default() };
            let job = JobRow { queue, key: "k".into(), again: Some(again), ..JobRow::default() };
            CommitRow { time_ms: 5, jobs: vec![job], ..CommitRow::default() }
        };
        let summary = |group, queue| SummaryRow {
            queues: vec![queue],
            foreign_ids: vec![ForeignId { index: 0, id: id_bytes(group) }],
            ..SummaryRow::default()
        };
        let progress = |queue| {
            let tallies = vec![TallyRow { queue, by_state: vec![1], waiting_by_lane: vec![] }];
            let segment = SegmentRow { tallies: tallies.clone(), ..SegmentRow::default() };
            ProgressRow { tallies, segments: vec![segment], ..ProgressRow::default() }
        };
        let numbers = raise(10, 100);
        let bytes = |row: &dyn Fn() -> Vec<u8>| Bytes::from(row());
        assert_eq!(
            changed(&bytes(&|| commit(1, 2).encode_to_vec()), "", |row| numbers.commit(row)),
            Ok(commit(11, 102).encode_to_vec().into())
        );
        assert_eq!(
            changed(&bytes(&|| summary(1, 2).encode_to_vec()), "", |row| numbers.summary(row)),
            Ok(summary(11, 102).encode_to_vec().into())
        );
        assert_eq!(
            changed(&bytes(&|| progress(2).encode_to_vec()), "", |row| numbers.progress(row)),
            Ok(progress(102).encode_to_vec().into())
        );
        let entry =
            |scope: &str, term| IndexEntry { scope: scope.into(), bucket: 3, term, value: Bytes::new() };
        assert_eq!(numbers.entry(entry("place/1/7", id_bytes(1))), Ok(entry("place/11/7", id_bytes(11))));
        let term = Bytes::from_static(b"0123456789");
        assert_eq!(numbers.entry(entry("token/1/7", term.clone())), Ok(entry("token/11/7", term)));
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused_rather_than_cut_short() {
        let numbers = raise(1, 1);
        let mut newer = CommitRow { time_ms: 5, ..CommitRow::default() }.encode_to_vec();
        // Field 100, a number: 1.
        newer.extend([0xA0, 0x06, 0x01]);
        let refused = changed(&newer.into(), "a commit", |row| numbers.commit(row)).expect_err("refused");
        assert_eq!(refused.kind, StoreErrorKind::NewerFormat);
        let entry =
            IndexEntry { scope: "unique/1/2".into(), bucket: 0, term: Bytes::new(), value: Bytes::new() };
        assert_eq!(numbers.entry(entry).map_err(|error| error.kind), Err(StoreErrorKind::NewerFormat));
    }

    proptest! {
        #[test]
        fn any_row_is_changed_or_refused(bytes: Vec<u8>, scope in "\\PC{0,20}") {
            let numbers = raise(1, 1);
            let key = SegmentKey {
                partition: PartitionId { group: 1, index: 0 },
                epoch: crate::model::Epoch { number: 1, incarnation: 0 },
                segment: 0,
            };
            let bytes = Bytes::from(bytes);
            let _ = numbers.row(StoredRow::Commit(key, 0, bytes.clone()));
            let _ = numbers.row(StoredRow::Entry(IndexEntry { scope, bucket: 0, term: bytes.clone(), value: bytes }));
        }
    }
}
