//! Routes about the server itself.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use metrics::counter;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{HeldBody, json_only, text_body};
use super::error::{Problem, ProblemKind};
use super::front::App;
use super::guard::Connection;
use super::parse::{InvalidRequest, Query, Value, body_text, members};
use crate::store::StoreCounters;
use crate::telemetry::names;

/// Longest path that is taken, as of Linux.
const PATH_BYTES_MAX: usize = 4_095;

/// That the server is alive, or ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// `ok`.
    pub status: String,
    /// Version of qdo.
    pub version: String,
}

fn ok() -> Json<Status> {
    Json(Status { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// What the store has done since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Calls of any kind.
    pub calls: u64,
    /// Commits written.
    pub commits: u64,
    /// Bytes of commit rows written.
    pub commit_bytes: u64,
    /// Transactions or requests that made something durable.
    pub transactions: u64,
    /// fsyncs known to the store.
    pub fsyncs: u64,
    /// Fence reads that cost a call of their own.
    pub fence_reads: u64,
}

impl From<StoreCounters> for Counters {
    fn from(counters: StoreCounters) -> Self {
        let StoreCounters { calls, commits, commit_bytes, transactions, fsyncs, fence_reads } = counters;
        Self { calls, commits, commit_bytes, transactions, fsyncs, fence_reads }
    }
}

/// Where a copy of the store goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupRequest {
    /// A new file on the server's machine, from the root: `/backup/qdo.db`.
    pub to: String,
}

/// The server is alive. Open without a token.
#[utoipa::path(get, path = "/v1/health", tag = "server",
    responses((status = 200, description = "It is", body = Status)))]
pub(super) async fn health() -> Json<Status> {
    ok()
}

/// The server takes jobs.
#[utoipa::path(get, path = "/v1/ready", tag = "server",
    responses(
        (status = 200, description = "It does", body = Status),
        (status = 503, description = "It does not, and why", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn ready(
    State(app): State<Arc<App>>,
    connection: Connection,
) -> Result<Json<Status>, Problem> {
    let unavailable = |detail: String| {
        let retry_after = std::time::Duration::from_secs(1);
        crate::worker::RequestError::Unavailable { message: detail, retry_after }.into()
    };
    if connection.shutdown.is_cancelled() {
        return Err(unavailable("the server is shutting down".to_owned()));
    }
    app.requests.ready().await.map(|()| ok()).map_err(unavailable)
}

/// Metrics, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain; version=0.0.4")))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    count_store(app.requests.store_counters());
    text_body("text/plain; version=0.0.4; charset=utf-8", app.metrics.render())
}

/// The store counts by itself; what it has counted is put beside the rest when somebody asks.
fn count_store(counters: StoreCounters) {
    counter!(names::COMMITS_TOTAL).absolute(counters.commits);
    counter!(names::COMMIT_BYTES_TOTAL).absolute(counters.commit_bytes);
    counter!(names::STORE_CALLS_TOTAL).absolute(counters.calls);
    counter!(names::STORE_TRANSACTIONS_TOTAL).absolute(counters.transactions);
    counter!(names::STORE_FSYNCS_TOTAL).absolute(counters.fsyncs);
}

/// What the store has done since the server started.
#[utoipa::path(get, path = "/v1/counters", tag = "server",
    responses((status = 200, description = "Its counters", body = Counters)))]
pub(super) async fn counters(State(app): State<Arc<App>>) -> Json<Counters> {
    Json(app.requests.store_counters().into())
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "server",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(super) async fn description(State(app): State<Arc<App>>) -> Response {
    text_body("application/json", app.openapi.clone())
}

/// Copy the store into a new file while it runs.
///
/// Only from the same machine, or with a token.
#[utoipa::path(post, path = "/v1/admin/backup", tag = "server",
    request_body = BackupRequest,
    responses(
        (status = 200, description = "The copy is complete", body = BackupRequest),
        (status = 403, description = "Not from this machine", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn backup(
    State(app): State<Arc<App>>,
    connection: Connection,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: HeldBody,
) -> Result<Json<BackupRequest>, Problem> {
    if !connection.is_local() && !app.guard.asks_for_token() {
        let detail = "a backup is made only for who is on the server's machine, or has a token";
        return Err(Problem::new(ProblemKind::LocalOnly, detail));
    }
    Query::of(query.as_deref(), &[])?;
    json_only(&headers, &body)?;
    let to = backup_path(&body.bytes)?;
    app.requests.backup(Path::new(&to)).await?;
    Ok(Json(BackupRequest { to }))
}

fn backup_path(bytes: &[u8]) -> Result<String, Problem> {
    let missing = || Problem::field("to", "is missing: send {\"to\": \"/path/of/a/new/file\"}");
    if bytes.is_empty() {
        return Err(missing());
    }
    let mut to = None;
    for (name, raw) in members(body_text(bytes)?)? {
        if name != "to" {
            return Err(InvalidRequest::unknown_field(&name, &["to"]).into());
        }
        to = Some(Value::Json(raw).text().map_err(|message| InvalidRequest::field("to", message))?);
    }
    let to = to.ok_or_else(missing)?;
    if !Path::new(&to).is_absolute() {
        return Err(Problem::field("to", "must be a path from the root"));
    }
    if to.len() > PATH_BYTES_MAX || to.contains('\0') {
        return Err(Problem::field("to", "is not a path"));
    }
    Ok(to)
}
