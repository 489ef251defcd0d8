use super::*;

pub async fn a_member_is_seen_by_all(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    for session in [&one, &two] {
        let view = seen(session, "both members", |view| view.members.len() == 2).await;
        assert_eq!(view.members["one:1:00"], member("one:1:00"));
        assert_eq!(view.members["two:1:00"], member("two:1:00"));
    }
}

pub async fn a_member_that_changes_is_seen(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    let mut changed = member("one:1:00");
    changed.draining = true;
    changed.cannot_serve = vec!["7/3".to_owned()];
    known(|| one.publish(changed.clone())).await;
    for session in [&one, &two] {
        seen(session, "the change", |view| view.members.get("one:1:00") == Some(&changed)).await;
    }
}

pub async fn a_member_keeps_its_id(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let error = one.publish(member("two:1:00")).await.unwrap_err();
    assert_eq!(error.kind, CoordinationErrorKind::Invalid);
    assert!(error.message.contains("one:1:00") && error.message.contains("two:1:00"), "{error}");
}

pub async fn two_workers_may_have_one_name(ground: Ground) {
    let one = join(&ground.coordinator, "same:1:00").await;
    let _two = join(&ground.coordinator, "same:2:00").await;
    let view = seen(&one, "both", |view| view.members.len() == 2).await;
    assert!(view.members.values().all(|member| member.name == "same"));
}

pub async fn whoever_joins_sees_everything_at_once(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    for index in 0..20 {
        assert_eq!(lock(&one, &partition(index)).await, LockOutcome::Locked);
    }
    known(|| one.raise_catalog()).await;
    drain(&one, "gone:1:00", true).await;
    let before = seen(&one, "all", |view| view.owners.len() == 20 && !view.drained.is_empty()).await;
    let two = join(&ground.coordinator, "two:1:00").await;
    let view = two.view().borrow().clone();
    assert!(view.members.contains_key("one:1:00") && view.members.contains_key("two:1:00"), "{view:?}");
    assert_eq!(view.owners, before.owners);
    assert_eq!(view.drained, before.drained);
    assert_eq!(view.catalog, before.catalog);
}

pub async fn a_look_sees_what_is_there_and_leaves_nothing(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    let looked = known(|| ground.coordinator.look()).await;
    let view = seen(&one, "the lock", |view| view.owners.len() == 1).await;
    assert_eq!(looked, *view);
    assert_eq!(known(|| ground.coordinator.look()).await, looked);
}

pub async fn a_session_is_sure_while_its_coordinator_is_there(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let mut state = one.state();
    assert_eq!(*state.borrow_and_update(), SessionState::Sure);
    // Nothing happens for longer than a session without a sign of life would last.
    let changed = tokio::time::timeout(one.timeout().min(Duration::from_secs(5)) * 2, state.changed()).await;
    assert!(changed.is_err(), "{:?}", one.state().borrow());
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
}

pub async fn one_that_has_left_is_gone_and_its_calls_say_so(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    seen(&two, "both", |view| view.members.len() == 2).await;
    soon("leaving", one.leave()).await;
    assert_eq!(*one.state().borrow(), SessionState::Lost);
    seen(&two, "the leave", |view| view.members.len() == 1).await;
    let kinds = [
        one.lock(&partition(0)).await.unwrap_err().kind,
        one.unlock(&partition(0)).await.unwrap_err().kind,
        one.publish(member("one:1:00")).await.unwrap_err().kind,
        one.raise_catalog().await.unwrap_err().kind,
        one.drain(&"two:1:00".into(), true).await.unwrap_err().kind,
    ];
    assert_eq!(kinds, [CoordinationErrorKind::SessionLost; 5]);
    soon("leaving twice", one.leave()).await;
}

pub async fn a_session_that_is_dropped_ends(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    assert_eq!(lock(&one, &partition(0)).await, LockOutcome::Locked);
    seen(&two, "the lock", |view| view.members.len() == 2 && view.owners.len() == 1).await;
    drop(one);
    seen(&two, "the end", |view| view.members.len() == 1 && view.owners.is_empty()).await;
}

pub async fn a_worker_joins_again_under_its_id(ground: Ground) {
    let two = join(&ground.coordinator, "two:1:00").await;
    let one = join(&ground.coordinator, "one:1:00").await;
    one.leave().await;
    // Now with the earlier session still there.
    let again = join(&ground.coordinator, "one:1:00").await;
    let third = join(&ground.coordinator, "one:1:00").await;
    drop(again);
    let mut changed = member("one:1:00");
    changed.slots = 99;
    known(|| third.publish(changed.clone())).await;
    seen(&two, "the third session", |view| view.members.get("one:1:00") == Some(&changed)).await;
    assert_eq!(two.view().borrow().members.len(), 2);
}

pub async fn a_member_that_is_too_large_is_refused(ground: Ground) {
    let mut large = member("one:1:00");
    large.labels.insert("large".to_owned(), "x".repeat(16 * 1024));
    let error = ground.coordinator.join(large.clone()).await.err().unwrap();
    assert_eq!(error.kind, CoordinationErrorKind::Invalid);
    assert!(error.message.contains("16384"), "{error}");
    let one = join(&ground.coordinator, "one:1:00").await;
    assert_eq!(one.publish(large).await.unwrap_err().kind, CoordinationErrorKind::Invalid);
    let mut fits = member("one:1:00");
    fits.labels.insert("large".to_owned(), "x".repeat(15 * 1024));
    known(|| one.publish(fits.clone())).await;
    seen(&one, "the large member", |view| view.members.get("one:1:00") == Some(&fits)).await;
}

pub async fn a_worker_id_that_makes_no_sense_is_refused(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    for id in ["", "a/b", ".", "..", "a b", "a\n", "ä", &"x".repeat(300)] {
        let error =
            ground.coordinator.join(member(id)).await.err().unwrap_or_else(|| panic!("{id:?} has joined"));
        assert_eq!(error.kind, CoordinationErrorKind::Invalid, "{id:?}: {error}");
        let error = one.drain(&id.into(), true).await.unwrap_err();
        assert_eq!(error.kind, CoordinationErrorKind::Invalid, "{id:?}: {error}");
    }
}
