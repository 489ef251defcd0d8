//! A way to a server that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections stay, and nothing comes through.
    Silent,
    /// Connections are closed, new ones at once.
    Closed,
}

/// Forwards to one server, until it is told otherwise.
#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
}

/// Tries of finding a port that is free on several addresses.
const PORTS_TRIED_MAX: usize = 100;

impl Proxy {
    pub async fn start(server: &str) -> Self {
        Self::forward(TcpListener::bind("127.0.0.1:0").await.unwrap(), server)
    }

    /// One for each server, on the server's own host, all with the same port: clients that hear of
    /// hosts from each other take their port to be everywhere the same.
    pub async fn with_one_port(servers: &[String]) -> Vec<Self> {
        let hosts: Vec<&str> = servers.iter().map(|server| server.rsplit_once(':').unwrap().0).collect();
        'port: for _ in 0..PORTS_TRIED_MAX {
            let mut listeners = vec![TcpListener::bind((hosts[0], 0)).await.unwrap()];
            let port = listeners[0].local_addr().unwrap().port();
            for host in &hosts[1..] {
                let Ok(listener) = TcpListener::bind((*host, port)).await else { continue 'port };
                listeners.push(listener);
            }
            let pairs = listeners.into_iter().zip(servers);
            return pairs.map(|(listener, server)| Self::forward(listener, server)).collect();
        }
        panic!("no port is free on all of {hosts:?}");
    }

    fn forward(listener: TcpListener, server: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let (server, seen) = (server.to_owned(), way.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), seen.clone()));
            }
        });
        Self { address, way }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    pub fn close(&self) {
        self.way.send_replace(Way::Closed);
    }

    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn carry(client: TcpStream, server: String, mut way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Closed {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let seen = way.clone();
    tokio::select! {
        () = copy(from_client, to_server, way.clone()) => {}
        () = copy(from_server, to_client, seen) => {}
        _ = way.wait_for(|way| *way == Way::Closed) => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // What has come meanwhile waits until the way is open again.
        if way.wait_for(|way| *way == Way::Open).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
