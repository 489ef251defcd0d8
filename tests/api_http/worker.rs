//! The API on a real worker: what came in over HTTP runs, and is counted.

use std::sync::Arc;

use bytes::Bytes;
use qdo::api::{ApiSettings, EnqueuedMany, router, serve};
use qdo::model::JobState;
use qdo::model::view::{JobView, QueueView};
use qdo::store::MemoryStore;
use qdo::telemetry::install_metrics;
use qdo::worker::Worker;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{SOON, taken};

#[tokio::test]
async fn what_comes_in_over_http_runs_and_is_counted() {
    let worker = Worker::builder(Arc::new(MemoryStore::new()))
        .handler("echo", |context| async move { Ok(context.attempt.payload.clone()) })
        .handler("fail", |_| async move { Err::<Bytes, _>(anyhow::anyhow!("as it should")) })
        .start()
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = router(worker.requests(), ApiSettings::default(), install_metrics());
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, router, shutdown.clone()));

    let client = reqwest::Client::new();
    let lines = "{\"kind\":\"echo\",\"payload\":[1]}\n{\"kind\":\"fail\",\"max_attempts\":1}\n";
    let request = client.post(format!("{base}/v1/default/queues/mail/jobs"));
    let request = request.header("content-type", "application/x-ndjson").body(lines);
    let many: EnqueuedMany = taken(request.send().await.unwrap(), 201).await;
    for (job, state) in many.jobs.iter().zip([JobState::Succeeded, JobState::Failed]) {
        let url = format!("{base}/v1/default/jobs/{}?wait=30s", job.id);
        let job: JobView = taken(client.get(url).send().await.unwrap(), 200).await;
        assert_eq!(job.state, state, "{}", job.reason);
    }
    let queue = client.get(format!("{base}/v1/default/queues/mail")).send().await.unwrap();
    let queue: QueueView = taken(queue, 200).await;
    assert_eq!((queue.counts.succeeded, queue.counts.failed, queue.counts.open()), (1, 1, 0));

    let metrics = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    for counted in [
        "qdo_jobs_enqueued_total 2",
        "qdo_attempts_started_total 2",
        "qdo_attempts_ended_total{outcome=\"succeeded\"} 1",
        "qdo_attempts_ended_total{outcome=\"failed\"} 1",
        "qdo_attempt_seconds_count{outcome=\"succeeded\"} 1",
        "qdo_attempts_running 0",
    ] {
        assert!(metrics.lines().any(|line| line == counted), "{counted} is not in {metrics}");
    }
    shutdown.cancel();
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}
