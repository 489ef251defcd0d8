//! Summaries, progress, and what goes away.

use super::*;
use crate::model::limits::CHUNK_BYTES_MAX;

pub async fn summaries_are_as_of_a_commit(store: TestStore) {
    let (first, second) = (as_of(epoch(1, 11), 5), as_of(epoch(2, 1), 0));
    write(|| store.put_summary(segment(), first, bytes("early"))).await;
    write(|| store.put_summary(segment(), second, bytes("late"))).await;
    write(|| store.put_summary(segment(), first, bytes("early"))).await;
    if !store.writes_blind() {
        assert_invalid(outcome(|| store.put_summary(segment(), first, bytes("other"))).await);
    }
    assert_eq!(read(|| store.summary(segment(), first)).await, Some(bytes("early")));
    assert_eq!(read(|| store.summary(segment(), second)).await, Some(bytes("late")));
    assert_eq!(read(|| store.summary(segment(), as_of(epoch(1, 12), 5))).await, None);
    let next = SegmentKey { segment: 1, ..segment() };
    assert_eq!(read(|| store.summary(next, first)).await, None);
}

pub async fn progress_is_read_newest_first(store: TestStore) {
    let (at, of) = (partition(0), epoch(1, u64::MAX));
    for commit in [256, 0, 1_000, 512] {
        write(|| store.put_progress(at, as_of(of, commit), bytes(&format!("as of {commit}")))).await;
    }
    write(|| store.put_progress(at, as_of(epoch(2, 0), 9), bytes("another epoch"))).await;
    write(|| store.put_progress(partition(1), as_of(of, 7), bytes("another partition"))).await;
    write(|| store.put_progress(at, as_of(of, 512), bytes("as of 512"))).await;
    if !store.writes_blind() {
        assert_invalid(outcome(|| store.put_progress(at, as_of(of, 512), bytes("other"))).await);
    }
    let expected = [1_000, 512, 256, 0].map(|commit| (commit, bytes(&format!("as of {commit}"))));
    assert_eq!(read(|| store.progress(at, of, usize::MAX)).await, expected);
    assert_eq!(read(|| store.progress(at, of, 2)).await, expected[..2]);
    assert_eq!(read(|| store.progress(at, epoch(1, 0), 2)).await, Vec::new());
}

/// Puts one row of each kind in a segment.
async fn fill(store: &TestStore, segment: SegmentKey) {
    let blobs = vec![BlobChunk { blob: 1, chunk: 0, bytes: bytes("body") }];
    append(store, &Append { blobs, ..commit_of(segment, 0, "row") }).await;
    write(|| store.put_summary(segment, as_of(segment.epoch, 0), bytes("summary"))).await;
}

async fn is_full(store: &TestStore, segment: SegmentKey) -> [bool; 3] {
    [
        !all_commits(store, segment).await.is_empty(),
        read(|| store.blob(segment, 1, 0)).await.is_some(),
        read(|| store.summary(segment, as_of(segment.epoch, 0))).await.is_some(),
    ]
}

pub async fn a_drop_takes_that_segment_only(store: TestStore) {
    let neighbours = [
        SegmentKey { segment: 1, ..segment() },
        SegmentKey { epoch: epoch(1, 10), ..segment() },
        SegmentKey { epoch: epoch(1, 12), ..segment() },
        SegmentKey { partition: partition(1), ..segment() },
        SegmentKey { partition: PartitionId { group: 8, index: 0 }, ..segment() },
    ];
    for segment in neighbours.into_iter().chain([segment()]) {
        fill(&store, segment).await;
    }
    write(|| store.put_progress(partition(0), as_of(epoch(1, 11), 0), bytes("progress"))).await;
    for _ in 0..2 {
        write(|| store.drop_segment(segment())).await;
        assert_eq!(is_full(&store, segment()).await, [false; 3]);
    }
    for segment in neighbours {
        assert_eq!(is_full(&store, segment).await, [true; 3], "{segment:?} is another segment");
    }
    assert_eq!(read(|| store.progress(partition(0), epoch(1, 11), 1)).await.len(), 1);
}

pub async fn a_large_segment_is_gone_when_the_drop_returns(store: TestStore) {
    let large = Bytes::from(vec![7; CHUNK_BYTES_MAX]);
    for commit in 0..40 {
        let blobs = vec![BlobChunk { blob: commit, chunk: 0, bytes: large.clone() }];
        append(&store, &Append { blobs, row: large.clone(), ..commit_of(segment(), commit, "") }).await;
    }
    for blob in 100..102 {
        let chunks = (0..1_100).map(|chunk| BlobChunk { blob, chunk, bytes: bytes("x") }).collect::<Vec<_>>();
        write(|| store.put_blobs(segment(), chunks.clone())).await;
    }
    write(|| store.drop_segment(segment())).await;
    assert_eq!(all_commits(&store, segment()).await, []);
    for (blob, chunk) in (0..40).map(|blob| (blob, 0)).chain([(100, 0), (100, 1_099), (101, 1_099)]) {
        assert_eq!(read(|| store.blob(segment(), blob, chunk)).await, None);
    }
}

pub async fn a_prune_keeps_what_is_in_use(store: TestStore) {
    let at = partition(0);
    let (old, own, next) = (epoch(1, u64::MAX), epoch(2, 3), epoch(2, 1 << 63));
    for (of, commits) in [(old, vec![0, 900]), (own, vec![0, 256, 512]), (next, vec![0])] {
        write(|| store.insert_claim(at, Claim { epoch: of, owner: bytes("w") })).await;
        for commit in commits {
            write(|| store.put_progress(at, as_of(of, commit), bytes("p"))).await;
            write(|| store.put_summary(segment(), as_of(of, commit), bytes("s"))).await;
            write(|| store.put_progress(partition(1), as_of(of, commit), bytes("p"))).await;
        }
    }
    let untouched = SegmentKey { segment: 1, ..segment() };
    write(|| store.put_summary(untouched, as_of(old, 0), bytes("s"))).await;
    append(&store, &commit_of(SegmentKey { epoch: next, ..segment() }, 0, "row")).await;

    for _ in 0..2 {
        write(|| store.prune(at, as_of(own, 256), vec![(segment(), as_of(own, 512))])).await;
        let progress = async |partition, of| {
            let rows = read(|| store.progress(partition, of, 10)).await;
            rows.into_iter().map(|(commit, _)| commit).collect::<Vec<_>>()
        };
        assert_eq!(progress(at, old).await, [0; 0]);
        assert_eq!(progress(at, own).await, [512, 256]);
        assert_eq!(progress(at, next).await, [0]);
        assert_eq!(progress(partition(1), old).await, [900, 0], "another partition's progress is its own");
        for (of, commit, kept) in
            [(old, 0, false), (old, 900, false), (own, 256, false), (own, 512, true), (next, 0, true)]
        {
            let there = read(|| store.summary(segment(), as_of(of, commit))).await.is_some();
            assert_eq!(there, kept, "the summary as of {of} {commit}");
        }
        assert!(read(|| store.summary(untouched, as_of(old, 0))).await.is_some());
        let claims: Vec<Epoch> =
            read(|| store.claims(at, None, 10)).await.iter().map(|claim| claim.epoch).collect();
        assert_eq!(claims, [next, own]);
        assert_eq!(all_commits(&store, SegmentKey { epoch: next, ..segment() }).await.len(), 1);
    }
}

pub async fn the_highest_claim_is_never_pruned(store: TestStore) {
    for number in 1..4 {
        write(|| store.insert_claim(partition(0), claim(number, 1 << 63))).await;
    }
    write(|| store.prune(partition(0), as_of(epoch(9, 9), 0), Vec::new())).await;
    assert_eq!(read(|| store.claims(partition(0), None, 10)).await, [claim(3, 1 << 63)]);
    write(|| store.prune(partition(1), as_of(epoch(9, 9), 0), Vec::new())).await;
    assert_eq!(read(|| store.highest_claim(partition(0))).await, Some(claim(3, 1 << 63)));
}
