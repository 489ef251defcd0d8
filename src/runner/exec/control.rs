//! The control file: what a program wishes, one JSON object a line. The last word on a matter counts.

use serde::Deserialize;

use crate::model::{Retry, Span};
use crate::runner::text::{class_text, error_text};

/// So many bad lines are described; the others are counted.
const COMPLAINTS_MAX: usize = 10;

/// What a program wishes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Control {
    /// What is to happen after a failure.
    pub(super) retry: Option<Retry>,
    /// Another time, without using up an attempt.
    pub(super) snooze_ms: Option<u64>,
    pub(super) error: Option<String>,
    pub(super) class: Option<String>,
    /// 0 to 1.
    pub(super) progress: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    retry_after: Option<Span>,
    snooze: Option<Span>,
    give_up: Option<bool>,
    error: Option<String>,
    class: Option<String>,
    progress: Option<f64>,
}

/// Reads all lines. What is not a control line is left out, and said in a complaint.
pub(super) fn parse(bytes: &[u8]) -> (Control, Vec<String>) {
    let mut control = Control::default();
    let mut complaints = Vec::new();
    let mut bad_lines = 0;
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(problem) = control.take(line) {
            bad_lines += 1;
            if bad_lines <= COMPLAINTS_MAX {
                complaints.push(format!("control line {} is ignored: {}", number + 1, error_text(&problem)));
            }
        }
    }
    if bad_lines > COMPLAINTS_MAX {
        complaints.push(format!("{} more control lines are ignored", bad_lines - COMPLAINTS_MAX));
    }
    (control, complaints)
}

impl Control {
    /// It says something that only matters if the attempt has failed.
    pub(super) fn speaks_of_failure(&self) -> bool {
        self.retry.is_some() || self.error.is_some() || self.class.is_some()
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if line.progress.is_some_and(|progress| !(0.0..=1.0).contains(&progress)) {
            return Err("progress is a number from 0 to 1".to_owned());
        }
        if let Some(delay) = line.retry_after {
            self.retry = Some(Retry::After(delay.ms));
        }
        match line.give_up {
            Some(true) => self.retry = Some(Retry::GiveUp),
            Some(false) if self.retry == Some(Retry::GiveUp) => self.retry = None,
            _ => {}
        }
        if let Some(delay) = line.snooze {
            self.snooze_ms = Some(delay.ms);
        }
        if let Some(error) = line.error {
            self.error = Some(error_text(&error)).filter(|error| !error.is_empty());
        }
        if let Some(class) = line.class {
            self.class = Some(class_text(&class)).filter(|class| !class.is_empty());
        }
        self.progress = line.progress.or(self.progress);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::{DURATION_MS_MAX, ERROR_CLASS_CHARS_MAX, ERROR_TEXT_CHARS_MAX};
    use proptest::prelude::*;

    fn parsed(text: &str) -> Control {
        let (control, complaints) = parse(text.as_bytes());
        assert_eq!(complaints, Vec::<String>::new());
        control
    }

    #[test]
    fn each_wish_is_understood() {
        assert_eq!(parsed("{\"retry_after\":\"30s\"}").retry, Some(Retry::After(30_000)));
        assert_eq!(parsed("{\"retry_after\":1.5}").retry, Some(Retry::After(1_500)));
        assert_eq!(parsed("{\"snooze\":\"5m\"}").snooze_ms, Some(300_000));
        assert_eq!(parsed("{\"give_up\":true}").retry, Some(Retry::GiveUp));
        assert_eq!(parsed("{\"progress\":0.4}").progress, Some(0.4));
        let both = parsed("{\"error\":\"no such user\",\"class\":\"not-found\"}\n");
        assert_eq!((both.error.as_deref(), both.class.as_deref()), (Some("no such user"), Some("not-found")));
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(parsed("{\"give_up\":true}\n{\"retry_after\":\"1s\"}").retry, Some(Retry::After(1_000)));
        assert_eq!(parsed("{\"give_up\":true}\r\n\n{\"give_up\":false}").retry, None);
    }

    #[test]
    fn a_bad_line_is_said_and_spoils_no_other() {
        let text = b"{\"retry_after\":\"soon\"}\n\xff\xfe\n{\"colour\":1}\n{\"progress\":7}\n{\"snooze\":-1}\n[]\n{\"give_up\":true}\n{\"err";
        let (control, complaints) = parse(text);
        assert_eq!(control, Control { retry: Some(Retry::GiveUp), ..Control::default() });
        assert_eq!(complaints.len(), 7, "{complaints:?}");
        assert!(complaints[2].starts_with("control line 3 is ignored: unknown field `colour`"));
    }

    #[test]
    fn complaints_are_bounded() {
        let (_, complaints) = parse("x\n".repeat(100_000).as_bytes());
        assert_eq!(complaints.len(), COMPLAINTS_MAX + 1);
        assert_eq!(complaints.last().unwrap(), "99990 more control lines are ignored");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_crash(bytes: Vec<u8>) {
            parse(&bytes);
        }

        #[test]
        fn any_values_stay_in_bounds(
            lines in proptest::collection::vec(
                (prop::sample::select(vec!["retry_after", "snooze", "give_up", "error", "class", "progress", "x"]),
                 prop::sample::select(vec!["true", "-1", "1e300", "\"3d\"", "\"\\u0000\\u001b[31m\"", "null", "{}", "0.5", "[[["])),
                0..20,
            ),
            error in "\\PC{0,20}", repeat in 1usize..2_000,
        ) {
            let mut text: String = lines.iter().map(|(key, value)| format!("{{\"{key}\":{value}}}\n")).collect();
            let error = serde_json::to_string(&error.repeat(repeat)).unwrap();
            text.push_str(&format!("{{\"error\":{error},\"class\":{error}}}"));
            let (control, complaints) = parse(text.as_bytes());
            prop_assert!(complaints.len() <= COMPLAINTS_MAX + 1);
            prop_assert!(control.error.is_none_or(|error| error.chars().count() <= ERROR_TEXT_CHARS_MAX));
            prop_assert!(control.class.is_none_or(|class| class.chars().count() <= ERROR_CLASS_CHARS_MAX));
            prop_assert!(control.snooze_ms.is_none_or(|ms| ms <= DURATION_MS_MAX));
            prop_assert!(control.progress.is_none_or(|progress| (0.0..=1.0).contains(&progress)));
        }
    }
}
