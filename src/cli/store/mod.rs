//! `qdo store`.

use super::args::{Global, StoreCommand};
use super::exit::{Exit, Failure};
use super::out::{Out, say};
use super::session;

pub(super) fn run(command: StoreCommand, global: &Global, _out: &Out) -> Result<Exit, Failure> {
    match command {
        StoreCommand::Backup { to, data: _ } => {
            let to = std::path::absolute(&to)
                .map_err(|error| Failure::usage(format!("{} is not a file name: {error}", to.display())))?;
            session::run(global, async |client| {
                client.backup(&to).await?;
                say(&format!("the store is copied to {}", to.display()));
                Ok(Exit::Ok)
            })
        }
        StoreCommand::Dump { data: _ } => Err(Failure::failed("not here")),
    }
}
