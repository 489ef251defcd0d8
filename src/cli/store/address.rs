//! Where a store is, in one word of the command line.
//!
//! ```text
//! sqlite:/var/lib/qdo/qdo.sqlite
//! cassandra:10.0.0.1,10.0.0.2:9042,[fd00::1]:9042/qdo
//! ```
//!
//! An address holds no secret: passwords and certificates come from the configuration.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a node whose address names none.
const CASSANDRA_PORT: u16 = 9042;
/// Nodes that an address may name; the others are found through them.
const CONTACT_POINTS_MAX: usize = 100;
/// Characters of a host, by the DNS's own limit.
const HOST_CHARS_MAX: usize = 253;
/// Characters of a keyspace's name, by Cassandra's own limit.
const KEYSPACE_CHARS_MAX: usize = 48;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum StoreAddress {
    /// A file, or a data folder with the usual file in it.
    Sqlite(PathBuf),
    /// A keyspace of a cluster.
    Cassandra {
        /// Some of its nodes, each with its port.
        contact_points: Vec<String>,
        /// The keyspace.
        keyspace: String,
    },
}

/// An address that says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::cli) struct AddressError(String);

impl FromStr for StoreAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some(("sqlite", "")) => Err(AddressError("name the file after sqlite:".into())),
            Some(("sqlite", file)) => Ok(Self::Sqlite(file.into())),
            Some(("cassandra", cluster)) => cassandra(cluster),
            _ => Err(AddressError("write sqlite:FILE or cassandra:HOST[:PORT],…/KEYSPACE".into())),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Self::Cassandra { contact_points, keyspace } => {
                write!(f, "cassandra:{}/{keyspace}", contact_points.join(","))
            }
        }
    }
}

fn cassandra(text: &str) -> Result<StoreAddress, AddressError> {
    let Some((nodes, keyspace)) = text.split_once('/') else {
        return Err(AddressError("the keyspace is missing: write cassandra:HOST/KEYSPACE".into()));
    };
    let sound = (1..=KEYSPACE_CHARS_MAX).contains(&keyspace.len())
        && keyspace.starts_with(|c: char| c.is_ascii_lowercase())
        && keyspace.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !sound {
        return Err(AddressError(format!(
            "{keyspace:?} is no name for a keyspace: use 1 to {KEYSPACE_CHARS_MAX} of a-z, 0-9 and _, beginning with a letter"
        )));
    }
    let contact_points: Vec<String> = nodes.split(',').map(contact_point).collect::<Result<_, _>>()?;
    if contact_points.len() > CONTACT_POINTS_MAX {
        return Err(AddressError(format!("{CONTACT_POINTS_MAX} nodes at most are named")));
    }
    Ok(StoreAddress::Cassandra { contact_points, keyspace: keyspace.to_owned() })
}

/// A node with its port, as drivers take it.
fn contact_point(text: &str) -> Result<String, AddressError> {
    let wrong = || AddressError(format!("{text:?} is no node: write HOST, HOST:PORT or [IPV6]:PORT"));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (format!("[{address}]"), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let sound = (1..=HOST_CHARS_MAX).contains(&host.len())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            if !sound {
                return Err(wrong());
            }
            (host.to_owned(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
        None if port.is_empty() => CASSANDRA_PORT,
        _ => return Err(wrong()),
    };
    if port == 0 {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cassandra_at(nodes: &[&str]) -> StoreAddress {
        let contact_points = nodes.iter().map(|&node| node.to_owned()).collect();
        StoreAddress::Cassandra { contact_points, keyspace: "qdo".to_owned() }
    }

    #[test]
    fn an_address_says_where_a_store_is() {
        for (text, expected) in [
            ("sqlite:qdo.sqlite", StoreAddress::Sqlite("qdo.sqlite".into())),
            ("sqlite:/a:b/c", StoreAddress::Sqlite("/a:b/c".into())),
            ("cassandra:db/qdo", cassandra_at(&["db:9042"])),
            ("cassandra:db1,db2:9043/qdo", cassandra_at(&["db1:9042", "db2:9043"])),
            ("cassandra:[::1],[fd00::2]:9/qdo", cassandra_at(&["[::1]:9042", "[fd00::2]:9"])),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_address_that_says_nothing_is_refused() {
        for text in [
            "",
            "qdo.sqlite",
            "sqlite:",
            "mysql:db/qdo",
            "cassandra:",
            "cassandra:db",
            "cassandra:db/",
            "cassandra:/qdo",
            "cassandra:db,/qdo",
            "cassandra:db/Qdo",
            "cassandra:db/a/b",
            "cassandra:db:0/qdo",
            "cassandra:db:+9/qdo",
            "cassandra:db:70000/qdo",
            "cassandra:db:/qdo",
            "cassandra:::1/qdo",
            "cassandra:[::1/qdo",
            "cassandra:[db]/qdo",
            "cassandra:user@db/qdo",
        ] {
            assert!(text.parse::<StoreAddress>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text in "\\PC*", rest in "[\\PC]{0,40}") {
            let _ = text.parse::<StoreAddress>();
            let _ = format!("cassandra:{rest}").parse::<StoreAddress>();
        }

        #[test]
        fn an_address_that_is_shown_is_the_same_when_read(
            nodes in proptest::collection::vec(
                prop_oneof!["[a-z0-9_.-]{1,20}(:[1-9][0-9]{0,3})?", "\\[fd00::[0-9a-f]{1,4}\\](:[1-9][0-9]{0,3})?"],
                1..5,
            ),
            keyspace in "[a-z][a-z0-9_]{0,47}",
            file in "[ -~]{1,40}",
        ) {
            for text in [format!("cassandra:{}/{keyspace}", nodes.join(",")), format!("sqlite:{file}")] {
                let address: StoreAddress = text.parse().expect("an address");
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
