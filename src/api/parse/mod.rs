//! From bytes to jobs: the parsers of what producers send. Pure functions, so that property tests
//! and fuzzing can call them with anything.
//!
//! Three forms, one meaning: a JSON object ([`parse_job`]), many of them, one a line
//! ([`parse_ndjson`]), and a raw payload with its options in the query ([`parse_query`]). All go
//! through one draft, so a field has the same rule in every form. Whatever comes in, the answer is
//! jobs within the bounds of [`crate::model::limits`] or an [`InvalidRequest`] that names the field
//! and the line; memory is bounded by the size of what came in.

mod draft;
mod json;
mod ndjson;
mod query;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use crate::model::check::{Wrong, shortened};

pub use draft::{JOB_FIELDS, JOB_FIELDS_LATER, parse_job};
pub(crate) use json::{body_text, members};
pub use ndjson::parse_ndjson;
pub use query::parse_query;
pub(crate) use query::{Query, raw_payload_hint};
pub(crate) use value::{Value, span_of_text};

/// What kind of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It breaks a rule.
    Invalid,
    /// It is over a bound of size.
    TooLarge,
    /// It is known, and not built yet.
    NotSupported,
}

/// Why a request can't be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    /// What kind of wrong.
    pub fault: Fault,
    /// Number of the line, from 1, where lines count.
    pub line: Option<usize>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// What is wrong, and what is right; names the field, but not the line.
    pub message: String,
}

impl InvalidRequest {
    /// The whole is wrong.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { fault: Fault::Invalid, line: None, field: None, message: message.into() }
    }

    /// One field is wrong: `message` goes on after its name.
    pub fn field(field: &str, message: impl AsRef<str>) -> Self {
        let field = shortened(field);
        let message = format!("`{field}` {}", message.as_ref());
        Self { fault: Fault::Invalid, line: None, field: Some(field), message }
    }

    /// The field is known, but what it asks for is not built yet.
    pub fn not_supported(field: &str) -> Self {
        let fault = Fault::NotSupported;
        Self { fault, ..Self::field(field, "is not supported yet: leave it out") }
    }

    /// There is no such field.
    pub fn unknown_field(field: &str, known: &[&str]) -> Self {
        let hint = crate::model::check::nearest(field, known);
        Self::field(field, format!("is not a known field: {hint}"))
    }

    fn at_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }
}

impl std::error::Error for InvalidRequest {}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl From<Wrong> for InvalidRequest {
    fn from(wrong: Wrong) -> Self {
        let fault = if wrong.too_large { Fault::TooLarge } else { Fault::Invalid };
        Self { fault, ..Self::field(&wrong.field, wrong.message) }
    }
}
