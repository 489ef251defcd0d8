//! Whatever goes wrong is answered as a problem.

use std::collections::BTreeSet;
use std::time::Duration;

use qdo::api::ProblemKind;
use qdo::worker::RequestError;
use reqwest::Method;

use crate::support::{problem, start};

const QUEUE: &str = "/v1/default/queues/mail";

#[tokio::test]
async fn every_refusal_of_the_worker_has_its_status() {
    let server = start().await;
    let (message, retry_after) = ("why".to_owned(), Duration::from_millis(1_001));
    for (error, status, kind) in [
        (RequestError::NotFound("why".into()), 404, "/problems/not-found"),
        (RequestError::Gone("why".into()), 410, "/problems/gone"),
        (RequestError::Conflict("why".into()), 409, "/problems/conflict"),
        (
            RequestError::Invalid { field: Some("f".into()), message: message.clone() },
            400,
            "/problems/invalid",
        ),
        (RequestError::Overloaded { message: message.clone(), retry_after }, 429, "/problems/overloaded"),
        (RequestError::Unavailable { message: message.clone(), retry_after }, 503, "/problems/unavailable"),
    ] {
        server.fake.refuse(error.clone());
        let refused = problem(server.get(QUEUE).await).await;
        assert_eq!((refused.status, refused.kind.as_ref(), refused.detail.as_str()), (status, kind, "why"));
        assert_eq!(refused.field.is_some(), matches!(error, RequestError::Invalid { .. }));
        let waits = matches!(status, 429 | 503);
        assert_eq!(refused.retry_after_seconds, waits.then_some(2), "{status}");
    }
}

#[tokio::test]
async fn what_is_not_a_route_is_a_problem() {
    let server = start().await;
    for path in ["/", "/v1", "/v1/default/queues/", "/v1/default/queues/a/b/c", "/v2/health", "/v1/admin"] {
        let refused = problem(server.get(path).await).await;
        assert_eq!((refused.status, refused.kind.as_ref()), (404, "/problems/no-route"), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_answered_with_the_right_ones() {
    let server = start().await;
    let response = server.post(QUEUE).await;
    let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
    assert_eq!(problem(response).await.kind, "/problems/method-not-allowed");
    let allowed: BTreeSet<&str> = allowed.split(',').map(str::trim).collect();
    assert_eq!(allowed, BTreeSet::from(["DELETE", "GET", "HEAD", "PUT"]));
    let options = server.request(Method::OPTIONS, QUEUE).send().await.unwrap();
    assert_eq!(problem(options).await.status, 405);
}

#[tokio::test]
async fn a_body_of_the_wrong_type_is_refused() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    for (method, path, body) in [
        (Method::PUT, QUEUE.to_owned(), "{}"),
        (Method::POST, format!("/v1/default/jobs/{id}/priority"), r#"{"priority":1}"#),
        (Method::POST, "/v1/admin/backup".to_owned(), r#"{"to":"/x"}"#),
    ] {
        let refused = problem(server.send(method, &path, "text/plain", body).await).await;
        assert_eq!(
            (refused.status, refused.kind.as_ref()),
            (415, "/problems/unsupported-media-type"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn names_and_ids_in_the_path_are_checked() {
    let server = start().await;
    let long = "x".repeat(129);
    for (path, field) in [
        ("/v1/default/queues/a%20b".to_owned(), "queue"),
        ("/v1/default/queues/.hidden".to_owned(), "queue"),
        ("/v1/default/queues/a%2Fb".to_owned(), "queue"),
        (format!("/v1/default/queues/{long}"), "queue"),
        ("/v1/%C3%A4/queues/a".to_owned(), "namespace"),
        ("/v1/a:b/queues".to_owned(), "namespace"),
        ("/v1/default/jobs/17".to_owned(), "id"),
        (format!("/v1/default/jobs/{}", "Z".repeat(26)), "id"),
    ] {
        let refused = problem(server.get(&path).await).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some(field)), "{path}");
    }
    let bytes = server
        .raw(b"GET /v1/default/queues/%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(bytes.starts_with("HTTP/1.1 400") && bytes.contains("/problems/invalid"), "{bytes}");
}

#[tokio::test]
async fn a_query_that_nobody_knows_is_refused_everywhere() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let job = format!("/v1/default/jobs/{id}");
    let requests = [
        (Method::GET, QUEUE.to_owned()),
        (Method::PUT, QUEUE.to_owned()),
        (Method::DELETE, QUEUE.to_owned()),
        (Method::GET, "/v1/default/queues".to_owned()),
        (Method::GET, format!("{QUEUE}/jobs")),
        (Method::POST, format!("{QUEUE}/pause")),
        (Method::POST, format!("{QUEUE}/resume")),
        (Method::POST, format!("{QUEUE}/retry-failed")),
        (Method::GET, job.clone()),
        (Method::DELETE, job.clone()),
        (Method::GET, format!("{job}/output")),
        (Method::GET, format!("{job}/history")),
        (Method::POST, format!("{job}/cancel")),
        (Method::POST, format!("{job}/retry")),
        (Method::POST, format!("{job}/run-now")),
    ];
    for (method, path) in requests {
        let request = server.request(method.clone(), &format!("{path}?bogus=1"));
        let refused = problem(request.send().await.unwrap()).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some("bogus")), "{method} {path}");
    }
}

#[tokio::test]
async fn a_bug_in_a_route_is_a_problem_and_the_server_goes_on() {
    let server = start().await;
    server.fake.panic_next();
    let refused = problem(server.get(QUEUE).await).await;
    assert_eq!((refused.status, refused.kind.as_ref()), (500, "/problems/internal"));
    assert!(!refused.detail.contains("as the test wants it"));
    assert_eq!(server.get("/v1/default/queues").await.status(), 200);
}

#[test]
fn every_problem_is_documented() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http-api.md")).unwrap();
    for kind in ProblemKind::ALL {
        let (uri, status, _) = kind.facts();
        let row = docs.lines().find(|line| line.contains(&format!("`{uri}`")));
        let row = row.unwrap_or_else(|| panic!("{uri} is not in docs/http-api.md"));
        assert!(row.contains(status.as_str()), "{uri} has another status than in: {row}");
    }
}
