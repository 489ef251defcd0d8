//! Routes about jobs.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{HeldBody, json_only, text_body};
use super::error::Problem;
use super::extract::{JobPath, QueuePath};
use super::front::App;
use super::guard::Connection;
use super::parse::{InvalidRequest, Query, Value, body_text, members, span_of_text};
use crate::model::check::nearest;
use crate::model::limits::{PAGE_MAX, WAIT_MS_MAX};
use crate::model::view::{HistoryEvent, JobPage, JobView};
use crate::model::{JobState, Lane};
use crate::worker::{JobCommand, JobFilter};

/// Jobs of a page, if the request does not say.
const PAGE_DEFAULT: u64 = 100;

/// Another lane for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriorityRequest {
    /// 9 (first) … 1.
    #[schema(minimum = 1, maximum = 9)]
    pub priority: u8,
}

/// List the jobs of a queue.
#[utoipa::path(
    get, path = "/v1/{namespace}/queues/{queue}/jobs", tag = "jobs", operation_id = "list_jobs",
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
    get, path = "/v1/{namespace}/jobs/{id}", tag = "jobs", operation_id = "show_job",
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
    get, path = "/v1/{namespace}/jobs/{id}/output", tag = "jobs", operation_id = "job_output",
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
    let follow = query.flag("follow")?;
    let stream = app.requests.output(&path.namespace, path.id, attempt, follow).await?;
    if !follow {
        return Ok(text_body("text/plain; charset=utf-8", Body::from_stream(stream)));
    }
    let ended = async move { connection.shutdown.cancelled().await };
    let stream = stream.take_until(Box::pin(ended));
    Ok(text_body("text/plain; charset=utf-8", Body::from_stream(stream)))
}

/// What happened to a job, oldest first.
#[utoipa::path(
    get, path = "/v1/{namespace}/jobs/{id}/history", tag = "jobs", operation_id = "job_history",
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
    post, path = "/v1/{namespace}/jobs/{id}/cancel", tag = "jobs", operation_id = "cancel_job",
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
    post, path = "/v1/{namespace}/jobs/{id}/retry", tag = "jobs", operation_id = "retry_job",
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
    post, path = "/v1/{namespace}/jobs/{id}/run-now", tag = "jobs", operation_id = "run_job_now",
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
    post, path = "/v1/{namespace}/jobs/{id}/priority", tag = "jobs", operation_id = "set_job_priority",
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
    delete, path = "/v1/{namespace}/jobs/{id}", tag = "jobs", operation_id = "delete_job",
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
