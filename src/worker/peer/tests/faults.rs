use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::kit::*;
use crate::worker::peer::{CallError, PeerSettings};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_leaves_calls_unknown_and_is_made_anew() {
    let (worker, peers) = (worker().await, peers());
    let proxy = Proxy::to(worker.socket).await;
    let address = worker.behind(&proxy);
    for round in 1..=3 {
        let call = soon(peers.open(&address, &worker.id, ECHO_STREAM, "here".into(), SOON)).await;
        let mut stream = call.unwrap();
        assert_eq!(soon(stream.recv()).await, Some(Ok("here".into())));
        let call = tokio::spawn({
            let (peers, address, id) = (peers.clone(), address.clone(), worker.id.clone());
            async move { peers.call(&address, &id, HANG, "".into(), SOON).await }
        });
        worker.until_serving(2).await;
        proxy.set(Weather::Cut);
        let error = soon(call).await.unwrap().unwrap_err();
        assert!(unknown(&error).contains("link"), "{error}");
        unknown(&soon(stream.recv()).await.unwrap().unwrap_err());
        assert!(soon(stream.send("more".into())).await.is_err());
        worker.until_serving(0).await;
        proxy.set(Weather::Fine);
        let answer = soon(peers.call(&address, &worker.id, ECHO, "again".into(), SOON)).await;
        assert_eq!(answer, Ok("again".into()));
        assert_eq!(proxy.accepted.load(Ordering::SeqCst), round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_found_by_pings_at_both_ends() {
    let settings = PeerSettings {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(400),
        ..PeerSettings::default()
    };
    let worker = worker_with(secret(), settings.clone()).await;
    let peers = peers_with(secret(), settings);
    let proxy = Proxy::to(worker.socket).await;
    let address = worker.behind(&proxy);
    let call = tokio::spawn({
        let (peers, address, id) = (peers.clone(), address.clone(), worker.id.clone());
        async move { peers.call(&address, &id, HANG, "".into(), SOON).await }
    });
    worker.until_serving(1).await;
    proxy.set(Weather::Silent);
    let began = Instant::now();
    unknown(&soon(call).await.unwrap().unwrap_err());
    worker.until_serving(0).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_worker_is_away_calls_are_refused_at_once_and_few_try() {
    let (worker, peers) = (worker().await, peers());
    let proxy = Proxy::to(worker.socket).await;
    let address = worker.behind(&proxy);
    proxy.set(Weather::Cut);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        let error = soon(peers.call(&address, &worker.id, ECHO, "".into(), SOON)).await.unwrap_err();
        let CallError::NotSent { retry_after, .. } = error else { panic!("{error:?}") };
        assert!(retry_after <= Duration::from_secs(2));
        tokio::task::yield_now().await;
    }
    let tried = proxy.accepted.load(Ordering::SeqCst);
    assert!((2..=12).contains(&tried), "{tried} connections in half a second");
    proxy.set(Weather::Fine);
    soon(async {
        while let Err(error) = peers.call(&address, &worker.id, ECHO, "".into(), SOON).await {
            let CallError::NotSent { retry_after, .. } = error else { panic!("{error:?}") };
            tokio::time::sleep(retry_after).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_answers_what_it_serves_and_takes_no_more() {
    let (worker, peers) = (worker().await, peers());
    let held = tokio::spawn({
        let (peers, address, id) = (peers.clone(), worker.address.clone(), worker.id.clone());
        async move { peers.call(&address, &id, HELD, "held".into(), SOON).await }
    });
    worker.until_serving(1).await;
    worker.shutdown.cancel();
    soon(async {
        // Until the news has come, calls are refused by the other side; then there is no listener.
        loop {
            let error = worker.call(&peers, ECHO, "one more").await.unwrap_err();
            if not_sent(&error).contains("no connection") {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    worker.told.let_go.send_replace(true);
    assert_eq!(soon(held).await.unwrap(), Ok("held".into()));
    soon(worker.ended).await.unwrap().unwrap();
    assert_eq!(worker.told.served.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_waits_for_no_call_for_ever() {
    let (worker, peers) = (worker().await, peers());
    let hanging = tokio::spawn({
        let (peers, address, id) = (peers.clone(), worker.address.clone(), worker.id.clone());
        async move { peers.call(&address, &id, HANG, "".into(), SOON).await }
    });
    worker.until_serving(1).await;
    worker.shutdown.cancel();
    unknown(&soon(hanging).await.unwrap().unwrap_err());
    soon(worker.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_workers_that_are_gone_are_dropped() {
    let (worker, peers) = (worker().await, peers());
    let call = soon(peers.open(&worker.address, &worker.id, HANG, "".into(), SOON)).await;
    let mut call = call.unwrap();
    worker.until_serving(1).await;
    peers.retain(std::slice::from_ref(&worker.id));
    assert_eq!(worker.call(&peers, ECHO, "kept").await, Ok("kept".into()));
    peers.retain(&[]);
    let error = soon(call.recv()).await.unwrap().unwrap_err();
    assert!(unknown(&error).contains("that worker is gone"), "{error}");
    worker.until_serving(0).await;
    assert_eq!(worker.call(&peers, ECHO, "back").await, Ok("back".into()));
    let call = soon(peers.open(&worker.address, &worker.id, HANG, "".into(), SOON)).await;
    worker.until_serving(1).await;
    drop(peers);
    unknown(&soon(call.unwrap().recv()).await.unwrap().unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_nobody_uses_is_ended_and_made_again() {
    let worker = worker().await;
    let settings = PeerSettings { idle: Duration::from_millis(50), ..PeerSettings::default() };
    let peers = peers_with(secret(), settings);
    let proxy = Proxy::to(worker.socket).await;
    let address = worker.behind(&proxy);
    soon(async {
        while proxy.accepted.load(Ordering::SeqCst) < 3 {
            let answer = peers.call(&address, &worker.id, ECHO, "".into(), SOON).await;
            assert_eq!(answer, Ok("".into()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
