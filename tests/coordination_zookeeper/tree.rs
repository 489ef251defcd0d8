//! Hands of strangers in the tree.

use zookeeper_client::{AddWatchMode, Client, Error};

use super::*;

/// A client of somebody else, who knows the password.
async fn stranger(servers: &Servers, chroot: &str) -> Client {
    let digest = format!("{}:{}", USER.0, USER.1);
    let client =
        Client::connector().with_auth("digest", digest.as_bytes()).connect(servers.zookeeper()).await;
    client.unwrap().chroot(chroot.to_owned()).unwrap()
}

/// Deletes what is below, and the path itself, as often as somebody makes it anew meanwhile.
async fn delete_all(client: &Client, path: &str) {
    let children = client.list_children(path).await.unwrap_or_default();
    for child in children {
        Box::pin(delete_all(client, &format!("{}/{child}", path.trim_end_matches('/')))).await;
    }
    match client.delete(path, None).await {
        Ok(()) | Err(Error::NoNode | Error::NotEmpty | Error::BadArguments(_)) => {}
        Err(error) => panic!("{path}: {error}"),
    }
}

#[tokio::test]
async fn a_tree_that_is_wiped_is_made_again_within_the_same_sessions() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let coordinator = coordinator(servers.zookeeper(), &chroot);
    let one = join(&coordinator, "one:1:00").await;
    let two = join(&coordinator, "two:1:00").await;
    for index in 0..10 {
        assert_eq!(lock(&one, index).await, LockOutcome::Locked);
    }
    let catalog = seen(&two, "all", |view| view.owners.len() == 10).await.catalog;
    let root = stranger(servers, &chroot).await;
    for path in ["/owners", "/workers", "/catalog", "/drained"] {
        delete_all(&root, path).await;
    }
    for session in [&one, &two] {
        seen(session, "both again, without locks", |view| view.members.len() == 2 && view.owners.is_empty())
            .await;
        assert_eq!(*session.state().borrow(), SessionState::Sure);
    }
    assert_eq!(lock(&one, 0).await, LockOutcome::Locked);
    assert_eq!(lock(&two, 0).await, LockOutcome::Held("one:1:00".into()));
    until("raising", async || one.raise_catalog().await).await;
    seen(&two, "the raise", |view| ![0, catalog].contains(&view.catalog)).await;
    until("draining", async || one.drain(&"two:1:00".into(), true).await).await;
    seen(&two, "the request", |view| view.drained.len() == 1).await;
}

#[tokio::test]
async fn a_chroot_that_is_deleted_is_made_again() {
    let (servers, _guard) = shared().await;
    let parent = chroot();
    let coordinator = coordinator(servers.zookeeper(), &format!("{parent}/inner"));
    let one = join(&coordinator, "one:1:00").await;
    let two = join(&coordinator, "two:1:00").await;
    delete_all(&stranger(servers, &parent).await, "/inner").await;
    for session in [&one, &two] {
        assert_eq!(lock(session, if Arc::ptr_eq(session, &one) { 0 } else { 1 }).await, LockOutcome::Locked);
        seen(session, "both again", |view| view.members.len() == 2).await;
    }
    seen(&one, "both locks", |view| view.owners.len() == 2).await;
}

#[tokio::test]
async fn a_lock_that_is_deleted_is_shown_as_gone_to_its_holder() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let one = join(&coordinator(servers.zookeeper(), &chroot), "one:1:00").await;
    assert_eq!(lock(&one, 0).await, LockOutcome::Locked);
    seen(&one, "the lock", |view| view.owners.len() == 1).await;
    stranger(servers, &chroot).await.delete("/owners/default/emails/0", None).await.unwrap();
    seen(&one, "no lock", |view| view.owners.is_empty()).await;
}

#[tokio::test]
async fn nodes_that_make_no_sense_are_passed_over() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let coordinator = coordinator(servers.zookeeper(), &chroot);
    let one = join(&coordinator, "one:1:00").await;
    let root = stranger(servers, &chroot).await;
    let options = zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::creator_all());
    for (path, data) in [
        ("/workers/garbage:1:00", &b"\xff{"[..]),
        ("/workers/liar:1:00", &serde_json::to_vec(&member("other:1:00")).unwrap()),
        ("/workers/one:1:00x", b""),
        ("/owners/default", b""),
        ("/owners/default/emails", b""),
        ("/owners/default/emails/0", b"nonsense"),
        ("/owners/default/emails/1", b"{\"partition\":\"7/99999\",\"worker\":\"x\"}"),
        ("/elsewhere", b"x"),
    ] {
        root.create(path, data, &options).await.unwrap();
    }
    assert_eq!(lock(&one, 2).await, LockOutcome::Locked);
    let view = seen(&one, "the lock", |view| view.owners.len() == 1).await;
    assert_eq!(view.members.len(), 1, "{view:?}");
    assert_eq!(lock(&one, 0).await, LockOutcome::Held("unknown".into()));
    assert_eq!(until("looking", async || coordinator.look().await).await, *view);
}

#[tokio::test]
async fn signs_of_life_bother_no_watcher() {
    let (servers, _guard) = shared().await;
    let chroot = chroot();
    let one = join(&coordinator(servers.zookeeper(), &chroot), "one:1:00").await;
    let root = stranger(servers, &chroot).await;
    let mut watcher = root.watch("/", AddWatchMode::PersistentRecursive).await.unwrap();
    let event = tokio::time::timeout(TIMEOUT, watcher.changed()).await;
    assert!(event.is_err(), "{event:?}");
    assert_eq!(*one.state().borrow(), SessionState::Sure);
}
