//! One suite for every backend: what the port promises, as named cases.
//!
//! A case takes an empty store and panics if a promise is broken. [`crate::store_conformance!`]
//! stamps a `#[test]` per case for one backend; a new backend is one line:
//!
//! ```ignore
//! qdo::store_conformance!(async { (Arc::new(MemoryStore::new()) as Arc<dyn Store>, ()) });
//! ```
//!
//! Cases repeat what is refused as unavailable or has an unknown outcome, as every caller must, so
//! they hold for a backend under faults as well.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::*;

mod claims;
mod documents;
mod dump;
mod index;
mod journal;
mod load;
mod state;

pub use claims::*;
pub use documents::*;
pub use dump::*;
pub use index::*;
pub use journal::*;
pub use load::*;
pub use state::*;

/// The store under test.
pub type TestStore = Arc<dyn Store>;

/// What an append by the owner of the highest claim is answered.
fn fenced(store: &TestStore) -> AppendOutcome {
    if store.writes_blind() { AppendOutcome::Durable } else { AppendOutcome::Fenced }
}

/// Stamps the suite for one backend. The expression is a future of an empty store and of what must
/// live as long as the test (a folder, say); it is evaluated once for each case.
#[macro_export]
#[doc(hidden)]
macro_rules! store_conformance {
    ($factory:expr) => {
        $crate::store_conformance! { @cases $factory;
            a_document_is_written_only_on_its_version
            a_document_made_anew_never_has_an_old_version
            documents_are_listed_by_prefix_in_pages
            a_prefix_is_taken_literally
            senseless_documents_are_refused
            the_highest_claim_is_by_number_then_incarnation
            claims_are_listed_newest_first_in_pages
            a_claim_never_changes
            a_commit_is_written_once
            a_commit_is_refused_whole
            rows_over_the_limits_are_refused
            commits_are_read_in_pages
            the_fence_is_in_the_append
            a_superseded_append_writes_nothing
            blobs_are_read_by_chunk
            summaries_are_as_of_a_commit
            progress_is_read_newest_first
            a_drop_takes_that_segment_only
            a_large_segment_is_gone_when_the_drop_returns
            a_prune_keeps_what_is_in_use
            the_highest_claim_is_never_pruned
            a_term_has_several_values
            a_scan_never_splits_a_term
            a_bucket_is_dropped_whole
            large_rows_come_back_whole
            many_partitions_append_at_once
            a_read_sees_what_was_acknowledged_before
            a_dump_shows_every_row_once
            counters_rise_and_rest
            health_says_what_is_durable
            the_clock_is_that_of_today
        }
    };
    (@cases $factory:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _guard) = $factory.await;
                $crate::store::conformance::$case(store).await;
            }
        )*
    };
}

/// How often a call is repeated before the case gives up.
const TRIES_MAX: usize = 1_000;

fn may_be_repeated(error: &StoreError) -> bool {
    error.kind == StoreErrorKind::Unavailable
}

/// Repeats a read until it is answered.
pub async fn read<T, F: Future<Output = Result<T, StoreError>>>(call: impl Fn() -> F) -> T {
    for _ in 0..TRIES_MAX {
        match call().await {
            Ok(value) => return value,
            Err(error) if may_be_repeated(&error) => tokio::task::yield_now().await,
            Err(error) => panic!("a read failed: {error}"),
        }
    }
    panic!("a read was not answered in {TRIES_MAX} tries");
}

/// Repeats a write until its outcome is known.
pub async fn outcome<F: Future<Output = WriteOutcome>>(call: impl Fn() -> F) -> Result<(), StoreError> {
    for _ in 0..TRIES_MAX {
        match call().await {
            WriteOutcome::Durable => return Ok(()),
            WriteOutcome::Unknown(_) => {}
            WriteOutcome::Refused(error) if may_be_repeated(&error) => {}
            WriteOutcome::Refused(error) => return Err(error),
        }
        tokio::task::yield_now().await;
    }
    panic!("a write was not answered in {TRIES_MAX} tries");
}

/// Repeats a write until it is durable.
pub async fn write<F: Future<Output = WriteOutcome>>(call: impl Fn() -> F) {
    outcome(call).await.expect("the write makes sense");
}

/// Repeats an append until its outcome is known.
pub async fn append(store: &TestStore, append: &Append) -> AppendOutcome {
    for _ in 0..TRIES_MAX {
        match store.append(append.clone()).await {
            AppendOutcome::Unknown(_) => {}
            AppendOutcome::Refused(error) if may_be_repeated(&error) => {}
            outcome => return outcome,
        }
        tokio::task::yield_now().await;
    }
    panic!("an append was not answered in {TRIES_MAX} tries");
}

/// Writes a document on that version; after an unknown outcome it looks whether it was written. No
/// two writes of a case may have the same value, or that can't be told.
pub async fn swap(store: &TestStore, key: &str, expected: Option<u64>, value: Option<&str>) -> SwapOutcome {
    let mut unknown = false;
    for _ in 0..TRIES_MAX {
        match store.swap_document(key, expected, value.map(bytes)).await {
            SwapOutcome::Unknown(_) => unknown = true,
            SwapOutcome::Refused(error) if may_be_repeated(&error) => {}
            SwapOutcome::Conflict(there) if unknown => {
                return match (&there, value) {
                    (Some(document), Some(value)) if document.value == value => {
                        SwapOutcome::Applied(document.version)
                    }
                    // The version of a deletion is of no use to anybody.
                    (None, None) => SwapOutcome::Applied(u64::MAX),
                    _ => SwapOutcome::Conflict(there),
                };
            }
            outcome => return outcome,
        }
        tokio::task::yield_now().await;
    }
    panic!("a document's write was not answered in {TRIES_MAX} tries");
}

/// A swap that must be applied; the new version.
pub async fn applied(store: &TestStore, key: &str, expected: Option<u64>, value: Option<&str>) -> u64 {
    match swap(store, key, expected, value).await {
        SwapOutcome::Applied(version) => version,
        outcome => panic!("{key} was not written: {outcome:?}"),
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn partition(index: u16) -> PartitionId {
    PartitionId { group: 7, index }
}

fn epoch(number: u32, incarnation: u64) -> Epoch {
    Epoch { number, incarnation }
}

fn claim(number: u32, incarnation: u64) -> Claim {
    Claim { epoch: epoch(number, incarnation), owner: bytes(&format!("worker {number}")) }
}

/// Segment 0 of partition 0's epoch 1.
fn segment() -> SegmentKey {
    SegmentKey { partition: partition(0), epoch: epoch(1, 11), segment: 0 }
}

fn commit_of(segment: SegmentKey, commit: u64, row: &str) -> Append {
    Append { segment, commit, row: bytes(row), blobs: Vec::new(), entries: Vec::new() }
}

fn as_of(epoch: Epoch, commit: u64) -> CommitKey {
    CommitKey { epoch, commit }
}

/// All commits of a segment.
async fn all_commits(store: &TestStore, segment: SegmentKey) -> Vec<StoredCommit> {
    read(|| store.commits(segment, 0, usize::MAX, usize::MAX)).await
}

fn stored(commit: u64, row: &str) -> StoredCommit {
    StoredCommit { commit, row: bytes(row) }
}

fn assert_invalid<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert_eq!(outcome.expect_err("it makes no sense").kind, StoreErrorKind::Invalid);
}
