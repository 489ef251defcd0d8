use super::*;

pub async fn a_raised_catalog_is_seen_by_all(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    let mut numbers = vec![two.view().borrow().catalog];
    for _ in 0..3 {
        known(|| one.raise_catalog()).await;
        for session in [&one, &two] {
            seen(session, "the raise", |view| !numbers.contains(&view.catalog)).await;
        }
        numbers.push(two.view().borrow().catalog);
    }
    let three = join(&ground.coordinator, "three:1:00").await;
    assert_eq!(Some(&three.view().borrow().catalog), numbers.last());
}

pub async fn a_worker_is_asked_to_let_go(ground: Ground) {
    let one = join(&ground.coordinator, "one:1:00").await;
    let two = join(&ground.coordinator, "two:1:00").await;
    let worker: WorkerId = "one:1:00".into();
    drain(&two, &worker, true).await;
    drain(&two, &worker, true).await;
    drain(&two, "stranger:1:00", true).await;
    for session in [&one, &two] {
        let view = seen(session, "both requests", |view| view.drained.len() == 2).await;
        assert_eq!(view.drained, [worker.clone(), "stranger:1:00".into()]);
    }
    // It outlives the one who asked, and the session of the one who was asked.
    two.leave().await;
    drop(one);
    let again = join(&ground.coordinator, "one:1:00").await;
    assert!(again.view().borrow().drained.contains(&worker));
    drain(&again, &worker, false).await;
    drain(&again, &worker, false).await;
    seen(&again, "one request", |view| view.drained.len() == 1).await;
}

pub async fn a_coordinator_says_how_it_is(ground: Ground) {
    let _one = join(&ground.coordinator, "one:1:00").await;
    let health = known(|| ground.coordinator.health()).await;
    assert!(health.write < PATIENCE);
    assert!(health.servers.iter().all(|server| server.error.is_none()), "{health:?}");
}
