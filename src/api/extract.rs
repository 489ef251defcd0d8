//! What a route is asked about: names and ids in the path.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::error::{Problem, ProblemKind};
use super::front::App;
use super::guard::Connection;
use crate::model::{JobId, PartitionId, check};
use crate::worker::look::view::parse_partition;

/// Bytes of what names a worker.
const WORKER_BYTES_MAX: usize = 512;

/// A namespace.
pub(super) struct NamespacePath {
    pub namespace: String,
}

/// A queue of a namespace.
pub(super) struct QueuePath {
    pub namespace: String,
    pub queue: String,
}

/// A job of a namespace.
pub(super) struct JobPath {
    pub namespace: String,
    pub id: JobId,
}

/// A partition.
pub(super) struct PartitionPath {
    pub partition: PartitionId,
}

/// A worker, by id or name.
pub(super) struct WorkerPath {
    pub worker: String,
}

async fn params(parts: &mut Parts) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Problem::new(ProblemKind::Invalid, "the path is not percent-encoded UTF-8"))
}

fn name(params: &RawPathParams, field: &str) -> Result<String, Problem> {
    let text = params.iter().find(|(known, _)| *known == field).map_or("", |(_, text)| text);
    check::name(field, text)?;
    Ok(text.to_owned())
}

impl FromRequestParts<Arc<App>> for NamespacePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Ok(Self { namespace: name(&params(parts).await?, "namespace")? })
    }
}

impl FromRequestParts<Arc<App>> for QueuePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let params = params(parts).await?;
        Ok(Self { namespace: name(&params, "namespace")?, queue: name(&params, "queue")? })
    }
}

impl FromRequestParts<Arc<App>> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let params = params(parts).await?;
        let namespace = name(&params, "namespace")?;
        let text = params.iter().find(|(known, _)| *known == "id").map_or("", |(_, text)| text);
        let id = text.parse().map_err(|error| {
            Problem::field("id", &format!("is {:?}, but {error}", check::shortened(text)))
        })?;
        Ok(Self { namespace, id })
    }
}

impl FromRequestParts<Arc<App>> for PartitionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let params = params(parts).await?;
        let part = |field| params.iter().find(|(known, _)| *known == field).map_or("", |(_, text)| text);
        let text = format!("{}/{}", part("group"), part("index"));
        Ok(Self { partition: partition("partition", &text)? })
    }
}

impl FromRequestParts<Arc<App>> for WorkerPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let params = params(parts).await?;
        let worker = params.iter().find(|(known, _)| *known == "worker").map_or("", |(_, text)| text);
        Ok(Self { worker: worker_text("worker", worker)?.to_owned() })
    }
}

/// `group/index`.
pub(super) fn partition(field: &str, text: &str) -> Result<PartitionId, Problem> {
    parse_partition(text).ok_or_else(|| {
        let message = format!("is {:?}, and not two numbers like 3/0", check::shortened(text));
        Problem::field(field, &message)
    })
}

/// An id or a name of a worker: looked for, so that any short text will do.
pub(super) fn worker_text<'a>(field: &str, text: &'a str) -> Result<&'a str, Problem> {
    if text.is_empty() || text.len() > WORKER_BYTES_MAX || text.contains(char::is_control) {
        return Err(Problem::field(field, &format!("must be 1 to {WORKER_BYTES_MAX} bytes of text")));
    }
    Ok(text)
}

impl FromRequestParts<Arc<App>> for Connection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
