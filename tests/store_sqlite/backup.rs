//! Backups of a running store.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use qdo::store::{Store, StoreErrorKind};

use crate::content::{append, claim, count_gapless, open};

const PARTITIONS: u16 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_one_moment_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jobs.db")).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..PARTITIONS).map(|_| AtomicU64::new(0)).collect());
    let mut writers = Vec::new();
    for index in 0..PARTITIONS {
        claim(&*store, index).await;
        let (store, done, acknowledged) = (store.clone(), done.clone(), acknowledged.clone());
        writers.push(tokio::spawn(async move {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                append(&*store, index, number, 20_000).await;
                number += 1;
                acknowledged[usize::from(index)].store(number, Ordering::Release);
            }
        }));
    }
    let counts = || acknowledged.iter().map(|count| count.load(Ordering::Acquire)).collect::<Vec<_>>();
    for round in 0..3 {
        let enough = (round + 1) * 100;
        while counts().into_iter().any(|count| count < enough) {
            tokio::task::yield_now().await;
        }
        let before = counts();
        let copy = folder.path().join(format!("copy-{round}.db"));
        store.backup(&copy).await.unwrap();
        let copy = open(&copy).expect("the copy opens");
        for index in 0..PARTITIONS {
            let there = count_gapless(&*copy, index).await.unwrap();
            assert!(there >= before[usize::from(index)], "partition {index} of round {round} lacks rows");
        }
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_leaves_no_rest() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("jobs.db")).unwrap();
    let taken = folder.path().join("diary.txt");
    fs::write(&taken, "dear diary").unwrap();
    let error = store.backup(&taken).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert!(error.message.contains("diary.txt"), "{error}");
    assert_eq!(fs::read(&taken).unwrap(), b"dear diary");
    let own = store.backup(&folder.path().join("jobs.db")).await.unwrap_err();
    assert_eq!(own.kind, StoreErrorKind::Invalid, "nor its own file");
    let error = store.backup(&folder.path().join("missing/copy.db")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Permission);
    let rest = fs::read_dir(folder.path())
        .unwrap()
        .any(|file| file.unwrap().file_name().to_string_lossy().contains(".part"));
    assert!(!rest);
}
