//! The routes, and their description.

use std::sync::Arc;

use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::front::App;
use super::{admin, cluster, enqueue, jobs, queues};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "qdo", description = "Enqueue jobs, look at them, steer their queues."),
    components(schemas(super::error::Problem)),
    modifiers(&Token),
    security((), ("token" = [])),
    tags(
        (name = "jobs", description = "Jobs"),
        (name = "queues", description = "Queues"),
        (name = "cluster", description = "Workers and partitions"),
        (name = "server", description = "The server itself"),
    ),
)]
struct Description;

struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Every route, with its description.
pub(super) fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(queues::put, queues::show, queues::delete))
        .routes(routes!(queues::list))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::retry_failed))
        .routes(routes!(enqueue::enqueue, jobs::list))
        .routes(routes!(jobs::show, jobs::delete))
        .routes(routes!(jobs::output))
        .routes(routes!(jobs::history))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::run_now))
        .routes(routes!(jobs::priority))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::partitions))
        .routes(routes!(cluster::partition))
        .routes(routes!(cluster::plan))
        .routes(routes!(cluster::drain, cluster::undrain))
        .routes(routes!(admin::health))
        .routes(routes!(admin::ready))
        .routes(routes!(admin::metrics))
        .routes(routes!(admin::counters))
        .routes(routes!(admin::description))
        .routes(routes!(admin::backup))
}

/// The description of all routes, OpenAPI 3.1.
pub fn openapi() -> OpenApi {
    documented().into_openapi()
}

/// The same as JSON, as it is served and committed.
pub(super) fn openapi_json() -> Bytes {
    let mut text = openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    Bytes::from(text)
}
