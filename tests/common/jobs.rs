//! What a server's HTTP API says about jobs and queues.

use std::collections::HashMap;

use qdo::model::view::{Counts, JobPage, JobView, QueueView};
use qdo::model::{JobId, JobState};
use reqwest::{Client, StatusCode};
use serde::de::DeserializeOwned;

async fn get<T: DeserializeOwned>(client: &Client, url: &str) -> T {
    let answer = client.get(url).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{url}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
}

pub async fn queue(client: &Client, url: &str, queue: &str) -> QueueView {
    get(client, &format!("{url}/v1/default/queues/{queue}")).await
}

/// Waits by long polls until no job of a queue is open.
pub async fn drained(client: &Client, url: &str, queue: &str) {
    let jobs = format!("{url}/v1/default/queues/{queue}/jobs");
    for state in ["running", "waiting", "scheduled", "blocked", "running", "waiting", "scheduled"] {
        loop {
            let page: JobPage = get(client, &format!("{jobs}?state={state}&limit=1")).await;
            let Some(open) = page.jobs.first() else { break };
            // It may be forgotten as soon as it has ended.
            let url = format!("{url}/v1/default/jobs/{}?wait=30s", open.id);
            let answer = client.get(&url).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(answer.status().is_success() || answer.status() == StatusCode::GONE, "{answer:?}");
        }
    }
}

/// Waits for the end of a job by long polls, and says what it came to.
pub async fn wait(client: &Client, url: &str, id: JobId) -> JobView {
    loop {
        let job: JobView = get(client, &format!("{url}/v1/default/jobs/{id}?wait=30s")).await;
        if job.state.is_final() {
            return job;
        }
    }
}

/// All jobs of a queue, page by page.
pub async fn list(client: &Client, url: &str, queue: &str) -> Vec<JobView> {
    let base = format!("{url}/v1/default/queues/{queue}/jobs?limit=1000");
    let mut jobs = Vec::new();
    let mut page: JobPage = get(client, &base).await;
    loop {
        jobs.append(&mut page.jobs);
        let Some(cursor) = page.cursor else { return jobs };
        page = get(client, &format!("{base}&cursor={cursor}")).await;
    }
}

/// Counts of jobs that were listed.
pub fn recount<'a>(jobs: impl IntoIterator<Item = &'a JobView>) -> Counts {
    let mut by_state = HashMap::new();
    for job in jobs {
        *by_state.entry(job.state).or_insert(0) += 1;
    }
    Counts::from_array(JobState::ALL.map(|state| by_state.get(&state).copied().unwrap_or_default()))
}
