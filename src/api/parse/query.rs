//! The query of a URI, strictly: percent signs, UTF-8, no name twice, no name that is not known.

use bytes::Bytes;

use super::InvalidRequest;
use super::draft::{Draft, JOB_FIELDS};
use super::value::Value;
use crate::model::NewJob;
use crate::model::check::{nearest, shortened};

/// Names in one query.
const PAIRS_MAX: usize = 128;

/// A job from a raw payload, its content type, and its options in the query.
///
/// `tags` may come several times; `backoff.base=5s` and `headers.NAME=value` are members.
pub fn parse_query(
    query: &str,
    content_type: &str,
    payload: Bytes,
    now_ms: u64,
) -> Result<NewJob, InvalidRequest> {
    let mut draft = Draft::with_payload(payload, content_type);
    let mut seen: Vec<&str> = Vec::new();
    let pairs = pairs(query)?;
    for (name, text) in &pairs {
        if name != "tags" && seen.contains(&name.as_str()) {
            return Err(InvalidRequest::field(name, "is there twice"));
        }
        seen.push(name);
        let value = Value::Text(text);
        match name.split_once('.') {
            Some(("backoff", part)) => draft.set_backoff_part(part, value)?,
            Some(("headers", header)) => draft.set_header(header, value)?,
            _ if matches!(name.as_str(), "payload" | "payload_base64" | "content_type") => {
                let message =
                    "is not for the query: the body is the payload, its type the Content-Type header";
                return Err(InvalidRequest::field(name, message));
            }
            _ => draft.set(name, value)?,
        }
    }
    draft.finish(now_ms)
}

/// The names and values of a query, each to be asked for by name.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Only those names may be there, each once.
    pub fn of(query: Option<&str>, known: &[&str]) -> Result<Self, InvalidRequest> {
        let pairs = pairs(query.unwrap_or_default())?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let hint = if known.is_empty() {
                    "this request takes no query".to_owned()
                } else {
                    nearest(name, known)
                };
                return Err(InvalidRequest::field(name, format!("is not known in the query: {hint}")));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(InvalidRequest::field(name, "is there twice"));
            }
        }
        Ok(Self { pairs })
    }

    /// The text of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// Yes or no: `1`, `true` or nothing is yes, `0` or `false` is no, as is a name that is not there.
    pub fn flag(&self, name: &str) -> Result<bool, InvalidRequest> {
        match self.text(name) {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(other) => {
                Err(InvalidRequest::field(name, format!("must be true or false, not {:?}", shortened(other))))
            }
        }
    }

    /// A whole number within bounds.
    pub fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, InvalidRequest> {
        self.text(name)
            .map(|text| Value::Text(text).whole(least, most))
            .transpose()
            .map_err(|message| InvalidRequest::field(name, message))
    }
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, InvalidRequest> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == PAIRS_MAX {
            return Err(InvalidRequest::whole(format!("the query has more than {PAIRS_MAX} names")));
        }
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name).ok_or_else(|| {
            InvalidRequest::whole(format!(
                "the name {:?} in the query is not percent-encoded UTF-8",
                shortened(name)
            ))
        })?;
        let text =
            decoded(text).ok_or_else(|| InvalidRequest::field(&name, "is not percent-encoded UTF-8"))?;
        pairs.push((name, text));
    }
    Ok(pairs)
}

/// `%41` and `+` decoded; `None` if a percent sign stands alone or the result is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let high = char::from(digits[0]).to_digit(16)?;
                let low = char::from(digits[1]).to_digit(16)?;
                bytes.push((high * 16 + low) as u8);
                rest = after;
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// The hint for a body that was taken as a raw payload by mistake.
pub(crate) fn raw_payload_hint(wrong: InvalidRequest, content_type: &str) -> InvalidRequest {
    if wrong.field.as_deref() != Some("kind") {
        return wrong;
    }
    let sort = match content_type {
        "" => "without a Content-Type".to_owned(),
        other => format!("of type {}", shortened(other)),
    };
    let hint = "is a raw payload with its options in the query; a JSON job is sent as application/json";
    let message = format!("{} (a body {sort} {hint})", wrong.message);
    InvalidRequest { message, ..wrong }
}

const _: () = assert!(JOB_FIELDS.len() < PAIRS_MAX);
