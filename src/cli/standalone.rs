//! `qdo standalone`.

use super::args::{Global, StandaloneArgs};
use super::exit::{Exit, Failure};
use crate::config::Loaded;

pub(super) fn run(_args: &StandaloneArgs, _global: &Global) -> Result<Exit, Failure> {
    Err(Failure::failed("not here"))
}

/// What only shows when a server is put together.
pub(super) fn check(_loaded: &Loaded) -> Result<(), Failure> {
    Ok(())
}
