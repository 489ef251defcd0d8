//! Jobs for people.

use comfy_table::Cell;

use super::super::exit::Failure;
use super::super::out::{Ink, Out, brief, printable};
use crate::model::JobState;
use crate::model::view::{AttemptView, HistoryEvent, JobView};

/// Characters of a payload or result that are shown.
const SHOWN_CHARS_MAX: usize = 2_000;

/// The colour of a state.
pub(in super::super) fn state_ink(state: JobState) -> Ink {
    match state {
        JobState::Succeeded => Ink::Good,
        JobState::Failed => Ink::Bad,
        JobState::Running => Ink::Busy,
        JobState::Cancelled => Ink::Faint,
        JobState::Waiting | JobState::Scheduled | JobState::Blocked => Ink::Heading,
    }
}

/// A table of jobs; nothing for none.
pub(super) fn jobs(jobs: &[JobView], out: &Out) -> Result<(), Failure> {
    if jobs.is_empty() && !out.is_json() {
        return Ok(());
    }
    out.value(&jobs, |out| {
        let headings = ["ID", "KIND", "STATE", "PRIO", "ATTEMPT", "ENQUEUED", "RESULT OR REASON"];
        let rows = jobs.iter().map(|job| {
            let why = match (&job.error, job.state) {
                (Some(error), JobState::Failed | JobState::Scheduled) => error.clone(),
                (_, JobState::Succeeded) => content(&job.result, &job.result_base64),
                _ => job.reason.clone(),
            };
            vec![
                Cell::new(job.id),
                Cell::new(brief(&job.kind, 30)),
                out.cell(job.state.name(), state_ink(job.state)),
                Cell::new(job.priority),
                Cell::new(format!("{}/{}", job.attempt, job.max_attempts)),
                Cell::new(format!("{:.0}", job.enqueued_at)),
                Cell::new(brief(&why, 60)),
            ]
        });
        out.table(&headings, rows)
    })
}

/// All about one job.
pub(super) fn job(job: &JobView, out: &Out) -> Result<(), Failure> {
    out.value(job, |out| {
        let time = |time: &Option<jiff::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
        let headers: Vec<String> =
            job.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut facts = vec![
            ("id", job.id.to_string()),
            ("queue", format!("{}/{}", job.namespace, job.queue)),
            ("partition", job.partition.clone()),
            ("kind", printable(&job.kind)),
            ("state", out.paint(job.state.name(), state_ink(job.state))),
            ("why", printable(&job.reason)),
            ("key", text(&job.key)),
            ("priority", job.priority.to_string()),
            ("tags", printable(&job.tags.join(", "))),
            ("headers", printable(&headers.join("\n"))),
            ("enqueued", job.enqueued_at.to_string()),
            ("due", time(&job.run_at)),
            ("deadline", time(&job.deadline)),
            ("started", time(&job.started_at)),
            ("finished", time(&job.finished_at)),
            (
                "attempts",
                format!(
                    "{} ({} of {} failed, {} interrupted)",
                    job.attempt, job.failures, job.max_attempts, job.interruptions
                ),
            ),
            ("content type", printable(&job.content_type)),
            ("payload", content(&job.payload, &job.payload_base64)),
            ("result", content(&job.result, &job.result_base64)),
            ("error", text(&job.error)),
            ("error class", text(&job.error_class)),
        ];
        if job.state == JobState::Succeeded {
            // What went wrong on the way is with the attempts.
            facts.retain(|(name, _)| !name.starts_with("error"));
        }
        let mut shown = out.facts(&facts);
        if !job.attempts.is_empty() {
            shown.push('\n');
            shown.push_str(&attempts(&job.attempts, out));
        }
        shown
    })
}

fn content(value: &Option<serde_json::Value>, base64: &Option<String>) -> String {
    let text = match (value, base64) {
        (Some(serde_json::Value::String(text)), _) => text.clone(),
        (Some(value), _) => value.to_string(),
        (None, Some(base64)) => format!("base64 {base64}"),
        (None, None) => return String::new(),
    };
    let shown = printable(text.trim_end());
    if shown.chars().count() <= SHOWN_CHARS_MAX {
        return shown;
    }
    let start: String = shown.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{start}… (all of it with -o json)")
}

fn attempts(attempts: &[AttemptView], out: &Out) -> String {
    let time =
        |time: &Option<jiff::Timestamp>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"));
    let rows = attempts.iter().map(|attempt| {
        let ink = match attempt.outcome.as_str() {
            "succeeded" => Ink::Good,
            "failed" => Ink::Bad,
            "running" => Ink::Busy,
            _ => Ink::Faint,
        };
        vec![
            Cell::new(attempt.attempt),
            out.cell(&attempt.outcome, ink),
            Cell::new(time(&attempt.started_at)),
            Cell::new(time(&attempt.ended_at)),
            Cell::new(attempt.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string())),
            Cell::new(format!("{} B", attempt.output_bytes)),
            Cell::new(brief(attempt.runner.as_deref().unwrap_or("-"), 40)),
            Cell::new(brief(attempt.error.as_deref().unwrap_or_default(), 60)),
        ]
    });
    out.table(&["ATTEMPT", "OUTCOME", "STARTED", "ENDED", "EXIT", "OUTPUT", "RUNNER", "ERROR"], rows)
}

/// What happened to a job.
pub(super) fn history(events: &[HistoryEvent], out: &Out) -> Result<(), Failure> {
    out.value(&events, |out| {
        let rows = events.iter().map(|event| {
            vec![
                Cell::new(format!("{:.3}", event.at)),
                Cell::new(&event.event),
                Cell::new(event.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string())),
                Cell::new(brief(event.detail.as_deref().unwrap_or_default(), 80)),
            ]
        });
        out.table(&["WHEN", "EVENT", "ATTEMPT", "DETAIL"], rows)
    })
}
