//! Writers that append without end, and a ledger of what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use qdo::model::{Epoch, PartitionId};
use qdo::store::*;
use tokio::task::JoinHandle;

/// Partitions, each with a writer.
const WRITERS: u16 = 8;
/// Blobs whose numbers differ by this are in one CQL partition.
const BLOB_SHARDS: u64 = 16;
/// Pause before a call is repeated whose outcome is not known.
const PAUSE: Duration = Duration::from_millis(20);
/// Bound of every wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// Running writers.
pub struct Writers {
    store: Arc<dyn Store>,
    stops: Arc<AtomicBool>,
    acknowledged: Arc<Vec<AtomicU64>>,
    tasks: Vec<JoinHandle<Written>>,
}

/// What one writer saw.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Its acknowledged commits are those below.
    commits: u64,
    /// Calls whose outcome was not known at first.
    unknown: u64,
    longest_pause: Duration,
}

impl Writers {
    /// Starts them on an empty store.
    pub fn start(store: Arc<dyn Store>) -> Self {
        let stops = Arc::new(AtomicBool::new(false));
        let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
        let task = |index| {
            let (store, stops, acknowledged) = (store.clone(), stops.clone(), acknowledged.clone());
            tokio::spawn(async move { write(store, index, &stops, &acknowledged[usize::from(index)]).await })
        };
        let tasks = (0..WRITERS).map(task).collect();
        Self { store, stops, acknowledged, tasks }
    }

    fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|commits| commits.load(Ordering::Relaxed)).collect()
    }

    /// Waits until each of them has had so many more commits acknowledged.
    pub async fn go_on(&self, what: &str, commits: u64) {
        let goals: Vec<u64> = self.acknowledged().iter().map(|before| before + commits).collect();
        let begun = Instant::now();
        while self.acknowledged().iter().zip(&goals).any(|(now, goal)| now < goal) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}, not {goals:?}", self.acknowledged());
            tokio::time::sleep(PAUSE).await;
        }
        println!("{what}: {commits} commits of each of {WRITERS} writers in {:?}", begun.elapsed());
    }

    /// Stops them, and looks for all that was acknowledged. The longest pause of any of them.
    pub async fn end(self, what: &str) -> Duration {
        self.stops.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for (task, index) in self.tasks.into_iter().zip(0..) {
            let written = task.await.expect("a writer ends well");
            assert_eq!(written.commits, self.acknowledged[usize::from(index)].load(Ordering::Relaxed));
            let segment = segment(index);
            let there = conformance::read(|| self.store.commits(segment, 0, usize::MAX, usize::MAX)).await;
            let numbers: Vec<u64> = there.iter().map(|stored| stored.commit).collect();
            assert!(numbers.iter().copied().eq(0..written.commits), "writer {index} has {numbers:?}");
            for stored in there {
                let commit = stored.commit;
                assert_eq!(stored.row, row(index, commit), "commit {commit} of {index}");
                let number = commit * 2 * BLOB_SHARDS + BLOB_SHARDS;
                let blob = conformance::read(|| self.store.blob(segment, number, 0)).await;
                assert!(blob.is_some(), "a blob of commit {commit} of {index}");
                let scope = format!("token/1/{index}");
                let found = conformance::read(|| self.store.entries(&scope, commit, b"b", 9)).await;
                assert_eq!(found.len(), 1, "an entry of commit {commit} of {index}");
            }
            all.commits += written.commits;
            all.unknown += written.unknown;
            all.longest_pause = all.longest_pause.max(written.longest_pause);
        }
        println!(
            "{what}: {} commits acknowledged, all of them there; {} calls of unknown outcome; longest pause {:?}",
            all.commits, all.unknown, all.longest_pause
        );
        all.longest_pause
    }
}

fn segment(index: u16) -> SegmentKey {
    let partition = PartitionId { group: 1, index };
    SegmentKey { partition, epoch: Epoch { number: 1, incarnation: 1 }, segment: 0 }
}

fn blob(blob: u64) -> BlobChunk {
    BlobChunk { blob, chunk: 0, bytes: format!("blob {blob}").into() }
}

fn entry(index: u16, commit: u64, term: &str) -> IndexEntry {
    let scope = format!("token/1/{index}");
    IndexEntry { scope, bucket: commit, term: term.to_owned().into(), value: "found".into() }
}

fn row(index: u16, commit: u64) -> Bytes {
    format!("commit {commit} of writer {index}").into()
}

/// Appends one commit after another, repeats what is not known, and reads what is acknowledged.
async fn write(store: Arc<dyn Store>, index: u16, stops: &AtomicBool, acknowledged: &AtomicU64) -> Written {
    let mut written = Written::default();
    while !stops.load(Ordering::Relaxed) {
        let (begun, commit) = (Instant::now(), written.commits);
        let append = Append {
            segment: segment(index),
            commit,
            row: row(index, commit),
            // Two each of what is sent as one batch.
            blobs: [0, BLOB_SHARDS].map(|other| blob(commit * 2 * BLOB_SHARDS + other)).to_vec(),
            entries: ["a", "b"].map(|term| entry(index, commit, term)).to_vec(),
        };
        loop {
            match store.append(append.clone()).await {
                AppendOutcome::Durable => break,
                AppendOutcome::Unknown(_) => written.unknown += 1,
                outcome => panic!("commit {commit}: {outcome:?}"),
            }
            assert!(begun.elapsed() < PATIENCE, "commit {commit} of writer {index} is not acknowledged");
            tokio::time::sleep(PAUSE).await;
        }
        written.longest_pause = written.longest_pause.max(begun.elapsed());
        let seen = loop {
            match store.commits(segment(index), commit, 1, usize::MAX).await {
                Ok(seen) => break seen,
                Err(error) => assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}"),
            }
            assert!(begun.elapsed() < PATIENCE, "commit {commit} of writer {index} can't be read");
            tokio::time::sleep(PAUSE).await;
        };
        assert!(seen.first().is_some_and(|stored| stored.commit == commit), "it is seen once acknowledged");
        written.commits += 1;
        acknowledged.store(written.commits, Ordering::Relaxed);
    }
    written
}
