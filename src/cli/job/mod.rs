//! `qdo job`.

mod enqueue;
mod many;
mod payload;
mod view;

use futures_util::StreamExt;

use super::args::{JobCommand as Command, ListArgs};
use super::exit::{Exit, Failure};
use super::out::{Out, confirm, say};

use crate::client::{Client, JobListing, Wait};
use crate::model::limits::PAGE_MAX;
use crate::model::view::JobView;
use crate::model::{JobId, JobState, Span};
use crate::worker::JobCommand;

pub(super) use view::state_ink;

pub(super) async fn run(command: Command, client: &Client, out: &Out) -> Result<Exit, Failure> {
    match command {
        Command::Enqueue(args) => return enqueue::run(*args, client, out).await,
        Command::Show { id } => view::job(&client.job(id).await?, out)?,
        Command::List(args) => list(args, client, out).await?,
        Command::Wait { ids, timeout } => return wait(&ids, timeout, client, out).await,
        Command::Output { id, attempt, follow } => output(id, attempt, follow, client, out).await?,
        Command::History { id } => view::history(&client.history(id).await?, out)?,
        Command::Cancel { ids } => each(&ids, JobCommand::Cancel, client, out).await?,
        Command::Retry { all_failed: Some(queue), .. } => {
            let affected = client.retry_failed(&queue).await?;
            out.value(&affected, |_| String::new())?;
            say(&format!("{} failed jobs of {queue} are tried again", affected.jobs));
        }
        Command::Retry { ids, all_failed: None } => each(&ids, JobCommand::Retry, client, out).await?,
        Command::RunNow { ids } => each(&ids, JobCommand::RunNow, client, out).await?,
        Command::Priority { id, priority } => {
            each(&[id], JobCommand::SetPriority(priority), client, out).await?;
        }
        Command::Delete { ids, yes } => {
            let what = match ids.as_slice() {
                [id] => format!("the job {id}"),
                ids => format!("{} jobs", ids.len()),
            };
            confirm(&format!("delete {what}?"), yes)?;
            each(&ids, JobCommand::Delete, client, out).await?;
        }
    }
    Ok(Exit::Ok)
}

/// Does the same with each job, and shows what became of them. Stops at the first that fails.
async fn each(ids: &[JobId], command: JobCommand, client: &Client, out: &Out) -> Result<(), Failure> {
    let mut done: Vec<JobView> = Vec::new();
    for &id in ids {
        match client.command(id, command).await {
            Ok(job) => done.push(job),
            Err(error) => {
                view::jobs(&done, out)?;
                let failure = Failure::from(error);
                return Err(failure.about(&id.to_string()));
            }
        }
    }
    view::jobs(&done, out)
}

async fn list(args: ListArgs, client: &Client, out: &Out) -> Result<(), Failure> {
    let ListArgs { queue, state, kind, newest_first, limit, cursor } = args;
    let mut listing = JobListing { state, kind, newest_first, cursor, limit: 0 };
    let mut jobs: Vec<JobView> = Vec::new();
    loop {
        listing.limit = PAGE_MAX.min(limit - jobs.len());
        if listing.limit == 0 {
            break;
        }
        let page = client.jobs(&queue, &listing).await?;
        jobs.extend(page.jobs);
        listing.cursor = page.cursor;
        if listing.cursor.is_none() {
            break;
        }
    }
    if jobs.is_empty() && !out.is_json() {
        say(&format!("no such jobs in {queue}"));
        return Ok(());
    }
    view::jobs(&jobs, out)?;
    if let Some(cursor) = listing.cursor {
        say(&format!("there may be more: go on with --cursor {cursor}"));
    }
    Ok(())
}

async fn wait(ids: &[JobId], timeout: Option<Span>, client: &Client, out: &Out) -> Result<Exit, Failure> {
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout.into());
    let mut ended: Vec<JobView> = Vec::new();
    let mut exit = Exit::Ok;
    for &id in ids {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(tokio::time::Instant::now()));
        let (job, outcome) = match client.wait(id, left).await? {
            Wait::Final(job) => {
                let outcome = exit_of(job.state);
                (job, outcome)
            }
            Wait::TimedOut(job) => (job, Exit::TimedOut),
        };
        if outcome != Exit::Ok {
            exit = outcome;
        }
        ended.push(*job);
    }
    view::jobs(&ended, out)?;
    Ok(exit)
}

/// The exit code of a command that waited for a job.
fn exit_of(state: JobState) -> Exit {
    match state {
        JobState::Succeeded => Exit::Ok,
        JobState::Failed => Exit::JobFailed,
        JobState::Cancelled => Exit::JobCancelled,
        JobState::Waiting | JobState::Scheduled | JobState::Blocked | JobState::Running => Exit::TimedOut,
    }
}

async fn output(
    id: JobId,
    attempt: Option<u32>,
    follow: bool,
    client: &Client,
    out: &Out,
) -> Result<(), Failure> {
    let mut chunks = client.output(id, attempt, follow).await?;
    while let Some(chunk) = chunks.next().await {
        out.raw(&chunk?)?;
    }
    Ok(())
}
