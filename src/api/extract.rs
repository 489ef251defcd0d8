//! What a route is asked about: names and ids in the path.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::error::{Problem, ProblemKind};
use super::front::App;
use super::guard::Connection;
use crate::model::{JobId, check};

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

impl FromRequestParts<Arc<App>> for Connection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
