//! The command line.
//!
//! Data goes to standard output, all else to standard error. What a command found out is its exit
//! code ([`Exit`]). No command asks anything but for destructive verbs, and those only on a terminal.

mod address_file;
mod args;
mod bench;
mod cluster;
mod completions;
mod config;
mod doctor;
mod exit;
mod job;
mod out;
mod progress;
mod queue;
mod server;
mod session;
mod signals;
mod standalone;
mod store;
#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
mod worker;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
pub use exit::Exit;
use exit::Failure;
use out::Out;

/// Runs `qdo` with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe on the other side of `--help` is nobody's mistake.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report().into(),
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let out = Out::new(cli.global.output, cli.global.color);
    let globals = &cli.global;
    match cli.command {
        Command::Standalone(args) => standalone::run(&args, globals),
        #[cfg(all(feature = "cassandra", feature = "zookeeper"))]
        Command::Worker(mut args) => match args.command.take() {
            None => worker::run(&args, globals),
            Some(command) => {
                session::run(globals, async |client| worker::drain::run(command, &client, &out).await)
            }
        },
        Command::Queue(command) => {
            session::run(globals, async |client| queue::run(command, &client, &out).await)
        }
        Command::Job(command) => session::run(globals, async |client| job::run(command, &client, &out).await),
        Command::Cluster(look) => cluster::show(&look, globals, &out),
        Command::Partition(command) => cluster::partition(command, globals, &out),
        Command::Assignment(command) => cluster::assignment(command, globals, &out),
        Command::Doctor => doctor::run(globals, &out),
        Command::Store(command) => store::run(command, globals, &out),
        Command::Config(command) => config::run(&command, globals, &out),
        Command::Bench(args) => bench::run(&args, globals, &out),
        Command::Sim(args) => match crate::sim::command::run(&args) {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Failure::failed(format!("{error:#}"))),
        },
        Command::Completions { shell } => completions::run(shell, &out),
    }
}
