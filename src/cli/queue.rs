//! `qdo queue`.

use std::time::Duration;

use comfy_table::Cell;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::args::{QueueCommand, SettingArgs};
use super::exit::{Exit, Failure};
use super::job::state_ink;
use super::out::{Ink, Out, can_ask, confirm, printable, say};
use super::progress;
use crate::client::Client;
use crate::model::view::{Counts, QueueView};
use crate::model::{JobState, Span};
use crate::worker::DeleteQueue;

/// Queues that are listed at most.
const QUEUES_MAX: usize = 100_000;
/// Partitions that are named in one line.
const MISSING_MAX: usize = 20;
/// Pause between two looks at a queue that is waited for.
const WAIT_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(command: QueueCommand, client: &Client, out: &Out) -> Result<Exit, Failure> {
    match command {
        QueueCommand::List => return list(client, out).await,
        QueueCommand::Show { queue } => show(&client.queue(&queue).await?, out)?,
        QueueCommand::Create { queue, partitions, settings } => {
            create(client, out, &queue, partitions, &settings).await?;
        }
        QueueCommand::Set { queue, partitions, settings } => {
            let mut said = settings.said();
            if let Some(partitions) = partitions {
                said.insert("partitions".to_owned(), partitions.into());
            }
            if said.is_empty() {
                return Err(Failure::usage(
                    "say what to set, like --timeout 1m (see `qdo queue set --help`)",
                ));
            }
            let now = client.queue(&queue).await?.settings;
            let mut all = serde_json::to_value(&now)
                .map_err(|error| Failure::failed(format!("settings cannot be written as JSON: {error}")))?;
            overlay(&mut all, Value::Object(said));
            show(&client.put_queue(&queue, &all).await?, out)?;
        }
        QueueCommand::Wait { queue, timeout } => return wait(&queue, timeout, client, out).await,
        QueueCommand::Pause { queue, interrupt } => show(&client.pause_queue(&queue, interrupt).await?, out)?,
        QueueCommand::Resume { queue } => show(&client.resume_queue(&queue).await?, out)?,
        QueueCommand::Delete { queue, force, move_to, yes } => {
            delete(client, out, &queue, force, move_to, yes).await?;
        }
    }
    Ok(Exit::Ok)
}

async fn create(
    client: &Client,
    out: &Out,
    queue: &str,
    partitions: Option<u16>,
    settings: &SettingArgs,
) -> Result<(), Failure> {
    match client.queue(queue).await {
        Ok(_) => {
            let message =
                format!("the queue {queue} is there already: change it with `qdo queue set {queue}`");
            return Err(Failure::new(Exit::Refused, message));
        }
        Err(error) if error.status() == Some(404) => {}
        Err(error) => return Err(error.into()),
    }
    // What is not said is left to the server's defaults.
    let mut said = settings.said();
    if let Some(partitions) = partitions {
        said.insert("partitions".to_owned(), partitions.into());
    }
    show(&client.put_queue(queue, &Value::Object(said)).await?, out)
}

async fn delete(
    client: &Client,
    out: &Out,
    queue: &str,
    force: bool,
    move_to: Option<String>,
    yes: bool,
) -> Result<(), Failure> {
    can_ask(yes)?;
    let view = client.queue(queue).await?;
    let how = match (move_to, force) {
        (Some(other), _) => DeleteQueue::MoveTo(other),
        (None, true) => DeleteQueue::Force,
        (None, false) => DeleteQueue::IfEmpty,
    };
    let jobs = view.counts.open() + view.counts.failed;
    confirm(&format!("delete the queue {queue} ({jobs} open or failed jobs)?"), yes)?;
    let affected = client.delete_queue(queue, &how).await?;
    out.value(&affected, |_| String::new())?;
    say(&format!("deleted {queue} ({} jobs)", affected.jobs));
    Ok(())
}

/// Waits until nothing is open. Jobs that are due in an hour are open too.
async fn wait(queue: &str, timeout: Option<Span>, client: &Client, out: &Out) -> Result<Exit, Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout.into());
    let first = client.queue(queue).await?.counts.open();
    let bar = progress::bar(Some(first));
    loop {
        let view = client.queue(queue).await?;
        let open = view.counts.open();
        // More may come while one waits.
        let length = bar.length().unwrap_or(first).max(open);
        bar.set_length(length);
        bar.set_position(length - open);
        bar.set_message(format!("{open} open, {} failed", view.counts.failed));
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if open == 0 || late {
            bar.finish_and_clear();
            show(&view, out)?;
            return Ok(match (open, view.counts.failed) {
                (0, 0) => Exit::Ok,
                (0, _) => Exit::JobFailed,
                _ => Exit::TimedOut,
            });
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}

async fn list(client: &Client, out: &Out) -> Result<Exit, Failure> {
    let mut queues: Vec<QueueView> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = client.queues(cursor.as_deref()).await?;
        queues.extend(page.queues);
        cursor = page.cursor;
        if cursor.is_none() || queues.len() >= QUEUES_MAX {
            break;
        }
    }
    if queues.is_empty() && !out.is_json() {
        say("there are no queues yet: `qdo job enqueue QUEUE --kind KIND` makes one");
        return Ok(Exit::Ok);
    }
    out.value(&queues, |out| {
        let headings = [
            "QUEUE",
            "WAITING",
            "SCHEDULED",
            "RUNNING",
            "SUCCEEDED",
            "FAILED",
            "CANCELLED",
            "OLDEST",
            "STATE",
        ];
        let rows = queues.iter().map(|queue| {
            let count = |state| {
                let count = count_of(&queue.counts, state);
                out.cell(count, if count == 0 { Ink::Faint } else { state_ink(state) })
            };
            vec![
                Cell::new(&queue.name),
                count(JobState::Waiting),
                count(JobState::Scheduled),
                count(JobState::Running),
                count(JobState::Succeeded),
                count(JobState::Failed),
                count(JobState::Cancelled),
                Cell::new(age(queue.oldest_waiting_seconds)),
                state_cell(queue, out),
            ]
        });
        out.table(&headings, rows)
    })?;
    Ok(Exit::Ok)
}

fn state_cell(queue: &QueueView, out: &Out) -> Cell {
    let state = if queue.paused { "paused" } else { "open" };
    match (queue.missing_partitions.len(), queue.paused) {
        (0, false) => Cell::new(state),
        (0, true) => out.cell(state, Ink::Busy),
        (missing, _) => {
            out.cell(format!("{state}, {missing} of {} partitions missing", queue.partitions), Ink::Bad)
        }
    }
}

/// Which partitions did not answer; nothing if all did.
fn missing(queue: &QueueView) -> Option<String> {
    if queue.missing_partitions.is_empty() {
        return None;
    }
    let numbers: Vec<String> =
        queue.missing_partitions.iter().take(MISSING_MAX).map(ToString::to_string).collect();
    let more = queue.missing_partitions.len().saturating_sub(MISSING_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "{}{more}: their owners did not answer in time, and what is counted is without theirs",
        numbers.join(", ")
    ))
}

fn count_of(counts: &Counts, state: JobState) -> u64 {
    match state {
        JobState::Waiting => counts.waiting,
        JobState::Scheduled => counts.scheduled,
        JobState::Blocked => counts.blocked,
        JobState::Running => counts.running,
        JobState::Succeeded => counts.succeeded,
        JobState::Failed => counts.failed,
        JobState::Cancelled => counts.cancelled,
    }
}

fn paint_count(out: &Out, state: JobState, counts: &Counts) -> String {
    match count_of(counts, state) {
        0 => out.paint("0", Ink::Faint),
        count => out.paint(&count.to_string(), state_ink(state)),
    }
}

pub(super) fn age(seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds >= 0.0 => {
            // To the second from a second on: more is noise.
            let ms = (seconds * 1_000.0) as u64;
            Span::from_ms(if ms < 1_000 { ms } else { ms / 1_000 * 1_000 }).to_string()
        }
        _ => "-".to_owned(),
    }
}

fn show(queue: &QueueView, out: &Out) -> Result<(), Failure> {
    out.value(queue, |out| {
        let settings = &queue.settings;
        let backoff = &settings.backoff;
        let unlimited =
            |span: Span, word: &str| if span.ms == 0 { word.to_owned() } else { span.to_string() };
        let unbounded = |count: u64| if count == 0 { "unlimited".to_owned() } else { count.to_string() };
        let mut facts = vec![
            ("queue", format!("{}/{}", queue.namespace, queue.name)),
            ("state", if queue.paused { out.paint("paused", Ink::Busy) } else { "open".to_owned() }),
            ("group", format!("{} ({} partitions)", queue.group, queue.partitions)),
            ("created", queue.created_at.to_string()),
        ];
        if queue.slots_to_move > 0 {
            let slots = format!("{} of 4096 wait to go to partitions that were added", queue.slots_to_move);
            facts.push(("slots to move", out.paint(&slots, Ink::Busy)));
        }
        if let Some(missing) = missing(queue) {
            facts.push(("missing", out.paint(&missing, Ink::Bad)));
        }
        for state in JobState::ALL {
            facts.push((state.name(), paint_count(out, state, &queue.counts)));
        }
        let rates = &queue.last_minute;
        facts.extend([
            ("oldest", age(queue.oldest_waiting_seconds)),
            (
                "last minute",
                format!(
                    "{} enqueued, {} started, {} succeeded, {} attempts failed",
                    rates.enqueued, rates.started, rates.succeeded, rates.failed
                ),
            ),
            ("max attempts", settings.max_attempts.to_string()),
            ("max interruptions", settings.max_interruptions.to_string()),
            (
                "backoff",
                format!(
                    "{} × {} up to {}, jitter {}",
                    backoff.base, backoff.factor, backoff.cap, backoff.jitter
                ),
            ),
            ("timeout", unlimited(settings.timeout, "unlimited")),
            ("retention", settings.retention.to_string()),
            ("retention count", unbounded(settings.retention_count)),
            ("failed retention", unlimited(settings.failed_retention, "until retried or cleared")),
            ("backlog max", unbounded(settings.backlog_max)),
            ("give up on", classes(&settings.give_up_on)),
        ]);
        out.facts(&facts)
    })
}

impl SettingArgs {
    /// The settings that were said, as the API takes them.
    fn said(&self) -> Map<String, Value> {
        let mut said = Map::new();
        let span = |span: Option<Span>| span.map(|span| Value::from(span.to_string()));
        let backoff = [
            ("base", span(self.backoff_base)),
            ("factor", self.backoff_factor.map(Value::from)),
            ("cap", span(self.backoff_cap)),
            ("jitter", self.backoff_jitter.map(Value::from)),
        ];
        let backoff: Map<String, Value> =
            backoff.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let settings = [
            ("max_attempts", self.max_attempts.map(Value::from)),
            ("max_interruptions", self.max_interruptions.map(Value::from)),
            ("timeout", span(self.timeout)),
            ("retention", span(self.retention)),
            ("retention_count", self.retention_count.map(Value::from)),
            ("failed_retention", span(self.failed_retention)),
            ("backlog_max", self.backlog_max.map(Value::from)),
            ("give_up_on", (!self.give_up_on.is_empty()).then(|| Value::from(self.give_up_on.clone()))),
            ("backoff", (!backoff.is_empty()).then_some(Value::Object(backoff))),
        ];
        said.extend(settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        said
    }
}

/// Puts one value over another; objects member by member.
fn overlay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                overlay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn classes(classes: &[String]) -> String {
    if classes.is_empty() { "no class of errors".to_owned() } else { printable(&classes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueueSettings;

    #[test]
    fn every_setting_of_a_queue_can_be_said() {
        let all = SettingArgs {
            max_attempts: Some(1),
            max_interruptions: Some(2),
            timeout: Some(Span::from_secs(3)),
            retention: Some(Span::from_secs(4)),
            retention_count: Some(5),
            failed_retention: Some(Span::from_secs(6)),
            backlog_max: Some(7),
            give_up_on: vec!["timeout".into()],
            backoff_base: Some(Span::from_secs(8)),
            backoff_factor: Some(9.0),
            backoff_cap: Some(Span::from_secs(10)),
            backoff_jitter: Some(0.5),
        };
        let mut tree = serde_json::to_value(QueueSettings::default()).expect("plain data");
        let said = all.said();
        let names: Vec<&String> = said.keys().collect();
        assert_eq!(names, tree.as_object().expect("an object").keys().collect::<Vec<_>>());
        overlay(&mut tree, Value::Object(said));
        let settings: QueueSettings = serde_json::from_value(tree).expect("as the API takes them");
        assert_eq!((settings.max_attempts, settings.backlog_max), (1, 7));
        assert_eq!((settings.backoff.factor, settings.backoff.jitter), (9.0, 0.5));
    }
}
