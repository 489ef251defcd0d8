//! A client of the HTTP API.
//!
//! Calls that may safely be repeated are, a bounded number of times, with growing pauses: after a
//! lost connection, and after an answer that says that nothing was done (429, 503). An enqueue is
//! safe because it carries a token. Everything else is only repeated when it is known not to have
//! reached the server. What fails is said in one sentence ([`ClientError`]).

mod calls;
mod cluster;
mod error;
mod send;
mod spec;

pub use calls::{JobListing, Wait};
pub use error::ClientError;
pub use spec::{JobSpec, random_token};

use crate::config::Secret;

/// Where the server is if nothing else is said.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7420";

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Its base URL, like [`DEFAULT_ADDRESS`].
    pub address: String,
    /// The namespace that queues and jobs are in.
    pub namespace: String,
    /// What to present to it.
    pub token: Option<Secret>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { address: DEFAULT_ADDRESS.to_owned(), namespace: "default".to_owned(), token: None }
    }
}

/// A client of one server and namespace. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: reqwest::Url,
    /// The address as it was given, for people.
    address: String,
    namespace: String,
    token: Option<Secret>,
}

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let ClientSettings { address, namespace, token } = settings;
        let base = base_url(&address)?;
        // The server is meant to be near: a proxy of the environment would only be in the way.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(send::CONNECT_TIMEOUT)
            .user_agent(concat!("qdo/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Address(format!("cannot set up HTTP: {error}")))?;
        let address = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, base, address, namespace, token })
    }

    /// The server's address, for people.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// `host:port` is enough.
fn base_url(address: &str) -> Result<reqwest::Url, ClientError> {
    let shown: String = address.chars().take(100).collect();
    let wrong = |why: &str| {
        ClientError::Address(format!(
            "{shown:?} is not a server's address{why}: write one like {DEFAULT_ADDRESS}"
        ))
    };
    let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = reqwest::Url::parse(&full).map_err(|_| wrong(""))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(wrong(", since TLS is not built in yet")),
        _ => return Err(wrong("")),
    }
    if !url.has_host() || url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
        return Err(wrong(""));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_base_url_or_a_host_and_port() {
        for (given, address) in [
            ("http://127.0.0.1:7420", "http://127.0.0.1:7420"),
            ("http://127.0.0.1:7420/", "http://127.0.0.1:7420"),
            ("localhost:1", "http://localhost:1"),
            ("[::1]:7420", "http://[::1]:7420"),
        ] {
            let settings = ClientSettings { address: given.to_owned(), ..ClientSettings::default() };
            assert_eq!(Client::new(settings).expect("an address").address(), address);
        }
    }

    #[test]
    fn other_addresses_are_refused_in_one_sentence() {
        for given in ["", "https://a", "ftp://a", "http://", "a b", "http://a/b", "http://a?b", ":::"] {
            let settings = ClientSettings { address: given.to_owned(), ..ClientSettings::default() };
            let error = Client::new(settings).expect_err(given).to_string();
            assert!(error.contains("write one like"), "{error}");
        }
    }
}
