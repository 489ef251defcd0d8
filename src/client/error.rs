//! What can go wrong with a call.

/// Why a call has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address makes no sense.
    #[error("{0}")]
    Address(String),
    /// Nobody listens there.
    #[error(
        "no qdo server answers at {address}: start one with `qdo standalone`, or say where it is with --address"
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
    },
    /// The connection broke, and the call can't be repeated safely.
    #[error(
        "the connection to {address} broke before the answer came: look whether it was done before trying again"
    )]
    Unknown {
        /// The server.
        address: String,
    },
    /// The connection broke each time.
    #[error("the connection to {address} breaks ({message})")]
    Broken {
        /// The server.
        address: String,
        /// What the last failure was.
        message: String,
    },
    /// No answer came in time.
    #[error("{address} did not answer in time")]
    NoAnswer {
        /// The server.
        address: String,
    },
    /// The server's own words, from its problem document.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The field that is wrong, if it is about one.
        field: Option<String>,
        /// The line that is wrong, of many jobs in one request, from 1.
        line: Option<usize>,
        /// In one sentence.
        message: String,
    },
    /// An answer that no qdo server gives.
    #[error("what answers at {address} is no qdo server of this version ({message})")]
    Strange {
        /// The server.
        address: String,
        /// What is strange about the answer.
        message: String,
    },
}

impl ClientError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The fields of a problem document (RFC 9457) that are of use here.
#[derive(serde::Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    field: Option<String>,
    line: Option<usize>,
}

/// A refusal's body in one sentence.
pub(super) fn refusal(address: &str, status: u16, body: &[u8]) -> ClientError {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return ClientError::Strange {
            address: address.to_owned(),
            message: format!("status {status} without a problem document"),
        };
    };
    let sentence =
        problem.detail.or(problem.title).unwrap_or_else(|| format!("refused with status {status}"));
    let message = match &problem.field {
        Some(field) if !sentence.contains(field.as_str()) => format!("{field}: {sentence}"),
        _ => sentence,
    };
    ClientError::Refused { status, field: problem.field, line: problem.line, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_one_sentence_with_its_field() {
        let body =
            br#"{"type":"/problems/invalid","title":"Invalid","detail":"is not 1 to 9","field":"priority"}"#;
        let error = refusal("http://a", 400, body);
        assert_eq!(error.to_string(), "priority: is not 1 to 9");
        assert_eq!(error.status(), Some(400));
    }

    #[test]
    fn what_is_no_problem_document_is_called_strange() {
        assert!(refusal("http://a", 404, b"<html>nginx</html>").to_string().contains("no qdo server"));
    }
}
