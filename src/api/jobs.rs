//! Routes about jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{HeldBody, json_only, media_type, text_body};
use super::error::{Problem, ProblemKind};
use super::extract::{JobPath, QueuePath};
use super::front::App;
use super::guard::Connection;
use super::parse::{
    InvalidRequest, Query, Value, body_text, members, parse_job, parse_ndjson, parse_query, raw_payload_hint,
    span_of_text,
};
use crate::model::check::nearest;
use crate::model::limits::{PAGE_MAX, WAIT_MS_MAX};
use crate::model::view::{Enqueued, HistoryEvent, JobPage, JobView};
use crate::model::{Backoff, JobState, Lane, NewJob};
use crate::worker::{JobCommand, JobFilter};

/// Bodies above this are parsed apart from the threads that answer.
const PARSED_IN_PLACE_BYTES_MAX: usize = 64 << 10;
/// Jobs of a page, if the request does not say.
const PAGE_DEFAULT: u64 = 100;

/// A job to be enqueued, as JSON. `null` is the same as leaving a field out, except for `payload`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnqueueRequest {
    /// Which handler runs it.
    pub kind: String,
    /// The payload: any JSON, kept byte for byte as it is written here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
    /// The payload in base64, if it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the payload is; `application/json` with `payload`, else `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Jobs of one key go to one partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// 9 (first) … 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 9, default = 5)]
    pub priority: Option<u8>,
    /// Due so long after it is enqueued: `30s`, or a number of seconds. Not with `run_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// When it is due; a past time means now. Not with `delay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub run_at: Option<String>,
    /// Not to be started after. A past time is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub deadline: Option<String>,
    /// Longest run of one attempt: `5m`, or a number of seconds. Default: the queue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Failed attempts until the job has failed. Default: the queue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_attempts: Option<u32>,
    /// Delays between attempts. Default: the queue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Idempotency token: a repetition within ten minutes answers the first one's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Handed to the handler.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Answer to an NDJSON enqueue: one entry per job, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnqueuedMany {
    /// The jobs.
    pub jobs: Vec<Enqueued>,
}

/// Another lane for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriorityRequest {
    /// 9 (first) … 1.
    #[schema(minimum = 1, maximum = 9)]
    pub priority: u8,
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Enqueue one job or many.
///
/// A JSON object is one job. `application/x-ndjson` (or `application/jsonl`) is many, one object a
/// line: all or none are enqueued. Any other content type is a raw payload, with the options in
/// the query (`?kind=…&priority=9&tags=a&tags=b&backoff.base=5s&headers.NAME=value`). The answer
/// comes when the jobs are durable.
#[utoipa::path(
    post, path = "/v1/{namespace}/queues/{queue}/jobs", tag = "jobs",
    params(("namespace" = String, Path), ("queue" = String, Path),
        ("kind" = Option<String>, Query, description = "For a raw payload: which handler runs it. All fields of the JSON form but the payload can be given alike.")),
    request_body(content(
        (EnqueueRequest = "application/json"),
        (String = "application/x-ndjson"),
        (Vec<u8> = "application/octet-stream"),
    )),
    responses(
        (status = 201, description = "Enqueued and durable; `EnqueuedMany` for NDJSON", content(
            (Enqueued = "application/json"), (EnqueuedMany = "application/json; form=ndjson"))),
        (status = "4XX", description = "Nothing was enqueued", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Come back later", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn enqueue(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: HeldBody,
) -> Result<Response, Problem> {
    let media_type = media_type(&headers)?;
    let form = match media_type.as_str() {
        "application/json" => Form::Json,
        "application/x-ndjson" | "application/jsonl" => Form::Ndjson,
        _ => Form::Raw { content_type: content_type(&headers, &media_type), query: query.clone() },
    };
    let many = matches!(form, Form::Ndjson);
    if !matches!(form, Form::Raw { .. }) {
        Query::of(query.as_deref(), &[])?;
    }
    let jobs = parse(form, &body).await?;
    let enqueued = app.requests.enqueue(&path.namespace, &path.queue, jobs).await?;
    if many {
        return Ok((StatusCode::CREATED, Json(EnqueuedMany { jobs: enqueued })).into_response());
    }
    let first = enqueued
        .into_iter()
        .next()
        .ok_or_else(|| Problem::new(ProblemKind::Internal, "a bug in qdo: no answer for the job"))?;
    let location = HeaderValue::try_from(format!("/v1/{}/jobs/{}", path.namespace, first.id));
    let mut response = (StatusCode::CREATED, Json(first)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// How jobs are written in a body.
enum Form {
    Json,
    Ndjson,
    Raw { content_type: String, query: Option<String> },
}

fn content_type(headers: &HeaderMap, media_type: &str) -> String {
    let whole = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match whole {
        Some(whole) if !media_type.is_empty() => whole.trim().to_owned(),
        _ => "application/octet-stream".to_owned(),
    }
}

async fn parse(form: Form, body: &HeldBody) -> Result<Vec<NewJob>, Problem> {
    let bytes = body.bytes.clone();
    let work = move || match form {
        Form::Json => parse_job(&bytes, now_ms()).map(|job| vec![job]),
        Form::Ndjson => parse_ndjson(&bytes, now_ms()),
        Form::Raw { content_type, query } => {
            parse_query(query.as_deref().unwrap_or_default(), &content_type, bytes, now_ms())
                .map(|job| vec![job])
                .map_err(|wrong| raw_payload_hint(wrong, &content_type))
        }
    };
    if body.bytes.len() <= PARSED_IN_PLACE_BYTES_MAX {
        return Ok(work()?);
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(parsed) => Ok(parsed?),
        Err(_) => Err(Problem::new(ProblemKind::Internal, "a bug in qdo: its log says more")),
    }
}

/// List the jobs of a queue.
#[utoipa::path(
    get, path = "/v1/{namespace}/queues/{queue}/jobs", tag = "jobs",
    params(("namespace" = String, Path), ("queue" = String, Path),
        ("state" = Option<JobState>, Query, description = "Only in that state"),
        ("kind" = Option<String>, Query, description = "Only of that kind"),
        ("limit" = Option<u32>, Query, description = "Jobs of a page, 1 … 1000; default 100"),
        ("cursor" = Option<String>, Query, description = "The `cursor` of the page before"),
        ("order" = Option<String>, Query, description = "`asc` (oldest first, default) or `desc`")),
    responses(
        (status = 200, description = "A page", body = JobPage),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobPage>, Problem> {
    let query = Query::of(query.as_deref(), &["state", "kind", "limit", "cursor", "order"])?;
    let filter = JobFilter {
        state: query.text("state").map(state_named).transpose()?,
        kind: query.text("kind").map(str::to_owned),
        newest_first: match query.text("order") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(Problem::field("order", "must be asc or desc")),
        },
    };
    let limit = query.whole("limit", 1, PAGE_MAX as u64)?.unwrap_or(PAGE_DEFAULT);
    let cursor = query.text("cursor").filter(|cursor| !cursor.is_empty()).map(str::to_owned);
    Ok(Json(app.requests.jobs(&path.namespace, &path.queue, filter, cursor, limit as usize).await?))
}

fn state_named(text: &str) -> Result<JobState, Problem> {
    JobState::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
        let names = JobState::ALL.map(JobState::name);
        Problem::field("state", &format!("is not a state: {}", nearest(text, &names)))
    })
}

/// All about one job; with `wait`, once it is final.
#[utoipa::path(
    get, path = "/v1/{namespace}/jobs/{id}", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path),
        ("wait" = Option<String>, Query, description = "Answer when the job is final, or as it is after so long: `30s`, at most `5m`")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 404, description = "No such job", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "Past its retention, or deleted", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
    connection: Connection,
) -> Result<Json<JobView>, Problem> {
    let query = Query::of(query.as_deref(), &["wait"])?;
    let Some(wait) = query.text("wait") else {
        return Ok(Json(app.requests.job(&path.namespace, path.id).await?));
    };
    let wait_ms = span_of_text(wait).map_err(|message| InvalidRequest::field("wait", message))?.ms;
    if wait_ms > WAIT_MS_MAX {
        return Err(Problem::field("wait", "is longer than 5m: ask again after that"));
    }
    let job = tokio::select! {
        job = app.requests.wait(&path.namespace, path.id, Duration::from_millis(wait_ms)) => job?,
        () = connection.shutdown.cancelled() => app.requests.job(&path.namespace, path.id).await?,
    };
    Ok(Json(job))
}

/// Captured output of an attempt.
#[utoipa::path(
    get, path = "/v1/{namespace}/jobs/{id}/output", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path),
        ("attempt" = Option<u32>, Query, description = "Of that attempt; default the latest"),
        ("follow" = Option<bool>, Query, description = "Go on until the attempt ends")),
    responses(
        (status = 200, description = "The output, as it was written", body = String, content_type = "text/plain"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn output(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
    connection: Connection,
) -> Result<Response, Problem> {
    let query = Query::of(query.as_deref(), &["attempt", "follow"])?;
    let attempt =
        query.whole("attempt", 1, u64::from(u32::MAX))?.and_then(|number| u32::try_from(number).ok());
    let stream = app.requests.output(&path.namespace, path.id, attempt, query.flag("follow")?).await?;
    let ended = async move { connection.shutdown.cancelled().await };
    let stream = stream.take_until(Box::pin(ended));
    Ok(text_body("text/plain; charset=utf-8", Body::from_stream(stream)))
}

/// What happened to a job, oldest first.
#[utoipa::path(
    get, path = "/v1/{namespace}/jobs/{id}/history", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "Its events", body = Vec<HistoryEvent>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<HistoryEvent>>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.history(&path.namespace, path.id).await?))
}

async fn command(
    app: &App,
    path: JobPath,
    query: Option<String>,
    command: JobCommand,
) -> Result<Json<JobView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.command(&path.namespace, path.id, command).await?))
}

/// End a job, in any state that is not final; a running attempt is ended too.
#[utoipa::path(
    post, path = "/v1/{namespace}/jobs/{id}/cancel", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 409, description = "It is final", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    command(&app, path, query, JobCommand::Cancel).await
}

/// Run a failed or cancelled job again, under its id.
#[utoipa::path(
    post, path = "/v1/{namespace}/jobs/{id}/retry", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 409, description = "It has not failed", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    command(&app, path, query, JobCommand::Retry).await
}

/// Make a scheduled job due now.
#[utoipa::path(
    post, path = "/v1/{namespace}/jobs/{id}/run-now", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 409, description = "It is not scheduled", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run_now(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    command(&app, path, query, JobCommand::RunNow).await
}

/// Put a job into another lane.
#[utoipa::path(
    post, path = "/v1/{namespace}/jobs/{id}/priority", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path)),
    request_body = PriorityRequest,
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = 409, description = "It is running or final", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn priority(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: HeldBody,
) -> Result<Json<JobView>, Problem> {
    json_only(&headers, &body)?;
    let mut lane = None;
    if !body.bytes.is_empty() {
        for (name, raw) in members(body_text(&body.bytes)?)? {
            if name != "priority" {
                return Err(InvalidRequest::unknown_field(&name, &["priority"]).into());
            }
            let number = Value::Json(raw).whole(1, Lane::COUNT as u64);
            lane = u8::try_from(number.map_err(|message| InvalidRequest::field("priority", message))?).ok();
        }
    }
    let lane = lane.ok_or_else(|| Problem::field("priority", "is missing: send {\"priority\": 1 to 9}"))?;
    command(&app, path, query, JobCommand::SetPriority(lane)).await
}

/// Cancel a job if it is open, and forget it.
#[utoipa::path(
    delete, path = "/v1/{namespace}/jobs/{id}", tag = "jobs",
    params(("namespace" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "The job as it was last", body = JobView),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    path: JobPath,
    RawQuery(query): RawQuery,
) -> Result<Json<JobView>, Problem> {
    command(&app, path, query, JobCommand::Delete).await
}
