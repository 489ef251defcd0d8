//! Payloads from arguments, files and standard input.

use std::fs::File;
use std::io::{self, Read};

use super::super::exit::Failure;
use crate::model::limits::PAYLOAD_BYTES_MAX;

/// The bytes that a payload argument means.
pub(super) fn read(argument: Option<&str>) -> Result<Vec<u8>, Failure> {
    match argument {
        None => Ok(Vec::new()),
        Some("-") => bounded(io::stdin().lock(), "standard input"),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => {
                let opened = File::open(file)
                    .map_err(|error| Failure::usage(format!("cannot read the payload {file}: {error}")))?;
                bounded(opened, file)
            }
            None => bounded(text.as_bytes(), "the argument"),
        },
    }
}

fn bounded(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source
        .take(PAYLOAD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read the payload {name}: {error}")))?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        let message = format!(
            "the payload ({name}) is larger than {PAYLOAD_BYTES_MAX} bytes: keep it in a file or object store, and enqueue its name"
        );
        return Err(Failure::usage(message));
    }
    Ok(bytes)
}

/// What a payload is, by looking at it.
pub(super) fn content_type(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        "application/json"
    } else if std::str::from_utf8(bytes).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_what_it_looks_like() {
        assert_eq!(content_type(b"{\"a\": 1}"), "application/json");
        assert_eq!(content_type(b"{\"a\": 1"), "text/plain; charset=utf-8");
        assert_eq!(content_type(b"\xff\xfe"), "application/octet-stream");
    }

    #[test]
    fn a_payload_over_the_limit_is_refused() {
        assert!(bounded(io::repeat(b'x').take(PAYLOAD_BYTES_MAX as u64), "it").is_ok());
        assert!(bounded(io::repeat(b'x'), "it").is_err());
    }
}
