use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::kit::*;
use crate::worker::RequestError;
use crate::worker::peer::{CallError, MESSAGE_BYTES_MAX};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_and_the_server_knows_who_asks() {
    let (worker, peers) = (worker().await, peers());
    assert_eq!(worker.call(&peers, ECHO, "hello").await, Ok("hello".into()));
    assert_eq!(worker.call(&peers, ECHO, "").await, Ok("".into()));
    assert!(worker.told.from.lock().unwrap().contains("client:9:fedcba9876543210"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_at_once_share_one_link() {
    let (worker, peers) = (worker().await, peers());
    let proxy = Proxy::to(worker.socket).await;
    let address = worker.behind(&proxy);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..10_000 {
        let (peers, address, id) = (peers.clone(), address.clone(), worker.id.clone());
        calls.spawn(async move {
            let message = Bytes::from(number.to_string());
            let answer = peers.call(&address, &id, HELD, message.clone(), SOON).await;
            assert_eq!(answer, Ok(message));
        });
    }
    worker.until_serving(10_000).await;
    worker.told.let_go.send_replace(true);
    soon(async {
        while let Some(ended) = calls.join_next().await {
            ended.unwrap();
        }
    })
    .await;
    assert_eq!(worker.told.served.load(Ordering::SeqCst), 10_000);
    assert_eq!(proxy.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways_whole_and_in_order() {
    let (worker, peers) = (worker().await, peers());
    let call = soon(peers.open(&worker.address, &worker.id, ECHO_STREAM, "first".into(), SOON)).await;
    let (mut sender, mut receiver) = call.unwrap().split();
    let message = |number: usize| Bytes::from(vec![number as u8; number * 977 % 200_000]);
    let sent = tokio::spawn(async move {
        for number in 0..500 {
            sender.send(message(number)).await.unwrap();
        }
        sender.end();
    });
    assert_eq!(soon(receiver.recv()).await, Some(Ok("first".into())));
    for number in 0..500 {
        let received = soon(receiver.recv()).await.unwrap().unwrap();
        assert!(received == message(number), "{number}");
    }
    assert_eq!(soon(receiver.recv()).await, None);
    sent.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_message_arrives_both_ways() {
    let (worker, peers) = (worker().await, peers());
    let longest = Bytes::from(vec![3; MESSAGE_BYTES_MAX]);
    let answer = worker.call(&peers, ECHO, longest.clone()).await.unwrap();
    assert!(answer == longest);
    let error = worker.call(&peers, ECHO, vec![3; MESSAGE_BYTES_MAX + 1]).await.unwrap_err();
    assert!(not_sent(&error).contains("is the most"), "{error}");
    for bytes in [65_535usize, 65_536, 65_537, 131_072, 524_288, 600_000] {
        let answer = worker.call(&peers, LONG, bytes.to_string()).await.unwrap();
        assert_eq!(answer.len(), bytes);
        let echoed = worker.call(&peers, ECHO, answer.clone()).await.unwrap();
        assert!(echoed == answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_nobody_else_up() {
    let (worker, peers) = (worker().await, peers());
    // Far more than the windows, of many calls that nobody reads.
    let mut unread = Vec::new();
    for _ in 0..20 {
        let call = peers.open(&worker.address, &worker.id, MANY, "100".into(), SOON);
        let mut call = soon(call).await.unwrap();
        call.end();
        unread.push(call);
    }
    worker.until_serving(20).await;
    for number in 0..200 {
        let message = number.to_string();
        assert_eq!(worker.call(&peers, ECHO, message.clone()).await, Ok(message.into()));
    }
    // The other way round: a server that does not read yet.
    let call = soon(peers.open(&worker.address, &worker.id, LATER, "".into(), SOON)).await.unwrap();
    let (mut sender, mut receiver) = call.split();
    let sent = tokio::spawn(async move {
        for _ in 0..100 {
            sender.send(vec![1; 100_000].into()).await.unwrap();
        }
        sender.end();
    });
    assert_eq!(worker.call(&peers, ECHO, "meanwhile").await, Ok("meanwhile".into()));
    assert!(!sent.is_finished(), "ten megabytes are not taken unread");
    // And in the end everything arrives.
    worker.told.let_go.send_replace(true);
    assert_eq!(soon(receiver.recv()).await, Some(Ok("10000000".into())));
    for call in &mut unread {
        for number in 0..100 {
            let message = soon(call.recv()).await.unwrap().unwrap();
            assert!(message.len() == 32 << 10 && message.iter().all(|byte| *byte == number));
        }
        assert_eq!(soon(call.recv()).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_says_arrives_as_it_was_said() {
    let (worker, peers) = (worker().await, peers());
    let error = worker.call(&peers, REFUSE, "").await.unwrap_err();
    assert_eq!(error, CallError::Refused(RequestError::Conflict("the queue has jobs".to_owned())));
    for kind in [PANIC, SILENT] {
        let error = worker.call(&peers, kind, "").await.unwrap_err();
        assert!(unknown(&error).contains("given up by its server"), "{error}");
    }
    assert_eq!(worker.call(&peers, ECHO, "still there").await, Ok("still there".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_deadline_at_both_ends() {
    let (worker, peers) = (worker().await, peers());
    assert_eq!(worker.call(&peers, ECHO, "up").await, Ok("up".into()));
    let began = Instant::now();
    let deadline = Duration::from_millis(100);
    let error = soon(peers.call(&worker.address, &worker.id, HANG, "".into(), deadline)).await.unwrap_err();
    assert!(unknown(&error).contains("time is over"), "{error}");
    assert!(began.elapsed() >= deadline);
    worker.until_serving(0).await;
    assert_eq!(*worker.told.dropped.borrow(), 2);
    let none = peers.call(&worker.address, &worker.id, ECHO, "".into(), Duration::ZERO);
    not_sent(&soon(none).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_waits_for_is_dropped_by_the_server() {
    let (worker, peers) = (worker().await, peers());
    let call = tokio::spawn({
        let (peers, address, id) = (peers.clone(), worker.address.clone(), worker.id.clone());
        async move { peers.call(&address, &id, HANG, "".into(), SOON).await }
    });
    worker.until_serving(1).await;
    call.abort();
    worker.until_serving(0).await;
    // The same for a stream.
    let call = soon(peers.open(&worker.address, &worker.id, HANG, "".into(), SOON)).await.unwrap();
    worker.until_serving(1).await;
    drop(call);
    worker.until_serving(0).await;
}
