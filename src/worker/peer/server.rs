//! Connections from other workers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::frame::{Challenge, Hello, Kind, Proof, Refusal, RefusalReason};
use super::limits::{
    GREETING_TIMEOUT, GREETINGS_MAX, HEADERS_BYTES_MAX, HTTP_FRAME_BYTES_MAX, STREAM_WINDOW_BYTES,
    WORKER_ID_BYTES_MAX,
};
use super::outbox::{Outbox, PeerBody};
use super::reader::{ReadError, Reader};
use super::secret::{ClusterSecret, Greeting, NONCE_BYTES, Side, nonce};
use super::seldom::Seldom;
use super::serving::{PeerService, ServerLink, Serving};
use super::{PATH, PeerSettings};
use crate::coordination::WorkerId;

/// Lets other workers in. Cheap to clone.
#[derive(Clone)]
pub struct PeerServer {
    shared: Arc<Shared>,
}

struct Shared {
    secret: Option<ClusterSecret>,
    own: WorkerId,
    serving: Arc<Serving>,
    links: Arc<Semaphore>,
    greetings: Arc<Semaphore>,
    complaints: Seldom,
}

/// Why a link was not let in.
#[derive(Debug, thiserror::Error)]
enum GreetError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it sent something else than a greeting")]
    Greeting,
    #[error("its cluster secret is another one (or only one of the two has one)")]
    Secret,
    #[error("it wants another worker, which was here before")]
    Worker,
    #[error("there are too many links")]
    Full,
    #[error("this worker is about to end")]
    Ending,
    #[error("the system gives no random bits: {0}")]
    Random(#[from] getrandom::Error),
}

/// A link that was let in.
struct Greeted {
    from: WorkerId,
    place: OwnedSemaphorePermit,
}

/// What is done with a connection when its link has ended.
enum After {
    /// What was said last is written, within a bound.
    Flush,
    /// It is dropped.
    Cut,
}

/// The body of the request that makes a link, and what its answer's body is written from.
struct Begun {
    incoming: Incoming,
    outbox: Arc<Outbox>,
}

impl PeerServer {
    /// One that serves calls for that worker.
    pub fn new(
        secret: Option<ClusterSecret>,
        own: WorkerId,
        service: Arc<dyn PeerService>,
        settings: PeerSettings,
    ) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            secret,
            own,
            links: semaphore(settings.links_max),
            greetings: semaphore(GREETINGS_MAX),
            complaints: Seldom::default(),
            serving: Arc::new(Serving { service, room: semaphore(settings.served_bytes_max), settings }),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves one connection that speaks HTTP/2, until it ends. When `shutdown` fires, calls that are
    /// being served get a bounded time.
    pub async fn connection<IO>(&self, io: IO, from: Option<SocketAddr>, shutdown: CancellationToken)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(greeting) = Arc::clone(&self.shared.greetings).try_acquire_owned() else {
            tracing::debug!("a connection of a peer was dropped: too many are being made");
            return;
        };
        let settings = &self.shared.serving.settings;
        let (begun, begins) = oneshot::channel();
        let begun = Mutex::new(Some(begun));
        let service = service_fn(|request| {
            let answer = answer(request, &begun, settings);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(settings.ping_timeout)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES)
            .max_frame_size(HTTP_FRAME_BYTES_MAX)
            .max_header_list_size(HEADERS_BYTES_MAX)
            .max_concurrent_streams(1);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        let mut link = std::pin::pin!(self.link(begins, greeting, from, &shutdown));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            after = link.as_mut() => match after {
                After::Flush => {
                    connection.as_mut().graceful_shutdown();
                    timeout(GREETING_TIMEOUT, connection).await.unwrap_or(Ok(()))
                }
                After::Cut => return,
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of a peer ended early");
        }
    }

    /// Runs the one link of a connection.
    async fn link(
        &self,
        begins: oneshot::Receiver<Begun>,
        greeting: OwnedSemaphorePermit,
        peer: Option<SocketAddr>,
        shutdown: &CancellationToken,
    ) -> After {
        let greeted = async {
            let begun = begins.await.map_err(|_| ReadError::Ended)?;
            let mut reader = Reader::new(begun.incoming);
            let greeted = self.greet(&mut reader, &begun.outbox, shutdown).await;
            if let Err(error) = &greeted {
                begun.outbox.push_small(Kind::Refusal(Refusal { reason: error.reason().into() }));
                begun.outbox.finish();
            }
            greeted.map(|greeted| (greeted, reader, begun.outbox))
        };
        let greeted = tokio::select! {
            greeted = timeout(GREETING_TIMEOUT, greeted) => greeted,
            () = shutdown.cancelled() => return After::Cut,
        };
        drop(greeting);
        let (Greeted { from, place }, mut reader, outbox) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => {
                self.complain(&error, peer);
                return After::Flush;
            }
            Err(_) => {
                tracing::debug!(?peer, "a peer did not greet in time");
                return After::Cut;
            }
        };
        reader.greeted();
        tracing::debug!(%from, ?peer, "linked from a worker");
        let link = ServerLink::new(Arc::clone(&from), Arc::clone(&self.shared.serving), outbox);
        let why = link.run(reader, shutdown).await;
        drop(place);
        tracing::debug!(%from, why, "the link from a worker has ended");
        After::Flush
    }

    /// Has the client show that it knows the secret, and shows it the same.
    async fn greet(
        &self,
        reader: &mut Reader,
        outbox: &Outbox,
        shutdown: &CancellationToken,
    ) -> Result<Greeted, GreetError> {
        let secret = self.shared.secret.as_ref();
        let Kind::Hello(Hello { from, to, nonce: client_nonce }) = reader.next().await? else {
            return Err(GreetError::Greeting);
        };
        let is_id = |id: &str| (1..=WORKER_ID_BYTES_MAX).contains(&id.len());
        if !is_id(&from) || !is_id(&to) || client_nonce.len() != NONCE_BYTES {
            return Err(GreetError::Greeting);
        }
        let server_nonce = nonce()?;
        outbox.push_small(Kind::Challenge(Challenge { nonce: Bytes::copy_from_slice(&server_nonce) }));
        let greeting =
            Greeting { from: &from, to: &to, client_nonce: &client_nonce, server_nonce: &server_nonce };
        let Kind::Proof(Proof { proof }) = reader.next().await? else { return Err(GreetError::Greeting) };
        if !greeting.is_proof(secret, Side::Client, &proof) {
            return Err(GreetError::Secret);
        }
        if *to != *self.shared.own {
            return Err(GreetError::Worker);
        }
        if shutdown.is_cancelled() {
            return Err(GreetError::Ending);
        }
        let place = Arc::clone(&self.shared.links).try_acquire_owned().map_err(|_| GreetError::Full)?;
        let proof = Bytes::copy_from_slice(&greeting.proof(secret, Side::Server));
        outbox.push_small(Kind::Welcome(Proof { proof }));
        Ok(Greeted { from: from.into(), place })
    }

    fn complain(&self, error: &GreetError, peer: Option<SocketAddr>) {
        match error {
            GreetError::Read(_) | GreetError::Worker | GreetError::Ending => {
                tracing::debug!(?peer, %error, "a peer was not let in");
            }
            _ if self.shared.complaints.may() => {
                tracing::warn!(?peer, %error, "a peer was not let in");
            }
            _ => {}
        }
    }
}

impl GreetError {
    fn reason(&self) -> RefusalReason {
        match self {
            Self::Secret => RefusalReason::Secret,
            Self::Worker => RefusalReason::Worker,
            Self::Full => RefusalReason::Full,
            Self::Ending => RefusalReason::Ending,
            Self::Read(_) | Self::Greeting | Self::Random(_) => RefusalReason::Other,
        }
    }
}

/// Answers the request that makes the link of a connection. There is nothing else here.
fn answer(
    request: Request<Incoming>,
    begun: &Mutex<Option<oneshot::Sender<Begun>>>,
    settings: &PeerSettings,
) -> Response<PeerBody> {
    let refuse = |status| {
        let mut response = Response::new(PeerBody::default());
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != PATH {
        return refuse(StatusCode::NOT_FOUND);
    }
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(begun) = begun.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return refuse(StatusCode::CONFLICT);
    };
    let outbox = Arc::new(Outbox::new(settings.queued_bytes_max));
    let response = Response::new(PeerBody::new(Arc::clone(&outbox)));
    match begun.send(Begun { incoming: request.into_body(), outbox }) {
        Ok(()) => response,
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE),
    }
}
