//! What finished jobs leave behind: retention by age and count, and what compaction keeps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use qdo::model::view::Counts;
use qdo::model::{Backoff, JobId, JobState, NewJob, QueueSettings, Span};
use qdo::store::memory::MemoryStore;
use qdo::worker::{JobCommand, JobFilter, RequestError, Requests, Worker};

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(store: Arc<MemoryStore>) -> Worker {
    Worker::builder(store)
        .handler("ok", |context| async move {
            context.output.write(b"done\n").await;
            Ok(Bytes::new())
        })
        .handler("fail", |context| async move {
            context.output.write(b"what went wrong\n").await;
            anyhow::bail!("broken")
        })
        .start()
        .await
        .unwrap()
}

async fn enqueue(requests: &Arc<dyn Requests>, kind: &str, count: usize) -> Vec<JobId> {
    let backoff = Backoff { base: Span::from_ms(0), factor: 1.0, cap: Span::from_ms(0), jitter: 0.0 };
    let job = NewJob { max_attempts: Some(2), backoff: Some(backoff), ..NewJob::new(kind, "\"payload\"") };
    let mut ids = Vec::new();
    for _ in 0..count / 1_000 + 1 {
        let jobs = vec![job.clone(); (count - ids.len()).min(1_000)];
        ids.extend(requests.enqueue("default", "q", jobs).await.unwrap().into_iter().map(|job| job.id));
    }
    ids
}

/// Waits until all jobs of the queue have ended.
async fn drained(requests: &Arc<dyn Requests>) {
    until(requests, |counts| counts.open() == 0).await;
}

async fn until(requests: &Arc<dyn Requests>, reached: impl Fn(&Counts) -> bool) {
    let mut counts = Counts::default();
    let waiting = async {
        loop {
            counts = requests.queue("default", "q").await.unwrap().counts;
            if reached(&counts) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("not reached in time: {counts:?}");
    }
}

async fn check_failed(requests: &Arc<dyn Requests>, failed: &[JobId]) {
    for &id in failed {
        let job = requests.job("default", id).await.unwrap();
        assert_eq!((job.state, job.attempts.len()), (JobState::Failed, 2), "{id}");
        assert_eq!(job.error.as_deref(), Some("broken"));
        assert_eq!(job.payload, Some("payload".into()));
        let mut output = requests.output("default", id, None, false).await.unwrap();
        assert_eq!(output.next().await.unwrap().unwrap(), "what went wrong\n");
    }
    let filter = JobFilter { state: Some(JobState::Failed), ..JobFilter::default() };
    let page = requests.jobs("default", "q", filter, None, 1_000).await.unwrap();
    let mut listed: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
    listed.sort_unstable();
    assert_eq!(listed, failed, "each is in one place only");
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_go_and_failed_ones_stay_with_all_that_is_known_of_them() {
    let store = Arc::new(MemoryStore::new());
    let worker = start(store.clone()).await;
    let requests = worker.requests();
    let settings = QueueSettings { retention: Span::from_ms(0), ..QueueSettings::default() };
    requests.put_queue("default", "q", settings, None).await.unwrap();
    let failed = enqueue(&requests, "fail", 5).await;
    let done = enqueue(&requests, "ok", 30_000).await;
    drained(&requests).await;
    // What is in the segment that still grows goes when it is full.
    until(&requests, |counts| counts.succeeded < 8_192).await;

    assert!(matches!(requests.job("default", done[0]).await, Err(RequestError::Gone(_))));
    let counts = requests.queue("default", "q").await.unwrap().counts;
    assert_eq!(counts.failed, 5);
    check_failed(&requests, &failed).await;
    worker.stop(PATIENCE).await;

    let worker = start(store).await;
    let requests = worker.requests();
    let after = requests.queue("default", "q").await.unwrap().counts;
    assert!(after.succeeded <= counts.succeeded && after.failed == 5, "{after:?}");
    assert!(matches!(requests.job("default", done[0]).await, Err(RequestError::Gone(_))));
    check_failed(&requests, &failed).await;
    requests.command("default", failed[0], JobCommand::Retry).await.unwrap();
    let again = requests.wait("default", failed[0], PATIENCE).await.unwrap();
    assert_eq!((again.state, again.attempt), (JobState::Failed, 4));
    requests.command("default", failed[1], JobCommand::Delete).await.unwrap();
    assert!(matches!(requests.job("default", failed[1]).await, Err(RequestError::Gone(_))));
    worker.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_by_count_keeps_that_many() {
    let worker = start(Arc::new(MemoryStore::new())).await;
    let requests = worker.requests();
    let settings = QueueSettings { retention_count: 10_000, ..QueueSettings::default() };
    requests.put_queue("default", "q", settings, None).await.unwrap();
    let done = enqueue(&requests, "ok", 40_000).await;
    drained(&requests).await;
    until(&requests, |counts| counts.succeeded < 20_000).await;
    let kept = requests.queue("default", "q").await.unwrap().counts.succeeded;
    assert!(kept >= 10_000, "{kept} are kept");
    assert!(matches!(requests.job("default", done[0]).await, Err(RequestError::Gone(_))));
    assert!(requests.job("default", done[39_999]).await.is_ok());
}
