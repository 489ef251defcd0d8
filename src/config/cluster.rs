//! What can be set about workers that are many: each other, their store, and where they meet.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Secret;
use crate::coordination::assign::{AssignSettings, ManualRule, Policy};
use crate::model::Span;

/// Partitions of a new group if nobody says how many, for workers that are many.
pub const CLUSTER_PARTITIONS: u16 = 8;
/// Rules of `cluster.assign`.
const RULES_MAX: usize = 1_000;

/// How a worker takes part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSection {
    /// What people call this worker.
    pub name: Option<String>,
    /// Where the other workers reach it.
    pub address: Option<String>,
    /// What all workers of the cluster know.
    pub secret: Option<Secret>,
    /// A file with the secret in it.
    pub secret_file: Option<PathBuf>,
    /// Who may own what.
    pub policy: PolicyName,
    /// The rules of the policy `manual`.
    pub assign: Vec<AssignRule>,
    /// Members must have been the same for so long before partitions move between living workers.
    pub settle: Span,
    /// After so long without a sign of life, a worker's attempts are taken for interrupted.
    pub lease: Span,
    /// Its share of partitions next to others'.
    pub capacity: u32,
    /// What this worker is.
    pub labels: BTreeMap<String, String>,
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self {
            name: None,
            address: None,
            secret: None,
            secret_file: None,
            policy: PolicyName::Automatic,
            assign: Vec::new(),
            settle: Span::from_secs(3),
            lease: Span::from_secs(10),
            capacity: 100,
            labels: BTreeMap::new(),
        }
    }
}

/// How partitions are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Evenly among all.
    Automatic,
    /// By the rules of `cluster.assign`.
    Manual,
}

/// Which workers may own some partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignRule {
    /// `namespace/group`; `*` stands for any characters.
    pub queues: String,
    /// `3` or `0-3`; all without it.
    #[serde(default)]
    pub partitions: Option<String>,
    /// Names of workers; `*` stands for any characters.
    pub workers: Vec<String>,
}

impl ClusterSection {
    /// Who may own what; or the rule's number that is wrong, and how.
    pub(super) fn rules(&self) -> Result<AssignSettings, (usize, String)> {
        let policy = match self.policy {
            PolicyName::Automatic if self.assign.is_empty() => Policy::Automatic,
            PolicyName::Automatic => {
                return Err((0, "`cluster.policy` is \"automatic\": rules are for \"manual\"".to_owned()));
            }
            PolicyName::Manual if self.assign.is_empty() => {
                let message =
                    "`cluster.policy` is \"manual\" and there is no rule: nobody would own anything";
                return Err((0, message.to_owned()));
            }
            PolicyName::Manual if self.assign.len() > RULES_MAX => {
                return Err((RULES_MAX, format!("there are more than {RULES_MAX} rules")));
            }
            PolicyName::Manual => {
                let rules = self.assign.iter().enumerate();
                let rules = rules.map(|(at, rule)| rule.parsed().map_err(|message| (at, message)));
                Policy::Manual(rules.collect::<Result<_, _>>()?)
            }
        };
        Ok(AssignSettings { policy, ..AssignSettings::default() })
    }

    pub(super) fn out_of_bounds(&self) -> Option<(&'static str, String)> {
        let spans = [
            ("cluster.settle", self.settle, Span::from_ms(0), Span::from_secs(600)),
            ("cluster.lease", self.lease, Span::from_secs(2), Span::from_secs(600)),
        ];
        for (key, value, least, most) in spans {
            if !(least..=most).contains(&value) {
                return Some((key, format!("{value} is not between {least} and {most}")));
            }
        }
        if !(1..=1_000_000).contains(&self.capacity) {
            return Some(("cluster.capacity", format!("{} is not between 1 and 1000000", self.capacity)));
        }
        if self.secret.is_some() && self.secret_file.is_some() {
            return Some(("cluster.secret_file", super::types::twice("secret")));
        }
        if let Err((at, message)) = self.rules() {
            return Some(("cluster.assign", format!("rule {}: {message}", at + 1)));
        }
        None
    }
}

impl AssignRule {
    fn parsed(&self) -> Result<ManualRule, String> {
        if !self.queues.contains('/') {
            return Err(format!(
                "{:?} is no pattern: write \"namespace/group\", like \"default/mail*\"",
                self.queues
            ));
        }
        if self.workers.is_empty() {
            return Err("`workers` names nobody".to_owned());
        }
        let partitions = self.partitions.as_deref().map(range).transpose()?;
        Ok(ManualRule { pattern: self.queues.clone(), partitions, workers: self.workers.clone() })
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} names no partitions: write \"3\" or \"0-3\"")),
    }
}

/// The store that workers share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CassandraSection {
    /// Some nodes to begin with.
    #[serde(deserialize_with = "list")]
    pub contact_points: Vec<String>,
    /// The keyspace.
    pub keyspace: String,
    /// The data centre whose nodes are asked.
    pub datacenter: Option<String>,
    /// The rack whose nodes are asked first.
    pub rack: Option<String>,
    /// Who logs in.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// A file with the password in it.
    pub password_file: Option<PathBuf>,
    /// Certificates that nodes must be signed by.
    pub tls_ca: Option<PathBuf>,
    /// Copies of each row in the local data centre, for a keyspace that is made.
    pub replication_factor: u32,
    /// Whether keyspace and tables are made.
    pub create_schema: bool,
    /// How long a connection may take.
    pub connect_timeout: Span,
    /// How long an answer may take.
    pub request_timeout: Span,
    /// Requests under way at once.
    pub concurrency: u32,
}

impl Default for CassandraSection {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "qdo".to_owned(),
            datacenter: None,
            rack: None,
            user: None,
            password: None,
            password_file: None,
            tls_ca: None,
            replication_factor: 3,
            create_schema: true,
            connect_timeout: Span::from_secs(5),
            request_timeout: Span::from_secs(5),
            concurrency: 512,
        }
    }
}

impl CassandraSection {
    pub(super) fn out_of_bounds(&self) -> Option<(&'static str, String)> {
        if self.contact_points.is_empty() || self.contact_points.iter().any(String::is_empty) {
            let message = "names no node: write [\"host:9042\"], or several".to_owned();
            return Some(("cassandra.contact_points", message));
        }
        if self.password.is_some() && self.password_file.is_some() {
            return Some(("cassandra.password_file", super::types::twice("password")));
        }
        if !(1..=100).contains(&self.replication_factor) {
            let message = format!("{} is not between 1 and 100", self.replication_factor);
            return Some(("cassandra.replication_factor", message));
        }
        if !(1..=65_536).contains(&self.concurrency) {
            let message = format!("{} is not between 1 and 65536", self.concurrency);
            return Some(("cassandra.concurrency", message));
        }
        None
    }

    /// What the store takes.
    #[cfg(feature = "cassandra")]
    pub fn options(&self, password: Option<&Secret>) -> crate::store::cassandra::CassandraOptions {
        use crate::store::cassandra::{CassandraOptions, Replication};
        CassandraOptions {
            contact_points: self.contact_points.clone(),
            keyspace: self.keyspace.clone(),
            datacenter: self.datacenter.clone(),
            rack: self.rack.clone(),
            user: self.user.clone(),
            password: password.map(|password| password.reveal().to_owned()),
            tls_ca: self.tls_ca.clone(),
            replication: Replication::Factor(self.replication_factor),
            create_schema: self.create_schema,
            connect_timeout: self.connect_timeout.into(),
            request_timeout: self.request_timeout.into(),
            concurrency: self.concurrency as usize,
        }
    }
}

/// Where workers meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ZooKeeperSection {
    /// `host:port,host:port/chroot`.
    pub connect: String,
    /// A worker that is silent for so long is taken for dead.
    pub session_timeout: Span,
    /// The user of the digest scheme.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// A file with the password in it.
    pub password_file: Option<PathBuf>,
    /// Certificates that servers must be signed by.
    pub tls_ca: Option<PathBuf>,
    /// This worker's own certificate, where servers ask for one.
    pub tls_cert: Option<PathBuf>,
    /// The key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// Whether the chroot is made.
    pub create_chroot: bool,
}

impl Default for ZooKeeperSection {
    fn default() -> Self {
        Self {
            connect: "127.0.0.1:2181/qdo".to_owned(),
            session_timeout: Span::from_secs(10),
            user: None,
            password: None,
            password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            create_chroot: true,
        }
    }
}

impl ZooKeeperSection {
    pub(super) fn out_of_bounds(&self) -> Option<(&'static str, String)> {
        if self.password.is_some() && self.password_file.is_some() {
            return Some(("zookeeper.password_file", super::types::twice("password")));
        }
        let password = self.password.is_some() || self.password_file.is_some();
        if self.user.is_some() != password {
            let message = "a user and a password belong together: set both or none".to_owned();
            return Some(("zookeeper.user", message));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            let message = "a certificate and its key belong together: set both or none".to_owned();
            return Some(("zookeeper.tls_cert", message));
        }
        if self.tls_cert.is_some() && self.tls_ca.is_none() {
            let message = "needs `zookeeper.tls_ca`: what servers are trusted by".to_owned();
            return Some(("zookeeper.tls_cert", message));
        }
        None
    }

    /// What the coordinator takes.
    #[cfg(feature = "zookeeper")]
    pub fn options(&self, password: Option<&Secret>) -> crate::coordination::zookeeper::ZooKeeperOptions {
        use crate::coordination::zookeeper::{ZooKeeperOptions, ZooKeeperTls};
        ZooKeeperOptions {
            connect: self.connect.clone(),
            session_timeout: self.session_timeout.into(),
            auth: self.user.clone().zip(password.map(|password| password.reveal().to_owned())),
            tls: self.tls_ca.clone().map(|ca_file| ZooKeeperTls {
                ca_file,
                identity_files: self.tls_cert.clone().zip(self.tls_key.clone()),
            }),
            create_chroot: self.create_chroot,
        }
    }
}

/// A list, or a text with commas, since variables are texts.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of host names")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(text.split(',').map(|item| item.trim().to_owned()).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_any(List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_one_or_a_range() {
        assert_eq!(range("3"), Ok(3..=3));
        assert_eq!(range("0-3"), Ok(0..=3));
        for wrong in ["", "-", "3-1", "a", "1-2-3", "70000"] {
            assert!(range(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn rules_belong_to_the_policy_manual_and_to_no_other() {
        let rule = AssignRule { queues: "default/*".into(), partitions: None, workers: vec!["a*".into()] };
        let section = |policy, assign| ClusterSection { policy, assign, ..ClusterSection::default() };
        assert!(section(PolicyName::Automatic, vec![]).rules().is_ok());
        assert!(section(PolicyName::Manual, vec![rule.clone()]).rules().is_ok());
        assert!(section(PolicyName::Automatic, vec![rule.clone()]).rules().is_err());
        assert!(section(PolicyName::Manual, vec![]).rules().is_err());
        let nobody = AssignRule { workers: Vec::new(), ..rule };
        assert_eq!(section(PolicyName::Manual, vec![nobody]).rules().unwrap_err().0, 0);
    }
}
