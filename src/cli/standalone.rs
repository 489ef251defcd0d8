//! `qdo standalone`: one process with everything in it.
//!
//! ```text
//! checked ─▶ store open ─▶ bound ─▶ worker started ─▶ serving ──first signal──▶ draining ─▶ ended
//!                                                         └──second signal, at any time──▶ exit
//! ```
//!
//! Whatever fails on the way to *serving* is said in one sentence, and nothing has been changed that
//! the next start would mind. The second signal, like `kill -9`, loses nothing: what was interrupted
//! runs again.

mod banner;

use tokio::runtime::Builder;

use super::address_file::AddressFile;
use super::args::{Global, StandaloneArgs};
use super::exit::{Exit, Failure};
use super::out::say;
use super::server::Server;
use super::session;
use super::signals::Signals;
use crate::api;
use crate::config::{HandlerSettings, Loaded, Sources};
use crate::runner::Handlers;
use crate::telemetry;

/// Variables that commands of `--handle` get: those that a shell's user expects, and who to talk to.
const PASSED_ON: [&str; 8] =
    ["PATH", "HOME", "LANG", "TMPDIR", "USER", "QDO_ADDRESS", "QDO_TOKEN", "QDO_CONFIG"];

pub(super) fn run(args: &StandaloneArgs, global: &Global) -> Result<Exit, Failure> {
    let mut sources = Sources::of_process(global.config.clone());
    let data = args.data.as_ref().map(|folder| folder.to_string_lossy().into_owned());
    sources.flags.extend(args.listen.clone().map(|listen| ("listen", listen)));
    sources.flags.extend(data.map(|folder| ("data", folder)));
    let mut loaded = session::load(&sources)?;
    for (kind, command) in &args.handle {
        let exec = Some(["sh", "-c", command].map(str::to_owned).to_vec());
        let pass_env = PASSED_ON.map(str::to_owned).to_vec();
        let settings = HandlerSettings { exec, pass_env, ..HandlerSettings::default() };
        loaded.config.handlers.insert(kind.clone(), settings);
    }
    check(&loaded)?;
    telemetry::init_logs(loaded.config.log.format, &loaded.config.log.filter)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    runtime.block_on(serve(&loaded, args))
}

/// What only shows when a server is put together, and needs nothing to be opened.
pub(super) fn check(loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    let has_token = config.token.is_some() || config.token_file.is_some();
    api::check_listen(config.listen, has_token, config.insecure)
        .map_err(|error| Failure::usage(error.to_string()))?;
    tracing_subscriber::EnvFilter::try_new(&config.log.filter).map_err(|error| {
        Failure::usage(format!("`log.filter` is wrong: {error}; write info, or qdo=debug,warn"))
    })?;
    for (kind, handler) in &config.handlers {
        handler.check(kind).map_err(|error| Failure::usage(error.to_string()))?;
    }
    Ok(())
}

async fn serve(loaded: &Loaded, args: &StandaloneArgs) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")))?;
    let data = loaded.data_folder()?;
    let grace = loaded.config.worker.stop_grace;
    let mut server = Server::start(&loaded.config, loaded.token()?, &data, Handlers::default()).await?;
    banner::print(loaded, &data, server.url());
    let address_file =
        args.address_file.as_deref().map(|file| AddressFile::write(file, server.url())).transpose()?;

    let broken = tokio::select! {
        _ = signals.next() => None,
        failure = server.broken() => Some(failure),
    };
    say(&format!("stopping: running attempts may take {grace} more (a second signal stops at once)"));
    let exit = tokio::select! {
        () = server.stop(grace.into()) => None,
        exit = signals.next() => Some(exit),
    };
    drop(address_file);
    match (exit, broken) {
        // At once: what runs is ended by the next start, and runs again.
        (Some(exit), _) => std::process::exit(exit as i32),
        (None, Some(failure)) => Err(failure),
        (None, None) => {
            say("stopped");
            Ok(Exit::Ok)
        }
    }
}
