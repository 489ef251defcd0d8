//! Routes about workers and partitions.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};

use super::error::Problem;
use super::extract::{PartitionPath, WorkerPath, partition as parse, worker_text};
use super::front::App;
use super::parse::Query;
use crate::model::check;
use crate::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView};
use crate::model::limits::PARTITIONS_PAGE_MAX;
use crate::worker::{PartitionFilter, PlannedChange};

/// Partitions of a page, if the request does not say.
const PAGE_DEFAULT: u64 = 100;

/// The cluster: its workers, its store, and where workers meet.
///
/// What only a worker itself knows is asked of each; those that do not answer in time are named.
#[utoipa::path(
    get, path = "/v1/cluster", tag = "cluster", operation_id = "show_cluster",
    responses(
        (status = 200, description = "The cluster as this worker sees it", body = ClusterView),
        (status = 503, description = "This worker is not ready", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<ClusterView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.cluster().await?))
}

/// List partitions with their owners, epochs, counts and lag, by number.
///
/// Of all namespaces, unless one is named.
#[utoipa::path(
    get, path = "/v1/cluster/partitions", tag = "cluster", operation_id = "list_partitions",
    params(("namespace" = Option<String>, Query, description = "Only of groups in it"),
        ("queue" = Option<String>, Query, description = "Only of that queue's group; needs `namespace`"),
        ("after" = Option<String>, Query, description = "Only those after that one; the `cursor` of the page before"),
        ("limit" = Option<u32>, Query, description = "Partitions of a page, 1 … 1000; default 100")),
    responses(
        (status = 200, description = "A page", body = PartitionPage),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn partitions(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<PartitionPage>, Problem> {
    let query = Query::of(query.as_deref(), &["namespace", "queue", "after", "limit"])?;
    let limit = query.whole("limit", 1, PARTITIONS_PAGE_MAX as u64)?.unwrap_or(PAGE_DEFAULT);
    let name = |field| query.text(field).map(|text| check::name(field, text).map(|()| text.to_owned()));
    let filter = PartitionFilter {
        namespace: name("namespace").transpose()?,
        queue: name("queue").transpose()?,
        after: query.text("after").map(|text| parse("after", text)).transpose()?,
        limit: limit as usize,
    };
    Ok(Json(app.requests.partitions(filter).await?))
}

/// One partition.
#[utoipa::path(
    get, path = "/v1/cluster/partitions/{group}/{index}", tag = "cluster", operation_id = "show_partition",
    params(("group" = u32, Path, description = "Number of its group"), ("index" = u16, Path)),
    responses(
        (status = 200, description = "The partition", body = PartitionView),
        (status = 404, description = "No such partition", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn partition(
    State(app): State<Arc<App>>,
    path: PartitionPath,
    RawQuery(query): RawQuery,
) -> Result<Json<PartitionView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.partition(path.partition).await?))
}

/// What would move if a worker joined or left. Changes nothing.
#[utoipa::path(
    get, path = "/v1/cluster/plan", tag = "cluster", operation_id = "plan_cluster",
    params(("join" = Option<String>, Query, description = "Name of a worker that joins, like the others but for it"),
        ("leave" = Option<String>, Query, description = "Id or name of a worker that leaves")),
    responses(
        (status = 200, description = "The plan", body = PlanView),
        (status = 409, description = "This server is alone", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn plan(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<PlanView>, Problem> {
    let query = Query::of(query.as_deref(), &["join", "leave"])?;
    let change = match (query.text("join"), query.text("leave")) {
        (Some(name), None) => PlannedChange::Join(worker_text("join", name)?.to_owned()),
        (None, Some(worker)) => PlannedChange::Leave(worker_text("leave", worker)?.to_owned()),
        (Some(_), Some(_)) => return Err(Problem::field("leave", "can't be given together with `join`")),
        (None, None) => return Err(Problem::field("join", "is missing, and so is `leave`: give one")),
    };
    Ok(Json(app.requests.plan(change).await?))
}

/// Ask a worker to give its partitions away and take none, before maintenance.
///
/// Any worker can be asked; it is done by the one that is named, and lasts until it ends.
#[utoipa::path(
    post, path = "/v1/cluster/workers/{worker}/drain", tag = "cluster", operation_id = "drain_worker",
    params(("worker" = String, Path, description = "Its id, or a name that only it has")),
    responses(
        (status = 200, description = "It is asked; `partitions` says what it still owns", body = DrainView),
        (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This server is alone, or several have that name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    path: WorkerPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DrainView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.drain(&path.worker, true).await?))
}

/// Let a drained worker take partitions again.
#[utoipa::path(
    delete, path = "/v1/cluster/workers/{worker}/drain", tag = "cluster", operation_id = "undrain_worker",
    params(("worker" = String, Path, description = "Its id, or a name that only it has")),
    responses(
        (status = 200, description = "It takes some again", body = DrainView),
        (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "This server is alone, or several have that name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn undrain(
    State(app): State<Arc<App>>,
    path: WorkerPath,
    RawQuery(query): RawQuery,
) -> Result<Json<DrainView>, Problem> {
    Query::of(query.as_deref(), &[])?;
    Ok(Json(app.requests.drain(&path.worker, false).await?))
}
