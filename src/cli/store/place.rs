//! Which store a command is about.
//!
//! `--data FOLDER` and `--store WHERE` say so; else the configuration does: a cluster's, if it has a
//! section `[cassandra]`, or the data folder of a single server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::args::{Global, StorePlace};
use super::super::exit::{Exit, Failure};
use super::super::server::STORE_FILE;
use super::super::session;
use super::address::{AddressError, StoreAddress};
use crate::config::{Loaded, Sources};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

/// What `--store` begins with, for a cluster's store.
const CASSANDRA: &str = "cassandra";
/// What variables for its settings begin with.
const CASSANDRA_ENV: &str = "QDO_CASSANDRA__";

/// A store that has been chosen and not yet opened.
pub(super) enum Place {
    /// In this file, or data folder.
    File(PathBuf),
    #[cfg(feature = "cassandra")]
    Cassandra(Box<crate::store::CassandraOptions>),
}

impl Place {
    pub fn choose(place: &StorePlace, global: &Global) -> Result<Self, Failure> {
        if let Some(folder) = &place.data {
            return Ok(Self::File(folder.clone()));
        }
        let sources = Sources::of_process(global.config.clone());
        let loaded = session::load(&sources)?;
        match &place.store {
            Some(text) => Self::parse(text, &loaded),
            None if is_cluster(&loaded, &sources) => Self::cassandra(&loaded, None),
            None => Ok(Self::File(loaded.data_folder()?)),
        }
    }

    fn parse(text: &str, loaded: &Loaded) -> Result<Self, Failure> {
        if text == CASSANDRA {
            return Self::cassandra(loaded, None);
        }
        let address = text.parse().map_err(|error: AddressError| {
            Failure::usage(format!(
                "--store {text:?}: {error}; stores are named sqlite:FILE, cassandra:HOST[,HOST]/KEYSPACE, or cassandra for the configured one"
            ))
        })?;
        match address {
            StoreAddress::Sqlite(path) => Ok(Self::File(path)),
            StoreAddress::Cassandra { contact_points, keyspace } => {
                Self::cassandra(loaded, Some((contact_points, keyspace)))
            }
        }
    }

    /// The configured one, or another with what is configured about users, TLS and time.
    #[cfg(feature = "cassandra")]
    fn cassandra(loaded: &Loaded, other: Option<(Vec<String>, String)>) -> Result<Self, Failure> {
        let password = loaded.cassandra_password()?;
        let mut options = loaded.config.cassandra.options(password.as_ref());
        if let Some((contact_points, keyspace)) = other {
            options.contact_points = contact_points;
            options.keyspace = keyspace;
        }
        // Who looks makes nothing.
        options.create_schema = false;
        Ok(Self::Cassandra(Box::new(options)))
    }

    #[cfg(not(feature = "cassandra"))]
    fn cassandra(_: &Loaded, _: Option<(Vec<String>, String)>) -> Result<Self, Failure> {
        Err(Failure::usage("this build of qdo knows no Cassandra (feature \"cassandra\")"))
    }

    /// Opens it for reading; others may work on it.
    pub async fn open(self) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::File(path) => {
                let file = file_of(&path);
                if !file.exists() {
                    let message =
                        format!("there is no store in {}: name its folder with --data", path.display());
                    return Err(Failure::new(Exit::NotFound, message));
                }
                Ok(Arc::new(SqliteStore::open_read_only(&file)?))
            }
            #[cfg(feature = "cassandra")]
            Self::Cassandra(options) => Ok(Arc::new(crate::store::CassandraStore::open(*options).await?)),
        }
    }
}

/// The store's file: a path may name the data folder as well.
pub(super) fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(STORE_FILE) } else { path.to_owned() }
}

/// Whether somebody has said anything about Cassandra. Its settings all have defaults.
pub(in crate::cli) fn is_cluster(loaded: &Loaded, sources: &Sources) -> bool {
    let in_file = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.parse::<toml::Table>().is_ok_and(|table| table.contains_key(CASSANDRA))
    };
    loaded.files.iter().any(in_file) || sources.env.keys().any(|name| name.starts_with(CASSANDRA_ENV))
}
