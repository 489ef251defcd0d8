//! The embedded worker as a library, on the store in memory: what a job goes through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use qdo::model::{Backoff, Due, JobState, Lane, NewJob, QueueSettings, Span};
use qdo::store::memory::MemoryStore;
use qdo::worker::{
    DeleteQueue, JobCommand, JobFilter, RequestError, Requests, Worker, WorkerBuilder, WorkerSettings,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn builder() -> WorkerBuilder {
    Worker::builder(Arc::new(MemoryStore::new()))
        .handler("echo", |context| async move { Ok(context.attempt.payload.clone()) })
        .handler("fail", |_| async move { anyhow::bail!("it does not work") })
        .handler("hang", |_| std::future::pending())
}

fn quick() -> Backoff {
    Backoff { base: Span::from_ms(1), factor: 1.0, cap: Span::from_ms(1), jitter: 0.0 }
}

async fn one(requests: &Arc<dyn Requests>, job: NewJob) -> qdo::model::JobId {
    requests.enqueue("default", "q", vec![job]).await.unwrap()[0].id
}

/// Waits until a job is in a state, by asking for its end or by its queue's counts.
async fn until_running(requests: &Arc<dyn Requests>, count: u64) {
    let reached = async {
        while requests.queue("default", "q").await.unwrap().counts.running != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("so many jobs run in time");
}

#[tokio::test]
async fn a_job_runs_and_its_result_is_kept() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob::new("echo", r#"{"a":1}"#)).await;
    let job = requests.wait("default", id, PATIENCE).await.unwrap();
    assert_eq!(job.state, JobState::Succeeded);
    assert_eq!(job.result, Some(serde_json::json!({"a": 1})));
    assert_eq!(job.attempts.len(), 1);
    assert_eq!(job.attempts[0].outcome, "succeeded");
    assert!(job.attempts[0].started_at.is_some() && job.attempts[0].runner.is_some());
    let counts = requests.queue("default", "q").await.unwrap().counts;
    assert_eq!((counts.succeeded, counts.open()), (1, 0));
    worker.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_failing_job_is_retried_until_its_attempts_are_used_up_and_can_be_retried_by_hand() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let job = NewJob { max_attempts: Some(3), backoff: Some(quick()), ..NewJob::new("fail", "null") };
    let id = one(&requests, job).await;
    let failed = requests.wait("default", id, PATIENCE).await.unwrap();
    assert_eq!(failed.state, JobState::Failed);
    assert_eq!((failed.attempt, failed.failures), (3, 3));
    assert_eq!(failed.error.as_deref(), Some("it does not work"));
    let outcomes: Vec<_> = failed.attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["failed", "failed", "failed"]);

    let again = requests.command("default", id, JobCommand::Retry).await.unwrap();
    assert_eq!(again.id, id, "the same job");
    let failed = requests.wait("default", id, PATIENCE).await.unwrap();
    assert_eq!((failed.state, failed.attempt), (JobState::Failed, 6), "attempt numbers go on");
    assert_eq!(failed.failures, 3, "the failures before were forgiven");
    assert_eq!(failed.attempts.len(), 6, "every attempt stays on record");
    assert_eq!(requests.retry_failed("default", "q").await.unwrap().jobs, 1);
}

#[tokio::test]
async fn a_running_job_is_cancelled() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob::new("hang", "null")).await;
    until_running(&requests, 1).await;
    let cancelled = requests.command("default", id, JobCommand::Cancel).await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert_eq!(cancelled.attempts[0].outcome, "cancelled");
    assert!(matches!(
        requests.command("default", id, JobCommand::RunNow).await,
        Err(RequestError::Conflict(_))
    ));
}

#[tokio::test]
async fn a_token_is_answered_with_the_first_job() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let job = NewJob { token: Some("once".into()), ..NewJob::new("echo", "1") };
    let first = requests.enqueue("default", "q", vec![job.clone()]).await.unwrap();
    let second = requests.enqueue("default", "q", vec![job]).await.unwrap();
    assert_eq!(first[0].id, second[0].id);
    assert!(!first[0].repeated && second[0].repeated);
}

#[tokio::test]
async fn a_delayed_job_waits_and_can_be_run_now() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob { due: Due::After(3_600_000), ..NewJob::new("echo", "1") }).await;
    let job = requests.job("default", id).await.unwrap();
    assert_eq!(job.state, JobState::Scheduled);
    assert!(job.run_at.is_some());
    requests.command("default", id, JobCommand::RunNow).await.unwrap();
    assert_eq!(requests.wait("default", id, PATIENCE).await.unwrap().state, JobState::Succeeded);
    let past = one(&requests, NewJob { due: Due::At(1), ..NewJob::new("echo", "1") }).await;
    assert_eq!(requests.wait("default", past, PATIENCE).await.unwrap().state, JobState::Succeeded);
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_and_priority_decides_after() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = order.clone();
    let worker = builder()
        .settings(qdo::worker::WorkerSettings { slots: 1, ..Default::default() })
        .handler("note", move |context| {
            let seen = seen.clone();
            async move {
                seen.lock().unwrap().push(context.attempt.payload.clone());
                Ok(Bytes::new())
            }
        })
        .start()
        .await
        .unwrap();
    let requests = worker.requests();
    requests.put_queue("default", "q", QueueSettings::default(), None).await.unwrap();
    assert!(requests.pause_queue("default", "q", false).await.unwrap().paused);
    let mut ids = Vec::new();
    for lane in [1, 5, 9] {
        let job = NewJob { lane: Lane::new(lane).unwrap(), ..NewJob::new("note", lane.to_string()) };
        ids.push(one(&requests, job).await);
    }
    let waiting = requests.job("default", ids[2]).await.unwrap();
    assert_eq!((waiting.state, waiting.reason.as_str()), (JobState::Waiting, "its queue is paused"));
    requests.resume_queue("default", "q").await.unwrap();
    for id in ids {
        requests.wait("default", id, PATIENCE).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["9", "5", "1"]);
}

#[tokio::test]
async fn a_kind_without_a_handler_waits_and_says_so() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob::new("unheard-of", "1")).await;
    let job = requests.job("default", id).await.unwrap();
    assert_eq!(job.state, JobState::Waiting);
    assert!(job.reason.contains("no runner for kind \"unheard-of\""), "{}", job.reason);
}

#[tokio::test]
async fn more_slots_than_one_queue_uses_serve_the_others() {
    let running = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let (now, peak) = (running.clone(), most.clone());
    let worker = builder()
        .settings(qdo::worker::WorkerSettings { slots: 3, ..Default::default() })
        .handler("count", move |_| {
            let (now, peak) = (now.clone(), peak.clone());
            async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(Bytes::new())
            }
        })
        .start()
        .await
        .unwrap();
    let requests = worker.requests();
    let mut ids = Vec::new();
    for round in 0..20 {
        for queue in 0..10 {
            let jobs = vec![NewJob::new("count", round.to_string())];
            ids.push(requests.enqueue("default", &format!("q{queue}"), jobs).await.unwrap()[0].id);
        }
    }
    for id in ids {
        assert_eq!(requests.wait("default", id, PATIENCE).await.unwrap().state, JobState::Succeeded);
    }
    assert!(most.load(Ordering::SeqCst) <= 3, "slots are a bound over all queues");
}

/// All jobs of a queue, so many at a time.
async fn listed_by(requests: &Arc<dyn Requests>, limit: usize, filter: &JobFilter) -> Vec<qdo::model::JobId> {
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = requests.jobs("default", "q", filter.clone(), cursor, limit).await.unwrap();
        assert!(page.jobs.len() <= limit);
        listed.extend(page.jobs.into_iter().map(|job| job.id));
        cursor = page.cursor;
        if cursor.is_none() {
            return listed;
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_show_every_job_of_all_partitions_once() {
    let settings = WorkerSettings { partitions: 4, ..WorkerSettings::default() };
    let worker = builder().settings(settings).start().await.unwrap();
    let requests = worker.requests();
    let jobs = (0..24).map(|n| NewJob { key: Some(n.to_string()), ..NewJob::new("echo", "1") });
    let asked: Vec<_> = requests.enqueue("default", "q", jobs.collect()).await.unwrap();
    let mut ids: Vec<_> = asked.into_iter().map(|job| job.id).collect();
    ids.sort_unstable();
    for limit in 1..=ids.len() {
        for newest_first in [false, true] {
            let filter = JobFilter { newest_first, ..JobFilter::default() };
            let mut listed = listed_by(&requests, limit, &filter).await;
            listed.sort_unstable();
            assert_eq!(listed, ids, "{limit} at a time, newest first: {newest_first}");
        }
    }
    worker.stop(PATIENCE).await;
}

#[tokio::test]
async fn a_list_goes_page_by_page_and_a_foreign_cursor_is_refused() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let jobs = (0..25).map(|n| NewJob::new("echo", n.to_string())).collect();
    let ids: Vec<_> =
        requests.enqueue("default", "q", jobs).await.unwrap().into_iter().map(|job| job.id).collect();
    for newest_first in [false, true] {
        let filter = JobFilter { newest_first, ..JobFilter::default() };
        let mut listed = listed_by(&requests, 10, &filter).await;
        if newest_first {
            listed.reverse();
        }
        assert_eq!(listed, ids);
    }
    let page = requests.jobs("default", "q", JobFilter::default(), None, 1).await.unwrap();
    requests.put_queue("default", "other", QueueSettings::default(), None).await.unwrap();
    let elsewhere = requests.jobs("default", "other", JobFilter::default(), page.cursor, 1).await;
    assert!(matches!(elsewhere, Err(RequestError::Invalid { field: Some(field), .. }) if field == "cursor"));
}

#[tokio::test]
async fn output_is_followed_while_the_attempt_runs() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let worker = builder()
        .handler("talk", move |context| {
            let mut gate = gate.clone();
            async move {
                context.output.write(b"first\n").await;
                gate.wait_for(|open| *open).await?;
                context.output.write(b"second\n").await;
                Ok(Bytes::new())
            }
        })
        .start()
        .await
        .unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob::new("talk", "1")).await;
    until_running(&requests, 1).await;
    let mut output = requests.output("default", id, None, true).await.unwrap();
    let first = tokio::time::timeout(PATIENCE, output.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, "first\n");
    go.send(true).unwrap();
    let mut rest = Vec::new();
    while let Some(chunk) = output.next().await {
        rest.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(rest, b"second\n");
    let job = requests.wait("default", id, PATIENCE).await.unwrap();
    assert_eq!(job.attempts[0].output_bytes, 13);
}

#[tokio::test]
async fn a_queue_with_jobs_is_deleted_by_force_or_moved_only() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob { due: Due::After(3_600_000), ..NewJob::new("echo", "\"moved\"") }).await;
    let refused = requests.delete_queue("default", "q", DeleteQueue::IfEmpty).await;
    assert!(matches!(refused, Err(RequestError::Conflict(_))));
    requests.put_queue("default", "other", QueueSettings::default(), None).await.unwrap();
    let moved = requests.delete_queue("default", "q", DeleteQueue::MoveTo("other".into())).await.unwrap();
    assert_eq!(moved.jobs, 1);
    assert!(matches!(requests.job("default", id).await, Err(RequestError::Gone(_))));
    assert!(matches!(requests.queue("default", "q").await, Err(RequestError::NotFound(_))));
    let page = requests.jobs("default", "other", JobFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.jobs.len(), 1);
    assert_eq!(page.jobs[0].payload, Some("moved".into()));
    assert_eq!(page.jobs[0].state, JobState::Scheduled);
}

#[tokio::test]
async fn a_successor_goes_on_where_a_stopped_worker_was() {
    let store = Arc::new(MemoryStore::new());
    let worker = Worker::builder(store.clone()).start().await.unwrap();
    let requests = worker.requests();
    let jobs =
        (0..500).map(|n| NewJob { token: Some(format!("t{n}")), ..NewJob::new("echo", n.to_string()) });
    let ids: Vec<_> = requests.enqueue("default", "q", jobs.collect()).await.unwrap();
    worker.stop(PATIENCE).await;

    let worker = Worker::builder(store)
        .handler("echo", |context| async move { Ok(context.attempt.payload.clone()) })
        .start()
        .await
        .unwrap();
    let requests = worker.requests();
    let repeated = NewJob { token: Some("t7".into()), ..NewJob::new("echo", "7") };
    let repeated = requests.enqueue("default", "q", vec![repeated]).await.unwrap();
    assert_eq!((repeated[0].id, repeated[0].repeated), (ids[7].id, true), "tokens outlive the owner");
    for (n, job) in ids.iter().enumerate() {
        let done = requests.wait("default", job.id, PATIENCE).await.unwrap();
        assert_eq!(done.result, Some(serde_json::json!(n)));
    }
    assert_eq!(requests.queue("default", "q").await.unwrap().counts.succeeded, 500);
}

#[tokio::test]
async fn an_id_that_never_was_is_unknown_and_a_deleted_one_is_gone() {
    let worker = builder().start().await.unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob::new("echo", "1")).await;
    requests.wait("default", id, PATIENCE).await.unwrap();
    assert!(matches!(requests.job("elsewhere", id).await, Err(RequestError::NotFound(_))));
    let never = qdo::model::JobId::new(id.partition(), id.epoch_number(), id.commit() + 1_000_000, 0);
    assert!(matches!(requests.job("default", never).await, Err(RequestError::NotFound(_))));
    requests.command("default", id, JobCommand::Delete).await.unwrap();
    assert!(matches!(requests.job("default", id).await, Err(RequestError::Gone(_))));
}

#[tokio::test]
async fn an_error_of_a_class_that_the_queue_gives_up_on_is_the_last() {
    let worker = builder()
        .handler("classed", |context| async move {
            let class = String::from_utf8(context.attempt.payload.to_vec())?;
            Err(qdo::runner::Wish::fail("it does not work").class(class).into())
        })
        .start()
        .await
        .unwrap();
    let requests = worker.requests();
    let settings = QueueSettings {
        max_attempts: 3,
        backoff: quick(),
        give_up_on: vec!["hopeless".into()],
        ..QueueSettings::default()
    };
    requests.put_queue("default", "q", settings, None).await.unwrap();
    for (class, attempts) in [("hopeless", 1), ("hopeful", 3)] {
        let id = one(&requests, NewJob::new("classed", class)).await;
        let failed = requests.wait("default", id, PATIENCE).await.unwrap();
        assert_eq!((failed.state, failed.attempt), (JobState::Failed, attempts), "{class}");
        assert_eq!(failed.error_class.as_deref(), Some(class));
    }
}

#[tokio::test]
async fn pausing_with_interrupt_gives_running_attempts_back_for_free() {
    let worker = builder()
        .handler("first-hangs", |context| async move {
            if context.attempt.attempt == 1 {
                std::future::pending::<()>().await;
            }
            Ok(Bytes::new())
        })
        .start()
        .await
        .unwrap();
    let requests = worker.requests();
    let id = one(&requests, NewJob::new("first-hangs", "1")).await;
    until_running(&requests, 1).await;
    assert_eq!(requests.pause_queue("default", "q", false).await.unwrap().counts.running, 1);
    requests.pause_queue("default", "q", true).await.unwrap();
    until_running(&requests, 0).await;
    assert_eq!(requests.job("default", id).await.unwrap().state, JobState::Waiting);
    requests.resume_queue("default", "q").await.unwrap();
    let done = requests.wait("default", id, PATIENCE).await.unwrap();
    assert_eq!((done.state, done.attempt), (JobState::Succeeded, 2));
    assert_eq!((done.failures, done.interruptions), (0, 0));
}

#[tokio::test]
async fn keys_spread_over_partitions_that_were_added_also_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let start = || {
        let echo = |context: qdo::runner::Context| async move { Ok(context.attempt.payload.clone()) };
        Worker::builder(store.clone()).handler("echo", echo).start()
    };
    let keyed = |n: usize| NewJob {
        key: Some(format!("customer-{n}")),
        token: Some(format!("order-{n}")),
        ..NewJob::new("echo", "null")
    };
    let worker = start().await.unwrap();
    let requests = worker.requests();
    let jobs: Vec<NewJob> = (0..400).map(keyed).collect();
    let first = requests.enqueue("default", "q", jobs.clone()).await.unwrap();
    let grown = requests.put_queue("default", "q", QueueSettings::default(), Some(4)).await.unwrap();
    assert_eq!(grown.partitions, 4);
    // It stops in the middle of it.
    worker.stop(PATIENCE).await;

    let worker = start().await.unwrap();
    let requests = worker.requests();
    let moved = async {
        while requests.queue("default", "q").await.unwrap().slots_to_move > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.expect("slots move in time");
    let again = requests.enqueue("default", "q", jobs).await.unwrap();
    for (before, again) in first.iter().zip(&again) {
        assert_eq!((again.id, again.repeated), (before.id, true), "the token is known where the slot was");
    }
    let new: Vec<NewJob> = (0..400).map(|n| NewJob { token: None, ..keyed(n) }).collect();
    let new = requests.enqueue("default", "q", new).await.unwrap();
    let mut shares = std::collections::BTreeMap::<_, usize>::new();
    new.iter().for_each(|new| *shares.entry(new.partition.clone()).or_default() += 1);
    assert!(shares.len() == 4 && shares.values().all(|share| *share > 60), "{shares:?}");
    worker.stop(PATIENCE).await;
}
