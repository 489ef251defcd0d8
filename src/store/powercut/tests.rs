//! The disk against its own promises, and the SQLite store against the disk.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::model::{Epoch, PartitionId};
use crate::store::*;

mod rounds;

fn options(disk: &PowerCutDisk, synchronous: Synchronous) -> SqliteOptions {
    SqliteOptions {
        synchronous,
        // Small, so that copying the log happens often, and is met by cuts.
        checkpoint_bytes: 64 << 10,
        wal_bytes_max: 256 << 10,
        vfs: disk.vfs(),
        ..SqliteOptions::default()
    }
}

async fn new_store() -> (Arc<dyn Store>, (tempfile::TempDir, PowerCutDisk)) {
    let folder = tempfile::tempdir().expect("a folder for the lock");
    let disk = PowerCutDisk::new(1);
    let store = SqliteStore::open(&folder.path().join("test.db"), options(&disk, Synchronous::Full));
    (Arc::new(store.expect("a new store opens")), (folder, disk))
}

// The disk behaves as one as long as there is power.
crate::store_conformance!(new_store());

fn partition(index: u16) -> PartitionId {
    PartitionId { group: 1, index }
}

fn segment(index: u16, number: u32) -> SegmentKey {
    SegmentKey { partition: partition(index), epoch: epoch(number), segment: 0 }
}

fn epoch(number: u32) -> Epoch {
    Epoch { number, incarnation: u64::MAX - u64::from(number) }
}

/// A row that says where it belongs; some are large.
fn row(index: u16, commit: u64) -> Bytes {
    let bytes = (commit * 7_919 + u64::from(index) * 104_729) % 9_000;
    let mut row = vec![commit as u8 ^ index as u8; 16 + bytes as usize];
    row[..8].copy_from_slice(&commit.to_be_bytes());
    row.into()
}

fn commit(index: u16, number: u32, commit: u64) -> Append {
    let row = row(index, commit);
    let blobs = vec![BlobChunk { blob: commit, chunk: 0, bytes: row.slice(..16) }];
    Append { segment: segment(index, number), commit, row, blobs, entries: Vec::new() }
}

#[test]
fn a_cut_keeps_what_was_synced_and_a_choice_of_the_rest() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let mut disk = disk::Disk::new(seed);
        let (file, _) = disk.open("a", true).unwrap();
        disk.write(file, 0, &[1; 1_024]).unwrap();
        disk.sync(file).unwrap();
        disk.sync_names();
        disk.write(file, 0, &[2; 512]).unwrap();
        disk.write(file, 512, &[3; 512]).unwrap();
        let (other, _) = disk.open("b", true).unwrap();
        disk.write(other, 0, &[4; 10]).unwrap();
        disk.sync(other).unwrap();
        disk.cut();
        assert_eq!(disk.open("a", false), Err(disk::DiskError::Off));
        disk.restart();
        let mut data = [0; 1_025];
        let (file, _) = disk.open("a", false).unwrap();
        assert_eq!(disk.read(file, 0, &mut data), Ok(1_024));
        assert!(
            matches!(data[0], 1 | 2) && data[..512].iter().all(|&byte| byte == data[0]),
            "sectors are whole"
        );
        assert!(matches!(data[512], 1 | 3) && data[512..1_024].iter().all(|&byte| byte == data[512]));
        outcomes.insert((data[0], data[512], disk.exists("b").unwrap()));
    }
    assert_eq!(outcomes.len(), 8, "everything that can happen does: {outcomes:?}");
}

#[tokio::test]
async fn every_sync_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let disk = PowerCutDisk::new(3);
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        let path = folder.path().join(format!("{synchronous:?}.db"));
        let store = SqliteStore::open(&path, options(&disk, synchronous)).unwrap();
        let before = disk.syncs();
        for number in 0..200 {
            store.append(commit(0, 1, number)).await;
            // The writer's affairs after that write are over when it makes the next one, which
            // changes nothing and so is durable without a sync.
            store.append(commit(0, 1, number)).await;
            assert_eq!(
                store.counters().fsyncs,
                disk.syncs() - before,
                "after commit {number}, {synchronous:?}"
            );
        }
        assert!(disk.syncs() - before > 10, "{synchronous:?} syncs as well");
        assert_eq!(store.counters().transactions, 200);
    }
}

#[tokio::test]
async fn a_failed_sync_is_unknown_and_work_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let disk = PowerCutDisk::new(5);
    let store = SqliteStore::open(&path, options(&disk, Synchronous::Full)).unwrap();
    for number in 0..20 {
        disk.fail_syncs(1);
        let outcome = store.append(commit(0, 1, number)).await;
        assert!(matches!(&outcome, AppendOutcome::Unknown(_)), "{outcome:?}");
        assert_eq!(store.append(commit(0, 1, number)).await, AppendOutcome::Durable, "repeated");
    }
    disk.cut();
    drop(store);
    disk.restart();
    let store = SqliteStore::open(&path, options(&disk, Synchronous::Full)).unwrap();
    let rows = store.commits(segment(0, 1), 0, 100, usize::MAX).await.unwrap();
    assert_eq!(rows.len(), 20);
}

#[tokio::test]
async fn a_full_disk_is_refused_and_work_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let disk = PowerCutDisk::new(6);
    let store = SqliteStore::open(&path, options(&disk, Synchronous::Full)).unwrap();
    let mut number = 0;
    for limit in [400_000, 600_000, 800_000] {
        disk.limit(Some(limit));
        loop {
            match store.append(commit(0, 1, number)).await {
                AppendOutcome::Durable => number += 1,
                AppendOutcome::Refused(error) if error.kind == StoreErrorKind::Full => break,
                outcome => panic!("{outcome:?}"),
            }
        }
    }
    disk.limit(None);
    assert_eq!(store.append(commit(0, 1, number)).await, AppendOutcome::Durable);
    disk.cut();
    drop(store);
    disk.restart();
    let store = SqliteStore::open(&path, options(&disk, Synchronous::Full)).unwrap();
    let rows = store.commits(segment(0, 1), 0, usize::MAX, usize::MAX).await.unwrap();
    assert_eq!(rows.len() as u64, number + 1, "what was refused has not happened, and the rest is there");
}

/// Opens the store, however often the power is cut meanwhile.
fn open(path: &Path, disk: &PowerCutDisk, synchronous: Synchronous) -> Result<SqliteStore, StoreError> {
    loop {
        match SqliteStore::open(path, options(disk, synchronous)) {
            Err(_) if !disk.is_on() => disk.restart(),
            opened => return opened,
        }
    }
}
