//! For tests: a store whose calls fail, in all the ways in which a call can.
//!
//! It wraps another store. Before each call one fault is drawn from the seed and the number of the
//! call, so a single-threaded run is the same each time:
//!
//! ```text
//! refused         ✗ call                    answered "refused"
//! lost            ✗ call                    answered "unknown"
//! unanswered        call ─▶ store           answered "unknown"
//! lands late      answered "unknown" … then call ─▶ store
//! delayed         … call ─▶ store           answered truly
//! answered late     call ─▶ store …         answered truly
//! doubled           call ─▶ store, twice    answered truly, as of the first
//! ```
//!
//! Whoever repeats what is refused or unknown with the same bytes ends where he would have without
//! faults; the conformance suite is run that way.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;

/// How often which fault happens: out of a thousand calls each; together at most a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Known not to have happened. Reads fail.
    pub refused: u32,
    /// Has not happened, and the outcome is not known. Reads fail.
    pub lost: u32,
    /// Has happened, and the outcome is not known. Reads fail.
    pub unanswered: u32,
    /// An append or a claim happens after its unknown outcome was answered, even after the caller
    /// has long done something else. Other calls: as `unanswered`.
    pub lands_late: u32,
    /// Happens late.
    pub delayed: u32,
    /// Is answered late.
    pub answered_late: u32,
    /// Happens twice.
    pub doubled: u32,
    /// Longest delay, ms.
    pub delay_ms_max: u64,
}

impl FaultPlan {
    /// Every fault but late landing, each in `permille` of a thousand calls, with short delays.
    pub fn everything(permille: u32) -> Self {
        Self {
            refused: permille,
            lost: permille,
            unanswered: permille,
            lands_late: 0,
            delayed: permille,
            answered_late: permille,
            doubled: permille,
            delay_ms_max: 2,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Refused,
    Lost,
    Unanswered,
    LandsLate,
    Delayed(Duration),
    AnsweredLate(Duration),
    Doubled,
}

/// A store whose calls fail. For tests.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    seed: u64,
    plan: Mutex<FaultPlan>,
    calls: AtomicU64,
    faults: AtomicU64,
}

impl FaultyStore {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Store>, seed: u64, plan: FaultPlan) -> Self {
        Self { inner, seed, plan: Mutex::new(plan), calls: AtomicU64::new(0), faults: AtomicU64::new(0) }
    }

    /// Another plan from now on; the default one has no faults.
    pub fn set_plan(&self, plan: FaultPlan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// Faults so far: a test that meant to see some can tell.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    fn draw(&self) -> Fault {
        let plan = *self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let random = mix(self.seed ^ mix(call));
        let delay = Duration::from_millis(mix(random) % (plan.delay_ms_max + 1));
        let mut rest = random % 1_000;
        for (share, fault) in [
            (plan.refused, Fault::Refused),
            (plan.lost, Fault::Lost),
            (plan.unanswered, Fault::Unanswered),
            (plan.lands_late, Fault::LandsLate),
            (plan.delayed, Fault::Delayed(delay)),
            (plan.answered_late, Fault::AnsweredLate(delay)),
            (plan.doubled, Fault::Doubled),
        ] {
            if rest < u64::from(share) {
                self.faults.fetch_add(1, Ordering::Relaxed);
                return fault;
            }
            rest -= u64::from(share);
        }
        Fault::None
    }

    /// A write, with a fault if one is drawn.
    async fn write<T: Outcome, F: Future<Output = T>>(&self, call: impl Fn() -> F) -> T {
        self.write_with(self.draw(), call).await
    }

    async fn write_with<T: Outcome, F: Future<Output = T>>(&self, fault: Fault, call: impl Fn() -> F) -> T {
        match fault {
            Fault::None => call().await,
            Fault::Refused => T::refused(planned("refused")),
            Fault::Lost => T::unknown(planned("lost")),
            Fault::Unanswered | Fault::LandsLate => {
                call().await;
                T::unknown(planned("unanswered"))
            }
            Fault::Delayed(delay) => {
                tokio::time::sleep(delay).await;
                call().await
            }
            Fault::AnsweredLate(delay) => {
                let outcome = call().await;
                tokio::time::sleep(delay).await;
                outcome
            }
            Fault::Doubled => {
                let outcome = call().await;
                call().await;
                outcome
            }
        }
    }

    /// A read, with a fault if one is drawn.
    async fn read<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        self.write(|| async { Answered(call().await) }).await.0
    }

    /// Makes a call when its caller has gone on.
    fn land_late<F: Future + Send + 'static>(call: F) -> StoreError
    where
        F::Output: Send,
    {
        tokio::spawn(async move {
            // Behind whatever is ready to run now.
            tokio::task::yield_now().await;
            call.await;
        });
        planned("late")
    }
}

/// What a call with a fault can be answered.
trait Outcome {
    fn refused(error: StoreError) -> Self;
    fn unknown(error: StoreError) -> Self;
}

/// A read: it failed, whatever else.
struct Answered<T>(Result<T, StoreError>);

impl<T> Outcome for Answered<T> {
    fn refused(error: StoreError) -> Self {
        Self(Err(error))
    }
    fn unknown(error: StoreError) -> Self {
        Self(Err(error))
    }
}

macro_rules! outcome {
    ($($type:ident)*) => {
        $(impl Outcome for $type {
            fn refused(error: StoreError) -> Self {
                Self::Refused(error)
            }
            fn unknown(error: StoreError) -> Self {
                Self::Unknown(error)
            }
        })*
    };
}

outcome!(WriteOutcome AppendOutcome SwapOutcome);

fn planned(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("a planned fault: the call was {what}"))
}

/// SplitMix64's finalizer (<https://prng.di.unimi.it/splitmix64.c>).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[async_trait]
impl Store for FaultyStore {
    async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        self.read(|| self.inner.document(key)).await
    }

    async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        self.read(|| self.inner.documents(prefix, after, limit)).await
    }

    async fn swap_document(&self, key: &str, expected: Option<u64>, value: Option<Bytes>) -> SwapOutcome {
        self.write(|| self.inner.swap_document(key, expected, value.clone())).await
    }

    async fn insert_claim(&self, partition: PartitionId, claim: Claim) -> WriteOutcome {
        let fault = self.draw();
        if fault == Fault::LandsLate {
            let inner = self.inner.clone();
            return WriteOutcome::Unknown(Self::land_late(async move {
                inner.insert_claim(partition, claim).await
            }));
        }
        self.write_with(fault, || self.inner.insert_claim(partition, claim.clone())).await
    }

    async fn highest_claim(&self, partition: PartitionId) -> Result<Option<Claim>, StoreError> {
        self.read(|| self.inner.highest_claim(partition)).await
    }

    async fn claims(
        &self,
        partition: PartitionId,
        below: Option<Epoch>,
        limit: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.read(|| self.inner.claims(partition, below, limit)).await
    }

    async fn append(&self, append: Append) -> AppendOutcome {
        let fault = self.draw();
        if fault == Fault::LandsLate {
            let inner = self.inner.clone();
            return AppendOutcome::Unknown(Self::land_late(async move { inner.append(append).await }));
        }
        self.write_with(fault, || self.inner.append(append.clone())).await
    }

    async fn commits(
        &self,
        segment: SegmentKey,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredCommit>, StoreError> {
        self.read(|| self.inner.commits(segment, from, limit, bytes_max)).await
    }

    async fn put_blobs(&self, segment: SegmentKey, blobs: Vec<BlobChunk>) -> WriteOutcome {
        self.write(|| self.inner.put_blobs(segment, blobs.clone())).await
    }

    async fn blob(&self, segment: SegmentKey, blob: u64, chunk: u32) -> Result<Option<Bytes>, StoreError> {
        self.read(|| self.inner.blob(segment, blob, chunk)).await
    }

    async fn put_summary(&self, segment: SegmentKey, as_of: CommitKey, summary: Bytes) -> WriteOutcome {
        self.write(|| self.inner.put_summary(segment, as_of, summary.clone())).await
    }

    async fn summary(&self, segment: SegmentKey, as_of: CommitKey) -> Result<Option<Bytes>, StoreError> {
        self.read(|| self.inner.summary(segment, as_of)).await
    }

    async fn put_progress(&self, partition: PartitionId, as_of: CommitKey, progress: Bytes) -> WriteOutcome {
        self.write(|| self.inner.put_progress(partition, as_of, progress.clone())).await
    }

    async fn progress(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        limit: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        self.read(|| self.inner.progress(partition, epoch, limit)).await
    }

    async fn drop_segment(&self, segment: SegmentKey) -> WriteOutcome {
        self.write(|| self.inner.drop_segment(segment)).await
    }

    async fn prune(
        &self,
        partition: PartitionId,
        keep: CommitKey,
        summaries: Vec<(SegmentKey, CommitKey)>,
    ) -> WriteOutcome {
        self.write(|| self.inner.prune(partition, keep, summaries.clone())).await
    }

    async fn put_entries(&self, entries: Vec<IndexEntry>) -> WriteOutcome {
        self.write(|| self.inner.put_entries(entries.clone())).await
    }

    async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.read(|| self.inner.entries(scope, bucket, term, limit)).await
    }

    async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.read(|| self.inner.scan_entries(scope, bucket, after, limit)).await
    }

    async fn drop_bucket(&self, scope: &str, bucket: u64) -> WriteOutcome {
        self.write(|| self.inner.drop_bucket(scope, bucket)).await
    }

    async fn clock_ms(&self) -> Result<u64, StoreError> {
        self.read(|| self.inner.clock_ms()).await
    }

    async fn backup(&self, to: &std::path::Path) -> Result<(), StoreError> {
        self.inner.backup(to).await
    }

    async fn dump(&self, visit: &mut (dyn FnMut(StoredRow) -> bool + Send)) -> Result<(), StoreError> {
        self.inner.dump(visit).await
    }

    async fn health(&self) -> Result<StoreHealth, StoreError> {
        self.inner.health().await
    }

    fn writes_blind(&self) -> bool {
        self.inner.writes_blind()
    }

    fn counters(&self) -> StoreCounters {
        self.inner.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    /// Faults in more than half of all calls.
    const PLAN_PERMILLE: u32 = 100;

    mod memory {
        use super::*;

        crate::store_conformance!(async {
            let inner = Arc::new(MemoryStore::new());
            (
                Arc::new(FaultyStore::new(inner, 11, FaultPlan::everything(PLAN_PERMILLE))) as Arc<dyn Store>,
                (),
            )
        });
    }

    #[cfg(feature = "sqlite")]
    mod sqlite {
        use super::*;
        use crate::store::{SqliteOptions, SqliteStore};

        crate::store_conformance!(async {
            let folder = tempfile::tempdir().expect("a folder for the test");
            let inner = SqliteStore::open(&folder.path().join("test.db"), SqliteOptions::default());
            let inner = Arc::new(inner.expect("a new store opens"));
            (
                Arc::new(FaultyStore::new(inner, 12, FaultPlan::everything(PLAN_PERMILLE))) as Arc<dyn Store>,
                folder,
            )
        });
    }

    fn partition() -> PartitionId {
        PartitionId { group: 1, index: 0 }
    }

    fn claim(number: u32) -> Claim {
        Claim { epoch: Epoch { number, incarnation: 1 }, owner: Bytes::from_static(b"w") }
    }

    fn only(fault: impl FnOnce(&mut FaultPlan)) -> FaultyStore {
        let mut plan = FaultPlan::default();
        fault(&mut plan);
        FaultyStore::new(Arc::new(MemoryStore::new()), 1, plan)
    }

    async fn highest(store: &FaultyStore) -> Option<u32> {
        store.set_plan(FaultPlan::default());
        store.highest_claim(partition()).await.expect("no faults now").map(|claim| claim.epoch.number)
    }

    #[tokio::test]
    async fn a_refused_call_and_a_lost_call_have_not_happened() {
        let store = only(|plan| plan.refused = 1_000);
        let outcome = store.insert_claim(partition(), claim(1)).await;
        assert!(matches!(outcome, WriteOutcome::Refused(_)), "{outcome:?}");
        assert!(store.highest_claim(partition()).await.is_err(), "reads fail as well");
        assert_eq!(highest(&store).await, None);

        let store = only(|plan| plan.lost = 1_000);
        let outcome = store.insert_claim(partition(), claim(1)).await;
        assert!(matches!(outcome, WriteOutcome::Unknown(_)), "{outcome:?}");
        assert_eq!(highest(&store).await, None);
        assert_eq!(store.faults(), 1);
    }

    #[tokio::test]
    async fn an_unanswered_call_has_happened() {
        let store = only(|plan| plan.unanswered = 1_000);
        let outcome = store.insert_claim(partition(), claim(1)).await;
        assert!(matches!(outcome, WriteOutcome::Unknown(_)), "{outcome:?}");
        assert_eq!(highest(&store).await, Some(1));
    }

    #[tokio::test]
    async fn a_late_call_happens_after_its_answer() {
        let store = only(|plan| plan.lands_late = 1_000);
        let outcome = store.insert_claim(partition(), claim(1)).await;
        assert!(matches!(outcome, WriteOutcome::Unknown(_)), "{outcome:?}");
        assert_eq!(highest(&store).await, None, "not yet");
        while highest(&store).await.is_none() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_seed_draws_the_same_faults_again() {
        let draw = |seed| {
            let store = FaultyStore::new(Arc::new(MemoryStore::new()), seed, FaultPlan::everything(100));
            (0..500).map(|_| store.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        let faults = draw(5).into_iter().filter(|fault| *fault != Fault::None).count();
        assert!((200..400).contains(&faults), "six in ten calls have a fault, and {faults} of 500 had one");
    }
}
