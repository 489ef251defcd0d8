//! One suite for every backend: what the port promises, as named cases.
//!
//! A case takes an empty place to meet at, and panics if a promise is broken.
//! [`crate::coordination_conformance!`] stamps a `#[test]` per case for one backend.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::*;

mod locks;
mod members;
mod requests;

pub use locks::*;
pub use members::*;
pub use requests::*;

/// Stamps the suite for one backend. The expression is a future of a [`Ground`] that nobody has used,
/// and is evaluated once for each case.
#[macro_export]
#[doc(hidden)]
macro_rules! coordination_conformance {
    ($factory:expr) => {
        $crate::coordination_conformance! { @cases $factory;
            a_member_is_seen_by_all
            a_member_that_changes_is_seen
            a_member_keeps_its_id
            two_workers_may_have_one_name
            whoever_joins_sees_everything_at_once
            a_look_sees_what_is_there_and_leaves_nothing
            a_session_is_sure_while_its_coordinator_is_there
            one_that_has_left_is_gone_and_its_calls_say_so
            a_session_that_is_dropped_ends
            a_worker_joins_again_under_its_id
            a_member_that_is_too_large_is_refused
            a_worker_id_that_makes_no_sense_is_refused
            a_lock_has_one_holder
            a_lock_is_its_holders_however_often_it_asks
            an_unlocked_partition_can_be_locked_by_another
            nobody_unlocks_what_is_anothers
            of_two_that_race_for_a_lock_one_has_it
            leaving_frees_all_locks
            a_lost_session_frees_its_locks_within_its_timeout
            a_worker_that_joins_again_has_its_old_locks
            a_group_made_anew_has_locks_of_its_new_number
            a_thousand_locks_are_taken_seen_and_freed
            names_that_make_no_sense_are_refused
            a_raised_catalog_is_seen_by_all
            a_worker_is_asked_to_let_go
            a_coordinator_says_how_it_is
        }
    };
    (@cases $factory:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::coordination::conformance::$case($factory.await).await;
            }
        )*
    };
}

/// Where a case takes place.
pub struct Ground {
    /// Where workers meet.
    pub coordinator: Arc<dyn Coordinator>,
    /// The same place, by a way that can be cut.
    pub cuttable: Arc<dyn Coordinator>,
    /// Cuts that way: the worker [`CUT_OFF`] that has joined by it is not heard of any more.
    pub cut: Box<dyn Fn() + Send + Sync>,
}

/// The worker that joins where it can be cut off.
pub const CUT_OFF: &str = "cut-off:1:00";

/// Bound of every wait: generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for that, with a bound.
async fn soon<T>(what: &str, waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// Waits until a session's view is right.
pub async fn seen(session: &Arc<dyn Session>, what: &str, right: impl Fn(&View) -> bool) -> Arc<View> {
    let mut view = session.view();
    let seen = async { view.wait_for(|view| right(view)).await.map(|view| view.clone()) };
    match tokio::time::timeout(PATIENCE, seen).await {
        Ok(Ok(view)) => view,
        Ok(Err(_)) => panic!("the view ended before {what} was seen"),
        Err(_) => panic!("{what} was not seen: {:?}", session.view().borrow()),
    }
}

/// Repeats a call whose outcome is not known.
async fn known<T, F: Future<Output = Result<T, CoordinationError>>>(call: impl Fn() -> F) -> T {
    let repeated = async {
        loop {
            match call().await {
                Ok(value) => return value,
                Err(error) if error.kind == CoordinationErrorKind::Unavailable => {
                    tokio::task::yield_now().await
                }
                Err(error) => panic!("a call failed: {error}"),
            }
        }
    };
    soon("a call", repeated).await
}

async fn join(coordinator: &Arc<dyn Coordinator>, id: &str) -> Arc<dyn Session> {
    known(|| coordinator.join(member(id))).await
}

async fn lock(session: &Arc<dyn Session>, partition: &PartitionName) -> LockOutcome {
    known(|| session.lock(partition)).await
}

async fn unlock(session: &Arc<dyn Session>, partition: &PartitionName) {
    known(|| session.unlock(partition)).await;
}

async fn drain(session: &Arc<dyn Session>, worker: &str, drained: bool) {
    let worker = worker.into();
    known(|| session.drain(&worker, drained)).await;
}

/// A member as a worker shows itself.
pub fn member(id: &str) -> Member {
    Member {
        id: id.into(),
        name: id.split(':').next().unwrap_or(id).to_owned(),
        address: "http://127.0.0.1:7500".to_owned(),
        version: "0.1.0".to_owned(),
        assign_version: 1,
        slots: 8,
        capacity: 100,
        labels: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        cannot_serve: Vec::new(),
        draining: false,
        settings: BTreeMap::new(),
        started_ms: 1_700_000_000_000,
    }
}

/// A partition of the group `emails`, which has the number 7.
pub fn partition(index: u16) -> PartitionName {
    PartitionName { id: PartitionId { group: 7, index }, namespace: "default".into(), group: "emails".into() }
}

fn owner(view: &View, index: u16) -> Option<&str> {
    view.owners.get(&partition(index).id).map(|owner| &**owner)
}
