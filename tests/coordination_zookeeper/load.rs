//! Many locks.

use std::time::Instant;

use futures_util::{StreamExt, stream};
use qdo::coordination::PartitionName;
use qdo::model::PartitionId;

use super::*;

const AT_ONCE: usize = 256;

fn names(count: u32, group_name: impl Fn(u32) -> String) -> Vec<PartitionName> {
    let name = |n: u32| PartitionName {
        id: PartitionId { group: n / 8 + 1, index: (n % 8) as u16 },
        namespace: "default".into(),
        group: group_name(n / 8 + 1).into(),
    };
    (0..count).map(name).collect()
}

async fn lock_all(
    session: &Arc<dyn Session>,
    names: &[PartitionName],
) -> Vec<Result<LockOutcome, CoordinationError>> {
    stream::iter(names).map(|name| session.lock(name)).buffered(AT_ONCE).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_locks_are_cheap_to_have_and_to_see() {
    let (servers, _guard) = shared().await;
    let coordinator = coordinator(servers.zookeeper(), &chroot());
    let one = join(&coordinator, "one:1:00").await;
    let two = join(&coordinator, "two:1:00").await;
    let names = names(10_000, |group| format!("group-{group}"));
    let begun = Instant::now();
    let outcomes = lock_all(&one, &names).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(LockOutcome::Locked)));
    let locked = begun.elapsed();
    seen(&two, "all locks", |view| view.owners.len() == names.len()).await;
    let shown = begun.elapsed();
    let begun = Instant::now();
    let three = join(&coordinator, "three:1:00").await;
    assert_eq!(three.view().borrow().owners.len(), names.len());
    let joined = begun.elapsed();
    let begun = Instant::now();
    one.leave().await;
    seen(&two, "no locks", |view| view.owners.is_empty()).await;
    println!(
        "10,000 locks: taken in {locked:?}, seen by others after {shown:?}, by one that joins after {joined:?}, \
         freed and seen after {:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_no_more_locks_than_servers_can_bear() {
    let (servers, _guard) = shared().await;
    let coordinator = coordinator(servers.zookeeper(), &chroot());
    let one = join(&coordinator, "one:1:00").await;
    let two = join(&coordinator, "two:1:00").await;
    // 1 MiB of paths of some 160 bytes.
    let names = names(8_000, |group| format!("{group:0128}"));
    let outcomes = lock_all(&one, &names).await;
    let locked = outcomes.iter().filter(|outcome| **outcome == Ok(LockOutcome::Locked)).count();
    let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err()).unwrap();
    assert_eq!(refused.kind, CoordinationErrorKind::Refused, "{refused}");
    assert!(refused.message.contains("more workers"), "{refused}");
    assert!((5_000..8_000).contains(&locked), "{locked}");
    // Room that is given back can be used; the session can end, and the servers live on.
    let last = &names[names.len() - 1];
    one.unlock(&names[0]).await.unwrap();
    assert_eq!(one.lock(last).await, Ok(LockOutcome::Locked));
    one.leave().await;
    seen(&two, "no locks", |view| view.owners.is_empty()).await;
    assert_eq!(two.lock(last).await, Ok(LockOutcome::Locked));
}
