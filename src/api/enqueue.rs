//! The route that enqueues jobs, in its three forms.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::body::{HeldBody, media_type};
use super::error::{Problem, ProblemKind};
use super::extract::QueuePath;
use super::front::App;
use super::parse::{Query, parse_job, parse_ndjson, parse_query, raw_payload_hint};
use crate::model::view::Enqueued;
use crate::model::{Backoff, NewJob};

/// Bodies above this are parsed apart from the threads that answer.
const PARSED_IN_PLACE_BYTES_MAX: usize = 64 << 10;

/// A job to be enqueued, as JSON. `null` is the same as leaving a field out, except for `payload`.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnqueueRequest {
    /// Which handler runs it.
    pub kind: String,
    /// The payload: any JSON, kept byte for byte as it is written here.
    #[schema(value_type = Option<serde_json::Value>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// The payload in base64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// What the payload is; `application/json` with `payload`, else `application/octet-stream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Jobs of one key go to one partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// 9 (first) … 1.
    #[schema(minimum = 1, maximum = 9, default = 5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Due so long after it is enqueued. Not with `run_at`.
    #[schema(example = "30s")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// When it is due; a past time means now. Not with `delay`.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// Not to be started after. A past time is refused.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Longest run of one attempt. Default: the queue's.
    #[schema(example = "5m")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Failed attempts until the job has failed. Default: the queue's.
    #[schema(minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Delays between attempts. Default: the queue's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Idempotency token: a repetition within ten minutes answers the first one's id.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// Answer to an enqueue.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EnqueueAnswer {
    /// To NDJSON.
    Many(EnqueuedMany),
    /// To anything else.
    One(Enqueued),
}

fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Enqueue one job or many.
///
/// A JSON object is one job. `application/x-ndjson` (or `application/jsonl`) is many, one object a
/// line: nothing is enqueued unless every line is right. What becomes durable does so all or none
/// within each partition of the queue. Any other content type is a raw payload, with the options in
/// the query (`?kind=…&priority=9&tags=a&tags=b&backoff.base=5s&headers.NAME=value`). The answer
/// comes when the jobs are durable.
#[utoipa::path(
    post, path = "/v1/{namespace}/queues/{queue}/jobs", tag = "jobs", operation_id = "enqueue",
    params(("namespace" = String, Path), ("queue" = String, Path),
        ("kind" = Option<String>, Query, description = "For a raw payload: which handler runs it. All fields of the JSON form but the payload can be given alike.")),
    request_body(content(
        (EnqueueRequest = "application/json"),
        (String = "application/x-ndjson"),
        (String = "*/*"),
    )),
    responses(
        (status = 201, description = "Enqueued and durable", body = EnqueueAnswer),
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
        let answer = EnqueueAnswer::Many(EnqueuedMany { jobs: enqueued });
        return Ok((StatusCode::CREATED, Json(answer)).into_response());
    }
    let Some(job) = enqueued.into_iter().next() else {
        return Err(Problem::new(ProblemKind::Internal, "a bug in qdo: no answer for the job"));
    };
    let location = HeaderValue::try_from(format!("/v1/{}/jobs/{}", path.namespace, job.id));
    let mut response = (StatusCode::CREATED, Json(EnqueueAnswer::One(job))).into_response();
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
