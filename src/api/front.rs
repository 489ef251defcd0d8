//! What every request goes through before and after its route.
//!
//! In: host and origin, token, room for one more. Out: headers, metrics, a log line; a panic in a
//! route becomes a problem. Health, readiness and metrics need no room, so that an overloaded
//! server can still be looked at.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::{Frame, SizeHint};
use metrics::{counter, gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Room;
use super::error::{Problem, ProblemKind};
use super::guard::{Connection, Guard};
use super::openapi::{documented, openapi_json};
use super::settings::ApiSettings;
use crate::telemetry::{MetricsHandle, names};
use crate::worker::Requests;

/// When to come back if too many requests are in flight.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Open without a token.
const HEALTH: &str = "/v1/health";
/// Answered also when there is no room.
const ROOMLESS: [&str; 3] = [HEALTH, "/v1/ready", "/metrics"];

/// What all routes share.
pub(super) struct App {
    pub requests: Arc<dyn Requests>,
    pub settings: ApiSettings,
    pub metrics: MetricsHandle,
    pub guard: Guard,
    pub room: Arc<Room>,
    pub openapi: Bytes,
    in_flight: Arc<Semaphore>,
}

/// All routes, on that worker.
pub fn router(requests: Arc<dyn Requests>, settings: ApiSettings, metrics: MetricsHandle) -> Router {
    let app = Arc::new(App {
        requests,
        metrics,
        guard: Guard::new(&settings.hosts, settings.token.as_deref()),
        room: Room::new(settings.bodies_bytes_max),
        openapi: openapi_json(),
        in_flight: Arc::new(Semaphore::new(settings.requests_in_flight_max.min(Semaphore::MAX_PERMITS))),
        settings,
    });
    let (routes, _) = documented().split_for_parts();
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&app), front))
        .with_state(app)
}

async fn no_route() -> Problem {
    Problem::new(ProblemKind::NoRoute, "there is no such route: see /v1/openapi.json")
}

async fn no_method(method: Method) -> Problem {
    let detail = format!("{method} is not a method of this route: see the Allow header");
    Problem::new(ProblemKind::MethodNotAllowed, detail)
}

async fn front(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", |path| path.as_str());
    let mut response = match admit(&app, route, &request) {
        Ok(permit) => {
            let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            let response = answered.unwrap_or_else(|_| {
                tracing::error!(%method, route, "a request handler panicked");
                Problem::new(ProblemKind::Internal, "a bug in qdo: its log says more").into_response()
            });
            response.map(|body| Body::new(InFlight { body, _permit: permit }))
        }
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let (status, seconds) = (response.status().as_u16(), started.elapsed().as_secs_f64());
    tracing::debug!(%method, route, status, seconds, "answered");
    let route = route.to_owned();
    histogram!(names::HTTP_REQUEST_SECONDS, "route" => route.clone()).record(seconds);
    let labels = [("method", known(&method).to_owned()), ("route", route), ("status", status.to_string())];
    counter!(names::HTTP_REQUESTS_TOTAL, &labels).increment(1);
    response
}

/// Lets a request in, or says why not.
fn admit(app: &App, route: &str, request: &Request) -> Result<Option<Permit>, Problem> {
    let unknown = Connection::default();
    let connection = request.extensions().get::<Connection>().unwrap_or(&unknown);
    app.guard.check_site(request.uri(), request.headers(), connection)?;
    if route != HEALTH {
        app.guard.check_token(request.headers())?;
    }
    if ROOMLESS.contains(&route) {
        return Ok(None);
    }
    match Arc::clone(&app.in_flight).try_acquire_owned() {
        Ok(permit) => Ok(Some(Permit::new(permit))),
        Err(_) => {
            let most = app.settings.requests_in_flight_max;
            Err(Problem::overloaded(
                format!("{most} requests are being worked on, which is the most"),
                RETRY_AFTER,
            ))
        }
    }
}

/// The method as a label: only known ones, since anybody can invent others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// A request's place among those in flight.
struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Permit {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        gauge!(names::HTTP_REQUESTS_IN_FLIGHT).increment(1);
        Self { _permit: permit }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        gauge!(names::HTTP_REQUESTS_IN_FLIGHT).decrement(1);
    }
}

/// The body of an answer: its request is in flight until the last byte was taken.
struct InFlight {
    body: Body,
    _permit: Option<Permit>,
}

impl HttpBody for InFlight {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
