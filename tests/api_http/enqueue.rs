//! The three forms of an enqueue.

use qdo::api::{EnqueueRequest, EnqueuedMany};
use qdo::model::view::Enqueued;
use qdo::model::{Due, JobState};
use reqwest::Method;
use serde_json::value::RawValue;

use crate::support::{Server, problem, start, taken};

const JOBS: &str = "/v1/default/queues/mail/jobs";

async fn send(
    server: &Server,
    query: &str,
    media_type: &str,
    body: impl Into<reqwest::Body>,
) -> reqwest::Response {
    server.send(Method::POST, &format!("{JOBS}{query}"), media_type, body).await
}

#[tokio::test]
async fn one_job_as_json() {
    let server = start().await;
    let body = r#"{"kind":"resize","payload":{"n": 1.00},"tags":["x"],"run_at":"2001-01-01T00:00:00Z"}"#;
    let response = send(&server, "", "application/json; charset=utf-8", body).await;
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let enqueued: Enqueued = taken(response, 201).await;
    assert_eq!(location, format!("/v1/default/jobs/{}", enqueued.id));
    assert_eq!(
        (enqueued.state, enqueued.repeated, enqueued.partition.as_str()),
        (JobState::Waiting, false, "1/0")
    );
    let jobs = server.fake.enqueued();
    assert_eq!(jobs.len(), 1);
    assert_eq!((jobs[0].kind.as_str(), jobs[0].payload.as_ref()), ("resize", br#"{"n": 1.00}"#.as_slice()));
    assert_eq!((jobs[0].due, jobs[0].tags.as_slice()), (Due::Now, ["x".to_owned()].as_slice()));
}

#[tokio::test]
async fn the_request_type_for_clients_is_understood() {
    let server = start().await;
    let request = EnqueueRequest {
        kind: "k".to_owned(),
        payload: Some(RawValue::from_string(r#"{"a": 1.10}"#.to_owned()).unwrap()),
        priority: Some(9),
        delay: Some("30s".to_owned()),
        token: Some("t".to_owned()),
        ..EnqueueRequest::default()
    };
    let body = serde_json::to_string(&request).unwrap();
    let _: Enqueued = taken(send(&server, "", "application/json", body).await, 201).await;
    let job = &server.fake.enqueued()[0];
    assert_eq!(
        (job.payload.as_ref(), job.lane.number(), job.due),
        (br#"{"a": 1.10}"#.as_slice(), 9, Due::After(30_000))
    );
}

#[tokio::test]
async fn a_repeated_token_answers_the_first_id() {
    let server = start().await;
    let first = server.enqueue("mail", r#"{"kind":"k","token":"t"}"#).await;
    let second = server.enqueue("mail", r#"{"kind":"k","token":"t"}"#).await;
    assert_eq!((first.id, first.repeated), (second.id, false));
    assert!(second.repeated);
    assert_eq!(server.fake.enqueued().len(), 1);
}

#[tokio::test]
async fn many_jobs_as_ndjson() {
    let server = start().await;
    for media_type in ["application/x-ndjson", "application/jsonl"] {
        let body = "{\"kind\":\"a\"}\n{\"kind\":\"b\",\"delay\":\"1h\"}\n";
        let many: EnqueuedMany = taken(send(&server, "", media_type, body).await, 201).await;
        let states: Vec<JobState> = many.jobs.iter().map(|job| job.state).collect();
        assert_eq!(states, [JobState::Waiting, JobState::Scheduled]);
    }
    assert_eq!(server.fake.enqueued().len(), 4);
}

#[tokio::test]
async fn a_bad_line_answers_its_number_and_nothing_is_enqueued() {
    let server = start().await;
    let body = "{\"kind\":\"a\"}\n\n{\"kind\":\"b\",\"priority\":0}\n{\"kind\":\"c\"}\n";
    let refused = problem(send(&server, "", "application/x-ndjson", body).await).await;
    assert_eq!((refused.status, refused.line, refused.field.as_deref()), (400, Some(3), Some("priority")));
    assert_eq!(refused.detail, "`priority` must be a whole number from 1 to 9, not 0");
    assert!(server.fake.enqueued().is_empty());
}

#[tokio::test]
async fn any_other_type_is_a_raw_payload() {
    let server = start().await;
    let query = "?kind=scan&key=k%201&priority=2&delay=30&tags=a&tags=b&headers.trace=7";
    let response = send(&server, query, "image/png; x=Y", vec![0u8, 255, 10]).await;
    let enqueued: Enqueued = taken(response, 201).await;
    assert_eq!(enqueued.state, JobState::Scheduled);
    let job = &server.fake.enqueued()[0];
    assert_eq!(
        (job.payload.as_ref(), job.content_type.as_str()),
        ([0, 255, 10].as_slice(), "image/png; x=Y")
    );
    assert_eq!((job.kind.as_str(), job.key.as_deref(), job.lane.number()), ("scan", Some("k 1"), 2));
    assert_eq!((job.tags.len(), job.headers.len()), (2, 1));

    let untyped = server.request(Method::POST, &format!("{JOBS}?kind=k")).body("x").send().await.unwrap();
    let _: Enqueued = taken(untyped, 201).await;
    assert_eq!(server.fake.enqueued()[1].content_type, "application/octet-stream");
}

#[tokio::test]
async fn json_that_is_sent_as_a_form_is_answered_with_what_to_do() {
    let server = start().await;
    let refused =
        problem(send(&server, "", "application/x-www-form-urlencoded", r#"{"kind":"k"}"#).await).await;
    assert_eq!((refused.status, refused.field.as_deref()), (400, Some("kind")));
    assert!(refused.detail.contains("application/json"), "{}", refused.detail);
}

#[tokio::test]
async fn what_can_not_be_enqueued_is_a_clear_problem() {
    let server = start().await;
    for (query, media_type, body, kind, field) in [
        ("", "application/json", &b"{"[..], "/problems/invalid", None),
        ("", "application/json", b"{\"kind\":\"\xff\"}", "/problems/invalid", None),
        ("", "application/json", b"", "/problems/invalid", None),
        ("?kind=k", "application/json", br#"{"kind":"k"}"#, "/problems/invalid", Some("kind")),
        ("", "application/json", br#"{"kind":"k","unique":{}}"#, "/problems/not-supported", Some("unique")),
        ("", "application/json", br#"{"kind":"k","id":"x"}"#, "/problems/not-supported", Some("id")),
        (
            "",
            "application/json",
            br#"{"kind":"k","deadline":"2001-01-01T00:00:00Z"}"#,
            "/problems/invalid",
            Some("deadline"),
        ),
        ("", "application/json", br#"{"kind":"k","priority":1e999}"#, "/problems/invalid", Some("priority")),
        ("", "application/x-ndjson", b"\n", "/problems/invalid", None),
        ("?kind=%ff", "text/plain", b"x", "/problems/invalid", Some("kind")),
        ("?kind=k&unknown=1", "text/plain", b"x", "/problems/invalid", Some("unknown")),
    ] {
        let refused = problem(send(&server, query, media_type, body.to_vec()).await).await;
        let seen = (refused.status, refused.kind.as_ref(), refused.field.as_deref());
        assert_eq!(seen, (400, kind, field), "{query} {media_type} {}", String::from_utf8_lossy(body));
    }
    assert!(server.fake.enqueued().is_empty());
}

#[tokio::test]
async fn a_large_body_is_taken_whole() {
    let server = start().await;
    let payload = "x".repeat(3 << 20);
    let body = format!(r#"{{"kind":"k","payload":"{payload}"}}"#);
    let _: Enqueued = taken(send(&server, "", "application/json", body).await, 201).await;
    assert_eq!(server.fake.enqueued()[0].payload.len(), (3 << 20) + 2);
}

#[tokio::test]
async fn a_payload_over_its_bound_is_refused_as_too_large() {
    let server = start().await;
    let payload = vec![0u8; qdo::model::limits::PAYLOAD_BYTES_MAX + 1];
    let refused = problem(send(&server, "?kind=k", "application/octet-stream", payload).await).await;
    assert_eq!((refused.kind.as_ref(), refused.field.as_deref()), ("/problems/too-large", Some("payload")));
}
