//! What can be set about the HTTP API, and where it may listen.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::limits::BATCH_BYTES_MAX;

/// Bounds and habits of the HTTP API.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Host names and addresses that requests may be for, besides loopback and the address that
    /// they came in at. Without a port, any port is meant.
    pub hosts: Vec<String>,
    /// Every request needs it as a bearer token; none: no token is asked for.
    pub token: Option<String>,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are being read or worked on; beyond it requests are refused (429).
    pub bodies_bytes_max: usize,
    /// Requests worked on at once, long polls included; beyond it they are refused (429).
    pub requests_in_flight_max: usize,
    /// A body that sends nothing for so long is given up (408).
    pub body_idle: Duration,
    /// A body that is not there after so long is given up (408).
    pub body_total: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            token: None,
            body_bytes_max: BATCH_BYTES_MAX,
            bodies_bytes_max: 256 << 20,
            requests_in_flight_max: 1_024,
            body_idle: Duration::from_secs(15),
            body_total: Duration::from_secs(120),
        }
    }
}

/// Leaves the token out, so that it can't end up in a log.
impl fmt::Debug for ApiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings")
            .field("hosts", &self.hosts)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("body_bytes_max", &self.body_bytes_max)
            .field("bodies_bytes_max", &self.bodies_bytes_max)
            .field("requests_in_flight_max", &self.requests_in_flight_max)
            .field("body_idle", &self.body_idle)
            .field("body_total", &self.body_total)
            .finish()
    }
}

/// Why an address is not listened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "listening at {address} lets other machines in without a token: set a token, listen at 127.0.0.1, or say `insecure = true`"
)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
}

/// Beyond loopback only with a token, or if the config says that it is meant so.
pub fn check_listen(address: SocketAddr, token: bool, insecure: bool) -> Result<(), ListenError> {
    if address.ip().to_canonical().is_loopback() || token || insecure {
        return Ok(());
    }
    Err(ListenError { address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_loopback_a_token_or_an_explicit_word_is_needed() {
        for loopback in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:7420", "[::ffff:127.0.0.1]:7420"] {
            assert_eq!(check_listen(loopback.parse().unwrap(), false, false), Ok(()));
        }
        for open in ["0.0.0.0:7420", "[::]:7420", "10.0.0.1:7420", "[fe80::1]:1"] {
            let address = open.parse().unwrap();
            assert_eq!(check_listen(address, false, false), Err(ListenError { address }));
            assert_eq!(check_listen(address, true, false), Ok(()));
            assert_eq!(check_listen(address, false, true), Ok(()));
        }
    }

    #[test]
    fn the_token_is_not_in_the_debug_text() {
        let settings = ApiSettings { token: Some("s3cret".to_owned()), ..ApiSettings::default() };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
