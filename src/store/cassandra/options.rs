//! Where the cluster is, and how it is used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::super::StoreError;
use super::super::checks::invalid;

/// Bytes of a keyspace's name, by Cassandra's own limit.
const KEYSPACE_BYTES_MAX: usize = 48;
/// Copies of a row that can be asked for.
const REPLICATION_MAX: u32 = 100;

/// How many copies there are of each row, for a keyspace that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// So many in the local data centre.
    Factor(u32),
    /// So many in each of these data centres.
    Datacenters(BTreeMap<String, u32>),
}

/// Settings of a store in a Cassandra cluster.
#[derive(Clone)]
pub struct CassandraOptions {
    /// Some nodes to begin with, `host` or `host:port`; the others are found through them.
    pub contact_points: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
    /// The data centre whose nodes are asked, and no others. May be left out if there is one only.
    pub datacenter: Option<String>,
    /// The rack whose nodes are asked first.
    pub rack: Option<String>,
    /// Who logs in, if the cluster asks for it.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<String>,
    /// A PEM file with the certificates that nodes must be signed by; with it, connections use TLS.
    pub tls_ca: Option<PathBuf>,
    /// Copies of each row, for a keyspace that is made.
    pub replication: Replication,
    /// Whether the keyspace and tables are made where they are missing.
    pub create_schema: bool,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take; then the outcome is unknown.
    pub request_timeout: Duration,
    /// Requests under way at once; more wait.
    pub concurrency: usize,
}

impl Default for CassandraOptions {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "qdo".to_owned(),
            datacenter: None,
            rack: None,
            user: None,
            password: None,
            tls_ca: None,
            replication: Replication::Factor(3),
            create_schema: true,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            concurrency: 512,
        }
    }
}

impl fmt::Debug for CassandraOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraOptions")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("datacenter", &self.datacenter)
            .field("rack", &self.rack)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("tls_ca", &self.tls_ca)
            .field("replication", &self.replication)
            .field("create_schema", &self.create_schema)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("concurrency", &self.concurrency)
            .finish()
    }
}

impl CassandraOptions {
    /// Refuses what can't work. The keyspace's name goes into statements as it is.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.contact_points.is_empty() {
            return Err(invalid("no contact point of Cassandra is named: give at least one host"));
        }
        let name = self.keyspace.as_bytes();
        let sound = (1..=KEYSPACE_BYTES_MAX).contains(&name.len())
            && name[0].is_ascii_lowercase()
            && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        if !sound {
            return Err(invalid(format!(
                "{:?} is no name for a keyspace: use 1 to {KEYSPACE_BYTES_MAX} of a-z, 0-9 and _, beginning with a letter",
                self.keyspace
            )));
        }
        if self.password.is_some() != self.user.is_some() {
            return Err(invalid("a user and a password for Cassandra belong together: give both or none"));
        }
        if self.rack.is_some() && self.datacenter.is_none() {
            return Err(invalid("a rack is one of a data centre: name the data centre too"));
        }
        let factors: Vec<u32> = match &self.replication {
            Replication::Factor(factor) => vec![*factor],
            Replication::Datacenters(factors) => factors.values().copied().collect(),
        };
        if factors.is_empty() || factors.iter().any(|factor| !(1..=REPLICATION_MAX).contains(factor)) {
            return Err(invalid(format!("a replication factor must be 1 to {REPLICATION_MAX}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let options = CassandraOptions {
            user: Some("qdo".into()),
            password: Some("hush".into()),
            ..CassandraOptions::default()
        };
        let shown = format!("{options:?}");
        assert!(shown.contains("qdo") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let sound = CassandraOptions::default();
        assert_eq!(sound.check(), Ok(()));
        for wrong in [
            CassandraOptions { contact_points: Vec::new(), ..sound.clone() },
            CassandraOptions { keyspace: String::new(), ..sound.clone() },
            CassandraOptions { keyspace: "a; DROP KEYSPACE b".into(), ..sound.clone() },
            CassandraOptions { keyspace: "Qdo".into(), ..sound.clone() },
            CassandraOptions { keyspace: "q".repeat(49), ..sound.clone() },
            CassandraOptions { user: Some("u".into()), ..sound.clone() },
            CassandraOptions { rack: Some("r1".into()), ..sound.clone() },
            CassandraOptions { replication: Replication::Factor(0), ..sound.clone() },
            CassandraOptions { replication: Replication::Datacenters(BTreeMap::new()), ..sound.clone() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
