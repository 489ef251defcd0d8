//! Workers on ports of the system's choice, a service that does what it is told, and a network that
//! can be cut.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::{ApiSettings, fake::Fake, router, serve_with_peers};
use crate::coordination::WorkerId;
use crate::telemetry::install_metrics;
use crate::worker::RequestError;
use crate::worker::peer::{
    CallError, ClusterSecret, PeerServer, PeerService, PeerSettings, Peers, ServerCall,
};

/// Bound of every wait of these tests.
pub const SOON: Duration = Duration::from_secs(30);

/// Answers what it was sent.
pub const ECHO: u32 = 1;
/// Answers every message, until there are no more.
pub const ECHO_STREAM: u32 = 2;
/// Never answers.
pub const HANG: u32 = 3;
/// Answers an error.
pub const REFUSE: u32 = 4;
/// Answers so many messages of 32 KiB as the message says.
pub const MANY: u32 = 5;
/// Panics.
pub const PANIC: u32 = 6;
/// Ends without an answer.
pub const SILENT: u32 = 7;
/// Answers a message as long as the message says.
pub const LONG: u32 = 8;
/// Reads messages only once it is let.
pub const LATER: u32 = 9;
/// Answers once it is let.
pub const HELD: u32 = 10;

/// Does what the kind says, and counts.
#[derive(Default)]
pub struct Told {
    pub served: AtomicUsize,
    pub dropped: watch::Sender<usize>,
    pub hanging: watch::Sender<usize>,
    pub from: Mutex<HashSet<WorkerId>>,
    pub let_go: watch::Sender<bool>,
}

impl Told {
    async fn until_let_go(&self) {
        self.let_go.subscribe().wait_for(|let_go| *let_go).await.unwrap();
    }
}

/// Counts that a service was dropped.
struct Dropped<'a>(&'a Told);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.hanging.send_modify(|hanging| *hanging -= 1);
        self.0.dropped.send_modify(|dropped| *dropped += 1);
    }
}

#[async_trait]
impl PeerService for Told {
    async fn serve(&self, from: WorkerId, kind: u32, message: Bytes, mut call: ServerCall) {
        self.served.fetch_add(1, Ordering::SeqCst);
        self.from.lock().unwrap().insert(from);
        self.hanging.send_modify(|hanging| *hanging += 1);
        let _dropped = Dropped(self);
        let number = || std::str::from_utf8(&message).unwrap().parse::<usize>().unwrap();
        match kind {
            ECHO => call.answer(message).await,
            ECHO_STREAM => {
                if call.send(message).await.is_err() {
                    return;
                }
                while let Some(Ok(message)) = call.recv().await {
                    if call.send(message).await.is_err() {
                        return;
                    }
                }
                call.end();
            }
            HANG => std::future::pending().await,
            REFUSE => call.refuse(RequestError::Conflict("the queue has jobs".to_owned())),
            MANY => {
                for number in 0..number() {
                    let piece = vec![number as u8; 32 << 10];
                    if call.send(piece.into()).await.is_err() {
                        return;
                    }
                }
                call.end();
            }
            PANIC => panic!("as told"),
            LONG => call.answer(vec![7; number()].into()).await,
            LATER => {
                self.until_let_go().await;
                let mut bytes = 0;
                while let Some(Ok(message)) = call.recv().await {
                    bytes += message.len();
                }
                call.answer(bytes.to_string().into()).await;
            }
            HELD => {
                self.until_let_go().await;
                call.answer(message).await;
            }
            _ => {}
        }
    }
}

/// A worker that lets others in.
pub struct Worker {
    pub id: WorkerId,
    pub told: Arc<Told>,
    pub socket: SocketAddr,
    pub address: String,
    pub shutdown: CancellationToken,
    pub ended: JoinHandle<std::io::Result<()>>,
}

pub fn secret() -> Option<ClusterSecret> {
    Some(ClusterSecret::new("the secret of these tests").unwrap())
}

pub async fn worker() -> Worker {
    worker_with(secret(), PeerSettings::default()).await
}

pub async fn worker_with(secret: Option<ClusterSecret>, settings: PeerSettings) -> Worker {
    let id: WorkerId = "server:7:0123456789abcdef".into();
    let told = Arc::new(Told::default());
    let peers = PeerServer::new(secret, Arc::clone(&id), Arc::clone(&told) as _, settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let router = router(Arc::new(Fake::default()), ApiSettings::default(), install_metrics());
    let ended = tokio::spawn(serve_with_peers(listener, router, Some(peers), shutdown.clone()));
    Worker { id, told, socket, address: format!("http://{socket}"), shutdown, ended }
}

/// The links of a worker that calls.
pub fn peers() -> Peers {
    peers_with(secret(), PeerSettings::default())
}

pub fn peers_with(secret: Option<ClusterSecret>, settings: PeerSettings) -> Peers {
    Peers::new(secret, "client:9:fedcba9876543210".into(), settings)
}

impl Worker {
    pub async fn call(
        &self,
        peers: &Peers,
        kind: u32,
        message: impl Into<Bytes>,
    ) -> Result<Bytes, CallError> {
        soon(peers.call(&self.address, &self.id, kind, message.into(), SOON)).await
    }

    /// Waits until so many services run.
    pub async fn until_serving(&self, calls: usize) {
        let mut hanging = self.told.hanging.subscribe();
        soon(hanging.wait_for(|hanging| *hanging == calls)).await.unwrap();
    }

    /// The same worker, behind that proxy.
    pub fn behind(&self, proxy: &Proxy) -> String {
        format!("http://{}", proxy.socket)
    }
}

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it takes too long")
}

pub fn not_sent(error: &CallError) -> &str {
    match error {
        CallError::NotSent { message, .. } => message,
        other => panic!("{other:?} instead of NotSent"),
    }
}

pub fn unknown(error: &CallError) -> &str {
    match error {
        CallError::Unknown { message } => message,
        other => panic!("{other:?} instead of Unknown"),
    }
}

/// A network between two workers, that can be cut or become silent.
pub struct Proxy {
    pub socket: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
    weather: watch::Sender<Weather>,
    _end: tokio_util::sync::DropGuard,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything goes through.
    Fine,
    /// Nothing goes through, and nobody is told.
    Silent,
    /// Connections are cut.
    Cut,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = listener.local_addr().unwrap();
        let weather = watch::Sender::new(Weather::Fine);
        let accepted = Arc::new(AtomicUsize::new(0));
        let end = CancellationToken::new();
        let (seen, ended, count) = (weather.subscribe(), end.clone(), Arc::clone(&accepted));
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, target, seen.clone()));
            }
        }));
        Self { socket, accepted, weather, _end: end.drop_guard() }
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn carry(client: TcpStream, target: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    let there = tokio::spawn(pipe(client_in, server_out, weather.clone()));
    let back = tokio::spawn(pipe(server_in, client_out, weather.clone()));
    let cut = async {
        if weather.wait_for(|weather| *weather == Weather::Cut).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let (stop_there, stop_back) = (there.abort_handle(), back.abort_handle());
    tokio::select! {
        () = cut => {}
        _ = async { let _ = there.await; let _ = back.await; } => {}
    }
    stop_there.abort();
    stop_back.abort();
}

async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if weather.wait_for(|weather| *weather == Weather::Fine).await.is_err() {
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
