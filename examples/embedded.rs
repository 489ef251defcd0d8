//! Background jobs inside a program of your own: one file, no server.
//!
//! `cargo run --example embedded` enqueues three greetings, runs them, and says what became of them.
//! Run it twice: the file stays, and so do the jobs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use qdo::model::NewJob;
use qdo::store::sqlite::{SqliteOptions, SqliteStore};
use qdo::worker::Worker;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join("qdo-example");
    std::fs::create_dir_all(&folder)?;
    let store = Arc::new(SqliteStore::open(&folder.join("jobs.qdo"), SqliteOptions::default())?);

    let worker = Worker::builder(store)
        .handler("greet", |context| async move {
            let name: String =
                serde_json::from_slice(&context.attempt.payload).context("the payload is a name")?;
            context.output.write(format!("greeting {name}\n").as_bytes()).await;
            Ok(Bytes::from(serde_json::to_vec(&format!("hello, {name}"))?))
        })
        .start()
        .await?;

    let jobs = ["Ada", "Grace", "Barbara"];
    let jobs = jobs.iter().map(|name| NewJob::new("greet", serde_json::json!(name).to_string())).collect();
    // When this returns, the jobs are on the disk: they run, whatever happens to this program.
    let requests = worker.requests();
    for job in requests.enqueue("default", "greetings", jobs).await? {
        let done = requests.wait("default", job.id, Duration::from_secs(30)).await?;
        println!("{}  {:<9}  {}", done.id, done.state.name(), done.result.unwrap_or_default());
    }
    worker.stop(Duration::from_secs(10)).await;
    Ok(())
}
