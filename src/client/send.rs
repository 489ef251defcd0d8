//! Sending, and sending again.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::error::refusal;
use super::{Client, ClientError};

/// Longest wait for a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, beyond what the call asks for.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a call is sent at most.
const TRIES_MAX: u32 = 6;
/// How often it is tried where nobody listens.
const CONNECT_TRIES_MAX: u32 = 3;
/// Pause after the first try; doubles from try to try.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest pause, also if the server asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub method: Method,
    pub url: Url,
    pub body: Option<(&'static str, Bytes)>,
    /// Sending it twice does the same as sending it once.
    pub repeatable: bool,
    /// Longest wait for the answer; none for streams.
    pub timeout: Option<Duration>,
}

impl Call {
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: None, repeatable: true, timeout: Some(ANSWER_TIMEOUT) }
    }

    /// A call that changes something, and changes nothing more when it is repeated.
    pub fn repeatable(method: Method, url: Url) -> Self {
        Self { method, url, body: None, repeatable: true, timeout: Some(ANSWER_TIMEOUT) }
    }

    /// A call whose repetition may answer otherwise.
    pub fn once(method: Method, url: Url) -> Self {
        Self { repeatable: false, ..Self::repeatable(method, url) }
    }

    pub fn with_json(mut self, value: &impl serde::Serialize) -> Self {
        let bytes = serde_json::to_vec(value).expect("requests are plain data with text keys");
        self.body = Some(("application/json", bytes.into()));
        self
    }

    pub fn with_body(mut self, content_type: &'static str, bytes: Bytes) -> Self {
        self.body = Some((content_type, bytes));
        self
    }
}

/// What became of one try.
enum Tried {
    Good(Response),
    /// Final.
    Bad(ClientError),
    /// To be tried again, after a pause that the server may have asked for.
    Again {
        error: ClientError,
        pause: Option<Duration>,
        tries_max: u32,
    },
}

impl Client {
    /// `/v1/<parts>`, each part escaped.
    pub(super) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http URL always can have segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("v1").extend(parts);
        }
        url
    }

    /// The same within the namespace.
    pub(super) fn namespace_url(&self, parts: &[&str]) -> Url {
        let mut all = vec![self.namespace.as_str()];
        all.extend(parts);
        self.url(&all)
    }

    /// Sends a call until it has an answer that counts, and gives that if it is a good one.
    pub(super) async fn send(&self, call: Call) -> Result<Response, ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_once(&call).await {
                Tried::Good(response) => return Ok(response),
                Tried::Bad(error) => return Err(error),
                Tried::Again { error, tries_max, .. } if tries >= tries_max => return Err(error),
                Tried::Again { pause, .. } => {
                    let growing = PAUSE * 2u32.pow(tries - 1);
                    tokio::time::sleep(pause.unwrap_or(growing).min(PAUSE_MAX)).await;
                }
            }
        }
    }

    /// The same, with the answer as a value.
    pub(super) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let response = self.send(call).await?;
        let body = self.read(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    async fn try_once(&self, call: &Call) -> Tried {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        if let Some(timeout) = call.timeout {
            request = request.timeout(timeout);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some((content_type, bytes)) = &call.body {
            request = request.header(CONTENT_TYPE, *content_type).body(bytes.clone());
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return self.failed(call, &error),
        };
        let status = response.status();
        if status.is_success() {
            return Tried::Good(response);
        }
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(error) => return Tried::Bad(error),
        };
        let error = refusal(&self.address, status.as_u16(), &body);
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Tried::Again { error, pause: pause.map(Duration::from_secs), tries_max: TRIES_MAX };
        }
        Tried::Bad(error)
    }

    fn failed(&self, call: &Call, error: &reqwest::Error) -> Tried {
        let address = self.address.clone();
        if error.is_connect() {
            return Tried::Again {
                error: ClientError::Unreachable { address },
                pause: None,
                tries_max: CONNECT_TRIES_MAX,
            };
        }
        if error.is_builder() {
            return Tried::Bad(ClientError::Address(format!("the request cannot be made: {error}")));
        }
        if error.is_timeout() {
            return Tried::Bad(ClientError::NoAnswer { address });
        }
        if !call.repeatable {
            return Tried::Bad(ClientError::Unknown { address });
        }
        let error = ClientError::Broken { address, message: innermost(error) };
        Tried::Again { error, pause: None, tries_max: TRIES_MAX }
    }

    /// All of an answer's body, up to the bound.
    pub(super) async fn read(&self, mut response: Response) -> Result<Bytes, ClientError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(body.into()),
                Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                    return Err(self.strange(format!("more than {ANSWER_BYTES_MAX} bytes")));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => {
                    let address = self.address.clone();
                    return Err(ClientError::Broken { address, message: innermost(&error) });
                }
            }
        }
    }

    pub(super) fn strange(&self, message: String) -> ClientError {
        ClientError::Strange { address: self.address.clone(), message }
    }
}

/// The cause of causes: what a person can act upon.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
