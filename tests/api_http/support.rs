//! A server on a port of the system's choice, and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use qdo::api::fake::Fake;
use qdo::api::{ApiSettings, PROBLEM_JSON, Problem, router, serve};
use qdo::model::view::Enqueued;
use qdo::telemetry::install_metrics;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Bound of every wait of these tests.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Server {
    pub fake: Arc<Fake>,
    pub address: SocketAddr,
    pub client: Client,
    pub shutdown: CancellationToken,
    pub ended: JoinHandle<std::io::Result<()>>,
}

pub async fn start() -> Server {
    start_with(ApiSettings::default(), Fake::default()).await
}

pub async fn start_with(settings: ApiSettings, fake: Fake) -> Server {
    let fake = Arc::new(fake);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let router = router(Arc::clone(&fake) as _, settings, install_metrics());
    let ended = tokio::spawn(serve(listener, router, shutdown.clone()));
    Server { fake, address, client: Client::new(), shutdown, ended }
}

impl Server {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).send().await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).send().await.unwrap()
    }

    /// Sends a body of that type.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> Response {
        let request = self.request(method, path).header("content-type", media_type).body(body);
        request.send().await.unwrap()
    }

    /// Enqueues one job, given as JSON.
    pub async fn enqueue(&self, queue: &str, job: &str) -> Enqueued {
        let path = format!("/v1/default/queues/{queue}/jobs");
        taken(self.send(Method::POST, &path, "application/json", job.to_owned()).await, 201).await
    }

    /// Sends bytes as they are, and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        timeout(4 * SOON, read_to_end(&mut stream)).await.expect("the server did not close in time")
    }
}

/// What comes until the server closes.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// The JSON of an answer with that status.
pub async fn taken<T: DeserializeOwned>(response: Response, status: u16) -> T {
    let got = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The problem of an answer that must be one, whole and consistent.
pub async fn problem(response: Response) -> Problem {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    assert!(status.is_client_error() || status.is_server_error(), "{status} {text}");
    assert_eq!(headers["content-type"], PROBLEM_JSON, "{status} {text}");
    let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(problem.status, status.as_u16());
    assert!(!problem.detail.is_empty() && !problem.title.is_empty());
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let seconds: u32 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!(problem.retry_after_seconds, Some(seconds));
    }
    problem
}

/// Waits until it holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, waited).await.expect("it did not come to hold in time");
}
