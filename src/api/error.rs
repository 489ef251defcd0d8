//! What goes wrong, as HTTP: one place that makes `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parse::{Fault, InvalidRequest};
use crate::model::check::Wrong;
use crate::worker::RequestError;

/// Sorts of problems. `docs/http-api.md` has a section for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The request breaks a rule.
    Invalid,
    /// It asks for something that is not built yet.
    NotSupported,
    /// No token, or a wrong one.
    Unauthorized,
    /// The `Host` is not one of ours.
    ForeignHost,
    /// The `Origin` is another site.
    ForeignOrigin,
    /// Only for who is on the same machine, or has a token.
    LocalOnly,
    /// There is no such job, queue or namespace.
    NotFound,
    /// There is no such route.
    NoRoute,
    /// The route has no such method.
    MethodNotAllowed,
    /// The body came too slowly.
    Timeout,
    /// It is not in a state for that.
    Conflict,
    /// It is past its retention, or deleted.
    Gone,
    /// A body or payload over its bound.
    TooLarge,
    /// A body of a type that is not taken here.
    UnsupportedMediaType,
    /// A bound on work is reached.
    Overloaded,
    /// A bug.
    Internal,
    /// The store or the owner is away.
    Unavailable,
}

impl ProblemKind {
    /// Every sort, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::Invalid,
        Self::NotSupported,
        Self::Unauthorized,
        Self::ForeignHost,
        Self::ForeignOrigin,
        Self::LocalOnly,
        Self::NotFound,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::Gone,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Overloaded,
        Self::Internal,
        Self::Unavailable,
    ];

    /// Its `type`, its status, its `title`.
    pub fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Invalid => ("/problems/invalid", StatusCode::BAD_REQUEST, "invalid request"),
            Self::NotSupported => ("/problems/not-supported", StatusCode::BAD_REQUEST, "not supported yet"),
            Self::Unauthorized => ("/problems/unauthorized", StatusCode::UNAUTHORIZED, "token needed"),
            Self::ForeignHost => ("/problems/foreign-host", StatusCode::FORBIDDEN, "unknown host name"),
            Self::ForeignOrigin => ("/problems/foreign-origin", StatusCode::FORBIDDEN, "foreign origin"),
            Self::LocalOnly => ("/problems/local-only", StatusCode::FORBIDDEN, "only from this machine"),
            Self::NotFound => ("/problems/not-found", StatusCode::NOT_FOUND, "not found"),
            Self::NoRoute => ("/problems/no-route", StatusCode::NOT_FOUND, "no such route"),
            Self::MethodNotAllowed => {
                ("/problems/method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            Self::Timeout => ("/problems/timeout", StatusCode::REQUEST_TIMEOUT, "body came too slowly"),
            Self::Conflict => ("/problems/conflict", StatusCode::CONFLICT, "conflict"),
            Self::Gone => ("/problems/gone", StatusCode::GONE, "gone"),
            Self::TooLarge => ("/problems/too-large", StatusCode::PAYLOAD_TOO_LARGE, "too large"),
            Self::UnsupportedMediaType => (
                "/problems/unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported media type",
            ),
            Self::Overloaded => ("/problems/overloaded", StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            Self::Internal => ("/problems/internal", StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            Self::Unavailable => ("/problems/unavailable", StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

/// The body of every answer that is an error: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Which sort of problem, as a relative URI.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "/problems/invalid")]
    pub kind: Cow<'static, str>,
    /// That sort in words.
    #[schema(value_type = String, example = "invalid request")]
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with what, and what to do.
    pub detail: String,
    /// The field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The line of an NDJSON body that is wrong, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Seconds until it is worth another try, also in the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

impl Problem {
    /// A problem of that sort, with a sentence.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (uri, status, title) = kind.facts();
        Self {
            kind: uri.into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            line: None,
            retry_after_seconds: None,
        }
    }

    /// One field is wrong.
    pub fn field(field: &str, message: &str) -> Self {
        InvalidRequest::field(field, message).into()
    }

    /// A bound is reached.
    pub fn overloaded(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(ProblemKind::Overloaded, detail).after(retry_after)
    }

    fn after(mut self, wait: Duration) -> Self {
        // Whole seconds, rounded up, so that nobody comes back too early or at once.
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.retry_after_seconds = Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX));
        self
    }
}

impl From<InvalidRequest> for Problem {
    fn from(wrong: InvalidRequest) -> Self {
        let kind = match wrong.fault {
            Fault::Invalid => ProblemKind::Invalid,
            Fault::TooLarge => ProblemKind::TooLarge,
            Fault::NotSupported => ProblemKind::NotSupported,
        };
        let line = wrong.line.and_then(|line| u32::try_from(line).ok());
        Self { field: wrong.field, line, ..Self::new(kind, wrong.message) }
    }
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        InvalidRequest::from(wrong).into()
    }
}

/// When to come back to a partition that is on its way to another worker.
const MOVED_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotFound(detail) => Self::new(ProblemKind::NotFound, detail),
            RequestError::Gone(detail) => Self::new(ProblemKind::Gone, detail),
            RequestError::Conflict(detail) => Self::new(ProblemKind::Conflict, detail),
            RequestError::Invalid { field, message } => {
                Self { field, ..Self::new(ProblemKind::Invalid, message) }
            }
            RequestError::Moved(detail) => Self::new(ProblemKind::Unavailable, detail).after(MOVED_RETRY),
            RequestError::Overloaded { message, retry_after } => Self::overloaded(message, retry_after),
            RequestError::Unavailable { message, retry_after } => {
                Self::new(ProblemKind::Unavailable, message).after(retry_after)
            }
        }
    }
}

/// Content type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let mut put = |name: HeaderName, value: HeaderValue| headers.insert(name, value);
        put(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_seconds {
            put(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            put(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"qdo\""));
        }
        response
    }
}
