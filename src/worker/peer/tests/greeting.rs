use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::kit::*;
use crate::coordination::WorkerId;
use crate::worker::peer::{ClusterSecret, PeerSettings};

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_lets_nobody_in() {
    let other = Some(ClusterSecret::new("another secret of these tests").unwrap());
    for (server, client) in [(secret(), other), (secret(), None), (None, secret())] {
        let worker = worker_with(server, PeerSettings::default()).await;
        let peers = peers_with(client, PeerSettings::default());
        let error = worker.call(&peers, ECHO, "let me in").await.unwrap_err();
        assert!(not_sent(&error).contains("its cluster secret is another one"), "{error}");
        assert_eq!(worker.told.served.load(std::sync::atomic::Ordering::SeqCst), 0);
    }
    let worker = worker_with(None, PeerSettings::default()).await;
    let peers = peers_with(None, PeerSettings::default());
    assert_eq!(worker.call(&peers, ECHO, "insecure").await, Ok("insecure".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_at_the_same_address_serves_nothing() {
    let (worker, peers) = (worker().await, peers());
    let before: WorkerId = "server:7:0000000000000000".into();
    let call = peers.call(&worker.address, &before, ECHO, "are you who you were?".into(), SOON);
    let error = soon(call).await.unwrap_err();
    assert!(not_sent(&error).contains("that worker is gone: another one answers there"), "{error}");
    assert_eq!(worker.call(&peers, ECHO, "and now?").await, Ok("and now?".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_there_is_told_of() {
    let worker = worker().await;
    let id = Arc::clone(&worker.id);
    // Nobody.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = soon(peers().call(&address, &id, ECHO, "".into(), SOON)).await.unwrap_err();
    assert!(not_sent(&error).contains("no connection"), "{error}");
    // Something that is no address.
    for wrong in ["", "here", "https://127.0.0.1:1", "http://127.0.0.1"] {
        let error = soon(peers().call(wrong, &id, ECHO, "".into(), SOON)).await.unwrap_err();
        assert!(not_sent(&error).contains("http://host:port"), "{error}");
    }
    // A server that lets no peers in.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(crate::api::serve(listener, axum::Router::new(), worker.shutdown.clone()));
    let error = soon(peers().call(&address, &id, ECHO, "".into(), SOON)).await.unwrap_err();
    not_sent(&error);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_answered_beside_and_not_over_the_link() {
    let worker = worker().await;
    let ask = async |client: reqwest::ClientBuilder, path: &str| {
        let client = client.no_proxy().build().unwrap();
        let answer = soon(client.get(format!("{}{path}", worker.address)).send()).await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(ask(reqwest::Client::builder(), "/v1/health").await, 200);
    assert_eq!(ask(reqwest::Client::builder(), "/peer/v1/link").await, 404);
    let http2 = || reqwest::Client::builder().http2_prior_knowledge();
    assert_eq!(ask(http2(), "/v1/health").await, 404);
    assert_eq!(ask(http2(), "/peer/v1/link").await, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_in_pieces_are_told_apart() {
    let worker = worker().await;
    let mut stream = TcpStream::connect(worker.socket).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // As the preface begins, and then not.
    for piece in ["P", "RI", " /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}
