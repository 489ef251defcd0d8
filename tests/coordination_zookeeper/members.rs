//! Servers that die.

use super::*;

/// What must hold when an ensemble is whole again: the session has gone on, and so have its locks.
async fn goes_on(one: &Arc<dyn Session>, two: &Arc<dyn Session>) {
    for session in [one, two] {
        state(session, SessionState::Sure).await;
    }
    assert_eq!(lock(one, 0).await, LockOutcome::Locked);
    assert_eq!(lock(two, 0).await, LockOutcome::Held("one:1:00".into()));
    assert_eq!(lock(two, 1).await, LockOutcome::Locked);
    seen(one, "both locks", |view| view.owners.len() == 2).await;
}

async fn two_sessions(servers: &Servers, timeout: Duration) -> (Arc<dyn Session>, Arc<dyn Session>) {
    let chroot = chroot();
    let mut options = options(servers.zookeeper(), &chroot);
    options.session_timeout = timeout;
    let coordinator: Arc<dyn Coordinator> = Arc::new(ZooKeeperCoordinator::new(options).unwrap());
    let one = join(&coordinator, "one:1:00").await;
    assert_eq!(lock(&one, 0).await, LockOutcome::Locked);
    (one, join(&coordinator, "two:1:00").await)
}

/// No loss was seen by a session meanwhile.
fn watch_for_loss(session: &Arc<dyn Session>) -> tokio::task::JoinHandle<()> {
    let mut state = session.state();
    tokio::spawn(async move {
        state.wait_for(|state| *state == SessionState::Lost).await.unwrap();
    })
}

#[tokio::test]
async fn sessions_and_locks_survive_each_server_that_dies_the_leader_too() {
    let (servers, _guard) = alone().await;
    let (one, two) = two_sessions(servers, Duration::from_secs(10)).await;
    let lost = [watch_for_loss(&one), watch_for_loss(&two)];
    let leader = control(|servers| servers.zookeeper_leader()).await;
    let mut names = ["zookeeper-1", "zookeeper-2", "zookeeper-3"];
    names.sort_by_key(|name| *name == leader);
    for name in names {
        let begun = std::time::Instant::now();
        control(move |servers| servers.kill(&[name])).await;
        goes_on(&one, &two).await;
        println!("{name} killed: all goes on after {:?}", begun.elapsed());
        until("unlocking", async || two.unlock(&partition(1)).await).await;
        control(move |servers| servers.start_again(&[name])).await;
        goes_on(&one, &two).await;
        until("unlocking", async || two.unlock(&partition(1)).await).await;
    }
    assert!(lost.iter().all(|lost| !lost.is_finished()), "no session was lost");
}

#[tokio::test]
async fn without_a_majority_a_session_is_not_sure_although_its_server_answers() {
    let (servers, _guard) = alone().await;
    // Long enough for the servers to come back within it.
    let timeout = Duration::from_secs(20);
    let (one, two) = two_sessions(servers, timeout).await;
    let leader = control(|servers| servers.zookeeper_leader()).await;
    let dead =
        if leader == "zookeeper-1" { ["zookeeper-1", "zookeeper-2"] } else { ["zookeeper-2", "zookeeper-3"] };
    let begun = std::time::Instant::now();
    control(move |servers| servers.kill(&dead)).await;
    for session in [&one, &two] {
        state(session, SessionState::Unsure).await;
        assert_eq!(session.lock(&partition(5)).await.unwrap_err().kind, CoordinationErrorKind::Unavailable);
    }
    assert!(begun.elapsed() < timeout, "{:?}", begun.elapsed());
    control(move |servers| servers.start_again(&dead)).await;
    goes_on(&one, &two).await;
}

#[tokio::test]
async fn an_ensemble_that_is_wiped_loses_sessions_and_workers_join_anew() {
    let (servers, _guard) = alone().await;
    let (one, two) = two_sessions(servers, TIMEOUT).await;
    until("raising", async || one.raise_catalog().await).await;
    control(|servers| servers.wipe_zookeeper()).await;
    for session in [&one, &two] {
        state(session, SessionState::Lost).await;
        assert_eq!(session.lock(&partition(0)).await.unwrap_err().kind, CoordinationErrorKind::SessionLost);
    }
    let coordinator = coordinator(servers.zookeeper(), &chroot());
    let one = join(&coordinator, "one:1:00").await;
    let two = join(&coordinator, "two:1:00").await;
    assert!(one.view().borrow().owners.is_empty());
    assert_eq!(lock(&one, 0).await, LockOutcome::Locked);
    goes_on(&one, &two).await;
}
