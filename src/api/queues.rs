//! Routes about queues.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value as Tree};
use utoipa::ToSchema;

use super::body::{HeldBody, json_only};
use super::error::{Problem, ProblemKind};
use super::extract::{NamespacePath, QueuePath};
use super::front::App;
use super::parse::{InvalidRequest, Query, Value, body_text, members};
use crate::model::limits::QUEUES_PAGE_MAX;
use crate::model::view::{Affected, QueuePage, QueueView};
use crate::model::{Backoff, PartitionId, QueueSettings, Span, check};
use crate::worker::DeleteQueue;

/// Queues of a page, if the request does not say.
const PAGE_DEFAULT: u64 = 100;

/// Settings of a queue, and its partitions. What is left out is as the server is configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueRequest {
    /// Failed attempts until a job has failed.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Delays between attempts; what is left out in it is as configured.
    #[schema(value_type = Option<Backoff>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Interrupted attempts (their runner died) until a job has failed; counted apart.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interruptions: Option<u32>,
    /// Longest run of one attempt; 0s is unlimited.
    #[schema(value_type = Option<String>, example = "15m")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long finished jobs can be looked at, at least.
    #[schema(value_type = Option<String>, example = "3d")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
    /// How many finished jobs of a partition are kept at least; 0 is no such bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_count: Option<u64>,
    /// How long failed jobs are kept; 0s is until they are retried or cleared.
    #[schema(value_type = Option<String>, example = "30d")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_retention: Option<Span>,
    /// Jobs that may wait; an enqueue beyond it is refused; 0 is no such bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_max: Option<u64>,
    /// Classes of errors (`timeout`, `signal`, or a handler's own) after which a job is not tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub give_up_on: Option<Vec<String>>,
    /// Partitions of its group, at its creation; a different number later is a conflict.
    #[schema(minimum = 1, maximum = 4096)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u16>,
}

impl QueueRequest {
    /// All of those settings.
    pub fn of(settings: QueueSettings, partitions: Option<u16>) -> Self {
        Self {
            max_attempts: Some(settings.max_attempts),
            backoff: Some(settings.backoff),
            max_interruptions: Some(settings.max_interruptions),
            timeout: Some(settings.timeout),
            retention: Some(settings.retention),
            retention_count: Some(settings.retention_count),
            failed_retention: Some(settings.failed_retention),
            backlog_max: Some(settings.backlog_max),
            give_up_on: Some(settings.give_up_on),
            partitions,
        }
    }
}

/// The settings and partitions of a body. What is left out is as in `defaults`.
fn parse_queue(bytes: &[u8], defaults: &QueueSettings) -> Result<(QueueSettings, Option<u16>), Problem> {
    let internal = || Problem::new(ProblemKind::Internal, "a bug in qdo: settings can't be written as JSON");
    let Ok(Tree::Object(mut tree)) = serde_json::to_value(defaults) else { return Err(internal()) };
    let mut partitions = None;
    let body = if bytes.trim_ascii().is_empty() { "{}" } else { body_text(bytes)? };
    for (name, raw) in members(body)? {
        if name != "partitions" {
            overlay(&mut tree, "", &name, raw.get())?;
        } else if raw.get() != "null" {
            let most = u64::from(PartitionId::INDEX_MAX) + 1;
            let number =
                Value::Json(raw).whole(1, most).map_err(|message| InvalidRequest::field(&name, message))?;
            partitions = u16::try_from(number).ok();
        }
    }
    let settings: QueueSettings = serde_path_to_error::deserialize(Tree::Object(tree)).map_err(|error| {
        let path = error.path().to_string();
        Problem::from(InvalidRequest::field(&path, format!("is wrong: {}", error.inner())))
    })?;
    check::queue_settings(&settings)?;
    Ok((settings, partitions))
}

/// Puts one member over its default; objects member by member.
fn overlay(tree: &mut Map<String, Tree>, prefix: &str, name: &str, json: &str) -> Result<(), InvalidRequest> {
    let path = format!("{prefix}{name}");
    let known: Vec<String> = tree.keys().cloned().collect();
    let Some(slot) = tree.get_mut(name) else {
        let known: Vec<&str> = known.iter().map(String::as_str).chain(["partitions"]).collect();
        return Err(InvalidRequest::unknown_field(&path, &known));
    };
    match slot {
        _ if json == "null" => {}
        Tree::Object(inner) if json.starts_with('{') => {
            for (member, raw) in members(json)? {
                overlay(inner, &format!("{path}."), &member, raw.get())?;
            }
        }
        slot => {
            *slot = serde_json::from_str(json)
                .map_err(|_| InvalidRequest::field(&path, format!("can't be {}", check::shortened(json))))?;
        }
    }
    Ok(())
}

/// Create a queue, or change its settings.
///
/// The body is the whole of the settings: what is left out is set to its default.
#[utoipa::path(
    put, path = "/v1/{namespace}/queues/{queue}", tag = "queues", operation_id = "put_queue",
    params(("namespace" = String, Path), ("queue" = String, Path)),
    request_body = QueueRequest,
    responses(
        (status = 200, description = "The queue as it is now", body = QueueView),
        (status = 409, description = "Partitions can't be changed", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: HeldBody,
) -> Result<Json<QueueView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    json_only(&headers, &body)?;
    let (settings, partitions) = parse_queue(&body.bytes, &app.requests.queue_defaults())?;
    Ok(Json(app.requests.put_queue(&path.namespace, &path.queue, settings, partitions).await?))
}

/// One queue: settings, counts per state, age of the oldest waiting job, rates of the last minute.
#[utoipa::path(
    get, path = "/v1/{namespace}/queues/{queue}", tag = "queues", operation_id = "show_queue",
    params(("namespace" = String, Path), ("queue" = String, Path)),
    responses(
        (status = 200, description = "The queue", body = QueueView),
        (status = 404, description = "No such queue", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
) -> Result<Json<QueueView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.queue(&path.namespace, &path.queue).await?))
}

/// Delete a queue. One with jobs only with `force` or `move_to`.
#[utoipa::path(
    delete, path = "/v1/{namespace}/queues/{queue}", tag = "queues", operation_id = "delete_queue",
    params(("namespace" = String, Path), ("queue" = String, Path),
        ("force" = Option<bool>, Query, description = "With all its jobs"),
        ("move_to" = Option<String>, Query, description = "Open and failed jobs go to that queue")),
    responses(
        (status = 200, description = "How many jobs were ended or moved", body = Affected),
        (status = 409, description = "It has jobs", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
) -> Result<Json<Affected>, Problem> {
    let query = Query::of(query.as_deref(), &["force", "move_to"])?;
    let how = match (query.flag("force")?, query.text("move_to")) {
        (true, Some(_)) => return Err(Problem::field("move_to", "can't be given together with `force`")),
        (true, None) => DeleteQueue::Force,
        (false, None) => DeleteQueue::IfEmpty,
        (false, Some(other)) => {
            check::name("move_to", other)?;
            if other == path.queue {
                return Err(Problem::field("move_to", "is the queue that is to be deleted"));
            }
            DeleteQueue::MoveTo(other.to_owned())
        }
    };
    Ok(Json(app.requests.delete_queue(&path.namespace, &path.queue, how).await?))
}

/// List the queues of a namespace, by name.
#[utoipa::path(
    get, path = "/v1/{namespace}/queues", tag = "queues", operation_id = "list_queues",
    params(("namespace" = String, Path),
        ("after" = Option<String>, Query, description = "Only names after that; the `cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "Queues of a page, 1 … 1000; default 100")),
    responses(
        (status = 200, description = "A page", body = QueuePage),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    path: NamespacePath,
    RawQuery(query): RawQuery,
) -> Result<Json<QueuePage>, Problem> {
    let query = Query::of(query.as_deref(), &["after", "limit"])?;
    let limit = query.whole("limit", 1, QUEUES_PAGE_MAX as u64)?.unwrap_or(PAGE_DEFAULT);
    let after = query.text("after").unwrap_or_default();
    if !after.is_empty() {
        check::name("after", after)?;
    }
    Ok(Json(app.requests.queues(&path.namespace, after, limit as usize).await?))
}

/// Start no more attempts of a queue's jobs.
#[utoipa::path(
    post, path = "/v1/{namespace}/queues/{queue}/pause", tag = "queues", operation_id = "pause_queue",
    params(("namespace" = String, Path), ("queue" = String, Path),
        ("interrupt" = Option<bool>, Query, description = "Running attempts are ended, and wait again")),
    responses(
        (status = 200, description = "The queue as it is now", body = QueueView),
        (status = 404, description = "No such queue", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
) -> Result<Json<QueueView>, Problem> {
    let query = Query::of(query.as_deref(), &["interrupt"])?;
    Ok(Json(app.requests.pause_queue(&path.namespace, &path.queue, query.flag("interrupt")?).await?))
}

/// Let attempts start again.
#[utoipa::path(
    post, path = "/v1/{namespace}/queues/{queue}/resume", tag = "queues", operation_id = "resume_queue",
    params(("namespace" = String, Path), ("queue" = String, Path)),
    responses(
        (status = 200, description = "The queue as it is now", body = QueueView),
        (status = 404, description = "No such queue", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
) -> Result<Json<QueueView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.resume_queue(&path.namespace, &path.queue).await?))
}

/// Run all failed jobs of a queue again.
#[utoipa::path(
    post, path = "/v1/{namespace}/queues/{queue}/retry-failed", tag = "queues", operation_id = "retry_failed_jobs",
    params(("namespace" = String, Path), ("queue" = String, Path)),
    responses(
        (status = 200, description = "How many", body = Affected),
        (status = 404, description = "No such queue", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry_failed(
    State(app): State<Arc<App>>,
    path: QueuePath,
    RawQuery(query): RawQuery,
) -> Result<Json<Affected>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.retry_failed(&path.namespace, &path.queue).await?))
}
