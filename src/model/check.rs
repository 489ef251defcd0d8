//! The bounds of `limits`, applied: one place for every way in (HTTP, Faktory, embedders, config).
//!
//! Each function answers the first thing that is wrong, with the name of its field.

use super::limits::{
    ATTEMPTS_MAX, BACKOFF_FACTOR_MAX, CONTENT_TYPE_BYTES_MAX, DURATION_MS_MAX, ERROR_CLASS_CHARS_MAX,
    GIVE_UP_CLASSES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX,
    TAG_BYTES_MAX, TAGS_MAX, TIME_MS_MAX,
};
use super::{Backoff, Due, NewJob, PartitionId, QueueSettings};

/// A field that is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Wrong {
    /// The field, with dots inside objects: `backoff.factor`.
    pub field: String,
    /// What is wrong with it, and what is right.
    pub message: String,
    /// It is wrong only by its size.
    pub too_large: bool,
}

impl Wrong {
    /// That field, with that sentence.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), too_large: false }
    }
}

/// A namespace, group or queue name: `[A-Za-z0-9._-]{1,128}`, not starting with a dot.
pub fn name(field: &str, text: &str) -> Result<(), Wrong> {
    let right = (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if right {
        return Ok(());
    }
    let rule = format!(
        "a name has 1 to {NAME_BYTES_MAX} letters, digits, dots, _ or -, and does not start with a dot"
    );
    Err(Wrong::new(field, format!("is {:?}, but {rule}", shortened(text))))
}

/// At most so many bytes, at least one, and nothing that breaks a line or a terminal.
fn text(field: &str, text: &str, bytes_max: usize) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err(Wrong::new(field, "is empty"));
    }
    if text.len() > bytes_max {
        return Err(Wrong::new(field, format!("has {} bytes, at most {bytes_max} are taken", text.len())));
    }
    no_controls(field, text)
}

fn no_controls(field: &str, text: &str) -> Result<(), Wrong> {
    if text.chars().any(char::is_control) {
        return Err(Wrong::new(field, "has a control character in it"));
    }
    Ok(())
}

/// A job that is to be enqueued, at that time (Unix ms).
pub fn new_job(job: &NewJob, now_ms: u64) -> Result<(), Wrong> {
    text("kind", &job.kind, NAME_BYTES_MAX)?;
    payload_size("payload", job.payload.len())?;
    if !job.content_type.is_empty() {
        text("content_type", &job.content_type, CONTENT_TYPE_BYTES_MAX)?;
    }
    if let Some(key) = &job.key {
        text("key", key, KEY_BYTES_MAX)?;
    }
    if let Some(token) = &job.token {
        text("token", token, KEY_BYTES_MAX)?;
    }
    times(job, now_ms)?;
    if let Some(attempts) = job.max_attempts {
        max_attempts(attempts)?;
    }
    if let Some(policy) = &job.backoff {
        backoff(policy)?;
    }
    tags(&job.tags)?;
    headers(&job.headers)
}

/// Size of a payload, before it is copied.
pub fn payload_size(field: &str, bytes: usize) -> Result<(), Wrong> {
    if bytes <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let message = format!("has {bytes} bytes, at most {PAYLOAD_BYTES_MAX} are taken");
    Err(Wrong { too_large: true, ..Wrong::new(field, message) })
}

fn times(job: &NewJob, now_ms: u64) -> Result<(), Wrong> {
    let due_ms = match job.due {
        Due::Now => now_ms,
        Due::After(delay_ms) if delay_ms > DURATION_MS_MAX => {
            return Err(Wrong::new("delay", "is longer than ten years"));
        }
        Due::After(delay_ms) => now_ms.saturating_add(delay_ms),
        Due::At(at_ms) if at_ms > TIME_MS_MAX => {
            return Err(Wrong::new("run_at", "is after the year 9999"));
        }
        Due::At(at_ms) => at_ms,
    };
    if let Some(deadline_ms) = job.deadline_ms {
        if deadline_ms > TIME_MS_MAX {
            return Err(Wrong::new("deadline", "is after the year 9999"));
        }
        if deadline_ms <= now_ms {
            return Err(Wrong::new("deadline", "is in the past, so the job could never start"));
        }
        if deadline_ms < due_ms {
            return Err(Wrong::new("deadline", "is before the job is due, so it could never start"));
        }
    }
    match job.timeout_ms {
        Some(0) => Err(Wrong::new("timeout", "is zero; leave it out for the queue's")),
        Some(timeout_ms) if timeout_ms > DURATION_MS_MAX => {
            Err(Wrong::new("timeout", "is longer than ten years"))
        }
        _ => Ok(()),
    }
}

fn max_attempts(attempts: u32) -> Result<(), Wrong> {
    if (1..=ATTEMPTS_MAX).contains(&attempts) {
        return Ok(());
    }
    Err(Wrong::new("max_attempts", format!("is {attempts}, but must be 1 to {ATTEMPTS_MAX}")))
}

/// A back-off policy.
pub fn backoff(policy: &Backoff) -> Result<(), Wrong> {
    if !(1.0..=BACKOFF_FACTOR_MAX).contains(&policy.factor) {
        let message = format!("is {}, but must be 1 to {BACKOFF_FACTOR_MAX}", policy.factor);
        return Err(Wrong::new("backoff.factor", message));
    }
    if !(0.0..=1.0).contains(&policy.jitter) {
        return Err(Wrong::new("backoff.jitter", format!("is {}, but must be 0 to 1", policy.jitter)));
    }
    for (field, span) in [("backoff.base", policy.base), ("backoff.cap", policy.cap)] {
        if span.ms > DURATION_MS_MAX {
            return Err(Wrong::new(field, "is longer than ten years"));
        }
    }
    Ok(())
}

fn tags(tags: &[String]) -> Result<(), Wrong> {
    if tags.len() > TAGS_MAX {
        return Err(Wrong::new("tags", format!("has {} elements, at most {TAGS_MAX} are taken", tags.len())));
    }
    tags.iter().try_for_each(|tag| text("tags", tag, TAG_BYTES_MAX))
}

fn headers(headers: &[(String, String)]) -> Result<(), Wrong> {
    if headers.len() > HEADERS_MAX {
        let message = format!("has {} members, at most {HEADERS_MAX} are taken", headers.len());
        return Err(Wrong::new("headers", message));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        let message = format!("has {bytes} bytes, at most {HEADERS_BYTES_MAX} are taken");
        return Err(Wrong::new("headers", message));
    }
    for (name, value) in headers {
        let right = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !right {
            let message = format!("has the name {:?}: use letters, digits, dots, _ and -", shortened(name));
            return Err(Wrong::new("headers", message));
        }
        no_controls(&format!("headers.{name}"), value)?;
    }
    Ok(())
}

/// Settings of a queue.
pub fn queue_settings(settings: &QueueSettings) -> Result<(), Wrong> {
    max_attempts(settings.max_attempts)?;
    backoff(&settings.backoff)?;
    if !(1..=ATTEMPTS_MAX).contains(&settings.max_interruptions) {
        let message = format!("is {}, but must be 1 to {ATTEMPTS_MAX}", settings.max_interruptions);
        return Err(Wrong::new("max_interruptions", message));
    }
    let spans = [
        ("timeout", settings.timeout),
        ("retention", settings.retention),
        ("failed_retention", settings.failed_retention),
    ];
    for (field, span) in spans {
        if span.ms > DURATION_MS_MAX {
            return Err(Wrong::new(field, "is longer than ten years"));
        }
    }
    if settings.give_up_on.len() > GIVE_UP_CLASSES_MAX {
        let count = settings.give_up_on.len();
        let message = format!("has {count} classes, at most {GIVE_UP_CLASSES_MAX} are taken");
        return Err(Wrong::new("give_up_on", message));
    }
    settings.give_up_on.iter().try_for_each(|class| text("give_up_on", class, ERROR_CLASS_CHARS_MAX))
}

/// Number of partitions of a group.
pub fn partitions(partitions: u16) -> Result<(), Wrong> {
    let most = PartitionId::INDEX_MAX + 1;
    if (1..=most).contains(&partitions) {
        return Ok(());
    }
    Err(Wrong::new("partitions", format!("is {partitions}, but must be 1 to {most}")))
}

/// The start of a text, fit to be quoted in an error.
pub fn shortened(text: &str) -> String {
    const QUOTED_CHARS_MAX: usize = 40;
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// ", did you mean …?" if one of the known names is near, else the list of them.
pub fn nearest(unknown: &str, known: &[&str]) -> String {
    let unknown = shortened(unknown).to_ascii_lowercase();
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&unknown, name), *name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min();
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_that_is_taken_is_safe_in_a_path(text in "\\PC{0,140}") {
            if name("queue", &text).is_ok() {
                prop_assert!(!text.contains('/') && !text.starts_with('.') && text.len() <= NAME_BYTES_MAX);
            }
        }

        #[test]
        fn a_quote_in_an_error_is_short(text in "\\PC{0,200}") {
            prop_assert!(shortened(&text).chars().count() <= 41);
        }
    }

    #[test]
    fn names_follow_one_rule() {
        for right in ["default", "a", "A.b_c-9", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(name("queue", right), Ok(()));
        }
        for wrong in ["", ".", "..", ".a", "a b", "a/b", "ä", "a\0", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(name("queue", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_defaults_of_a_queue_are_within_bounds() {
        assert_eq!(queue_settings(&QueueSettings::default()), Ok(()));
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let not_a_number = Backoff { factor: f64::NAN, ..Backoff::default() };
        assert_eq!(backoff(&not_a_number).unwrap_err().field, "backoff.factor");
        let negative = Backoff { jitter: -0.1, ..Backoff::default() };
        assert_eq!(backoff(&negative).unwrap_err().field, "backoff.jitter");
    }

    #[test]
    fn the_nearest_known_name_is_proposed() {
        assert_eq!(nearest("prioritty", &["payload", "priority"]), "did you mean `priority`?");
        assert_eq!(nearest("zzz", &["payload", "priority"]), "known are payload, priority");
    }

    #[test]
    fn a_job_that_could_never_start_is_refused() {
        let now_ms = 1_000_000;
        let mut job = NewJob::new("k", "{}");
        job.deadline_ms = Some(now_ms);
        assert_eq!(new_job(&job, now_ms).unwrap_err().field, "deadline");
        job.deadline_ms = Some(now_ms + 1);
        assert_eq!(new_job(&job, now_ms), Ok(()));
        job.due = Due::After(2);
        assert_eq!(new_job(&job, now_ms).unwrap_err().field, "deadline");
        job.due = Due::At(now_ms - 500);
        assert_eq!(new_job(&job, now_ms), Ok(()));
    }
}
