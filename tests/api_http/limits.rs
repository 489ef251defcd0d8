//! Bounds, slow clients, and the end.

use std::time::Duration;

use qdo::api::ApiSettings;
use qdo::api::fake::Fake;
use qdo::model::JobState;
use qdo::model::view::JobView;
use reqwest::{Body, Method};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{SOON, problem, read_to_end, start, start_with, taken, until};

const JOBS: &str = "/v1/default/queues/mail/jobs?kind=k";

fn chunked(chunks: usize, bytes: usize) -> Body {
    let chunk = move |_| Ok::<_, std::io::Error>(vec![b'x'; bytes]);
    Body::wrap_stream(futures_util::stream::iter((0..chunks).map(chunk)))
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_with_an_answer() {
    let settings = ApiSettings { body_bytes_max: 100_000, ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    for body in [Body::from(vec![0; 100_001]), Body::from(vec![0; 20_000_000]), chunked(100, 100_000)] {
        let refused = problem(server.send(Method::POST, JOBS, "text/plain", body).await).await;
        assert_eq!((refused.status, refused.kind.as_ref()), (413, "/problems/too-large"));
    }
    let response = server.send(Method::POST, JOBS, "text/plain", chunked(10, 10_000)).await;
    assert_eq!(response.status(), 201);
    assert_eq!(server.fake.enqueued().len(), 1);
}

#[tokio::test]
async fn a_large_body_that_is_refused_for_another_reason_gets_its_answer_too() {
    let settings = ApiSettings { token: Some("s3cret".to_owned()), ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    let large = || Body::from(vec![0; 20_000_000]);
    for _ in 0..5 {
        let refused = problem(server.send(Method::POST, JOBS, "text/plain", large()).await).await;
        assert_eq!(refused.kind, "/problems/unauthorized");
        let request = server.request(Method::POST, "/no/route").bearer_auth("s3cret").body(large());
        assert_eq!(problem(request.send().await.unwrap()).await.kind, "/problems/no-route");
    }
    let full = ApiSettings { requests_in_flight_max: 0, ..ApiSettings::default() };
    let full = start_with(full, Fake::default()).await;
    let refused = problem(full.send(Method::POST, JOBS, "text/plain", large()).await).await;
    assert_eq!(refused.kind, "/problems/overloaded");
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_its_answer() {
    let settings = ApiSettings { token: Some("s3cret".to_owned()), ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    for _ in 0..5 {
        let mut request =
            format!("POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
                .into_bytes();
        request.resize(request.len() + 8_000_000, b'x');
        let answer = server.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("/problems/unauthorized"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_sending_after_its_answer_is_left() {
    let server = start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The clock of the test jumps: no byte may wait for the clock of the system.
    stream.set_nodelay(true).unwrap();
    stream
        .write_all(b"POST /no/route HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n")
        .await
        .unwrap();
    let left = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(4 * SOON, left).await.expect("the connection was kept for a client that drips");
}

#[tokio::test]
async fn a_client_that_asks_first_gets_its_answer_before_the_body() {
    let server = start().await;
    let head = format!(
        "POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
    );
    let answer = timeout(SOON, server.raw(head.as_bytes())).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused_and_the_server_can_still_be_looked_at() {
    let settings = ApiSettings { requests_in_flight_max: 2, ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let waiting =
        || tokio::spawn(server.request(Method::GET, &format!("/v1/default/jobs/{id}?wait=5m")).send());
    let following = server.get(&format!("/v1/default/jobs/{id}/output?follow=1")).await;
    let polls = waiting();
    until(|| server.fake.waiting() == 2).await;

    let refused = problem(server.get("/v1/default/queues").await).await;
    assert_eq!((refused.status, refused.kind.as_ref()), (429, "/problems/overloaded"));
    for path in ["/v1/health", "/v1/ready", "/metrics"] {
        assert_eq!(server.get(path).await.status(), 200, "{path}");
    }
    server.fake.set_state(id, JobState::Succeeded);
    let job: JobView = taken(timeout(SOON, polls).await.unwrap().unwrap().unwrap(), 200).await;
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(timeout(SOON, following.text()).await.unwrap().unwrap(), "");
    assert_eq!(server.get("/v1/default/queues").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let settings = ApiSettings { requests_in_flight_max: 1, ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let waiting = tokio::spawn(server.request(Method::GET, &format!("/v1/default/jobs/{id}?wait=5m")).send());
    until(|| server.fake.waiting() == 1).await;
    waiting.abort();
    until(|| server.fake.waiting() == 0).await;
    assert_eq!(server.get("/v1/default/queues").await.status(), 200);
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_together() {
    let settings = ApiSettings { bodies_bytes_max: 50_000, ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    let refused = problem(server.send(Method::POST, JOBS, "text/plain", vec![0; 60_000]).await).await;
    assert_eq!((refused.status, refused.kind.as_ref()), (429, "/problems/overloaded"));
    for _ in 0..3 {
        let response = server.send(Method::POST, JOBS, "text/plain", vec![0; 40_000]).await;
        assert_eq!(response.status(), 201);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let server = start().await;
    let head = format!("POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    let answer = server.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("/problems/timeout"), "{answer}");
    assert!(server.fake.enqueued().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_given_up() {
    let server = start().await;
    let started = tokio::time::Instant::now();
    let answer = server.raw(b"GET /v1/health HTTP/1.1\r\nHost: loc").await;
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_head_over_the_bound_is_refused() {
    let server = start().await;
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let answer =
        server.raw(format!("GET /v1/health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let settings = ApiSettings { requests_in_flight_max: 1, ..ApiSettings::default() };
    let server = start_with(settings, Fake::default()).await;
    let enqueue =
        format!("POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    assert!(server.raw(enqueue.as_bytes()).await.starts_with("HTTP/1.1 201"));
    let id = qdo::model::JobId::new(qdo::model::PartitionId { group: 1, index: 0 }, 1, 0, 0);
    for _ in 0..64 {
        server.fake.write(id, &vec![b'x'; 1 << 20]);
    }
    let mut stuck = TcpStream::connect(server.address).await.unwrap();
    let follow = format!("GET /v1/default/jobs/{id}/output?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stuck.write_all(follow.as_bytes()).await.unwrap();
    until(|| server.fake.waiting() == 1).await;
    // The clock moves on by itself while nothing else can happen.
    let freed = async {
        while server.fake.waiting() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(120), freed).await.expect("the stuck client was not given up");
}

#[tokio::test]
async fn waits_and_streams_end_with_the_server() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    server.fake.write(id, b"so far");
    let following = server.get(&format!("/v1/default/jobs/{id}/output?follow=1")).await;
    let waiting = tokio::spawn(server.request(Method::GET, &format!("/v1/default/jobs/{id}?wait=5m")).send());
    until(|| server.fake.waiting() == 2).await;
    server.shutdown.cancel();
    let job: JobView = taken(timeout(SOON, waiting).await.unwrap().unwrap().unwrap(), 200).await;
    assert_eq!(job.state, JobState::Waiting);
    assert_eq!(timeout(SOON, following.text()).await.unwrap().unwrap(), "so far");
    timeout(SOON, server.ended).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_stuck_client_only_so_long() {
    let server = start().await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    let started = tokio::time::Instant::now();
    server.shutdown.cancel();
    server.ended.await.unwrap().unwrap();
    assert!(started.elapsed() <= Duration::from_secs(11), "{:?}", started.elapsed());
    read_to_end(&mut slow).await;
}
