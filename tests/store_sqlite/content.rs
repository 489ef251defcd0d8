//! What the tests write, and how they look whether it is there.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use qdo::model::{Epoch, PartitionId};
use qdo::store::{
    Append, AppendOutcome, Claim, SegmentKey, SqliteOptions, SqliteStore, Store, StoreError, WriteOutcome,
};

pub const EPOCH: Epoch = Epoch { number: 1, incarnation: u64::MAX };

pub fn partition(index: u16) -> PartitionId {
    PartitionId { group: 1, index }
}

pub fn segment(index: u16) -> SegmentKey {
    SegmentKey { partition: partition(index), epoch: EPOCH, segment: 0 }
}

/// A row that says where it belongs.
pub fn row(commit: u64, bytes: usize) -> Bytes {
    let mut row = commit.to_be_bytes().to_vec();
    row.resize(bytes.max(8), commit as u8);
    row.into()
}

pub fn commit(index: u16, commit: u64, bytes: usize) -> Append {
    Append {
        segment: segment(index),
        commit,
        row: row(commit, bytes),
        blobs: Vec::new(),
        entries: Vec::new(),
    }
}

pub fn open(path: &Path) -> Result<Arc<SqliteStore>, StoreError> {
    SqliteStore::open(path, SqliteOptions::default()).map(Arc::new)
}

pub async fn claim(store: &dyn Store, index: u16) {
    let claim = Claim { epoch: EPOCH, owner: Bytes::from_static(b"test") };
    assert_eq!(store.insert_claim(partition(index), claim).await, WriteOutcome::Durable);
}

pub async fn append(store: &dyn Store, index: u16, number: u64, bytes: usize) {
    assert_eq!(store.append(commit(index, number, bytes)).await, AppendOutcome::Fenced);
}

/// Reads a partition in pages; how many rows there are. Panics if there is a gap or a wrong row.
pub async fn count_gapless(store: &dyn Store, index: u16) -> Result<u64, StoreError> {
    let mut count = 0;
    loop {
        let page = store.commits(segment(index), count, 100, 4 << 20).await?;
        if page.is_empty() {
            return Ok(count);
        }
        for stored in page {
            assert_eq!(stored.commit, count, "a gap in partition {index}");
            assert!(stored.row == row(count, stored.row.len()), "row {count} of partition {index}");
            count += 1;
        }
    }
}
