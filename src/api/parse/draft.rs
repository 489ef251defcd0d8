//! A job in the making, field by field, whatever form the fields came in.

use bytes::Bytes;

use super::InvalidRequest;
use super::json::{Members, body_text, members};
use super::value::Value;
use crate::model::check;
use crate::model::limits::{HEADERS_MAX, TAGS_MAX};
use crate::model::{Backoff, Due, Lane, NewJob};

/// The fields of a job.
pub const JOB_FIELDS: [&str; 15] = [
    "kind",
    "payload",
    "payload_base64",
    "content_type",
    "key",
    "priority",
    "delay",
    "run_at",
    "deadline",
    "timeout",
    "max_attempts",
    "backoff",
    "token",
    "tags",
    "headers",
];

/// Fields that are known, and refused until what they ask for is built.
pub const JOB_FIELDS_LATER: [&str; 10] = [
    "unique",
    "id",
    "schedule",
    "depends_on",
    "batch",
    "stages",
    "on_success",
    "on_failure",
    "throttles",
    "requires",
];

const BACKOFF_FIELDS: [&str; 4] = ["base", "factor", "cap", "jitter"];

/// One job from a JSON object, checked, at that time (Unix ms).
pub fn parse_job(bytes: &[u8], now_ms: u64) -> Result<NewJob, InvalidRequest> {
    let text = body_text(bytes)?;
    if text.trim_start().starts_with('[') {
        let message = "the body must be one JSON object: send many jobs as application/x-ndjson, one a line";
        return Err(InvalidRequest::whole(message));
    }
    let mut draft = Draft::new();
    for (name, raw) in members(text)? {
        draft.set(&name, Value::Json(raw))?;
    }
    draft.finish(now_ms)
}

pub(super) struct Draft {
    job: NewJob,
    /// `delay` or `run_at`, whichever came.
    due_field: Option<&'static str>,
    /// `payload` or `payload_base64`, whichever came.
    payload_field: Option<&'static str>,
}

impl Draft {
    pub fn new() -> Self {
        Self { job: NewJob::new("", Bytes::new()), due_field: None, payload_field: None }
    }

    /// A raw payload, with the options to come.
    pub fn with_payload(payload: Bytes, content_type: &str) -> Self {
        let mut draft = Self::new();
        draft.job.payload = payload;
        draft.job.content_type = content_type.to_owned();
        draft
    }

    /// Sets one field.
    pub fn set(&mut self, field: &str, value: Value<'_>) -> Result<(), InvalidRequest> {
        let known = JOB_FIELDS.contains(&field) || JOB_FIELDS_LATER.contains(&field);
        if value.is_null() && known && field != "payload" {
            return Ok(());
        }
        match field {
            "payload" | "payload_base64" => return self.set_payload(field, value),
            "delay" | "run_at" => return self.set_due(field, value),
            "backoff" => return self.set_backoff(value),
            "headers" => return self.set_headers(value),
            _ => {}
        }
        self.set_plain(field, value).map_err(|message| InvalidRequest::field(field, message))?;
        match field {
            later if JOB_FIELDS_LATER.contains(&later) => Err(InvalidRequest::not_supported(later)),
            unknown if !known => Err(InvalidRequest::unknown_field(unknown, &JOB_FIELDS)),
            _ => Ok(()),
        }
    }

    /// Fields that stand for themselves. The rest is left to the caller.
    fn set_plain(&mut self, field: &str, value: Value<'_>) -> Result<(), String> {
        let job = &mut self.job;
        match field {
            "kind" => job.kind = value.text()?,
            "content_type" => job.content_type = value.text()?,
            "key" => job.key = Some(value.text()?),
            "token" => job.token = Some(value.text()?),
            "priority" => {
                let number = value.whole(1, Lane::COUNT as u64)?;
                job.lane = u8::try_from(number).ok().and_then(Lane::new).unwrap_or(Lane::DEFAULT);
            }
            "deadline" => job.deadline_ms = Some(value.time_ms()?),
            "timeout" => job.timeout_ms = Some(value.span()?.ms),
            "max_attempts" => {
                let most = crate::model::limits::ATTEMPTS_MAX;
                job.max_attempts = u32::try_from(value.whole(1, u64::from(most))?).ok();
            }
            "tags" => {
                for tag in value.list(TAGS_MAX)? {
                    let tag = tag.text()?;
                    if !job.tags.contains(&tag) {
                        job.tags.push(tag);
                    }
                    // Asked here too, since in a query every tag comes on its own.
                    if job.tags.len() > TAGS_MAX {
                        return Err(format!("has more than {TAGS_MAX} elements"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn set_payload(&mut self, field: &str, value: Value<'_>) -> Result<(), InvalidRequest> {
        if let Some(earlier) = self.payload_field {
            return Err(InvalidRequest::field(field, format!("can't be given together with `{earlier}`")));
        }
        match value {
            Value::Json(raw) if field == "payload" => {
                check::payload_size(field, raw.get().len())?;
                self.payload_field = Some("payload");
                self.job.payload = Bytes::copy_from_slice(raw.get().as_bytes());
            }
            _ => {
                self.payload_field = Some("payload_base64");
                self.job.payload = value.base64().map_err(|message| InvalidRequest::field(field, message))?;
                check::payload_size(field, self.job.payload.len())?;
            }
        }
        Ok(())
    }

    fn set_due(&mut self, field: &str, value: Value<'_>) -> Result<(), InvalidRequest> {
        if let Some(earlier) = self.due_field {
            return Err(InvalidRequest::field(field, format!("can't be given together with `{earlier}`")));
        }
        let due = if field == "delay" {
            self.due_field = Some("delay");
            value.span().map(|span| Due::After(span.ms))
        } else {
            self.due_field = Some("run_at");
            value.time_ms().map(Due::At)
        };
        self.job.due = due.map_err(|message| InvalidRequest::field(field, message))?;
        Ok(())
    }

    fn set_backoff(&mut self, value: Value<'_>) -> Result<(), InvalidRequest> {
        for (name, raw) in object_of("backoff", value)? {
            self.set_backoff_part(&name, Value::Json(raw))?;
        }
        Ok(())
    }

    /// One member of `backoff`; what is left out has its default.
    pub fn set_backoff_part(&mut self, name: &str, value: Value<'_>) -> Result<(), InvalidRequest> {
        let field = format!("backoff.{name}");
        let policy = self.job.backoff.get_or_insert_with(Backoff::default);
        let set = match name {
            "base" => value.span().map(|span| policy.base = span),
            "cap" => value.span().map(|span| policy.cap = span),
            "factor" => value.number().map(|number| policy.factor = number),
            "jitter" => value.number().map(|number| policy.jitter = number),
            unknown => {
                let hint = check::nearest(unknown, &BACKOFF_FIELDS);
                return Err(InvalidRequest::field(&field, format!("is not a known field: {hint}")));
            }
        };
        set.map_err(|message| InvalidRequest::field(&field, message))
    }

    fn set_headers(&mut self, value: Value<'_>) -> Result<(), InvalidRequest> {
        for (name, raw) in object_of("headers", value)? {
            self.set_header(&name, Value::Json(raw))?;
        }
        Ok(())
    }

    /// One header.
    pub fn set_header(&mut self, name: &str, value: Value<'_>) -> Result<(), InvalidRequest> {
        let field = format!("headers.{name}");
        if self.job.headers.iter().any(|(earlier, _)| earlier == name) {
            return Err(InvalidRequest::field(&field, "is there twice"));
        }
        if self.job.headers.len() == HEADERS_MAX {
            return Err(InvalidRequest::field("headers", format!("has more than {HEADERS_MAX} members")));
        }
        let text = value.text().map_err(|message| InvalidRequest::field(&field, message))?;
        self.job.headers.push((name.to_owned(), text));
        Ok(())
    }

    /// The job, if all of it is within bounds.
    pub fn finish(mut self, now_ms: u64) -> Result<NewJob, InvalidRequest> {
        if self.job.kind.is_empty() {
            return Err(InvalidRequest::field("kind", "is missing: it says which handler runs the job"));
        }
        match self.payload_field {
            Some("payload") if !is_json(&self.job.content_type) => {
                let message = "must be a JSON type with `payload`: use `payload_base64` for any other";
                return Err(InvalidRequest::field("content_type", message));
            }
            Some("payload_base64") if self.job.content_type.is_empty() => {
                self.job.content_type = "application/octet-stream".to_owned();
            }
            _ => {}
        }
        if matches!(self.job.due, Due::At(at_ms) if at_ms <= now_ms) {
            self.job.due = Due::Now;
        }
        check::new_job(&self.job, now_ms)?;
        Ok(self.job)
    }
}

/// `application/json`, `application/…+json`, or nothing said, which means the same.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty() || essence == "application/json" || essence.ends_with("+json")
}

fn object_of<'a>(field: &str, value: Value<'a>) -> Result<Members<'a>, InvalidRequest> {
    match value {
        Value::Json(raw) if raw.get().starts_with('{') => members(raw.get()).map_err(|wrong| {
            let inside = wrong.field.map_or_else(|| field.to_owned(), |name| format!("{field}.{name}"));
            InvalidRequest { field: Some(inside), message: format!("`{field}`: {}", wrong.message), ..wrong }
        }),
        Value::Json(raw) => {
            let message = format!("must be a JSON object, not {}", check::shortened(raw.get()));
            Err(InvalidRequest::field(field, message))
        }
        Value::Text(_) => {
            Err(InvalidRequest::field(field, format!("is given by its members, like `{field}.name=value`")))
        }
    }
}
