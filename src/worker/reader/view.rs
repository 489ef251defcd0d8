//! A job as people see it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::engine::StateOfJob;
use crate::model::limits::TIME_MS_MAX;
use crate::model::row::{MarkerKind, StateRow};
use crate::model::view::{AttemptView, HistoryEvent, JobView};
use crate::model::{Backoff, Due, JobId, JobState, Lane, NewJob};
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;

use super::history::{Happened, Story};
use super::{LOOKS_MAX, Reader, gone};

impl Reader {
    /// The state of a job and its story, as of one moment.
    pub async fn state_and_story(&self, id: JobId) -> Result<(StateOfJob, Story), RequestError> {
        for _ in 0..LOOKS_MAX {
            let state = self.state(id).await?;
            if let Some(story) = self.story(state.place.place, state.row.last, true).await? {
                return Ok((state, story));
            }
        }
        Err(gone(id))
    }

    /// A job as if it was enqueued anew: what it asked for, without what happened to it.
    pub async fn as_new(&self, id: JobId) -> Result<NewJob, RequestError> {
        let (state, story) = self.state_and_story(id).await?;
        let job = story.job;
        let payload = match job.payload_blob {
            Some(blob) => self.blob(blob).await?,
            None => job.payload,
        };
        let due = match state.state {
            Some(JobState::Scheduled) => Due::At(state.row.time_ms),
            _ => Due::Now,
        };
        Ok(NewJob {
            content_type: story.content_type,
            key: (!job.key.is_empty()).then_some(job.key),
            lane: Lane::new(lane(&state.row)).unwrap_or(Lane::DEFAULT),
            due,
            deadline_ms: (job.deadline_ms != 0).then_some(job.deadline_ms),
            timeout_ms: (job.timeout_ms != 0).then_some(job.timeout_ms),
            max_attempts: (job.max_attempts != 0).then_some(job.max_attempts),
            backoff: job.backoff.as_ref().map(Backoff::from),
            tags: job.tags,
            headers: job.headers.into_iter().map(|header| (header.name, header.value)).collect(),
            ..NewJob::new(story.kind, payload)
        })
    }

    /// All about one job.
    pub async fn view(
        &self,
        id: JobId,
        state: &StateOfJob,
        story: Story,
        queue: &QueueEntry,
        detail: bool,
    ) -> Result<JobView, RequestError> {
        let payload = match story.job.payload_blob {
            Some(blob) if detail => Some(self.blob(blob).await?),
            Some(_) => None,
            None => Some(story.job.payload.clone()),
        };
        let result = self.result(&story, detail).await?;
        Ok(make_view(id, state, &story, queue, payload, result, detail))
    }

    async fn result(&self, story: &Story, detail: bool) -> Result<Option<Bytes>, RequestError> {
        let success = story.history.iter().rev().find(|happened| happened.kind() == MarkerKind::Succeeded);
        Ok(match success.map(|happened| &happened.marker) {
            Some(marker) => match marker.result_blob {
                Some(blob) if detail => Some(self.blob(blob).await?),
                Some(_) => None,
                None => Some(marker.result.clone()),
            },
            None => None,
        })
    }
}

fn make_view(
    id: JobId,
    state: &StateOfJob,
    story: &Story,
    queue: &QueueEntry,
    payload: Option<Bytes>,
    result: Option<Bytes>,
    detail: bool,
) -> JobView {
    let job = &story.job;
    let now = state.state.unwrap_or(JobState::Cancelled);
    let (payload, payload_base64) = shown(payload.unwrap_or_default());
    let (result, result_base64) = match result.filter(|result| !result.is_empty()) {
        Some(result) => shown(result),
        None => (None, None),
    };
    let attempts = attempts(&story.history);
    let latest_error = story.history.iter().rev().find(|happened| !happened.marker.error.is_empty());
    let latest_error = latest_error.filter(|_| now != JobState::Succeeded);
    let run_at_ms = match now {
        JobState::Scheduled => state.row.time_ms,
        _ => job.run_at_ms,
    };
    JobView {
        id,
        namespace: queue.namespace.to_string(),
        queue: queue.name.to_string(),
        partition: id.partition().to_string(),
        kind: story.kind.clone(),
        state: now,
        reason: reason(state, story),
        key: (!job.key.is_empty()).then(|| job.key.clone()),
        priority: lane(&state.row),
        payload,
        payload_base64,
        content_type: if story.content_type.is_empty() {
            "application/json".into()
        } else {
            story.content_type.clone()
        },
        headers: job.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
        tags: job.tags.clone(),
        enqueued_at: time(story.enqueued_ms),
        run_at: optional_time(run_at_ms),
        deadline: optional_time(job.deadline_ms),
        started_at: attempts.last().and_then(|attempt| attempt.started_at),
        finished_at: optional_time(if now.is_final() { state.row.time_ms } else { 0 }),
        attempt: state.row.attempt,
        failures: state.row.failures,
        interruptions: state.row.interruptions,
        max_attempts: if job.max_attempts == 0 { queue.settings.max_attempts } else { job.max_attempts },
        result,
        result_base64,
        error: latest_error.map(|happened| happened.marker.error.clone()),
        error_class: latest_error
            .map(|happened| happened.marker.error_class.clone())
            .filter(|class| !class.is_empty()),
        attempts: if detail { attempts } else { Vec::new() },
    }
}

/// The engine's sentence; for an end that somebody or the deadline caused, that cause.
fn reason(state: &StateOfJob, story: &Story) -> String {
    let cause = || story.history.iter().rev().find(|happened| !happened.marker.error.is_empty());
    match state.state {
        Some(JobState::Cancelled) => {
            cause().map_or_else(|| state.reason.clone(), |cause| cause.marker.error.clone())
        }
        _ => state.reason.clone(),
    }
}

fn lane(row: &StateRow) -> u8 {
    u8::try_from(row.priority).ok().and_then(Lane::new).unwrap_or(Lane::DEFAULT).number()
}

/// Bytes as JSON if they are JSON, as a string if they are text, else as base64.
fn shown(bytes: Bytes) -> (Option<Value>, Option<String>) {
    if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
        return (Some(value), None);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => (Some(Value::String(text.to_owned())), None),
        Err(_) => (None, Some(STANDARD.encode(&bytes))),
    }
}

/// Every attempt on record, oldest first.
fn attempts(history: &[Happened]) -> Vec<AttemptView> {
    let mut attempts: BTreeMap<u32, AttemptView> = BTreeMap::new();
    for happened in history.iter().filter(|happened| happened.marker.attempt > 0) {
        let marker = &happened.marker;
        let Some(outcome) = outcome(happened) else { continue };
        if outcome == "cancelled"
            && attempts.get(&marker.attempt).is_none_or(|view| view.outcome != "running")
        {
            // It was between two attempts: none of them was cancelled.
            continue;
        }
        let view = attempts.entry(marker.attempt).or_insert_with(|| AttemptView {
            attempt: marker.attempt,
            started_at: None,
            ended_at: None,
            runner: None,
            outcome: String::new(),
            error: None,
            error_class: None,
            exit_code: None,
            output_bytes: 0,
            output_dropped_bytes: 0,
        });
        view.outcome = outcome.into();
        if happened.kind() == MarkerKind::Started {
            view.started_at = Some(time(happened.time_ms));
            view.runner = (!happened.runner.is_empty()).then(|| happened.runner.clone());
        } else {
            view.ended_at = Some(time(happened.time_ms));
            view.error = (!marker.error.is_empty()).then(|| marker.error.clone());
            view.error_class = (!marker.error_class.is_empty()).then(|| marker.error_class.clone());
            view.exit_code = marker.exit_code;
        }
        view.output_bytes = view.output_bytes.max(marker.output.iter().map(|blob| blob.bytes).sum());
        view.output_dropped_bytes = view.output_dropped_bytes.max(marker.output_dropped_bytes);
    }
    attempts.into_values().collect()
}

/// What a marker says of its attempt; none if it says nothing of it.
fn outcome(happened: &Happened) -> Option<&'static str> {
    Some(match happened.kind() {
        MarkerKind::Started => "running",
        MarkerKind::Succeeded => "succeeded",
        MarkerKind::Failed if happened.marker.error_class == "interrupted" => "interrupted",
        MarkerKind::Failed | MarkerKind::Retry => "failed",
        MarkerKind::Snoozed => "snoozed",
        MarkerKind::Released => "released",
        MarkerKind::Interrupted => "interrupted",
        MarkerKind::Cancelled => "cancelled",
        _ => return None,
    })
}

/// What happened to a job, oldest first.
pub(crate) fn events(story: &Story) -> Vec<HistoryEvent> {
    let enqueued = HistoryEvent {
        at: time(story.enqueued_ms),
        event: "enqueued".into(),
        attempt: None,
        detail: (story.job.run_at_ms != 0).then(|| format!("due at {}", time(story.job.run_at_ms))),
    };
    std::iter::once(enqueued).chain(story.history.iter().filter_map(event)).collect()
}

fn event(happened: &Happened) -> Option<HistoryEvent> {
    let marker = &happened.marker;
    let next = || (marker.due_ms != 0).then(|| format!("next due at {}", time(marker.due_ms)));
    let error = || (!marker.error.is_empty()).then(|| marker.error.clone());
    let (event, detail) = match happened.kind() {
        MarkerKind::Started => ("started", Some(format!("on {}", happened.runner))),
        MarkerKind::Succeeded => ("succeeded", None),
        MarkerKind::Failed => ("failed", error()),
        MarkerKind::Retry => {
            ("retry", Some([error(), next()].into_iter().flatten().collect::<Vec<_>>().join("; ")))
        }
        MarkerKind::Snoozed => ("snoozed", next()),
        MarkerKind::Released => ("released", error()),
        MarkerKind::Interrupted => {
            ("interrupted", Some([error(), next()].into_iter().flatten().collect::<Vec<_>>().join("; ")))
        }
        MarkerKind::Cancelled => ("cancelled", error()),
        MarkerKind::Expired => ("expired", error()),
        MarkerKind::RunNow => ("run-now", None),
        MarkerKind::Prioritized => ("priority", Some(format!("now {}", marker.priority))),
        MarkerKind::Moved | MarkerKind::Deleted | MarkerKind::None => return None,
    };
    let attempt = (marker.attempt > 0).then_some(marker.attempt);
    Some(HistoryEvent { at: time(happened.time_ms), event: event.into(), attempt, detail })
}

/// A stored time; what is beyond the year 9999 is shown as its end.
pub(crate) fn time(ms: u64) -> Timestamp {
    Timestamp::from_millisecond(ms.min(TIME_MS_MAX) as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn optional_time(ms: u64) -> Option<Timestamp> {
    (ms != 0).then(|| time(ms))
}
