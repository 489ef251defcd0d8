use futures_util::StreamExt;
use futures_util::stream;

use super::*;

/// Calls at once.
const AT_ONCE: usize = 64;

pub async fn a_lock_has_one_holder(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    assert_eq!(lock(&two, &partition(0)).await, LockOutcome::Held("one:1:00".into()));
    assert_eq!(lock(&two, &partition(1)).await, LockOutcome::Locked);
    for session in [&one, &two] {
        let view = seen(session, "both locks", |view| view.owners.len() == 2).await;
        assert_eq!((owner(&view, 0), owner(&view, 1)), (Some("one:1:00"), Some("two:1:00")));
    }
}

pub async fn a_lock_is_its_holders_however_often_it_asks(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    for _ in 0..3 {
        assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    }
    unlock(&one, &partition(0)).await;
    seen(&one, "no lock", |view| view.owners.is_empty()).await;
}

pub async fn an_unlocked_partition_can_be_locked_by_another(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    unlock(&one, &partition(0)).await;
    assert_eq!(lock(&two, &partition(0)).await, LockOutcome::Locked);
    seen(&one, "the new holder", |view| owner(view, 0) == Some("two:1:00")).await;
}

pub async fn nobody_unlocks_what_is_anothers(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    unlock(&two, &partition(0)).await;
    unlock(&two, &partition(1)).await;
    assert_eq!(lock(&two, &partition(0)).await, LockOutcome::Held("one:1:00".into()));
}

pub async fn of_two_that_race_for_a_lock_one_has_it(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    let race = |session: Arc<dyn Session>| async move {
        let locks = stream::iter(0..100_u16).map(|index| {
            let session = session.clone();
            async move { (index, lock(&session, &partition(index)).await) }
        });
        locks.buffered(AT_ONCE).collect::<Vec<_>>().await
    };
    let (ones, twos) = tokio::join!(tokio::spawn(race(one.clone())), tokio::spawn(race(two.clone())));
    for ((index, ones), (_, twos)) in ones.unwrap().into_iter().zip(twos.unwrap()) {
        let locked = [&ones, &twos].into_iter().filter(|outcome| **outcome == LockOutcome::Locked).count();
        assert_eq!(locked, 1, "{index}: {ones:?} {twos:?}");
    }
    seen(&one, "all locks", |view| view.owners.len() == 100).await;
}

pub async fn leaving_frees_all_locks(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    for index in 0..50 {
        assert_eq!(lock(&one, &partition(index)).await, LockOutcome::Locked);
    }
    one.leave().await;
    for index in 0..50 {
        assert_eq!(lock(&two, &partition(index)).await, LockOutcome::Locked);
    }
}

pub async fn a_lost_session_frees_its_locks_within_its_timeout(ground: Ground) {
    let lost = join(&ground.cuttable, CUT_OFF).await;
    let other = join(&ground.coordinator, "other:1:00").await;
    assert_eq!(lock(&lost, &partition(0)).await, LockOutcome::Locked);
    seen(&other, "the lock", |view| view.members.len() == 2 && view.owners.len() == 1).await;
    let cut = std::time::Instant::now();
    (ground.cut)();
    seen(&other, "the loss", |view| view.members.len() == 1 && view.owners.is_empty()).await;
    // An ensemble looks at its sessions a few times in a timeout.
    let bound = lost.timeout() * 3 / 2 + Duration::from_secs(2);
    assert!(cut.elapsed() <= bound, "{:?}", cut.elapsed());
    assert_ne!(*lost.state().borrow(), SessionState::Sure, "it stops before others begin");
    assert_eq!(lock(&other, &partition(0)).await, LockOutcome::Locked);
    let mut state = lost.state();
    soon("hearing of its own loss", state.wait_for(|state| *state == SessionState::Lost)).await.unwrap();
    let error = soon("a call", lost.lock(&partition(1))).await.unwrap_err();
    assert_eq!(error.kind, CoordinationErrorKind::SessionLost);
}

pub async fn a_worker_that_joins_again_has_its_old_locks(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    let again = join(&ground.coordinator, "one:1:00").await;
    assert_eq!(lock(&again, &partition(0)).await, LockOutcome::Locked);
    drop(one);
    let two = join(&ground.coordinator, "two:1:00").await;
    assert_eq!(lock(&two, &partition(0)).await, LockOutcome::Held("one:1:00".into()));
    again.leave().await;
    assert_eq!(lock(&two, &partition(0)).await, LockOutcome::Locked);
}

pub async fn a_group_made_anew_has_locks_of_its_new_number(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let anew = PartitionName { id: PartitionId { group: 8, index: 0 }, ..partition(0) };
    for name in [partition(0), anew.clone()] {
        assert_eq!(lock(&one, &name).await, LockOutcome::Locked);
    }
    let view = seen(&one, "the new number", |view| view.owners.contains_key(&anew.id)).await;
    assert_eq!(view.owners.len(), 1);
}

pub async fn a_thousand_locks_are_taken_seen_and_freed(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    let names = (0..1_000_u32).map(|n| {
        let group = n / 8;
        PartitionName {
            id: PartitionId { group, index: (n % 8) as u16 },
            namespace: "default".into(),
            group: format!("group-{group}").into(),
        }
    });
    let locks = stream::iter(names).map(|name| {
        let one = one.clone();
        async move { lock(&one, &name).await }
    });
    let outcomes: Vec<LockOutcome> = locks.buffered(AT_ONCE).collect().await;
    assert!(outcomes.iter().all(|outcome| *outcome == LockOutcome::Locked));
    seen(&two, "a thousand locks", |view| view.owners.len() == 1_000).await;
    one.leave().await;
    seen(&two, "no locks", |view| view.owners.is_empty()).await;
}

pub async fn names_that_make_no_sense_are_refused(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let long = "x".repeat(129);
    for name in ["", "a/b", ".", "..", ".a", "a b", "ä", &long] {
        for wrong in [
            PartitionName { namespace: name.into(), ..partition(0) },
            PartitionName { group: name.into(), ..partition(0) },
        ] {
            assert_eq!(one.lock(&wrong).await.unwrap_err().kind, CoordinationErrorKind::Invalid, "{name:?}");
            assert_eq!(
                one.unlock(&wrong).await.unwrap_err().kind,
                CoordinationErrorKind::Invalid,
                "{name:?}"
            );
        }
    }
    let beyond = one.lock(&partition(PartitionId::INDEX_MAX + 1)).await.unwrap_err();
    assert_eq!(beyond.kind, CoordinationErrorKind::Invalid);
    assert_eq!(lock(&one, &partition(PartitionId::INDEX_MAX)).await, LockOutcome::Locked);
}
