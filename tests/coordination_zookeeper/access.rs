//! Who is let in, and what is said to those who are not.

use std::net::TcpListener;

use qdo::coordination::zookeeper::ZooKeeperTls;

use super::*;

async fn refused(options: ZooKeeperOptions) -> CoordinationError {
    let coordinator = ZooKeeperCoordinator::new(options).unwrap();
    let joined = tokio::time::timeout(PATIENCE, coordinator.join(member("one:1:00"))).await;
    joined.expect("a join has a bound").err().expect("nobody is let in")
}

#[tokio::test]
async fn a_chroot_that_is_missing_is_made_or_refused_as_configured() {
    let (servers, _guard) = shared().await;
    let chroot = format!("{}/deep/below", chroot());
    let mut strict = options(servers.zookeeper(), &chroot);
    strict.create_chroot = false;
    let error = refused(strict.clone()).await;
    assert_eq!(error.kind, CoordinationErrorKind::Refused);
    assert!(error.message.contains(&chroot) && error.message.contains("create_chroot"), "{error}");
    let made = join(&coordinator(servers.zookeeper(), &chroot), "one:1:00").await;
    let strict: Arc<dyn Coordinator> = Arc::new(ZooKeeperCoordinator::new(strict).unwrap());
    let other = join(&strict, "two:1:00").await;
    seen(&made, "both", |view| view.members.len() == 2).await;
    drop(other);
}

#[tokio::test]
async fn a_wrong_password_or_none_is_refused_and_not_shown() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let _right = join(&coordinator(servers.zookeeper(), &chroot), "right:1:00").await;
    let mut wrong = options(servers.zookeeper(), &chroot);
    wrong.auth = Some((USER.0.to_owned(), "wrong sesame".to_owned()));
    let error = refused(wrong.clone()).await;
    assert_eq!(error.kind, CoordinationErrorKind::Refused, "{error}");
    assert!(error.message.contains("this user may not") && !error.message.contains("sesame"), "{error}");
    let looked = ZooKeeperCoordinator::new(wrong).unwrap().look().await.unwrap_err();
    assert_eq!(looked.kind, CoordinationErrorKind::Refused, "{looked}");
    let mut nobody = options(servers.zookeeper(), &chroot);
    nobody.auth = None;
    let error = refused(nobody).await;
    assert_eq!(error.kind, CoordinationErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn tls_is_spoken_with_servers_that_the_authority_has_signed() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let plain = join(&coordinator(servers.zookeeper(), &chroot), "plain:1:00").await;
    let ca_file = servers.ca();
    let identity = || Some((ca_file.with_file_name("client.pem"), ca_file.with_file_name("client.key")));
    let mut options = options(servers.zookeeper_tls(), &chroot);
    options.tls = Some(ZooKeeperTls { ca_file: ca_file.clone(), identity_files: identity() });
    let tls: Arc<dyn Coordinator> = Arc::new(ZooKeeperCoordinator::new(options.clone()).unwrap());
    let _secret = join(&tls, "secret:1:00").await;
    seen(&plain, "both", |view| view.members.len() == 2).await;
    assert_eq!(until("health", async || tls.health().await).await.servers.len(), 3);

    let mut stranger = options.clone();
    let ca_file = ca_file.with_file_name("stranger.pem");
    stranger.tls = Some(ZooKeeperTls { ca_file: ca_file.clone(), identity_files: None });
    let error = refused(stranger).await;
    assert_eq!(error.kind, CoordinationErrorKind::Unavailable);
    assert!(error.message.contains("is the CA right"), "{error}");

    let mut wrong_port = options.clone();
    wrong_port.connect = format!("{}{chroot}", servers.zookeeper());
    let error = refused(wrong_port).await;
    assert!(error.message.contains("is that its TLS port"), "{error}");

    let mut missing = options;
    missing.tls = Some(ZooKeeperTls { ca_file: ca_file.with_file_name("missing.pem"), identity_files: None });
    let error = refused(missing).await;
    assert_eq!(error.kind, CoordinationErrorKind::Invalid);
    assert!(error.message.contains("missing.pem"), "{error}");
}

#[tokio::test]
async fn without_servers_a_join_soon_says_why() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let begun = std::time::Instant::now();
    let error = refused(options(&closed, "/qdo")).await;
    assert_eq!(error.kind, CoordinationErrorKind::Unavailable);
    assert!(error.message.contains(&closed) && error.message.contains("refused"), "{error}");
    assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());

    // One that takes connections and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refused(options(&mute.local_addr().unwrap().to_string(), "/qdo")).await;
    assert!(error.message.contains("does not greet"), "{error}");
    assert!(begun.elapsed() < TIMEOUT * 3, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_health_of_an_ensemble_names_its_leader() {
    let (servers, _guard) = shared().await;
    let coordinator = coordinator(servers.zookeeper(), &chroot());
    let health = until("health", async || coordinator.health().await).await;
    let mut roles: Vec<&str> = health.servers.iter().filter_map(|server| server.role.as_deref()).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["follower", "follower", "leader"], "{health:?}");
}
