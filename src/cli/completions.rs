//! `qdo completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::exit::{Exit, Failure};
use super::out::Out;

pub(super) fn run(shell: Shell, out: &Out) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "qdo", &mut script);
    out.raw(&script)?;
    Ok(Exit::Ok)
}
