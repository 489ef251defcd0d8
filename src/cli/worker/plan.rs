//! What the configuration says of a worker among others, checked before anything is opened.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::http::Uri;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cli::exit::Failure;
use crate::config::{Config, Loaded};
use crate::coordination::zookeeper::ZooKeeperOptions;
use crate::store::cassandra::CassandraOptions;
use crate::worker::{ClusterSecret, ClusterSettings, check_name, check_peers, new_worker_id};

/// A worker, before it is one.
pub(in crate::cli) struct Plan {
    pub cluster: ClusterSettings,
    pub cassandra: CassandraOptions,
    pub zookeeper: ZooKeeperOptions,
    /// Whether somebody has said where it is reached.
    address_said: bool,
}

impl Plan {
    pub fn of(loaded: &Loaded) -> Result<Self, Failure> {
        let config = &loaded.config;
        let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
        let secret = loaded.cluster_secret()?;
        let has_token = config.token.is_some() || config.token_file.is_some();
        check_peers(config.listen, secret.is_some(), has_token, config.insecure)
            .map_err(|error| usage(&error))?;
        let secret = secret.map(|secret| ClusterSecret::new(secret.reveal())).transpose();
        let secret = secret.map_err(|error| usage(&error))?;
        let name = config.cluster.name.clone().unwrap_or_else(host_name);
        check_name(&name).map_err(|error| Failure::usage(format!("`cluster.name`: {error}")))?;
        let id = new_worker_id(&name)
            .map_err(|error| Failure::failed(format!("the system gives no random bits: {error}")))?;
        let address = config.cluster.address.clone();
        address.as_deref().map(check_address).transpose()?;
        Ok(Self {
            address_said: address.is_some(),
            cluster: ClusterSettings {
                secret,
                settle: config.cluster.settle.into(),
                lease: config.cluster.lease.into(),
                assign: config.assign_settings(),
                labels: config.cluster.labels.clone(),
                capacity: config.cluster.capacity,
                equal: equal(config),
                ..ClusterSettings::new(id, name, address.unwrap_or_default())
            },
            cassandra: config.cassandra.options(loaded.cassandra_password()?.as_ref()),
            zookeeper: config.zookeeper.options(loaded.zookeeper_password()?.as_ref()),
        })
    }

    /// It listens there: others reach it there, if nobody says otherwise.
    pub fn bound(&mut self, address: SocketAddr) {
        if !self.address_said {
            self.cluster.address = if address.ip().is_unspecified() {
                format!("http://{}:{}", host_name(), address.port())
            } else {
                format!("http://{address}")
            };
        }
    }

    /// Names that requests may be for: those of the configuration, and its own.
    pub fn hosts(&self, said: &[String]) -> Vec<String> {
        let own = self.cluster.address.parse::<Uri>().ok();
        let own = own.and_then(|uri| uri.host().map(str::to_owned));
        said.iter().cloned().chain(own).collect()
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|_| "localhost".to_owned())
}

fn check_address(address: &str) -> Result<(), Failure> {
    let uri = address.parse::<Uri>().ok();
    let plain = |uri: &Uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some() && matches!(uri.path(), "" | "/")
    };
    if uri.as_ref().is_some_and(plain) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`cluster.address`: {address:?} is not where others reach this worker: write \"http://host:7420\""
    )))
}

/// Hashes of what must be the same on all hosts, by the setting's name.
fn equal(config: &Config) -> BTreeMap<String, String> {
    let hashes = [
        ("cluster.policy", hash(&config.cluster.policy)),
        ("cluster.assign", hash(&config.cluster.assign)),
        ("cluster.settle", hash(&config.cluster.settle)),
        ("cluster.lease", hash(&config.cluster.lease)),
        ("cassandra.keyspace", hash(&config.cassandra.keyspace)),
        ("zookeeper.session_timeout", hash(&config.zookeeper.session_timeout)),
        ("queue_defaults", hash(&config.queue_defaults)),
        ("worker.auto_create", hash(&config.worker.auto_create)),
        ("worker.partitions", hash(&config.worker.partitions)),
    ];
    hashes.into_iter().map(|(key, hash)| (key.to_owned(), hash)).collect()
}

fn hash(setting: &impl Serialize) -> String {
    let text = serde_json::to_vec(setting).expect("settings are plain data");
    Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
