//! What a call from one worker to another costs, beside a bare TCP echo over the same loopback.
//!
//! `cargo bench --bench peer [-- SECONDS]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use qdo::api::serve_with_peers;
use qdo::coordination::WorkerId;
use qdo::worker::peer::{ClusterSecret, PeerServer, PeerService, PeerSettings, Peers, ServerCall};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);
const SMALL: usize = 200;
const LARGE: usize = 1 << 20;

struct Echo;

#[async_trait]
impl PeerService for Echo {
    async fn serve(&self, _from: WorkerId, _kind: u32, message: Bytes, call: ServerCall) {
        call.answer(message).await;
    }
}

/// Runs so many callers for so long; how often they were answered in a second.
async fn rate<F>(callers: usize, time: Duration, mut caller: impl FnMut(Arc<AtomicU64>, Instant) -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let (answers, begin) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let running: Vec<_> =
        (0..callers).map(|_| tokio::spawn(caller(Arc::clone(&answers), begin + time))).collect();
    for caller in running {
        caller.await.expect("a caller goes on to its end");
    }
    answers.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

/// Calls over the link.
async fn link(
    peers: &Peers,
    address: &str,
    worker: &WorkerId,
    callers: usize,
    bytes: usize,
    time: Duration,
) -> f64 {
    let message = Bytes::from(vec![7; bytes]);
    rate(callers, time, |answers, end| {
        let (peers, address, worker, message) =
            (peers.clone(), address.to_owned(), Arc::clone(worker), message.clone());
        async move {
            while Instant::now() < end {
                let answer = peers.call(&address, &worker, 1, message.clone(), DEADLINE).await;
                assert_eq!(answer.expect("an answer").len(), message.len());
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await
}

/// The same bytes there and back, each caller over a connection of its own.
async fn bare(address: std::net::SocketAddr, callers: usize, bytes: usize, time: Duration) -> f64 {
    rate(callers, time, |answers, end| async move {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option of TCP");
        let (mut reader, mut writer) = stream.into_split();
        let (message, mut answer) = (vec![7; bytes], vec![0; bytes]);
        while Instant::now() < end {
            let (sent, read) = tokio::join!(writer.write_all(&message), reader.read_exact(&mut answer));
            sent.and(read).expect("an echo");
            answers.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await
}

async fn echo(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option of TCP");
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
    }
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().skip(1).find_map(|text| text.parse::<f64>().ok()).unwrap_or(2.0);
    let time = Duration::from_secs_f64(seconds);
    let secret = Some(ClusterSecret::new("the secret of this bench").expect("it is long enough"));
    let worker: WorkerId = "server".into();
    let settings = PeerSettings::default();
    let server = PeerServer::new(secret.clone(), Arc::clone(&worker), Arc::new(Echo), settings.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new();
    tokio::spawn(serve_with_peers(listener, router, Some(server), CancellationToken::new()));
    let peers = Peers::new(secret, "client".into(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let bare_address = listener.local_addr().expect("an address");
    tokio::spawn(echo(listener));

    println!("{:>8} {:>10} {:>16} {:>16} {:>7}", "callers", "bytes", "link", "bare TCP", "share");
    for (callers, bytes) in [(1, SMALL), (64, SMALL), (1_024, SMALL), (1, LARGE), (16, LARGE)] {
        let ours = link(&peers, &address, &worker, callers, bytes, time).await;
        let theirs = bare(bare_address, callers, bytes, time).await;
        let (unit, per) = if bytes == LARGE { ("MiB/s", 1.0) } else { ("calls/s", 1.0) };
        let share = ours / theirs;
        println!(
            "{callers:>8} {bytes:>10} {:>8.0} {unit:<7} {:>8.0} {unit:<7} {share:>7.2}",
            ours * per,
            theirs * per
        );
    }
}
