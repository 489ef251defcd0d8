//! The driver's errors as sentences, by what can be done about them.

use scylla::errors::{
    BrokenConnectionError, ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError,
    ExecutionError, MetadataError, MetadataFetchErrorKind, NewSessionError, PrepareError,
    RequestAttemptError,
};

use super::super::{StoreError, StoreErrorKind};

/// A request that failed. Whatever the error: the driver may have tried several nodes, of which it
/// shows the last, so a write that failed may have happened.
pub(super) fn of_request(error: &ExecutionError) -> StoreError {
    match error {
        ExecutionError::LastAttemptError(error) => of_attempt(error),
        ExecutionError::RequestTimeout(limit) => unavailable(format!(
            "Cassandra has not answered within {} ms: it is overloaded, or nodes are away",
            limit.as_millis()
        )),
        ExecutionError::EmptyPlan => {
            unavailable("no node of the data centre is known to be up; start one, or check the name")
        }
        ExecutionError::ConnectionPoolError(error) => of_pool(error),
        ExecutionError::PrepareError(error) => of_prepare(error),
        ExecutionError::BadQuery(error) => {
            StoreError::new(StoreErrorKind::Invalid, format!("Cassandra's driver refuses: {error}"))
        }
        other => unavailable(format!("Cassandra has not answered: {other}")),
    }
}

/// A row that is not as it was written.
pub(super) fn unreadable(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("{what} can't be read from Cassandra: {error}"))
}

pub(super) fn of_prepare(error: &PrepareError) -> StoreError {
    match error {
        PrepareError::ConnectionPoolError(error) => of_pool(error),
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
        other => unavailable(format!("Cassandra does not take the statements: {other}")),
    }
}

fn of_attempt(error: &RequestAttemptError) -> StoreError {
    match error {
        RequestAttemptError::DbError(error, message) => of_server(error, message),
        RequestAttemptError::BrokenConnectionError(error) => {
            unavailable(format!("the connection to Cassandra broke: {error}"))
        }
        RequestAttemptError::UnableToAllocStreamId => {
            unavailable("too many requests wait for one node of Cassandra")
        }
        RequestAttemptError::SerializationError(error) => {
            StoreError::new(StoreErrorKind::Invalid, format!("Cassandra's driver refuses: {error}"))
        }
        other => unavailable(format!("Cassandra's answer was not understood: {other}")),
    }
}

fn of_server(error: &DbError, message: &str) -> StoreError {
    match error {
        DbError::Unavailable { required, alive, .. } => unavailable(format!(
            "{required} replicas of Cassandra must answer and {alive} can: start the nodes that are down"
        )),
        DbError::WriteTimeout { received, required, .. } => unavailable(format!(
            "{received} of the {required} replicas that must have a write answered in time"
        )),
        DbError::ReadTimeout { received, required, .. } => {
            unavailable(format!("{received} of the {required} replicas that must be read answered in time"))
        }
        DbError::WriteFailure { numfailures, .. } => unavailable(format!(
            "a write failed at {numfailures} replicas of Cassandra: look into their logs ({message})"
        )),
        DbError::ReadFailure { numfailures, .. } => unavailable(format!(
            "a read failed at {numfailures} replicas of Cassandra: look into their logs ({message})"
        )),
        DbError::Overloaded | DbError::RateLimitReached { .. } => {
            unavailable(format!("Cassandra is overloaded ({message})"))
        }
        DbError::IsBootstrapping => unavailable("a node of Cassandra is still starting"),
        DbError::Unauthorized => StoreError::new(
            StoreErrorKind::Permission,
            format!("Cassandra forbids it: {message}; grant the user what is missing"),
        ),
        DbError::AuthenticationError => wrong_password(message),
        DbError::Invalid | DbError::SyntaxError | DbError::ConfigError | DbError::AlreadyExists { .. } => {
            StoreError::new(StoreErrorKind::Invalid, format!("Cassandra refuses: {message}"))
        }
        _ => unavailable(format!("Cassandra failed: {message}")),
    }
}

/// A session that could not be made; `contact_points` as the user wrote them.
pub(super) fn of_session(error: &NewSessionError, contact_points: &[String]) -> StoreError {
    let named = contact_points.join(", ");
    let unreachable = |why: String| {
        unavailable(format!("none of Cassandra's contact points can be reached ({named}): {why}"))
    };
    match error {
        NewSessionError::FailedToResolveAnyHostname(_) => unreachable("no such host".to_owned()),
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(error)) => {
            refused_login(error).unwrap_or_else(|| unreachable(reason(error)))
        }
        NewSessionError::MetadataError(MetadataError::FetchError(error)) => match &error.error {
            MetadataFetchErrorKind::PrepareError(error) => of_attempt(error),
            _ => unreachable(error.to_string()),
        },
        other => unreachable(other.to_string()),
    }
}

fn of_pool(error: &ConnectionPoolError) -> StoreError {
    refused_login(error)
        .unwrap_or_else(|| unavailable(format!("no connection to Cassandra: {}", reason(error))))
}

/// Why a pool has no connection, without the driver's layers around it.
fn reason(error: &ConnectionPoolError) -> String {
    let ConnectionPoolError::Broken { last_connection_error } = error else { return error.to_string() };
    match last_connection_error {
        ConnectionError::ConnectTimeout => {
            "no answer in time; is it up, and is its firewall open?".to_owned()
        }
        ConnectionError::IoError(error) => {
            let text = error.to_string();
            let tls = ["certificate", "corrupt message", "received fatal alert", "HandshakeFailure"];
            match tls.iter().any(|word| text.contains(word)) {
                true => format!("{text}; check tls_ca, and whether the server speaks TLS"),
                false => text,
            }
        }
        ConnectionError::BrokenConnection(error) => broken(error),
        ConnectionError::ConnectionSetupRequestError(error) => match error.get_error() {
            ConnectionSetupRequestErrorKind::BrokenConnection(error) => broken(error),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// A server that ends a connection before it is one most often speaks TLS, or does not.
fn broken(error: &BrokenConnectionError) -> String {
    format!("{error}; does the server speak TLS where the settings do not, or the other way round?")
}

fn refused_login(error: &ConnectionPoolError) -> Option<StoreError> {
    let ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
    } = error
    else {
        return None;
    };
    match error.get_error() {
        ConnectionSetupRequestErrorKind::DbError(
            DbError::AuthenticationError | DbError::Unauthorized,
            message,
        ) => Some(wrong_password(message)),
        ConnectionSetupRequestErrorKind::MissingAuthentication => Some(StoreError::new(
            StoreErrorKind::Permission,
            "Cassandra asks for a user and a password, and none are set",
        )),
        _ => None,
    }
}

fn wrong_password(message: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Permission,
        format!("Cassandra does not take the user and password: {message}"),
    )
}

fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}
