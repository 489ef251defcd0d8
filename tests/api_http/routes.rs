//! What each route does.

use std::time::Duration;

use futures_util::StreamExt;
use qdo::api::fake::Fake;
use qdo::api::{ApiSettings, BackupRequest, Counters, QueueRequest};
use qdo::model::view::{Affected, HistoryEvent, JobPage, JobView, QueuePage, QueueView};
use qdo::model::{JobState, QueueSettings, Span};
use reqwest::Method;
use tokio::time::timeout;

use crate::support::{SOON, problem, start, start_with, taken};

const QUEUE: &str = "/v1/default/queues/mail";

#[tokio::test]
async fn a_queue_is_created_changed_shown_and_deleted() {
    let server = start().await;
    let body = r#"{"max_attempts":7,"backoff":{"base":"5s"},"retention":"1h","partitions":4}"#;
    let created: QueueView =
        taken(server.send(Method::PUT, QUEUE, "application/json", body).await, 200).await;
    assert_eq!(
        (created.name.as_str(), created.namespace.as_str(), created.partitions),
        ("mail", "default", 4)
    );
    assert_eq!((created.settings.max_attempts, created.settings.retention), (7, Span::from_secs(3_600)));
    assert_eq!((created.settings.backoff.base, created.settings.backoff.factor), (Span::from_secs(5), 2.0));

    let shown: QueueView = taken(server.get(QUEUE).await, 200).await;
    assert_eq!(shown, created);
    let same: QueueView = taken(server.send(Method::PUT, QUEUE, "application/json", body).await, 200).await;
    assert_eq!(same, created);
    let other = server.send(Method::PUT, QUEUE, "application/json", r#"{"partitions":5}"#).await;
    assert_eq!(problem(other).await.kind, "/problems/conflict");

    let gone: Affected = taken(server.delete(QUEUE).await, 200).await;
    assert_eq!(gone.jobs, 0);
    assert_eq!(problem(server.get(QUEUE).await).await.kind, "/problems/not-found");
}

#[tokio::test]
async fn what_a_queue_does_not_say_is_as_the_worker_is_configured() {
    let defaults = QueueSettings { max_attempts: 11, backlog_max: 99, ..QueueSettings::default() };
    let server = start_with(ApiSettings::default(), Fake::with_defaults(defaults)).await;
    let body = r#"{"backlog_max":5,"timeout":null}"#;
    let queue: QueueView = taken(server.send(Method::PUT, QUEUE, "application/json", body).await, 200).await;
    assert_eq!((queue.settings.max_attempts, queue.settings.backlog_max), (11, 5));
    let queue: QueueView = taken(server.request(Method::PUT, QUEUE).send().await.unwrap(), 200).await;
    assert_eq!((queue.settings.max_attempts, queue.settings.backlog_max), (11, 99));
}

#[tokio::test]
async fn the_request_type_for_clients_sets_everything() {
    let server = start().await;
    let settings =
        QueueSettings { max_attempts: 9, retention: Span::from_ms(1_500), ..QueueSettings::default() };
    let body = serde_json::to_string(&QueueRequest::of(settings.clone(), Some(3))).unwrap();
    let queue: QueueView = taken(server.send(Method::PUT, QUEUE, "application/json", body).await, 200).await;
    assert_eq!((queue.settings, queue.partitions), (settings, 3));
}

#[tokio::test]
async fn settings_that_are_wrong_are_named() {
    let server = start().await;
    for (body, field) in [
        (r#"{"max_attemps":1}"#, "max_attemps"),
        (r#"{"max_attempts":0}"#, "max_attempts"),
        (r#"{"max_attempts":99999999999999999999}"#, "max_attempts"),
        (r#"{"max_attempts":"5"}"#, "max_attempts"),
        (r#"{"backoff":{"factor":1e400}}"#, "backoff.factor"),
        (r#"{"backoff":{"factor":101}}"#, "backoff.factor"),
        (r#"{"backoff":{"jitter":2}}"#, "backoff.jitter"),
        (r#"{"backoff":{"base":"soon"}}"#, "backoff.base"),
        (r#"{"backoff":{"bass":"1s"}}"#, "backoff.bass"),
        (r#"{"backoff":3}"#, "backoff"),
        (r#"{"retention":-1}"#, "retention"),
        (r#"{"partitions":0}"#, "partitions"),
        (r#"{"partitions":5000}"#, "partitions"),
        (r#"{"max_attempts":1,"max_attempts":2}"#, "max_attempts"),
    ] {
        let refused = problem(server.send(Method::PUT, QUEUE, "application/json", body).await).await;
        assert_eq!(
            (refused.status, refused.field.as_deref()),
            (400, Some(field)),
            "{body}: {}",
            refused.detail
        );
    }
    let typo =
        problem(server.send(Method::PUT, QUEUE, "application/json", r#"{"max_attemps":1}"#).await).await;
    assert!(typo.detail.contains("did you mean `max_attempts`?"), "{}", typo.detail);
    assert_eq!(server.get(QUEUE).await.status(), 404);
}

#[tokio::test]
async fn queues_are_listed_in_pages() {
    let server = start().await;
    for name in ["c", "a", "b"] {
        let path = format!("/v1/default/queues/{name}");
        assert_eq!(server.request(Method::PUT, &path).send().await.unwrap().status(), 200);
    }
    let names = |page: &QueuePage| page.queues.iter().map(|queue| queue.name.clone()).collect::<Vec<_>>();
    let first: QueuePage = taken(server.get("/v1/default/queues?limit=2").await, 200).await;
    assert_eq!(names(&first), ["a", "b"]);
    let next = format!("/v1/default/queues?after={}", first.cursor.unwrap());
    let last: QueuePage = taken(server.get(&next).await, 200).await;
    assert_eq!((names(&last), last.cursor), (vec!["c".to_owned()], None));
    let other: QueuePage = taken(server.get("/v1/other/queues").await, 200).await;
    assert!(other.queues.is_empty());
}

#[tokio::test]
async fn a_queue_with_jobs_is_deleted_only_with_a_word() {
    let server = start().await;
    server.enqueue("mail", r#"{"kind":"k"}"#).await;
    assert_eq!(problem(server.delete(QUEUE).await).await.kind, "/problems/conflict");
    for (query, field) in [
        ("force=1&move_to=other", "move_to"),
        ("move_to=mail", "move_to"),
        ("move_to=a/b", "move_to"),
        ("force=maybe", "force"),
    ] {
        let refused = problem(server.delete(&format!("{QUEUE}?{query}")).await).await;
        assert_eq!(refused.field.as_deref(), Some(field), "{query}");
    }
    let moved: Affected = taken(server.delete(&format!("{QUEUE}?move_to=other")).await, 200).await;
    assert_eq!(moved.jobs, 1);
    let other: QueueView = taken(server.get("/v1/default/queues/other").await, 200).await;
    assert_eq!(other.counts.waiting, 1);
    let ended: Affected = taken(server.delete("/v1/default/queues/other?force=true").await, 200).await;
    assert_eq!(ended.jobs, 1);
}

#[tokio::test]
async fn a_queue_is_paused_resumed_and_its_failed_jobs_retried() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let paused: QueueView = taken(server.post(&format!("{QUEUE}/pause")).await, 200).await;
    assert!(paused.paused && !server.fake.was_interrupted("mail"));
    let _: QueueView = taken(server.post(&format!("{QUEUE}/pause?interrupt=true")).await, 200).await;
    assert!(server.fake.was_interrupted("mail"));
    let resumed: QueueView = taken(server.post(&format!("{QUEUE}/resume")).await, 200).await;
    assert!(!resumed.paused);
    server.fake.set_state(id, JobState::Failed);
    let retried: Affected = taken(server.post(&format!("{QUEUE}/retry-failed")).await, 200).await;
    assert_eq!(retried.jobs, 1);
    for verb in ["pause", "resume", "retry-failed"] {
        let missing = problem(server.post(&format!("/v1/default/queues/none/{verb}")).await).await;
        assert_eq!(missing.kind, "/problems/not-found", "{verb}");
    }
}

#[tokio::test]
async fn a_job_is_shown_steered_and_deleted() {
    let server = start().await;
    let job = format!("/v1/default/jobs/{}", server.enqueue("mail", r#"{"kind":"k","delay":60}"#).await.id);
    let shown: JobView = taken(server.get(&job).await, 200).await;
    assert_eq!((shown.kind.as_str(), shown.queue.as_str(), shown.state), ("k", "mail", JobState::Scheduled));
    let events: Vec<HistoryEvent> = taken(server.get(&format!("{job}/history")).await, 200).await;
    assert_eq!(events[0].event, "enqueued");

    let due: JobView = taken(server.post(&format!("{job}/run-now")).await, 200).await;
    assert_eq!(due.state, JobState::Waiting);
    let refused = problem(server.post(&format!("{job}/run-now")).await).await;
    assert_eq!(refused.kind, "/problems/conflict");
    let priority = format!("{job}/priority");
    let first: JobView =
        taken(server.send(Method::POST, &priority, "application/json", r#"{"priority":9}"#).await, 200).await;
    assert_eq!(first.priority, 9);
    for (body, field) in [
        (r#"{"priority":10}"#, "priority"),
        (r#"{"priority":256}"#, "priority"),
        (r#"{"priority":null}"#, "priority"),
        ("{}", "priority"),
        (r#"{"prio":9}"#, "prio"),
    ] {
        let refused = problem(server.send(Method::POST, &priority, "application/json", body).await).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some(field)), "{body}");
    }
    let cancelled: JobView = taken(server.post(&format!("{job}/cancel")).await, 200).await;
    assert_eq!(cancelled.state, JobState::Cancelled);
    let again: JobView = taken(server.post(&format!("{job}/retry")).await, 200).await;
    assert_eq!(again.state, JobState::Waiting);
    let _: JobView = taken(server.delete(&job).await, 200).await;
    assert_eq!(problem(server.get(&job).await).await.kind, "/problems/gone");
}

#[tokio::test]
async fn a_job_of_another_namespace_is_not_found() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let missing = problem(server.get(&format!("/v1/other/jobs/{id}")).await).await;
    assert_eq!(missing.kind, "/problems/not-found");
}

#[tokio::test]
async fn jobs_are_listed_by_state_kind_page_and_order() {
    let server = start().await;
    let mut ids = Vec::new();
    for kind in ["a", "b", "a", "a"] {
        ids.push(server.enqueue("mail", &format!(r#"{{"kind":"{kind}"}}"#)).await.id);
    }
    server.fake.set_state(ids[3], JobState::Failed);
    let list = |query: &str| {
        let path = format!("{QUEUE}/jobs?{query}");
        let server = &server;
        async move { taken::<JobPage>(server.get(&path).await, 200).await }
    };
    let of = |page: &JobPage| page.jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(of(&list("").await), ids);
    assert_eq!(of(&list("state=failed").await), [ids[3]]);
    assert_eq!(of(&list("kind=b").await), [ids[1]]);
    let first = list("kind=a&limit=2&order=desc").await;
    assert_eq!(of(&first), [ids[3], ids[2]]);
    let last = list(&format!("kind=a&limit=2&order=desc&cursor={}", first.cursor.unwrap())).await;
    assert_eq!((of(&last), last.cursor), (vec![ids[0]], None));
    for (query, field) in [
        ("state=runing", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("cursor=elsewhere", "cursor"),
        ("stat=failed", "stat"),
        ("limit=1&limit=2", "limit"),
    ] {
        let refused = problem(server.get(&format!("{QUEUE}/jobs?{query}")).await).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some(field)), "{query}");
    }
    let typo = problem(server.get(&format!("{QUEUE}/jobs?state=runing")).await).await;
    assert!(typo.detail.contains("did you mean `running`?"), "{}", typo.detail);
}

#[tokio::test]
async fn a_wait_ends_with_the_job() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let path = format!("/v1/default/jobs/{id}?wait=5m");
    let waiting = server.request(Method::GET, &path).send();
    let ends = async {
        crate::support::until(|| server.fake.waiting() > 0).await;
        server.fake.set_state(id, JobState::Succeeded);
    };
    let (answer, ()) = timeout(SOON, async { tokio::join!(waiting, ends) }).await.unwrap();
    let job: JobView = taken(answer.unwrap(), 200).await;
    assert_eq!(job.state, JobState::Succeeded);
}

#[tokio::test]
async fn a_wait_is_bounded() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    for wait in ["1ms", "0"] {
        let path = format!("/v1/default/jobs/{id}?wait={wait}");
        let job: JobView = taken(timeout(SOON, server.get(&path)).await.unwrap(), 200).await;
        assert_eq!(job.state, JobState::Waiting);
    }
    for wait in ["301", "6m", "soon", "", "-1"] {
        let refused = problem(server.get(&format!("/v1/default/jobs/{id}?wait={wait}")).await).await;
        assert_eq!(refused.field.as_deref(), Some("wait"), "{wait}");
    }
}

#[tokio::test]
async fn output_is_followed_until_the_attempt_ends() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    let path = format!("/v1/default/jobs/{id}/output");
    server.fake.write(id, b"one\n");
    let now = server.get(&path).await;
    assert_eq!(now.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(now.headers()["x-content-type-options"], "nosniff");
    assert_eq!(now.text().await.unwrap(), "one\n");

    let mut chunks = server.get(&format!("{path}?follow=1&attempt=1")).await.bytes_stream();
    let next = timeout(SOON, chunks.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next, "one\n");
    server.fake.write(id, b"two\xff\n");
    let next = timeout(SOON, chunks.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.as_ref(), b"two\xff\n");
    server.fake.set_state(id, JobState::Succeeded);
    assert!(timeout(SOON, chunks.next()).await.unwrap().is_none());

    assert_eq!(problem(server.get(&format!("{path}?attempt=2")).await).await.status, 404);
    for query in ["attempt=0", "attempt=4294967296", "attempt=x"] {
        let refused = problem(server.get(&format!("{path}?{query}")).await).await;
        assert_eq!(refused.field.as_deref(), Some("attempt"));
    }
}

#[tokio::test]
async fn the_server_says_how_it_is() {
    let server = start().await;
    assert_eq!(server.get("/v1/health").await.status(), 200);
    assert_eq!(server.get("/v1/ready").await.status(), 200);
    server.fake.set_unready(Some("the store is away"));
    let unready = problem(server.get("/v1/ready").await).await;
    assert_eq!(
        (unready.kind.as_ref(), unready.detail.as_str()),
        ("/problems/unavailable", "the store is away")
    );
    assert_eq!(server.get("/v1/health").await.status(), 200);

    server.enqueue("mail", r#"{"kind":"k"}"#).await;
    let counters: Counters = taken(server.get("/v1/counters").await, 200).await;
    assert_eq!((counters.calls, counters.commits), (7, 1));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let server = start().await;
    server.get("/v1/default/queues/counted").await;
    server.get("/no/such/route").await;
    let response = server.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let text = response.text().await.unwrap();
    let counted = |route: &str, status: u16| {
        let labels = format!(r#"{{method="GET",route="{route}",status="{status}"}}"#);
        text.lines().any(|line| line.starts_with("qdo_http_requests_total") && line.contains(&labels))
    };
    assert!(counted("/v1/{namespace}/queues/{queue}", 404), "{text}");
    assert!(counted("none", 404), "{text}");
    assert!(
        text.contains("qdo_http_request_seconds_bucket{route=\"/v1/{namespace}/queues/{queue}\""),
        "{text}"
    );
    assert!(!text.contains("/no/such/route"), "{text}");
    assert!(text.contains("\nqdo_store_calls_total 7\n"), "{text}");
}

#[tokio::test]
async fn a_backup_is_made_to_a_path_from_the_root() {
    let server = start().await;
    let path = "/v1/admin/backup";
    let made: BackupRequest =
        taken(server.send(Method::POST, path, "application/json", r#"{"to":"/backup/a.db"}"#).await, 200)
            .await;
    assert_eq!(made.to, "/backup/a.db");
    for body in ["", "{}", r#"{"to":"a.db"}"#, r#"{"to":17}"#, r#"{"to":"/a\u0000"}"#] {
        let refused = problem(server.send(Method::POST, path, "application/json", body).await).await;
        assert_eq!((refused.status, refused.field.as_deref()), (400, Some("to")), "{body}");
    }
    assert_eq!(server.fake.backups(), [std::path::Path::new("/backup/a.db")]);
}

#[tokio::test]
async fn a_job_that_ended_before_the_wait_is_answered_at_once() {
    let server = start().await;
    let id = server.enqueue("mail", r#"{"kind":"k"}"#).await.id;
    server.fake.set_state(id, JobState::Cancelled);
    let path = format!("/v1/default/jobs/{id}?wait=5m");
    let job: JobView = taken(timeout(Duration::from_secs(10), server.get(&path)).await.unwrap(), 200).await;
    assert_eq!(job.state, JobState::Cancelled);
}
