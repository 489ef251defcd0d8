use std::sync::atomic::Ordering;
use std::time::Duration;

use super::kit::*;
use crate::worker::peer::{CallError, PeerSettings};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_for_a_place_within_its_deadline() {
    let worker = worker().await;
    let peers = peers_with(secret(), PeerSettings { calls_max: 2, ..PeerSettings::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(soon(peers.open(&worker.address, &worker.id, HANG, "".into(), SOON)).await.unwrap());
    }
    let late = peers.call(&worker.address, &worker.id, ECHO, "".into(), SHORT);
    let error = soon(late).await.unwrap_err();
    assert!(not_sent(&error).contains("2 calls are on their way"), "{error}");
    let waiting = tokio::spawn({
        let (peers, address, id) = (peers.clone(), worker.address.clone(), worker.id.clone());
        async move { peers.call(&address, &id, ECHO, "in time".into(), SOON).await }
    });
    held.pop();
    assert_eq!(soon(waiting).await.unwrap(), Ok("in time".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_refuses_what_it_has_no_room_for_before_it_serves_it() {
    let settings = PeerSettings { calls_max: 2, served_bytes_max: 100_000, ..PeerSettings::default() };
    let worker = worker_with(secret(), settings).await;
    let peers = peers();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(soon(peers.open(&worker.address, &worker.id, HANG, "".into(), SOON)).await.unwrap());
    }
    worker.until_serving(2).await;
    let error = worker.call(&peers, ECHO, "").await.unwrap_err();
    assert!(not_sent(&error).contains("2 calls of one worker"), "{error}");
    drop(held);
    worker.until_serving(0).await;
    let message = vec![0; 60_000];
    let call = peers.open(&worker.address, &worker.id, HANG, message.clone().into(), SOON);
    let call = soon(call).await.unwrap();
    worker.until_serving(1).await;
    for large in [message.clone(), vec![0; 1_000_000]] {
        let error = worker.call(&peers, ECHO, large).await.unwrap_err();
        assert!(not_sent(&error).contains("requests of 100000 bytes"), "{error}");
    }
    drop(call);
    // The room is free a moment after what was served has ended.
    let answered = async {
        loop {
            match worker.call(&peers, ECHO, message.clone()).await {
                Err(CallError::NotSent { .. }) => tokio::task::yield_now().await,
                answered => return answered,
            }
        }
    };
    assert!(soon(answered).await == Ok(message.clone().into()), "it is answered once there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_silent_network_is_bounded_and_not_sent_late() {
    let patient = PeerSettings { ping_timeout: SOON, ..PeerSettings::default() };
    let worker = worker_with(secret(), patient.clone()).await;
    let peers = peers_with(secret(), patient);
    let proxy = Proxy::to(worker.socket).await;
    let address = worker.behind(&proxy);
    assert_eq!(soon(peers.call(&address, &worker.id, ECHO, "".into(), SOON)).await, Ok("".into()));
    proxy.set(Weather::Silent);
    // More than the windows and buffers below take.
    let mut large = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (peers, address, id) = (peers.clone(), address.clone(), worker.id.clone());
        large.spawn(async move { peers.call(&address, &id, ECHO, vec![0; 4 << 20].into(), SOON).await });
    }
    // Small ones: there is no room, or they wait in it until it is too late.
    soon(async {
        loop {
            let small = peers.call(&address, &worker.id, REFUSE, "late".into(), SHORT).await;
            match small.unwrap_err() {
                // On its way before the network was full.
                crate::worker::peer::CallError::Unknown { .. } => {}
                error => break assert!(!not_sent(&error).is_empty()),
            }
        }
    })
    .await;
    let mut late = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (peers, address, id) = (peers.clone(), address.clone(), worker.id.clone());
        late.spawn(async move { peers.call(&address, &id, HANG, "late".into(), SHORT).await });
    }
    while let Some(ended) = soon(late.join_next()).await {
        not_sent(&ended.unwrap().unwrap_err());
    }
    proxy.set(Weather::Fine);
    while let Some(ended) = soon(large.join_next()).await {
        assert_eq!(ended.unwrap().unwrap().len(), 4 << 20);
    }
    let last = soon(peers.call(&address, &worker.id, ECHO, "last".into(), SOON)).await;
    assert_eq!(last, Ok("last".into()));
    // None of those that were said not to be sent has come.
    assert_eq!(*worker.told.hanging.borrow(), 0);
    assert!(worker.told.served.load(Ordering::SeqCst) <= 1 + 8 + 1 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_bounded_at_both_ends() {
    let one = PeerSettings { links_max: 1, ..PeerSettings::default() };
    let worker = worker_with(secret(), one.clone()).await;
    let first = peers_with(secret(), one);
    assert_eq!(worker.call(&first, ECHO, "").await, Ok("".into()));
    let error = worker.call(&peers(), ECHO, "").await.unwrap_err();
    assert!(not_sent(&error).contains("too many links"), "{error}");
    let another = "another".into();
    let call = first.call(&worker.address, &another, ECHO, "".into(), SOON);
    let error = soon(call).await.unwrap_err();
    assert!(not_sent(&error).contains("1 others, which is the most"), "{error}");
    drop(first);
    soon(async {
        let later = peers();
        while worker.call(&later, ECHO, "").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
