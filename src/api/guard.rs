//! Who may ask: the `Host`, the `Origin`, the token.
//!
//! A page in a browser on the same machine can reach 127.0.0.1. It is kept out by its `Origin`, and,
//! if it made its own name point to 127.0.0.1 (DNS rebinding), by its `Host`: only loopback names,
//! the address that the connection came in at, and configured names are answered.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::error::{Problem, ProblemKind};
use crate::model::check::shortened;

/// What is known about the connection of a request. The server puts it beside each.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    /// Who asks.
    pub peer: Option<SocketAddr>,
    /// The address that it came in at.
    pub local: Option<SocketAddr>,
    /// Fires when the server ends: whoever waits answers what it has.
    pub shutdown: CancellationToken,
}

impl Connection {
    /// The peer is on the same machine.
    pub fn is_local(&self) -> bool {
        self.peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
    }
}

/// The checks, made once.
pub(super) struct Guard {
    hosts: Vec<String>,
    token: Option<[u8; 32]>,
}

impl Guard {
    pub fn new(hosts: &[String], token: Option<&str>) -> Self {
        Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            token: token.map(|token| Sha256::digest(token.as_bytes()).into()),
        }
    }

    /// A token is asked for.
    pub fn asks_for_token(&self) -> bool {
        self.token.is_some()
    }

    /// The request is for us, and not sent by a page of another site.
    pub fn check_site(&self, uri: &Uri, headers: &HeaderMap, connection: &Connection) -> Result<(), Problem> {
        let host = host(headers)?;
        for named in [Some(&host), uri.authority()].into_iter().flatten() {
            if !self.is_ours(named, connection) {
                let detail = format!(
                    "the host {:?} is not known here: use 127.0.0.1, or add the name to `hosts` in the config",
                    shortened(named.as_str())
                );
                return Err(Problem::new(ProblemKind::ForeignHost, detail));
            }
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match origins.next() {
            Some(origin) if origins.next().is_some() || !same_origin(origin, &host) => {
                let detail = "the request comes from a page of another site, which is not answered";
                Err(Problem::new(ProblemKind::ForeignOrigin, detail))
            }
            _ => Ok(()),
        }
    }

    /// The token, if one is asked for, is right.
    pub fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(expected) = &self.token else { return Ok(()) };
        let refuse = |detail: &str| Err(Problem::new(ProblemKind::Unauthorized, detail));
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return refuse("a token is needed: send `Authorization: Bearer …`");
        };
        match bearer(given) {
            Some(token) if equal(&Sha256::digest(token).into(), expected) => Ok(()),
            Some(_) => refuse("the token is wrong"),
            None => refuse("the Authorization header is not `Bearer …`"),
        }
    }

    fn is_ours(&self, host: &Authority, connection: &Connection) -> bool {
        let name = host.host().to_ascii_lowercase();
        let whole = host.as_str().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>().ok();
        let local = connection.local.map(|local| local.ip().to_canonical());
        let known_address = address
            .map(|address| address.to_canonical())
            .is_some_and(|address| address.is_loopback() || local == Some(address));
        known_address
            || name == "localhost"
            || self.hosts.iter().any(|ours| [&name, bare, &whole].contains(&ours.as_str()))
    }
}

/// The one `Host` of a request.
fn host(headers: &HeaderMap) -> Result<Authority, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    host.filter(|host| !host.as_str().contains('@')).ok_or_else(|| {
        Problem::new(ProblemKind::ForeignHost, "the request has no right Host header: exactly one is needed")
    })
}

/// `http://HOST` or `https://HOST`, with the very host (and port) of the `Host` header.
fn same_origin(origin: &HeaderValue, host: &Authority) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    named.is_some_and(|named| named.eq_ignore_ascii_case(host.as_str()))
}

/// The token of `Bearer TOKEN`; an empty one is none.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = value.as_bytes().split_at_checked(SCHEME.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty()).then_some(token)
}

/// In a time that does not depend on where they differ.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0u8, |differ, (a, b)| differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(guard: &Guard, host: &str, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let connection =
            Connection { local: Some("10.1.2.3:7420".parse().unwrap()), ..Connection::default() };
        guard
            .check_site(&Uri::from_static("/"), &headers, &connection)
            .map_err(|problem| problem.kind.into_owned())
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let guard = Guard::new(&["Queue.Example", "other:81", "fe80::7"].map(str::to_owned), None);
        let ours = [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1",
            "127.0.0.1:7420",
            "[::1]:9",
            "10.1.2.3:7420",
            "queue.example:80",
            "other:81",
            "[fe80::7]:7420",
        ];
        for host in ours {
            assert_eq!(answer(&guard, host, None), Ok(()), "{host}");
        }
        let foreign = [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.1.2.4",
            "other:82",
            "a@localhost",
            "x y",
        ];
        for host in foreign {
            assert_eq!(answer(&guard, host, None), Err("/problems/foreign-host".to_owned()), "{host}");
        }
    }

    #[test]
    fn only_pages_of_the_same_site_are_answered() {
        let guard = Guard::new(&[], None);
        for origin in ["http://localhost:7420", "https://LOCALHOST:7420"] {
            assert_eq!(answer(&guard, "localhost:7420", Some(origin)), Ok(()), "{origin}");
        }
        for origin in
            ["null", "http://localhost", "http://127.0.0.1:7420", "http://evil.example", "localhost:7420"]
        {
            let foreign = Err("/problems/foreign-origin".to_owned());
            assert_eq!(answer(&guard, "localhost:7420", Some(origin)), foreign, "{origin}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_host_is_called_only_ours_are_answered(
            host in "[a-z0-9.:@\\[\\]/-]{0,20}|(localhost|127\\.0\\.0\\.1)[a-z0-9.:@-]{0,12}",
        ) {
            if answer(&Guard::new(&[], None), &host, None).is_ok() {
                let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
                let ours = ["localhost", "10.1.2.3", "[::1]", "[::"].contains(&name);
                prop_assert!(ours || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()), "{host}");
            }
        }
    }

    #[test]
    fn only_the_right_token_passes() {
        let guard = Guard::new(&[], Some("s3cret"));
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            guard.check_token(&headers).is_ok()
        };
        assert!(check("Bearer s3cret") && check("bearer s3cret") && check("Bearer  s3cret "));
        for wrong in ["Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crett", "Basic s3cret", "s3cret", ""] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(guard.check_token(&HeaderMap::new()).is_err());
    }

    #[test]
    fn an_empty_token_lets_nobody_in() {
        let guard = Guard::new(&[], Some(""));
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer "));
        assert!(guard.check_token(&headers).is_err());
    }
}
