//! Configuration: one TOML file, what it includes, and `QDO_…` variables, in that order.
//!
//! ```text
//! defaults ◀── included files ◀── the file ◀── environment ◀── flags      (the last word wins)
//! ```
//!
//! Every file is parsed on its own first: `${NAME}` in its texts is expanded, and a key that is not
//! known is refused with the nearest one that is, so that each complaint names file and line. Merging
//! is the `config` crate's. On failure nothing is guessed: no default takes the place of a wrong value.

mod cluster;
mod entries;
mod error;
mod expand;
mod keys;
mod load;
mod reference;
mod secret;
mod source;
mod types;

pub use crate::runner::HandlerSettings;
pub use crate::telemetry::LogFormat;
pub use cluster::{
    AssignRule, CLUSTER_PARTITIONS, CassandraSection, ClusterSection, PolicyName, ZooKeeperSection,
};
pub use error::ConfigError;
pub use load::{Loaded, Sources, default_data_folder, default_file};
pub use reference::{
    cluster_toml as reference_cluster_toml, markdown as reference_markdown, standalone_toml as reference_toml,
};
pub use secret::Secret;
pub use types::{Config, LogSettings, StoreSettings, Synchronous, WorkerSection};
