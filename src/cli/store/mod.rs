//! `qdo store`.

pub(super) mod address;
mod check;
mod copy;
mod dump;
pub(super) mod place;
mod rows;

use std::path::{Path, PathBuf};

use tokio::runtime::{Builder, Runtime};

use super::args::{Global, StoreCommand, StorePlace};
use super::exit::{Exit, Failure};
use super::out::{Out, say};
use super::session;
use crate::client::ClientError;
use place::Place;

pub(super) fn run(command: StoreCommand, global: &Global, out: &Out) -> Result<Exit, Failure> {
    match command {
        StoreCommand::Backup { to, data } => backup(&to, data, global),
        StoreCommand::Dump { place } => {
            let place = Place::choose(&place, global)?;
            runtime()?.block_on(async { dump::run(&*place.open().await?, out).await })
        }
        StoreCommand::Copy(args) => copy::run(&args, global, out),
        StoreCommand::Check { place } => {
            let place = Place::choose(&place, global)?;
            runtime()?.block_on(async { check::run(place.open().await?, out).await })
        }
    }
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))
}

/// Through the server if one answers, so that its own rights and view of the disk count.
fn backup(to: &Path, data: Option<PathBuf>, global: &Global) -> Result<Exit, Failure> {
    let to = std::path::absolute(to)
        .map_err(|error| Failure::usage(format!("{} is not a file name: {error}", to.display())))?;
    let runtime = runtime()?;
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
        let place = Place::choose(&StorePlace { data, store: None }, global)?;
        runtime.block_on(async { Ok::<_, Failure>(place.open().await?.backup(&to).await?) })?;
    }
    say(&format!("the store is copied to {}", to.display()));
    Ok(Exit::Ok)
}
