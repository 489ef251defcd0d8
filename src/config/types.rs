//! What can be set. `reference.rs` says what each is for.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use axum::http::uri::Authority;
use serde::{Deserialize, Deserializer, Serialize};

use crate::coordination::assign::AssignSettings;
use crate::model::{QueueSettings, Span};
use crate::runner::HandlerSettings;
use crate::telemetry::LogFormat;
use crate::worker::WorkerSettings;

use super::Secret;
use super::cluster::{CassandraSection, ClusterSection, ZooKeeperSection, list};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the HTTP API listens.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Listening beyond loopback without a token is allowed.
    pub insecure: bool,
    /// Names that requests may be for, besides loopback and the address that they came in at.
    #[serde(deserialize_with = "list")]
    pub hosts: Vec<String>,
    /// What callers must present.
    pub token: Option<Secret>,
    /// A file with the token in it.
    pub token_file: Option<PathBuf>,
    /// The folder that everything is kept in.
    pub data: Option<PathBuf>,
    /// Logging.
    pub log: LogSettings,
    /// The worker.
    pub worker: WorkerSection,
    /// Settings of queues that say nothing else.
    pub queue_defaults: QueueSettings,
    /// The embedded store.
    pub store: StoreSettings,
    /// How a worker takes part in a cluster.
    pub cluster: ClusterSection,
    /// The store of a cluster.
    pub cassandra: CassandraSection,
    /// Where workers of a cluster meet.
    pub zookeeper: ZooKeeperSection,
    /// Handlers by kind.
    pub handlers: BTreeMap<String, HandlerSettings>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7420)),
            insecure: false,
            hosts: Vec::new(),
            token: None,
            token_file: None,
            data: None,
            log: LogSettings::default(),
            worker: WorkerSection::default(),
            queue_defaults: QueueSettings::default(),
            store: StoreSettings::default(),
            cluster: ClusterSection::default(),
            cassandra: CassandraSection::default(),
            zookeeper: ZooKeeperSection::default(),
            handlers: BTreeMap::new(),
        }
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// What is logged: a level, or `target=level` pairs.
    pub filter: String,
    /// How it looks.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The worker's bounds and habits; [`WorkerSettings`] has the same names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSection {
    /// Attempts that run at once; none is four per core.
    pub slots: Option<u32>,
    /// Queues come into being at first use.
    pub auto_create: bool,
    /// Partitions of a new group; none is 1, and 8 in a cluster.
    pub partitions: Option<u16>,
    /// Jobs of one partition held in memory.
    pub window_jobs_max: u64,
    /// Requests that may wait for one partition.
    pub requests_max: u64,
    /// Bytes of bodies kept ready.
    pub bodies_bytes_max: u64,
    /// Free bytes below which new jobs are refused.
    pub free_bytes_min: u64,
    /// How long running attempts may go on when the worker stops.
    pub stop_grace: Span,
}

impl Default for WorkerSection {
    fn default() -> Self {
        let settings = WorkerSettings::default();
        Self {
            slots: None,
            auto_create: settings.auto_create,
            partitions: None,
            window_jobs_max: settings.window_jobs_max as u64,
            requests_max: settings.requests_max as u64,
            bodies_bytes_max: settings.bodies_bytes_max as u64,
            free_bytes_min: settings.free_bytes_min,
            stop_grace: Span::from_secs(10),
        }
    }
}

/// The embedded store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// When a commit counts as durable.
    pub synchronous: Synchronous,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { synchronous: Synchronous::Full }
    }
}

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Once the disk has it: nothing acknowledged is lost when power fails.
    Full,
    /// Once the operating system has it: faster; a power cut may take the last moments, `kill -9` may not.
    Normal,
}

impl Config {
    /// What [`crate::worker::WorkerBuilder::settings`] takes.
    pub fn worker_settings(&self) -> WorkerSettings {
        let usize_of = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let defaults = WorkerSettings::default();
        WorkerSettings {
            slots: self.worker.slots.map_or(defaults.slots, |slots| slots as usize),
            auto_create: self.worker.auto_create,
            queue_defaults: self.queue_defaults.clone(),
            partitions: self.worker.partitions.unwrap_or(defaults.partitions),
            window_jobs_max: usize_of(self.worker.window_jobs_max),
            requests_max: usize_of(self.worker.requests_max),
            bodies_bytes_max: usize_of(self.worker.bodies_bytes_max),
            data_folder: None,
            free_bytes_min: self.worker.free_bytes_min,
        }
    }

    /// Who may own which partitions.
    pub fn assign_settings(&self) -> AssignSettings {
        // That the rules are right was seen when they were read.
        self.cluster.rules().unwrap_or_default()
    }

    /// The same as [`Config::worker_settings`], for one of many workers.
    pub fn cluster_worker_settings(&self) -> WorkerSettings {
        let partitions = self.worker.partitions.unwrap_or(super::cluster::CLUSTER_PARTITIONS);
        WorkerSettings { partitions, ..self.worker_settings() }
    }

    /// Bounds that a type can't say: the setting, and what is wrong with it.
    pub(super) fn out_of_bounds(&self) -> Option<(&'static str, String)> {
        let worker = &self.worker;
        let bounds: [(&'static str, u64, u64, u64); 6] = [
            ("worker.slots", worker.slots.map_or(1, u64::from), 1, 10_000),
            ("worker.partitions", worker.partitions.map_or(1, u64::from), 1, 1_024),
            ("worker.window_jobs_max", worker.window_jobs_max, 10_000, 100_000_000),
            ("worker.requests_max", worker.requests_max, 1, 1_000_000),
            ("worker.bodies_bytes_max", worker.bodies_bytes_max, 1 << 20, 1 << 40),
            ("queue_defaults.max_attempts", self.queue_defaults.max_attempts.into(), 1, 1_000_000),
        ];
        for (key, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Some((key, format!("{value} is not between {least} and {most}")));
            }
        }
        if let Some(host) = self.hosts.iter().find(|host| !is_host(host)) {
            let message = format!("{host:?} is not a host: write \"queue.example.org\", or with a port");
            return Some(("hosts", message));
        }
        let backoff = &self.queue_defaults.backoff;
        if !(1.0..=100.0).contains(&backoff.factor) {
            let message = format!("{} is not between 1 and 100", backoff.factor);
            return Some(("queue_defaults.backoff.factor", message));
        }
        if !(0.0..=1.0).contains(&backoff.jitter) {
            let message = format!("{} is not between 0 and 1", backoff.jitter);
            return Some(("queue_defaults.backoff.jitter", message));
        }
        if self.token.is_some() && self.token_file.is_some() {
            return Some(("token_file", twice("token")));
        }
        let sections =
            [self.cluster.out_of_bounds(), self.cassandra.out_of_bounds(), self.zookeeper.out_of_bounds()];
        sections.into_iter().flatten().next()
    }
}

/// What is said when a secret is given in two ways.
pub(super) fn twice(other: &str) -> String {
    format!("`{other}` is set as well: keep one of them")
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_address(&text).map_err(serde::de::Error::custom)
}

/// A name or address, perhaps with a port, as in a `Host` header.
fn is_host(text: &str) -> bool {
    let bare = text.parse::<IpAddr>().is_ok();
    bare || (!text.contains('@') && text.parse::<Authority>().is_ok())
}

/// An address to listen at: `127.0.0.1:7420`, `[::1]:7420`, `localhost:7420`.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        format!("{shown:?} is not an address to listen at: write one like \"127.0.0.1:7420\"")
    })
}
