//! Commits and the fence.

use super::*;
use crate::model::JobId;
use crate::model::limits::{CHUNK_BYTES_MAX, COMMIT_BYTES_MAX};

fn chunk(blob: u64, chunk: u32, text: &str) -> BlobChunk {
    BlobChunk { blob, chunk, bytes: bytes(text) }
}

fn entry(term: &str, value: &str) -> IndexEntry {
    IndexEntry { scope: "token/7/0".into(), bucket: 3, term: bytes(term), value: bytes(value) }
}

pub async fn a_commit_is_written_once(store: TestStore) {
    let commit = Append {
        blobs: vec![chunk(5, 0, "body")],
        entries: vec![entry("t", "v")],
        ..commit_of(segment(), 0, "row 0")
    };
    for _ in 0..3 {
        assert_eq!(append(&store, &commit).await, AppendOutcome::Durable, "nobody claimed the partition");
    }
    if !store.writes_blind() {
        let other = commit_of(segment(), 0, "row 0 otherwise");
        let outcome = append(&store, &other).await;
        assert!(
            matches!(&outcome, AppendOutcome::Refused(error) if error.kind == StoreErrorKind::Invalid),
            "{outcome:?}"
        );
    }
    assert_eq!(all_commits(&store, segment()).await, [stored(0, "row 0")]);
    assert_eq!(read(|| store.blob(segment(), 5, 0)).await, Some(bytes("body")));
    assert_eq!(read(|| store.entries("token/7/0", 3, b"t", 10)).await, [bytes("v")]);
}

pub async fn a_commit_is_refused_whole(store: TestStore) {
    write(|| store.put_blobs(segment(), vec![chunk(9, 1, "there before")])).await;
    let large = BlobChunk { blob: 9, chunk: 2, bytes: Bytes::from(vec![0; CHUNK_BYTES_MAX + 1]) };
    let wrong = if store.writes_blind() { large } else { chunk(9, 1, "other") };
    let commit = Append {
        blobs: vec![chunk(8, 0, "new"), wrong],
        entries: vec![entry("t", "v")],
        ..commit_of(segment(), 0, "row 0")
    };
    let outcome = append(&store, &commit).await;
    assert!(
        matches!(&outcome, AppendOutcome::Refused(error) if error.kind == StoreErrorKind::Invalid),
        "{outcome:?}"
    );
    assert_eq!(all_commits(&store, segment()).await, []);
    assert_eq!(read(|| store.blob(segment(), 8, 0)).await, None);
    assert_eq!(read(|| store.blob(segment(), 9, 1)).await, Some(bytes("there before")));
    assert_eq!(read(|| store.entries("token/7/0", 3, b"t", 10)).await, Vec::<Bytes>::new());
}

pub async fn rows_over_the_limits_are_refused(store: TestStore) {
    let sound = commit_of(segment(), 0, "row");
    let zeros = |count: usize| Bytes::from(vec![0; count]);
    let large_chunk = BlobChunk { blob: 1, chunk: 0, bytes: zeros(CHUNK_BYTES_MAX + 1) };
    for commit in [
        Append { row: zeros(COMMIT_BYTES_MAX + 1), ..sound.clone() },
        Append { commit: JobId::COMMIT_MAX + 1, ..sound.clone() },
        Append { commit: u64::MAX, ..sound.clone() },
        Append { blobs: vec![large_chunk.clone()], ..sound.clone() },
        Append { entries: vec![entry("", "no term")], ..sound.clone() },
        Append { entries: vec![IndexEntry { scope: String::new(), ..entry("t", "v") }], ..sound.clone() },
    ] {
        let outcome = append(&store, &commit).await;
        assert!(
            matches!(&outcome, AppendOutcome::Refused(error) if error.kind == StoreErrorKind::Invalid),
            "{outcome:?}"
        );
    }
    assert_invalid(outcome(|| store.put_blobs(segment(), vec![large_chunk.clone()])).await);
    let large = zeros((1 << 20) + 1);
    let key = as_of(epoch(1, 11), 0);
    assert_invalid(outcome(|| store.put_summary(segment(), key, large.clone())).await);
    assert_invalid(outcome(|| store.put_progress(partition(0), key, large.clone())).await);
    assert_eq!(all_commits(&store, segment()).await, []);
}

pub async fn commits_are_read_in_pages(store: TestStore) {
    for commit in [3, 0, 1, 2, 7] {
        append(&store, &commit_of(segment(), commit, &format!("row {commit}"))).await;
    }
    let next = SegmentKey { segment: 1, ..segment() };
    let other_epoch = SegmentKey { epoch: epoch(1, 12), ..segment() };
    append(&store, &commit_of(next, 8, "another segment")).await;
    append(&store, &commit_of(other_epoch, 4, "another epoch")).await;

    let numbers = async |from, limit, bytes_max| {
        let page = read(|| store.commits(segment(), from, limit, bytes_max)).await;
        for commit in &page {
            assert_eq!(commit.row, format!("row {}", commit.commit).as_bytes());
        }
        page.into_iter().map(|commit| commit.commit).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, usize::MAX, usize::MAX).await, [0, 1, 2, 3, 7]);
    assert_eq!(numbers(0, 2, usize::MAX).await, [0, 1]);
    assert_eq!(numbers(2, 2, usize::MAX).await, [2, 3]);
    assert_eq!(numbers(4, 2, usize::MAX).await, [7]);
    assert_eq!(numbers(8, 2, usize::MAX).await, [0; 0]);
    assert_eq!(numbers(u64::MAX, 2, usize::MAX).await, [0; 0]);
    assert_eq!(numbers(1, 10, 12).await, [1, 2], "rows of five bytes, two of them in twelve");
    assert_eq!(numbers(1, 10, 0).await, [1], "at least one row if there is one");
    assert_eq!(numbers(0, 0, usize::MAX).await, [0; 0]);
    assert_eq!(all_commits(&store, next).await, [stored(8, "another segment")]);
    assert_eq!(all_commits(&store, other_epoch).await, [stored(4, "another epoch")]);
}

pub async fn the_fence_is_in_the_append(store: TestStore) {
    let own = SegmentKey { epoch: epoch(2, 1 << 63), ..segment() };
    write(|| store.insert_claim(partition(0), claim(1, u64::MAX))).await;
    write(|| store.insert_claim(partition(0), claim(2, 1 << 63))).await;
    write(|| store.insert_claim(partition(1), claim(9, 9))).await;
    assert_eq!(append(&store, &commit_of(own, 0, "row 0")).await, fenced(&store));
    assert_eq!(append(&store, &commit_of(own, 1, "row 1")).await, fenced(&store));
    assert_eq!(append(&store, &commit_of(own, 0, "row 0")).await, fenced(&store), "repeated");

    let higher = epoch(2, (1 << 63) + 1);
    write(|| store.insert_claim(partition(0), Claim { epoch: higher, owner: bytes("next") })).await;
    if store.writes_blind() {
        // The owner learns it from the fence read that it has to begin after the append.
        assert_eq!(append(&store, &commit_of(own, 2, "row 2")).await, AppendOutcome::Durable);
        let highest = read(|| store.highest_claim(partition(0))).await;
        assert_eq!(highest.map(|claim| claim.epoch), Some(higher));
        return;
    }
    assert_eq!(append(&store, &commit_of(own, 2, "row 2")).await, AppendOutcome::Superseded(higher));
    assert_eq!(append(&store, &commit_of(own, 1, "row 1")).await, AppendOutcome::Superseded(higher));
    let next = SegmentKey { epoch: higher, ..segment() };
    assert_eq!(append(&store, &commit_of(next, 0, "row 0 of the next")).await, AppendOutcome::Fenced);
    assert_eq!(all_commits(&store, own).await, [stored(0, "row 0"), stored(1, "row 1")]);
    let unclaimed = SegmentKey { epoch: epoch(3, 0), ..segment() };
    let outcome = append(&store, &commit_of(unclaimed, 0, "row")).await;
    assert_eq!(outcome, AppendOutcome::Durable, "no claim, no fence");
}

pub async fn a_superseded_append_writes_nothing(store: TestStore) {
    if store.writes_blind() {
        return;
    }
    write(|| store.insert_claim(partition(0), claim(2, 1))).await;
    let commit = Append {
        blobs: vec![chunk(5, 0, "body")],
        entries: vec![entry("t", "v")],
        ..commit_of(segment(), 0, "row 0")
    };
    assert_eq!(append(&store, &commit).await, AppendOutcome::Superseded(epoch(2, 1)));
    assert_eq!(all_commits(&store, segment()).await, []);
    assert_eq!(read(|| store.blob(segment(), 5, 0)).await, None);
    assert_eq!(read(|| store.entries("token/7/0", 3, b"t", 10)).await, Vec::<Bytes>::new());
}

pub async fn blobs_are_read_by_chunk(store: TestStore) {
    let chunks = vec![chunk(1, 0, "a"), chunk(1, 1, "b"), chunk(u64::MAX, u32::MAX, "far"), chunk(2, 0, "")];
    write(|| store.put_blobs(segment(), chunks.clone())).await;
    write(|| store.put_blobs(segment(), chunks.clone())).await;
    if !store.writes_blind() {
        let other = vec![chunk(3, 0, "new"), chunk(1, 1, "other")];
        assert_invalid(outcome(|| store.put_blobs(segment(), other.clone())).await);
    }
    // The commit that names them comes later, and may bring some of them again.
    let commit = Append { blobs: vec![chunk(1, 1, "b"), chunk(1, 2, "c")], ..commit_of(segment(), 0, "row") };
    append(&store, &commit).await;
    for (blob, number, expected) in [
        (1, 0, Some("a")),
        (1, 1, Some("b")),
        (1, 2, Some("c")),
        (1, 3, None),
        (2, 0, Some("")),
        (3, 0, None),
        (u64::MAX, u32::MAX, Some("far")),
    ] {
        assert_eq!(
            read(|| store.blob(segment(), blob, number)).await,
            expected.map(bytes),
            "chunk {number} of {blob}"
        );
    }
    let next = SegmentKey { segment: 1, ..segment() };
    assert_eq!(read(|| store.blob(next, 1, 0)).await, None, "another segment's blobs are its own");
}
