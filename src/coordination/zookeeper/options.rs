//! What a coordinator on ZooKeeper is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::coordination::{CoordinationError, CoordinationErrorKind};

/// Servers in a connect string.
const SERVERS_MAX: usize = 64;

/// Bytes of a connect string.
const CONNECT_BYTES_MAX: usize = 8 * 1024;

/// Session timeouts that make sense: below, a pause of a program or a disk is an end of a session.
const SESSION_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(300);

/// Where an ensemble is, and how to speak to it.
#[derive(Clone)]
pub struct ZooKeeperOptions {
    /// `host:port,host:port/chroot`, as for ZooKeeper's own clients. The chroot is the cluster's.
    pub connect: String,
    /// Asked for; the ensemble has its own bounds.
    pub session_timeout: Duration,
    /// User and password of the digest scheme. What is made can then be used by this user only.
    pub auth: Option<(String, String)>,
    /// Speak TLS to all servers.
    pub tls: Option<ZooKeeperTls>,
    /// Make the chroot if it does not exist.
    pub create_chroot: bool,
}

/// Files for TLS.
#[derive(Clone, Debug)]
pub struct ZooKeeperTls {
    /// Certificates of the authorities that servers are trusted by, PEM.
    pub ca_file: PathBuf,
    /// This client's own certificate and its key, PEM, where servers ask for it.
    pub identity_files: Option<(PathBuf, PathBuf)>,
}

impl ZooKeeperOptions {
    /// The defaults, for that connect string.
    pub fn new(connect: impl Into<String>) -> Self {
        Self {
            connect: connect.into(),
            session_timeout: Duration::from_secs(10),
            auth: None,
            tls: None,
            create_chroot: true,
        }
    }
}

impl fmt::Debug for ZooKeeperOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeperOptions")
            .field("connect", &self.connect)
            .field("session_timeout", &self.session_timeout)
            .field("auth", &self.auth.as_ref().map(|(user, _)| (user, "***")))
            .field("tls", &self.tls)
            .field("create_chroot", &self.create_chroot)
            .finish()
    }
}

/// A connect string, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port`.
    pub servers: Vec<String>,
    /// Starts with a slash; only that if there is none.
    pub chroot: String,
}

impl Target {
    /// The servers, as the client takes them.
    pub fn connect_string(&self) -> String {
        self.servers.join(",")
    }
}

fn invalid(message: String) -> CoordinationError {
    CoordinationError::new(CoordinationErrorKind::Invalid, message)
}

/// Takes the options apart, and says what is wrong with them.
pub(super) fn check(options: &ZooKeeperOptions) -> Result<Target, CoordinationError> {
    if !SESSION_TIMEOUTS.contains(&options.session_timeout) {
        return Err(invalid(format!(
            "a session timeout of {:?}: it can be 1s to 300s, and 10s is a good one",
            options.session_timeout
        )));
    }
    if let Some((user, password)) = &options.auth
        && (user.is_empty() || user.contains(':') || password.is_empty())
    {
        return Err(invalid("the user of ZooKeeper needs a name without a colon, and a password".to_owned()));
    }
    target(&options.connect)
}

fn target(connect: &str) -> Result<Target, CoordinationError> {
    let wrong = |what: &str| {
        let shown: String = connect.chars().take(200).collect();
        invalid(format!("ZooKeeper's connect string {shown:?} {what}; right is host:2181,host:2181/qdo"))
    };
    if connect.len() > CONNECT_BYTES_MAX {
        return Err(wrong("is too long"));
    }
    if connect.contains("://") {
        return Err(wrong("has a scheme in it: TLS is a setting of its own"));
    }
    let (servers, chroot) = connect.split_once('/').unwrap_or((connect, ""));
    let servers: Vec<&str> = servers.split(',').map(str::trim).collect();
    if servers.len() > SERVERS_MAX {
        return Err(wrong("has too many servers"));
    }
    let servers: Option<Vec<String>> = servers.into_iter().map(server).collect();
    let Some(servers) = servers else { return Err(wrong("has a server that is not host:port")) };
    let chroot = chroot.trim_end_matches('/');
    let names = chroot.split('/');
    let plain = |name: &str| {
        !name.is_empty() && name != "." && name != ".." && name.bytes().all(|b| b.is_ascii_graphic())
    };
    if !chroot.is_empty() && !names.clone().all(plain) {
        return Err(wrong("has a path that ZooKeeper does not take"));
    }
    if names.clone().next() == Some("zookeeper") {
        return Err(wrong("is in /zookeeper, which is ZooKeeper's own"));
    }
    Ok(Target { servers, chroot: format!("/{chroot}") })
}

/// With its port.
fn server(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // Of an IPv6 address without a port, in brackets.
        Some((_, port)) if port.ends_with(']') => (text, "2181"),
        Some((host, port)) => (host, port),
        None => (text, "2181"),
    };
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let bare = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']'))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let named = !bare.is_empty() && bare.bytes().all(|b| plain(b) || (b == b':' && host.starts_with('[')));
    named.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_string_is_servers_and_a_chroot() {
        let parts =
            |text: &str| target(text).map(|target| (target.servers.join(" "), target.chroot)).unwrap();
        assert_eq!(parts("a"), ("a:2181".to_owned(), "/".to_owned()));
        assert_eq!(parts("a:1, b:2/qdo/one/"), ("a:1 b:2".to_owned(), "/qdo/one".to_owned()));
        assert_eq!(parts("[::1]:7,[::2]/x"), ("[::1]:7 [::2]:2181".to_owned(), "/x".to_owned()));
    }

    #[test]
    fn a_wrong_connect_string_says_what_is_right() {
        let long = "a".repeat(9_000);
        let many = vec!["a"; 65].join(",");
        for text in
            ["", ",", "a:0", "a:99999", "a:b", "tcp://a:1", "a/b//c", "a/../b", "a b", "[::1", &long, &many]
        {
            let error = target(text).unwrap_err();
            assert_eq!(error.kind, CoordinationErrorKind::Invalid, "{text}");
            assert!(error.message.contains("right is host:2181,host:2181/qdo"), "{error}");
            assert!(error.message.len() < 400);
        }
        assert!(target("a/zookeeper/config").is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let mut options = ZooKeeperOptions::new("a:1/qdo");
        options.auth = Some(("qdo".to_owned(), "open sesame".to_owned()));
        assert!(!format!("{options:?}").contains("sesame"));
        options.auth = Some(("q:do".to_owned(), "open sesame".to_owned()));
        assert!(!check(&options).unwrap_err().message.contains("sesame"));
    }
}
