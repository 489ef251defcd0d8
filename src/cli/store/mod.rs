//! `qdo store`.

mod address;
mod dump;
mod rows;

use std::path::{Path, PathBuf};

use tokio::runtime::Builder;

use super::args::{Global, StoreCommand};
use super::exit::{Exit, Failure};
use super::out::{Out, say};
use super::server::STORE_FILE;
use super::session;
use crate::client::ClientError;
use crate::config::Sources;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

pub(super) fn run(command: StoreCommand, global: &Global, out: &Out) -> Result<Exit, Failure> {
    match command {
        StoreCommand::Backup { to, data } => backup(&to, data, global),
        StoreCommand::Dump { data } => dump::run(&open(data, global)?, out),
    }
}

/// The store of a data folder, for reading; a server may run on it.
fn open(data: Option<PathBuf>, global: &Global) -> Result<SqliteStore, Failure> {
    let data = match data {
        Some(folder) => folder,
        None => session::load(&Sources::of_process(global.config.clone()))?.data_folder()?,
    };
    let file = data.join(STORE_FILE);
    if !file.exists() {
        let message = format!("there is no store in {}: name its folder with --data", data.display());
        return Err(Failure::new(Exit::NotFound, message));
    }
    Ok(SqliteStore::open_read_only(&file)?)
}

/// Through the server if one answers, so that its own rights and view of the disk count.
fn backup(to: &Path, data: Option<PathBuf>, global: &Global) -> Result<Exit, Failure> {
    let to = std::path::absolute(to)
        .map_err(|error| Failure::usage(format!("{} is not a file name: {error}", to.display())))?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let by_server = match data {
        Some(_) => false,
        None => match runtime.block_on(session::client(global)?.backup(&to)) {
            Ok(()) => true,
            // A server that was asked for by name must be there.
            Err(ClientError::Unreachable { .. }) if global.address.is_none() => false,
            Err(error) => return Err(error.into()),
        },
    };
    if !by_server {
        let store = open(data, global)?;
        runtime.block_on(store.backup(&to))?;
    }
    say(&format!("the store is copied to {}", to.display()));
    Ok(Exit::Ok)
}
