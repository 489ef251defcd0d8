//! One value of a field: written in JSON, or as text in a query. Errors go on after the field's name.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::json::{elements, without_place};
use crate::model::Span;
use crate::model::check::shortened;

/// A value that has not been looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// As it was written in JSON.
    Json(&'a RawValue),
    /// As it was written in a query, decoded.
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// JSON's `null`, which is the same as leaving a field out.
    pub fn is_null(self) -> bool {
        matches!(self, Self::Json(raw) if raw.get() == "null")
    }

    /// A text.
    pub fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.to_owned()),
            Self::Json(raw) if raw.get().starts_with('"') => serde_json::from_str(raw.get())
                .map_err(|error| format!("is not a right text: {}", without_place(&error))),
            Self::Json(raw) => Err(format!("must be a text, not {}", shortened(raw.get()))),
        }
    }

    /// A whole number from `least` to `most`.
    pub fn whole(self, least: u64, most: u64) -> Result<u64, String> {
        let written = self.written();
        match written.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {least} to {most}, not {}", shortened(written))),
        }
    }

    /// A number.
    pub fn number(self) -> Result<f64, String> {
        let written = self.written();
        // JSON's own grammar, so that `inf` and `0x1` are not numbers in a query either.
        match serde_json::from_str::<f64>(written) {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("must be a number, not {}", shortened(written))),
        }
    }

    /// A length of time: a text like `30s`, or a number of seconds.
    pub fn span(self) -> Result<Span, String> {
        match self {
            Self::Text(text) => span_of_text(text),
            Self::Json(raw) if raw.get().starts_with('"') => span_of_text(&self.text()?),
            Self::Json(raw) if raw.get().starts_with(['{', '[', 't', 'f']) => {
                Err(format!("must be a length of time like \"30s\", not {}", shortened(raw.get())))
            }
            Self::Json(raw) => serde_json::from_str(raw.get())
                .map_err(|error| format!("is not a length of time: {}", without_place(&error))),
        }
    }

    /// A point in time, as Unix ms; before 1970 is 0.
    pub fn time_ms(self) -> Result<u64, String> {
        let text = self.text()?;
        let time: jiff::Timestamp = text
            .parse()
            .map_err(|_| format!("must be a time like 2026-12-24T18:00:00Z, not {:?}", shortened(&text)))?;
        Ok(u64::try_from(time.as_millisecond()).unwrap_or(0))
    }

    /// Bytes in base64.
    pub fn base64(self) -> Result<Bytes, String> {
        use base64::Engine as _;
        let text = self.text()?;
        base64::engine::general_purpose::STANDARD
            .decode(&text)
            .map(Bytes::from)
            .map_err(|error| format!("is not base64: {}", error.to_string().to_lowercase()))
    }

    /// The elements of a list of at most so many; a text is a list of one.
    pub fn list(self, most: usize) -> Result<Vec<Value<'a>>, String> {
        match self {
            Self::Text(_) => Ok(vec![self]),
            Self::Json(raw) if raw.get().starts_with('[') => {
                Ok(elements(raw.get(), most)?.into_iter().map(Value::Json).collect())
            }
            Self::Json(raw) => Err(format!("must be a list, not {}", shortened(raw.get()))),
        }
    }

    fn written(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Json(raw) => raw.get(),
        }
    }
}

/// A length of time in a query: `30s`, or `30` for seconds.
pub(crate) fn span_of_text(text: &str) -> Result<Span, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return format!("{text}s").parse().map_err(|error| format!("is wrong: {error}"));
    }
    text.parse().map_err(|error| format!("is wrong: {error}"))
}
