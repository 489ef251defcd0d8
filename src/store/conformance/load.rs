//! Large rows, many callers, and the store's own affairs.

use super::*;
use crate::model::limits::{CHUNK_BYTES_MAX, COMMIT_BYTES_MAX};

/// Bytes that no compression and no off-by-one keeps the same.
fn noise(seed: u64, count: usize) -> Bytes {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

pub async fn large_rows_come_back_whole(store: TestStore) {
    let row = noise(1, COMMIT_BYTES_MAX);
    let chunks: Vec<BlobChunk> = (0..8)
        .map(|chunk| BlobChunk { blob: 1, chunk, bytes: noise(chunk.into(), CHUNK_BYTES_MAX) })
        .collect();
    let commit = Append { row: row.clone(), blobs: chunks.clone(), ..commit_of(segment(), 0, "") };
    append(&store, &commit).await;
    append(&store, &commit_of(segment(), 1, "small")).await;
    let key = as_of(epoch(1, 11), 1);
    write(|| store.put_summary(segment(), key, row.clone())).await;
    write(|| store.put_progress(partition(0), key, row.clone())).await;

    let first = read(|| store.commits(segment(), 0, 10, COMMIT_BYTES_MAX)).await;
    assert!(first == [StoredCommit { commit: 0, row: row.clone() }], "one large row is a page");
    for chunk in chunks {
        let there = read(|| store.blob(segment(), 1, chunk.chunk)).await;
        assert!(there == Some(chunk.bytes), "chunk {}", chunk.chunk);
    }
    assert!(read(|| store.summary(segment(), key)).await == Some(row.clone()));
    assert!(read(|| store.progress(partition(0), epoch(1, 11), 1)).await == [(1, row)]);
}

/// Tasks that append at once.
const TASKS: u16 = 64;
/// Partitions that they append to, so that some share one.
const PARTITIONS: u16 = 16;
/// Commits of each task.
const COMMITS: u64 = 12;

pub async fn many_partitions_append_at_once(store: TestStore) {
    for index in 0..PARTITIONS {
        write(|| store.insert_claim(partition(index), claim(1, 11))).await;
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let segment = SegmentKey {
                    partition: partition(task % PARTITIONS),
                    segment: u32::from(task / PARTITIONS),
                    ..segment()
                };
                for commit in 0..COMMITS {
                    let row = commit_of(segment, commit, &format!("row {commit} of task {task}"));
                    assert_eq!(append(&store, &row).await, fenced(&store));
                    let seen = all_commits(&store, segment).await.len() as u64;
                    assert_eq!(seen, commit + 1, "each commit is seen once it is durable, in order");
                }
                (segment, task)
            })
        })
        .collect();
    for running in tasks {
        let (segment, task) = running.await.expect("the task ends well");
        let expected: Vec<StoredCommit> =
            (0..COMMITS).map(|commit| stored(commit, &format!("row {commit} of task {task}"))).collect();
        assert_eq!(all_commits(&store, segment).await, expected);
    }
}

pub async fn a_read_sees_what_was_acknowledged_before(store: TestStore) {
    let at = partition(0);
    for number in 1..100 {
        write(|| store.insert_claim(at, claim(number, 1))).await;
        assert_eq!(read(|| store.highest_claim(at)).await, Some(claim(number, 1)));
        let version = applied(&store, "queue/a", None, Some(&format!("value {number}"))).await;
        assert_eq!(read(|| store.document("queue/a")).await.map(|document| document.version), Some(version));
        applied(&store, "queue/a", Some(version), None).await;
        assert_eq!(read(|| store.document("queue/a")).await, None);
    }
}

pub async fn counters_rise_and_rest(store: TestStore) {
    let before = store.counters();
    append(&store, &commit_of(segment(), 0, "0123456789")).await;
    let after = store.counters();
    assert!(after.calls > before.calls);
    assert!(after.commits > before.commits);
    assert!(after.commit_bytes >= before.commit_bytes + 10);
    assert!(after.transactions > before.transactions);
    read(|| store.highest_claim(partition(0))).await;
    assert!(store.counters().fence_reads > after.fence_reads, "a fence read by itself is counted");
    let rest = store.counters();
    assert_eq!(store.counters(), rest, "nothing is done that nobody asked for");
}

pub async fn health_says_what_is_durable(store: TestStore) {
    let health = read(|| store.health()).await;
    assert!(!health.backend.is_empty() && !health.durability_note.is_empty(), "{health:?}");
    assert!(health.nodes.is_empty() || health.nodes.iter().any(|node| node.up), "{health:?}");
}

pub async fn the_clock_is_that_of_today(store: TestStore) {
    /// 2024-01-01.
    const BEFORE_MS: u64 = 1_704_067_200_000;
    let now = read(|| store.clock_ms()).await;
    assert!((BEFORE_MS..crate::model::limits::TIME_MS_MAX).contains(&now), "{now}");
}
