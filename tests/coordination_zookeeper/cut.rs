//! Connections that are cut.

use super::*;

#[tokio::test]
async fn a_short_cut_loses_nothing_and_what_happened_meanwhile_is_seen() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let proxy = Proxy::start(servers.zookeeper().split(',').next().unwrap()).await;
    let one = join(&coordinator(&proxy.address(), &chroot), "one:1:00").await;
    let two = join(&coordinator(servers.zookeeper(), &chroot), "two:1:00").await;
    for index in 0..10 {
        assert_eq!(lock(&one, index).await, LockOutcome::Locked);
    }
    for round in 1..=3 {
        proxy.close();
        // Sooner or later the session notices; meanwhile others go on.
        let noticed = async {
            while one.lock(&partition(0)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, noticed).await.expect("a cut is noticed");
        assert_eq!(lock(&two, 10 + round).await, LockOutcome::Locked);
        until("unlocking", async || two.unlock(&partition(10 + round - 1)).await).await;
        until("raising", async || two.raise_catalog().await).await;
        proxy.open();
        let view = seen(&two, "the raise", |view| view.owners.contains_key(&partition(10 + round).id)).await;
        seen(&one, "what happened meanwhile", |seen| {
            *seen == **two.view().borrow() && seen.catalog >= view.catalog
        })
        .await;
        assert_eq!(one.view().borrow().owners.len(), 11);
        assert_eq!(lock(&one, 0).await, LockOutcome::Locked);
        state(&one, SessionState::Sure).await;
        // The watch is set again, too: what comes after the list is seen.
        for index in [100, 101, 102] {
            assert_eq!(lock(&two, index).await, LockOutcome::Locked);
            seen(&one, "a later lock", |view| view.owners.contains_key(&partition(index).id)).await;
            until("unlocking", async || two.unlock(&partition(index)).await).await;
            seen(&one, "a later end", |view| !view.owners.contains_key(&partition(index).id)).await;
        }
    }
}

#[tokio::test]
async fn calls_of_a_silent_connection_have_a_bound_and_the_session_stops_in_time() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let proxy = Proxy::start(servers.zookeeper().split(',').next().unwrap()).await;
    let one = join(&coordinator(&proxy.address(), &chroot), "one:1:00").await;
    assert_eq!(lock(&one, 0).await, LockOutcome::Locked);
    let two = join(&coordinator(servers.zookeeper(), &chroot), "two:1:00").await;
    seen(&two, "the lock", |view| view.owners.len() == 1).await;
    let begun = std::time::Instant::now();
    proxy.silence();
    let unsure = async {
        state(&one, SessionState::Unsure).await;
        begun.elapsed()
    };
    let freed = async {
        seen(&two, "the end", |view| view.owners.is_empty()).await;
        begun.elapsed()
    };
    let call = async {
        let error = one.lock(&partition(1)).await.unwrap_err();
        assert_eq!(error.kind, CoordinationErrorKind::Unavailable);
        begun.elapsed()
    };
    let (unsure, freed, call) = tokio::join!(unsure, freed, call);
    println!("unsure after {unsure:?}, locks free after {freed:?}, a call given up after {call:?}");
    assert!(call < TIMEOUT, "{call:?}");
    assert!(unsure < freed, "unsure after {unsure:?}, free after {freed:?}");
    assert!(unsure <= TIMEOUT / 2 + Duration::from_secs(1), "{unsure:?}");
    // The way is open again, too late: the session is over, and the worker joins anew.
    proxy.open();
    state(&one, SessionState::Lost).await;
    let again = join(&coordinator(&proxy.address(), &chroot), "one:1:00").await;
    assert_eq!(lock(&again, 0).await, LockOutcome::Locked);
}

#[tokio::test]
async fn a_lock_whose_answer_is_lost_is_found_to_be_the_sessions() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let proxy = Proxy::start(servers.zookeeper().split(',').next().unwrap()).await;
    let one = join(&coordinator(&proxy.address(), &chroot), "one:1:00").await;
    let two = join(&coordinator(servers.zookeeper(), &chroot), "two:1:00").await;
    for index in 0..20 {
        // Cut at any point of the call: before the request is there, or before its answer is.
        let name = partition(index);
        let call = one.lock(&name);
        let cut = async {
            tokio::time::sleep(Duration::from_micros(u64::from(index) * 100)).await;
            proxy.close();
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.open();
        };
        let (outcome, ()) = tokio::join!(call, cut);
        match outcome {
            Ok(outcome) => assert_eq!(outcome, LockOutcome::Locked),
            Err(error) => assert_eq!(error.kind, CoordinationErrorKind::Unavailable, "{error}"),
        }
        assert_eq!(lock(&one, index).await, LockOutcome::Locked);
        assert_eq!(lock(&two, index).await, LockOutcome::Held("one:1:00".into()));
    }
    seen(&two, "all locks", |view| view.owners.len() == 20).await;
}
