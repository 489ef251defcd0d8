//! `qdo worker drain` and `undrain`.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::args::WorkerCommand;
use crate::cli::exit::{Exit, Failure};
use crate::cli::out::{Out, printable, say};
use crate::cli::progress;
use crate::client::Client;
use crate::model::Span;
use crate::model::cluster::DrainView;

/// Pause between two looks at a worker that is waited for.
const WAIT_PAUSE: Duration = Duration::from_millis(500);

pub(in crate::cli) async fn run(command: WorkerCommand, client: &Client, out: &Out) -> Result<Exit, Failure> {
    match command {
        WorkerCommand::Undrain { worker } => {
            let view = client.drain(&worker, false).await?;
            out.value(&view, |_| String::new())?;
            say(&format!("{} takes partitions again", named(&view)));
            Ok(Exit::Ok)
        }
        WorkerCommand::Drain { worker, wait } => {
            let view = client.drain(&worker, true).await?;
            let Some(wait) = wait else {
                out.value(&view, |_| String::new())?;
                say(&format!(
                    "{} gives its {} partitions away and takes none until it is started anew, or `qdo worker undrain`",
                    named(&view),
                    view.partitions
                ));
                return Ok(Exit::Ok);
            };
            wait_for(view, wait, client, out).await
        }
    }
}

fn named(view: &DrainView) -> String {
    printable(view.name.as_deref().unwrap_or(&view.id))
}

/// Waits until the worker has nothing left that others would miss.
async fn wait_for(mut view: DrainView, wait: Span, client: &Client, out: &Out) -> Result<Exit, Failure> {
    let deadline = Instant::now() + Duration::from(wait);
    let first = view.partitions;
    let bar = progress::bar(Some(first));
    loop {
        let cluster = client.cluster().await?;
        let worker = cluster.workers.iter().find(|worker| worker.id == view.id);
        let (partitions, running) = match worker {
            Some(worker) => (worker.partitions, worker.running),
            // It has ended: what it had is others' now.
            None => (0, Some(0)),
        };
        view.partitions = partitions;
        let running_text = running.map_or("?".to_owned(), |running| running.to_string());
        bar.set_position(first.saturating_sub(partitions));
        bar.set_message(format!("{partitions} partitions left, {running_text} attempts run"));
        let is_done = partitions == 0 && running == Some(0);
        if is_done || Instant::now() >= deadline {
            bar.finish_and_clear();
            out.value(&view, |_| String::new())?;
            if is_done {
                say(&format!("{} is drained: it can be stopped", named(&view)));
                return Ok(Exit::Ok);
            }
            say(&format!(
                "{} still has {partitions} partitions and runs {running_text} attempts",
                named(&view)
            ));
            return Ok(Exit::TimedOut);
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}
