//! The write-ahead log stays bounded, and a drop gives its space back.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use qdo::store::{AppendOutcome, SqliteOptions, SqliteStore, Store, WriteOutcome};

use crate::content::{append, claim, commit, count_gapless, segment};

const WAL_BYTES_MAX: u64 = 16 << 20;
/// One transaction more, and what a step of the checkpoints lets pass.
const SLACK_BYTES: u64 = 24 << 20;
const ROW_BYTES: usize = 500_000;

#[tokio::test]
async fn the_log_stays_bounded_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let log = folder.path().join("jobs.db-wal");
    let options = SqliteOptions { wal_bytes_max: WAL_BYTES_MAX, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    claim(&store, 0).await;
    let log_bytes = || fs::metadata(&log).unwrap().len();
    let mut highest = 0;
    let mut number = 0;
    let mut write = async |count: u64| {
        for _ in 0..count {
            append(&store, 0, number, ROW_BYTES).await;
            number += 1;
            highest = highest.max(log_bytes());
        }
        std::mem::take(&mut highest)
    };
    assert!(write(100).await <= WAL_BYTES_MAX, "50 MB without readers");

    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM claims;").unwrap();
    let with_reader = write(40).await;
    assert!(with_reader > WAL_BYTES_MAX, "the reader holds the log, or this test shows nothing");
    reader.execute_batch("COMMIT").unwrap();

    write(10).await;
    assert!(write(250).await <= WAL_BYTES_MAX + SLACK_BYTES, "the reader has let go of it");
    assert!(log_bytes() <= WAL_BYTES_MAX, "{} bytes at last", log_bytes());
    assert_eq!(count_gapless(&store, 0).await, Ok(400));
}

#[tokio::test]
async fn the_log_stays_bounded_while_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { wal_bytes_max: WAL_BYTES_MAX, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(&folder.path().join("jobs.db"), options).unwrap());
    claim(&*store, 0).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            tokio::spawn(async move {
                let mut pages = 0;
                while !done.load(Ordering::Relaxed) {
                    store.commits(segment(0), pages % 50, 20, 4 << 20).await.unwrap();
                    pages += 1;
                }
                pages
            })
        })
        .collect();
    let mut highest = 0;
    for number in 0..200 {
        append(&*store, 0, number, ROW_BYTES).await;
        highest = highest.max(fs::metadata(folder.path().join("jobs.db-wal")).unwrap().len());
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert!(highest <= WAL_BYTES_MAX + SLACK_BYTES, "{highest} bytes");
}

#[tokio::test]
async fn the_log_stays_bounded_while_there_is_always_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let options = SqliteOptions { wal_bytes_max: WAL_BYTES_MAX, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    claim(&store, 0).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (done, path) = (done.clone(), path.clone());
        std::thread::spawn(move || {
            let open = || rusqlite::Connection::open(&path).unwrap();
            let (mut first, mut second) = (open(), open());
            let begin = |reader: &rusqlite::Connection| {
                reader.execute_batch("BEGIN").unwrap();
                let count = "SELECT count(*) FROM commits";
                reader.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()
            };
            let mut seen = begin(&first);
            while !done.load(Ordering::Relaxed) {
                // The next one begins before this one ends.
                seen = begin(&second).max(seen);
                first.execute_batch("COMMIT").unwrap();
                std::mem::swap(&mut first, &mut second);
            }
            seen
        })
    };
    let mut highest = 0;
    for number in 0..200 {
        append(&store, 0, number, ROW_BYTES).await;
        highest = highest.max(fs::metadata(folder.path().join("jobs.db-wal")).unwrap().len());
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
    assert!(highest <= WAL_BYTES_MAX + SLACK_BYTES, "{highest} bytes");
}

#[tokio::test]
async fn others_write_while_a_large_segment_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
    claim(&*store, 0).await;
    claim(&*store, 1).await;
    for number in 0..160 {
        append(&*store, 0, number, ROW_BYTES).await;
    }
    let dropping = {
        let store = store.clone();
        tokio::spawn(async move { store.drop_segment(segment(0)).await })
    };
    let mut meanwhile = 0;
    while !dropping.is_finished() {
        assert_eq!(store.append(commit(1, meanwhile, 10)).await, AppendOutcome::Fenced);
        meanwhile += 1;
    }
    assert_eq!(dropping.await.unwrap(), WriteOutcome::Durable);
    assert!(meanwhile >= 5, "only {meanwhile} commits were made meanwhile");
    assert_eq!(count_gapless(&*store, 0).await, Ok(0));
    drop(store);
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(bytes < 40_000_000, "80 MB were dropped, and the file still has {bytes} bytes");
}
