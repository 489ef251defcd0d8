//! `qdo bench`: what this machine, or a server, can do.
//!
//! Nothing is taken a short cut: jobs go over HTTP and are acknowledged when they are durable and
//! fenced. Every rate comes with the time and the number of jobs that it was taken from, and with
//! the commits and fsyncs that the store counted meanwhile.

mod folder;
mod latency;
mod load;
mod report;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;

use super::args::{BenchArgs, Global};
use super::exit::{Exit, Failure};
use super::out::{Out, say, say_warning};
use super::server::Server;
use super::session;
use crate::client::{Client, ClientSettings, random_token};
use crate::config::Config;
use crate::runner::{Handlers, NoopHandler};
use crate::worker::DeleteQueue;
use folder::NewFolder;
use latency::Probe;
use report::{Measure, Report};

/// A kind that has no handler: its jobs wait.
const NO_HANDLER: &str = "bench-without-a-handler";
/// The kind of the idle latency's jobs in the server that is started here.
const PROBE_KIND: &str = "probe";

pub(super) fn run(args: &BenchArgs, global: &Global, out: &Out) -> Result<Exit, Failure> {
    let seconds = if args.quick { 1 } else { args.seconds };
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let report = runtime.block_on(async {
        if global.address.is_some() {
            let bench = Bench {
                client: session::client(global)?,
                kind: args.kind.clone(),
                probe: None,
                time: Duration::from_secs(seconds),
            };
            bench.measure(None).await
        } else {
            embedded(args, Duration::from_secs(seconds)).await
        }
    })?;
    report.print(out)?;
    Ok(Exit::Ok)
}

/// Measures a server in this process, on a folder of its own.
async fn embedded(args: &BenchArgs, time: Duration) -> Result<Report, Failure> {
    let folder = NewFolder::make(args.folder.as_deref())?;
    let probe = Arc::new(Probe::default());
    let mut handlers = Handlers::default();
    handlers.insert(args.kind.as_str(), Arc::new(NoopHandler));
    handlers.insert(PROBE_KIND, probe.clone());
    let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    config.worker.slots = Some(args.slots);
    let server = Server::start(&config, None, folder.path(), handlers).await?;
    let settings = ClientSettings { address: server.url().to_owned(), ..ClientSettings::default() };
    let bench = Bench { client: Client::new(settings)?, kind: args.kind.clone(), probe: Some(probe), time };
    let report = bench.measure(Some(folder.path().display().to_string())).await;
    server.stop(Duration::from_secs(1)).await;
    report
}

/// What is measured, and how.
struct Bench {
    client: Client,
    /// A kind whose handler does nothing.
    kind: String,
    /// Sees starts as they happen; none for a server elsewhere.
    probe: Option<Arc<Probe>>,
    /// How long each measurement takes.
    time: Duration,
}

impl Bench {
    async fn measure(&self, folder: Option<String>) -> Result<Report, Failure> {
        let mut measures = Vec::new();
        for connections in [1, 64] {
            let name = format!("enqueue one by one, {connections} connections")
                .replace("1 connections", "1 connection");
            measures
                .push(self.counted(&name, async |queue| self.one_by_one(queue, connections).await).await?);
        }
        measures
            .push(self.counted("enqueue in batches of 1000", async |queue| self.batches(queue).await).await?);
        if self.runs_jobs().await? {
            measures.push(
                self.counted("enqueue and run", async |queue| self.enqueue_and_run(queue).await).await?,
            );
            let name = match self.probe {
                Some(_) => "enqueue to start, idle",
                None => "enqueue to end, idle",
            };
            measures.push(self.counted(name, async |queue| self.idle_latency(queue).await).await?);
        } else {
            let kind = &self.kind;
            say_warning(&format!(
                "no handler for jobs of the kind {kind} answers: running jobs is not measured"
            ));
        }
        Ok(Report::new(self.client.address().to_owned(), folder, measures))
    }

    /// Measures on a queue of its own, and counts what the store did meanwhile.
    async fn counted(
        &self,
        name: &str,
        measure: impl AsyncFnOnce(&str) -> Result<load::Taken, Failure>,
    ) -> Result<Measure, Failure> {
        say(&format!("{name} …"));
        let queue = random_token();
        let before = self.client.counters().await?;
        let taken = measure(&queue).await?;
        let after = self.client.counters().await?;
        match self.client.delete_queue(&queue, &DeleteQueue::Force).await {
            Ok(_) => {}
            // The next queue is another one; nothing is measured wrongly.
            Err(error) => say_warning(&format!("the queue {queue} is left behind: {error}")),
        }
        Ok(Measure::new(name, &taken, &before, &after))
    }

    /// Whether the kind has a handler.
    async fn runs_jobs(&self) -> Result<bool, Failure> {
        let queue = random_token();
        let job = self.client.enqueue(&queue, &load::job(&self.kind)).await?;
        let ended = self.client.wait(job.id, Some(Duration::from_secs(2))).await?;
        self.client.delete_queue(&queue, &DeleteQueue::Force).await?;
        Ok(matches!(ended, crate::client::Wait::Final(_)))
    }
}
