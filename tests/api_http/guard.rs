//! Who is answered.

use qdo::api::ApiSettings;
use qdo::api::fake::Fake;
use reqwest::Method;

use crate::support::{Server, problem, start, start_with};

const QUEUES: &str = "/v1/default/queues";

async fn with_token() -> Server {
    let settings = ApiSettings { token: Some("s3cret".to_owned()), ..ApiSettings::default() };
    start_with(settings, Fake::default()).await
}

#[tokio::test]
async fn a_foreign_host_is_refused() {
    let settings = ApiSettings { hosts: vec!["queue.example".to_owned()], ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    for (host, status) in [
        ("evil.example", 403),
        ("evil.example:7420", 403),
        ("10.0.0.1", 403),
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:7420", 200),
        ("Queue.Example:80", 200),
    ] {
        let response = server.request(Method::GET, QUEUES).header("host", host).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{host}");
        if status == 403 {
            assert_eq!(problem(response).await.kind, "/problems/foreign-host");
        }
    }
    let health =
        server.request(Method::GET, "/v1/health").header("host", "evil.example").send().await.unwrap();
    assert_eq!(health.status(), 403);
    let unknown =
        server.request(Method::GET, "/nothing").header("host", "evil.example").send().await.unwrap();
    assert_eq!(problem(unknown).await.kind, "/problems/foreign-host");
}

#[tokio::test]
async fn exactly_one_host_is_needed() {
    let server = start().await;
    for head in [
        "GET /v1/default/queues HTTP/1.1\r\n",
        "GET /v1/default/queues HTTP/1.0\r\n",
        "GET /v1/default/queues HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
        "GET http://evil.example/v1/default/queues HTTP/1.1\r\nHost: localhost\r\n",
    ] {
        let answer = server.raw(format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.contains("/problems/foreign-host"), "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let server = start().await;
    let own = format!("http://{}", server.address);
    for (origin, status) in
        [(own.as_str(), 201), ("http://evil.example", 403), ("null", 403), ("http://127.0.0.1", 403)]
    {
        let request =
            server.request(Method::POST, "/v1/default/queues/mail/jobs?kind=k").header("origin", origin);
        let response = request.body("x").send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{origin}");
        if status == 403 {
            assert_eq!(problem(response).await.kind, "/problems/foreign-origin");
        }
    }
    assert_eq!(server.fake.enqueued().len(), 1);
}

#[tokio::test]
async fn without_the_right_token_only_health_is_answered() {
    let server = with_token().await;
    for path in [QUEUES, "/v1/ready", "/metrics", "/v1/counters", "/v1/openapi.json", "/nothing"] {
        let response = server.get(path).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"qdo\"", "{path}");
        assert_eq!(problem(response).await.kind, "/problems/unauthorized", "{path}");
    }
    let wrong = server.request(Method::GET, QUEUES).bearer_auth("guess").send().await.unwrap();
    assert_eq!(problem(wrong).await.kind, "/problems/unauthorized");
    let right = server.request(Method::GET, QUEUES).bearer_auth("s3cret").send().await.unwrap();
    assert_eq!(right.status(), 200);
    assert_eq!(server.get("/v1/health").await.status(), 200);
}

#[tokio::test]
async fn a_token_does_not_open_the_door_to_foreign_pages() {
    let server = with_token().await;
    let request =
        server.request(Method::GET, QUEUES).bearer_auth("s3cret").header("origin", "http://evil.example");
    assert_eq!(problem(request.send().await.unwrap()).await.kind, "/problems/foreign-origin");
}

#[tokio::test]
async fn a_backup_with_a_token_is_made() {
    let server = with_token().await;
    let request = server.request(Method::POST, "/v1/admin/backup").bearer_auth("s3cret");
    let request = request.header("content-type", "application/json").body(r#"{"to":"/backup/a.db"}"#);
    assert_eq!(request.send().await.unwrap().status(), 200);
}
