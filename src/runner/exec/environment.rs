//! What a program is told through its environment.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;

use super::ExecSettings;
use crate::model::Attempt;
use crate::runner::runs::AttemptFolder;

/// What every program gets of the worker's own environment.
const PASSED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ"];
/// The `PATH` of a worker that has none.
pub(super) const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The whole environment of an attempt's program. No value holds a NUL byte.
pub(super) fn environment(
    settings: &ExecSettings,
    attempt: &Attempt,
    folder: &AttemptFolder,
) -> BTreeMap<OsString, OsString> {
    let mut all = BTreeMap::new();
    all.insert("PATH".into(), DEFAULT_PATH.into());
    for name in PASSED {
        if let Some(value) = env::var_os(name) {
            all.insert(name.into(), value);
        }
    }
    for name in ["TMPDIR", "TMP", "TEMP"] {
        all.insert(name.into(), folder.path().into());
    }
    for name in &settings.pass_env {
        if let Some(value) = env::var_os(name) {
            all.insert(name.into(), value);
        }
    }
    all.extend(settings.env.iter().map(|(name, value)| (name.into(), value.into())));
    all.insert("QDO_CONTROL".into(), folder.control_path().into());
    all.extend(facts(attempt).into_iter().map(|(name, value)| (name.into(), value.into())));
    all
}

/// The attempt's own facts.
fn facts(attempt: &Attempt) -> Vec<(String, String)> {
    let content_type = match attempt.content_type.as_str() {
        "" => "application/json",
        other => other,
    };
    let mut facts = vec![
        ("QDO_JOB_ID".to_owned(), attempt.job.to_string()),
        ("QDO_ATTEMPT".to_owned(), attempt.attempt.to_string()),
        ("QDO_EPOCH".to_owned(), attempt.epoch.number.to_string()),
        ("QDO_NAMESPACE".to_owned(), clean(&attempt.namespace)),
        ("QDO_QUEUE".to_owned(), clean(&attempt.queue)),
        ("QDO_KIND".to_owned(), clean(&attempt.kind)),
        ("QDO_KEY".to_owned(), clean(&attempt.key)),
        ("QDO_CONTENT_TYPE".to_owned(), clean(content_type)),
        ("QDO_DEADLINE".to_owned(), deadline(attempt.deadline_ms)),
        ("QDO_FAILURES".to_owned(), attempt.failures.to_string()),
        ("QDO_MAX_ATTEMPTS".to_owned(), attempt.max_attempts.to_string()),
    ];
    let headers = attempt.headers.iter();
    facts.extend(headers.map(|(name, value)| (format!("QDO_HEADER_{}", variable(name)), clean(value))));
    facts
}

/// An environment can't hold NUL.
fn clean(value: &str) -> String {
    value.replace('\0', "")
}

/// A header's name as part of a variable's: `trace-id` is `TRACE_ID`.
fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// RFC 3339; empty for none.
fn deadline(deadline_ms: u64) -> String {
    let deadline_ms = i64::try_from(deadline_ms).ok().filter(|ms| *ms > 0);
    let deadline = deadline_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    deadline.map_or_else(String::new, |deadline| deadline.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_headers_become_names_of_variables() {
        assert_eq!(variable("trace-id"), "TRACE_ID");
        assert_eq!(variable("A=b\0ü"), "A_B__");
    }

    #[test]
    fn a_deadline_is_written_as_people_and_programs_read_it() {
        assert_eq!(deadline(1_700_000_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(deadline(0), "");
        assert_eq!(deadline(u64::MAX), "");
    }
}
