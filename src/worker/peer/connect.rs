//! Making a link: TCP, HTTP/2, and both sides showing that they know the secret.

use std::sync::Arc;

use bytes::Bytes;
use hyper::client::conn::http2;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frame::{Hello, Kind, Proof, Refusal, RefusalReason};
use super::limits::{
    CONNECT_TIMEOUT, GREETING_TIMEOUT, HEADERS_BYTES_MAX, HTTP_FRAME_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use super::outbox::{Outbox, PeerBody};
use super::reader::{ReadError, Reader};
use super::secret::{ClusterSecret, Greeting, NONCE_BYTES, Side, nonce};
use super::{PATH, PeerSettings};

/// Why a link could not be made; nothing was sent over it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("its address {0:?} is not `http://host:port`")]
    Address(String),
    #[error("no connection: {0}")]
    Tcp(#[from] std::io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("no HTTP/2: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0} instead of a link: it is no worker of a cluster, or lets no peers in")]
    Status(StatusCode),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("it sent something else than a greeting")]
    Greeting,
    #[error(
        "its cluster secret is another one (or only one of the two has one): set the same `cluster.secret` everywhere"
    )]
    Secret,
    #[error("that worker is gone: another one answers there")]
    Worker,
    #[error("it has too many links")]
    Full,
    #[error("it is about to end")]
    Ending,
    #[error("it refused the link for a reason that this version does not know")]
    Refused,
    #[error("the system gives no random bits: {0}")]
    Random(#[from] getrandom::Error),
}

/// Whom to connect to, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub address: Arc<str>,
    pub worker: Arc<str>,
    pub own: Arc<str>,
    pub secret: Option<ClusterSecret>,
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct Connected {
    pub reader: Reader,
    pub outbox: Arc<Outbox>,
    /// Runs the connection; to be aborted when the link has ended.
    pub connection: Aborted,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Aborted(JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a link, within bounds of time.
pub(super) async fn connect(target: &Target, settings: &PeerSettings) -> Result<Connected, ConnectError> {
    let (host, port) = host_and_port(&target.address)?;
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port)));
    let stream = stream.await.map_err(|_| ConnectError::Timeout)??;
    let _ = stream.set_nodelay(true);
    let greeted = timeout(GREETING_TIMEOUT, begin(stream, target, settings));
    greeted.await.map_err(|_| ConnectError::Timeout)?
}

async fn begin(
    stream: TcpStream,
    target: &Target,
    settings: &PeerSettings,
) -> Result<Connected, ConnectError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_interval)
        .keep_alive_timeout(settings.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX);
    let (mut requests, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let connection = Aborted(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a peer has broken");
        }
    }));
    let outbox = Arc::new(Outbox::new(settings.queued_bytes_max));
    let uri = format!("{}{PATH}", target.address.trim_end_matches('/'));
    let request = Request::builder().method(Method::POST).uri(uri).body(PeerBody::new(Arc::clone(&outbox)));
    let request = request.map_err(|_| ConnectError::Address(target.address.to_string()))?;
    let client_nonce = nonce()?;
    outbox.push_small(Kind::Hello(Hello {
        from: target.own.to_string(),
        to: target.worker.to_string(),
        nonce: Bytes::copy_from_slice(&client_nonce),
    }));
    let answer = requests.send_request(request).await?;
    if answer.status() != StatusCode::OK {
        return Err(ConnectError::Status(answer.status()));
    }
    let mut reader = Reader::new(answer.into_body());
    greet(&mut reader, &outbox, target, &client_nonce).await?;
    reader.greeted();
    Ok(Connected { reader, outbox, connection })
}

/// Shows the server that the secret is known, and has it show the same.
async fn greet(
    reader: &mut Reader,
    outbox: &Outbox,
    target: &Target,
    client_nonce: &[u8],
) -> Result<(), ConnectError> {
    let server_nonce = match reader.next().await? {
        Kind::Challenge(challenge) if challenge.nonce.len() == NONCE_BYTES => challenge.nonce,
        other => return Err(refused(other)),
    };
    let greeting =
        Greeting { from: &target.own, to: &target.worker, client_nonce, server_nonce: &server_nonce };
    let secret = target.secret.as_ref();
    let proof = Bytes::copy_from_slice(&greeting.proof(secret, Side::Client));
    outbox.push_small(Kind::Proof(Proof { proof }));
    match reader.next().await? {
        Kind::Welcome(welcome) if greeting.is_proof(secret, Side::Server, &welcome.proof) => Ok(()),
        Kind::Welcome(_) => Err(ConnectError::Secret),
        other => Err(refused(other)),
    }
}

fn refused(kind: Kind) -> ConnectError {
    let Kind::Refusal(refusal) = kind else { return ConnectError::Greeting };
    match Refusal::reason(&refusal) {
        RefusalReason::Secret => ConnectError::Secret,
        RefusalReason::Worker => ConnectError::Worker,
        RefusalReason::Full => ConnectError::Full,
        RefusalReason::Ending => ConnectError::Ending,
        RefusalReason::Other => ConnectError::Refused,
    }
}

/// Host and port of `http://host:port`.
fn host_and_port(address: &str) -> Result<(String, u16), ConnectError> {
    let wrong = || ConnectError::Address(address.to_owned());
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host(), uri.port_u16(), uri.path()) {
        (Some("http"), Some(host), Some(port), "/") if uri.query().is_none() => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let ours = [
            ("http://127.0.0.1:7420", "127.0.0.1"),
            ("http://worker-7.example:7420/", "worker-7.example"),
            ("http://[::1]:7420", "::1"),
        ];
        for (address, host) in ours {
            assert_eq!(host_and_port(address).unwrap(), (host.to_owned(), 7420), "{address}");
        }
        for wrong in [
            "",
            "127.0.0.1:7420",
            "https://a:1",
            "http://a",
            "http://a:1/b",
            "http://a:1?b",
            "http://a:99999",
        ] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }
}
