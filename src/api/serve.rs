//! Connections: accepted within a bound, protected against slow clients, ended in order.
//!
//! The API is answered over HTTP/1 only. Other workers come in at the same port over HTTP/2, which
//! reaches nothing but their link (`worker::peer`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::guard::Connection;
use super::io::Patient;
use super::preface::{self, Begin};
use crate::worker::peer::PeerServer;

/// Connections at once; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 4_096;
/// The head of a request must be there after so long; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the head of a request, and of what is read ahead.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// What is being answered when the server ends gets so long.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after the system gave no connection (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers connections until `shutdown` fires; then waits and streams end, requests that are being
/// answered get a bounded time, and it returns.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    serve_with_peers(listener, router, None, shutdown).await
}

/// The same, and lets other workers in.
#[doc(hidden)]
pub async fn serve_with_peers(
    listener: TcpListener,
    router: Router,
    peers: Option<PeerServer>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (permit, accepted) = accept => match accepted {
                Ok((stream, _)) => {
                    let answered = answer(stream, router.clone(), peers.clone(), shutdown.clone());
                    connections.spawn(async move {
                        answered.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut off at shutdown");
        connections.shutdown().await;
    }
    Ok(())
}

/// Answers the requests of one connection.
async fn answer(
    mut stream: TcpStream,
    router: Router,
    peers: Option<PeerServer>,
    shutdown: CancellationToken,
) {
    // Without it a small answer may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut read = Bytes::new();
    if let Some(peers) = peers {
        let begin = tokio::select! {
            begin = timeout(HEAD_TIMEOUT, preface::begin(&mut stream)) => begin,
            () = shutdown.cancelled() => return,
        };
        // Gone, or silent for too long.
        let Ok(Ok(begin)) = begin else { return };
        let Begin { read: first, is_http2 } = begin;
        if is_http2 {
            let from = stream.peer_addr().ok();
            return peers.connection(Patient::new(stream, first), from, shutdown).await;
        }
        read = first;
    }
    answer_api(stream, read, router, shutdown).await;
}

/// Answers the requests of one connection that speaks HTTP/1.
async fn answer_api(stream: TcpStream, read: Bytes, router: Router, shutdown: CancellationToken) {
    let facts = Connection {
        peer: stream.peer_addr().ok(),
        local: stream.local_addr().ok(),
        shutdown: shutdown.clone(),
    };
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(facts.clone());
        let answer = routes.call(request.map(Body::new));
        async move { answer.await as Result<Response, Infallible> }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, read)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
