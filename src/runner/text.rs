//! Texts of failures, made fit to be kept and shown.

use crate::model::limits::{ERROR_CLASS_CHARS_MAX, ERROR_TEXT_CHARS_MAX};

/// A text for people: bounded, without control characters that would upset a terminal.
pub(super) fn error_text(text: &str) -> String {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.trim_end().chars().filter(is_shown).take(ERROR_TEXT_CHARS_MAX).collect()
}

/// A class: one bounded line.
pub(super) fn class_text(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(ERROR_CLASS_CHARS_MAX).collect()
}
