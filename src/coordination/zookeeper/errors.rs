//! The client's errors, as those of the port.
//!
//! A cut connection surfaces in many forms, so whatever is not on the list below has an outcome that
//! is not known.

use zookeeper_client::Error;

use crate::coordination::{CoordinationError, CoordinationErrorKind};

/// What it was that failed, in a sentence.
pub(super) fn failed(what: &str, error: Error) -> CoordinationError {
    use CoordinationErrorKind::{Invalid, Refused, SessionLost, Unavailable};
    let (kind, why) = match error {
        Error::NoAuth => (Refused, "this user may not: what is there belongs to another one".to_owned()),
        Error::AuthFailed => (Refused, "the ensemble refuses this user, or clients without one".to_owned()),
        Error::QuotaExceeded => (Refused, "a quota of the ensemble is used up".to_owned()),
        Error::InvalidAcl => (Refused, "rights can be given to a user only, and there is none".to_owned()),
        Error::SessionExpired | Error::ClientClosed => (SessionLost, "the session is over".to_owned()),
        Error::BadArguments(why) => (Invalid, (*why).to_owned()),
        Error::NoNode | Error::NodeExists | Error::BadVersion | Error::NotEmpty => {
            (Unavailable, "others change the same nodes at the same time".to_owned())
        }
        Error::Timeout => (Unavailable, "there was no answer in time".to_owned()),
        Error::ConnectionLoss => (Unavailable, "there is no connection to the ensemble".to_owned()),
        other => (Unavailable, other.to_string()),
    };
    CoordinationError::new(kind, format!("ZooKeeper: {what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_list_has_an_unknown_outcome() {
        let kind = |error| failed("test", error).kind;
        assert_eq!(kind(Error::UnexpectedErrorCode(-99)), CoordinationErrorKind::Unavailable);
        assert_eq!(kind(Error::ConnectionLoss), CoordinationErrorKind::Unavailable);
        assert_eq!(kind(Error::SessionMoved), CoordinationErrorKind::Unavailable);
        assert_eq!(kind(Error::SessionExpired), CoordinationErrorKind::SessionLost);
        assert_eq!(kind(Error::NoAuth), CoordinationErrorKind::Refused);
    }
}
