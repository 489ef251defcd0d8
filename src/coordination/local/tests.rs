use std::sync::Arc;

use super::*;
use crate::coordination::conformance::{CUT_OFF, Ground, member, partition, seen};

async fn ground() -> Ground {
    let hub = LocalCoordinator::new(Duration::from_secs(1));
    let cuttable = Arc::new(hub.clone());
    let coordinator = cuttable.clone();
    Ground { coordinator, cuttable, cut: Box::new(move || hub.expire(CUT_OFF)) }
}

crate::coordination_conformance!(ground());

#[tokio::test]
async fn an_expired_session_is_lost_and_its_locks_are_anybodys() {
    let hub = LocalCoordinator::new(Duration::from_secs(10));
    let one = hub.join(member("one")).await.unwrap();
    let two = hub.clone().join(member("two")).await.unwrap();
    assert_eq!(one.lock(&partition(0)).await.unwrap(), LockOutcome::Locked);
    assert_eq!(two.lock(&partition(0)).await.unwrap(), LockOutcome::Held("one".into()));
    hub.expire("one");
    assert_eq!(*one.state().borrow(), SessionState::Lost);
    assert_eq!(one.lock(&partition(1)).await.unwrap_err().kind, CoordinationErrorKind::SessionLost);
    seen(&two, "it", |view| view.members.len() == 1 && view.owners.is_empty()).await;
    assert_eq!(two.lock(&partition(0)).await.unwrap(), LockOutcome::Locked);
}

#[tokio::test]
async fn an_unsure_session_keeps_its_locks_and_is_not_answered() {
    let hub = LocalCoordinator::new(Duration::from_secs(10));
    let one = hub.join(member("one")).await.unwrap();
    assert_eq!(one.lock(&partition(0)).await.unwrap(), LockOutcome::Locked);
    hub.unsure("one", true);
    assert_eq!(*one.state().borrow(), SessionState::Unsure);
    assert_eq!(one.lock(&partition(1)).await.unwrap_err().kind, CoordinationErrorKind::Unavailable);
    hub.unsure("one", false);
    assert_eq!(*one.state().borrow(), SessionState::Sure);
    seen(&one, "it", |view| view.owners.len() == 1).await;
}

#[tokio::test]
async fn after_a_wipe_all_sessions_are_lost_and_the_same_worker_joins_anew() {
    let hub = LocalCoordinator::new(Duration::from_secs(10));
    let one = hub.join(member("one")).await.unwrap();
    assert_eq!(one.lock(&partition(0)).await.unwrap(), LockOutcome::Locked);
    hub.wipe();
    assert_eq!(*one.state().borrow(), SessionState::Lost);
    let again = hub.join(member("one")).await.unwrap();
    drop(one);
    assert_eq!(again.lock(&partition(0)).await.unwrap(), LockOutcome::Locked);
    seen(&again, "it", |view| view.members.len() == 1 && view.owners.len() == 1).await;
}

#[tokio::test]
async fn a_tree_that_is_wiped_leaves_the_sessions() {
    let hub = LocalCoordinator::new(Duration::from_secs(10));
    let one = hub.join(member("one")).await.unwrap();
    assert_eq!(one.lock(&partition(0)).await.unwrap(), LockOutcome::Locked);
    seen(&one, "it", |view| view.owners.len() == 1).await;
    hub.wipe_tree();
    seen(&one, "it", |view| view.owners.is_empty() && view.members.len() == 1).await;
    assert_eq!(*one.state().borrow(), SessionState::Sure);
}

#[tokio::test]
async fn nobody_is_answered_while_it_is_away() {
    let hub = LocalCoordinator::new(Duration::from_secs(10));
    hub.away(true);
    assert_eq!(hub.join(member("one")).await.err().unwrap().kind, CoordinationErrorKind::Unavailable);
    assert_eq!(hub.look().await.err().unwrap().kind, CoordinationErrorKind::Unavailable);
    hub.away(false);
    hub.join(member("one")).await.unwrap();
}
