//! `qdo queue`.

use comfy_table::Cell;

use super::args::{QueueCommand, SettingArgs};
use super::exit::{Exit, Failure};
use super::job::state_ink;
use super::out::{Ink, Out, confirm, say};
use crate::client::Client;
use crate::model::view::{Counts, QueueView};
use crate::model::{JobState, QueueSettings, Span};
use crate::worker::DeleteQueue;

/// Queues that are listed at most.
const QUEUES_MAX: usize = 100_000;

pub(super) async fn run(command: QueueCommand, client: &Client, out: &Out) -> Result<Exit, Failure> {
    match command {
        QueueCommand::List => return list(client, out).await,
        QueueCommand::Show { queue } => show(&client.queue(&queue).await?, out)?,
        QueueCommand::Create { queue, partitions, settings } => {
            create(client, out, &queue, partitions, &settings).await?;
        }
        QueueCommand::Set { queue, settings } => {
            let mut all = client.queue(&queue).await?.settings;
            if !settings.apply(&mut all) {
                return Err(Failure::usage(
                    "say what to set, like --timeout 1m (see `qdo queue set --help`)",
                ));
            }
            show(&client.put_queue(&queue, &all, None).await?, out)?;
        }
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
    let mut all = QueueSettings::default();
    settings.apply(&mut all);
    show(&client.put_queue(queue, &all, partitions).await?, out)
}

async fn delete(
    client: &Client,
    out: &Out,
    queue: &str,
    force: bool,
    move_to: Option<String>,
    yes: bool,
) -> Result<(), Failure> {
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
                if queue.paused { out.cell("paused", Ink::Busy) } else { Cell::new("open") },
            ]
        });
        out.table(&headings, rows)
    })?;
    Ok(Exit::Ok)
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

fn age(seconds: Option<f64>) -> String {
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
        ]);
        out.facts(&facts)
    })
}

impl SettingArgs {
    /// Puts what was said into the settings; false if nothing was said.
    fn apply(&self, settings: &mut QueueSettings) -> bool {
        let mut said = false;
        let mut put = |given: bool| said |= given;
        put(set(&mut settings.max_attempts, self.max_attempts));
        put(set(&mut settings.max_interruptions, self.max_interruptions));
        put(set(&mut settings.timeout, self.timeout));
        put(set(&mut settings.retention, self.retention));
        put(set(&mut settings.retention_count, self.retention_count));
        put(set(&mut settings.failed_retention, self.failed_retention));
        put(set(&mut settings.backlog_max, self.backlog_max));
        put(set(&mut settings.backoff.base, self.backoff_base));
        put(set(&mut settings.backoff.factor, self.backoff_factor));
        put(set(&mut settings.backoff.cap, self.backoff_cap));
        put(set(&mut settings.backoff.jitter, self.backoff_jitter));
        said
    }
}

fn set<T>(slot: &mut T, value: Option<T>) -> bool {
    value.map(|value| *slot = value).is_some()
}
