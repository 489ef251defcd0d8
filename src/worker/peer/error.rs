//! Why a call was not answered, and how that is said over the link.

use std::time::Duration;

use super::frame::{Effect, Failure, Reason};
use super::limits::{ERROR_BYTES_MAX, RETRY_AFTER};
use crate::worker::RequestError;

/// Why a call was not answered; above all, whether it may have had an effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not served, and will not be: it can be repeated, here or elsewhere.
    #[error("{message}")]
    NotSent {
        /// Why.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// It was sent, and it is not known what became of it.
    #[error("{message}")]
    Unknown {
        /// Why.
        message: String,
    },
    /// It was served, and this is the answer.
    #[error(transparent)]
    Refused(RequestError),
}

impl CallError {
    /// It was not served.
    pub(super) fn not_sent(message: impl Into<String>) -> Self {
        Self::NotSent { message: message.into(), retry_after: RETRY_AFTER }
    }

    /// It is not known whether it was served.
    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::Unknown { message: message.into() }
    }
}

/// For whoever can't try again: what is answered to a client. That an outcome is not known is said in
/// the sentence.
impl From<CallError> for RequestError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent { message, retry_after } => Self::Unavailable { message, retry_after },
            CallError::Unknown { message } => Self::Unavailable {
                message: format!("{message}; whether it was done is not known"),
                retry_after: RETRY_AFTER,
            },
            CallError::Refused(error) => error,
        }
    }
}

impl Failure {
    pub(super) fn new(call: u64, error: CallError) -> Self {
        let mut failure = Self { call, ..Self::default() };
        let (effect, reason, message, retry_after) = match error {
            CallError::NotSent { message, retry_after } => {
                (Effect::None, Reason::Other, message, retry_after)
            }
            CallError::Unknown { message } => (Effect::Unknown, Reason::Other, message, Duration::ZERO),
            CallError::Refused(error) => {
                let (reason, message, retry_after) = match error {
                    RequestError::NotFound(message) => (Reason::NotFound, message, Duration::ZERO),
                    RequestError::Gone(message) => (Reason::Gone, message, Duration::ZERO),
                    RequestError::Moved(message) => (Reason::Moved, message, Duration::ZERO),
                    RequestError::Conflict(message) => (Reason::Conflict, message, Duration::ZERO),
                    RequestError::Invalid { field, message } => {
                        failure.field = field.map(shortened);
                        (Reason::Invalid, message, Duration::ZERO)
                    }
                    RequestError::Overloaded { message, retry_after } => {
                        (Reason::Overloaded, message, retry_after)
                    }
                    RequestError::Unavailable { message, retry_after } => {
                        (Reason::Unavailable, message, retry_after)
                    }
                };
                (Effect::Answered, reason, message, retry_after)
            }
        };
        failure.set_effect(effect);
        failure.set_reason(reason);
        failure.message = shortened(message);
        failure.retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        failure
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        let (effect, reason) = (failure.effect(), failure.reason());
        let Failure { message, field, retry_after_ms, .. } = failure;
        let retry_after = Duration::from_millis(retry_after_ms);
        match effect {
            Effect::None => Self::NotSent { message, retry_after },
            Effect::Unknown => Self::Unknown { message },
            Effect::Answered => Self::Refused(match reason {
                Reason::NotFound => RequestError::NotFound(message),
                Reason::Gone => RequestError::Gone(message),
                Reason::Moved => RequestError::Moved(message),
                Reason::Conflict => RequestError::Conflict(message),
                Reason::Invalid => RequestError::Invalid { field, message },
                Reason::Overloaded => RequestError::Overloaded { message, retry_after },
                Reason::Unavailable | Reason::Other => RequestError::Unavailable { message, retry_after },
            }),
        }
    }
}

/// A text that has room in a frame.
fn shortened(mut text: String) -> String {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_arrives_as_it_was_sent() {
        let soon = Duration::from_millis(1_500);
        let text = || "the queue is full".to_owned();
        let answers = [
            RequestError::NotFound(text()),
            RequestError::Gone(text()),
            RequestError::Conflict(text()),
            RequestError::Moved(text()),
            RequestError::Invalid { field: Some("jobs[3].key".to_owned()), message: text() },
            RequestError::Invalid { field: None, message: text() },
            RequestError::Overloaded { message: text(), retry_after: soon },
            RequestError::Unavailable { message: text(), retry_after: soon },
        ];
        let errors = [
            CallError::NotSent { message: text(), retry_after: soon },
            CallError::Unknown { message: text() },
        ];
        for error in errors.into_iter().chain(answers.map(CallError::Refused)) {
            assert_eq!(CallError::from(Failure::new(7, error.clone())), error);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = CallError::Refused(RequestError::Conflict("ü".repeat(ERROR_BYTES_MAX)));
        let failure = Failure::new(1, long);
        assert!(failure.message.len() <= ERROR_BYTES_MAX && failure.message.ends_with('ü'));
    }
}
