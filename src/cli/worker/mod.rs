//! `qdo worker`: one of many identical workers.
//!
//! ```text
//! checked ─▶ bound ─▶ serving ─▶ store reached ─▶ member ─▶ owning ──first signal──▶ handing over ─▶ ended
//! ```
//!
//! It serves before there is a store, so that its health can be asked for while it waits. What is
//! wrong with the configuration, or with the store in a way that waiting does not mend, ends it with
//! one sentence; what is only away is waited for.

pub(super) mod drain;
pub(super) mod plan;

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Builder;

use super::address_file::AddressFile;
use super::args::{Global, WorkerArgs};
use super::exit::{Exit, Failure};
use super::out::{printable, say};
use super::server::{Api, bind, handlers, make_data_folder};
use super::session;
use super::signals::Signals;
use crate::api::{self, ApiSettings};
use crate::config::{Loaded, Sources};
use crate::coordination::zookeeper::ZooKeeperCoordinator;
use crate::store::cassandra::CassandraStore;
use crate::telemetry;
use crate::worker::{Late, Worker, WorkerSettings, patiently};
use plan::Plan;

pub(super) fn run(args: &WorkerArgs, global: &Global) -> Result<Exit, Failure> {
    let mut sources = Sources::of_process(global.config.clone());
    let data = args.data.as_ref().map(|folder| folder.to_string_lossy().into_owned());
    sources.flags.extend(args.listen.clone().map(|listen| ("listen", listen)));
    sources.flags.extend(data.map(|folder| ("data", folder)));
    sources.flags.extend(args.name.clone().map(|name| ("cluster.name", name)));
    let loaded = session::load(&sources)?;
    super::standalone::check(&loaded)?;
    let plan = Plan::of(&loaded)?;
    telemetry::init_logs(loaded.config.log.format, &loaded.config.log.filter)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    runtime.block_on(serve(&loaded, plan, args))
}

async fn serve(loaded: &Loaded, mut plan: Plan, args: &WorkerArgs) -> Result<Exit, Failure> {
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")))?;
    let data = loaded.data_folder()?;
    make_data_folder(&data)?;
    let grace = loaded.config.worker.stop_grace;
    let (listener, bound) = bind(loaded.config.listen).await?;
    plan.bound(bound);
    let late = Late::default();
    let metrics = telemetry::install_metrics();
    let settings = ApiSettings {
        token: loaded.token()?.map(|token| token.reveal().to_owned()),
        hosts: plan.hosts(&loaded.config.hosts),
        ..ApiSettings::default()
    };
    let router = api::router(Arc::new(late.clone()), settings, metrics);
    let peers = Some(late.peers(&plan.cluster));
    let mut api = Api::start(listener, format!("http://{bound}"), router, peers);
    let address_file =
        args.address_file.as_deref().map(|file| AddressFile::write(file, api.url())).transpose()?;
    tell(loaded, &plan, &data, api.url());

    let worker = tokio::select! {
        worker = start(loaded, plan, &data) => worker?,
        _ = signals.next() => {
            api.stop().await;
            say("stopped");
            return Ok(Exit::Ok);
        }
        failure = api.broken() => return Err(failure),
    };
    late.ready_with(&worker);
    let broken = tokio::select! {
        _ = signals.next() => None,
        failure = api.broken() => Some(failure),
        why = worker.refused() => Some(Failure::failed(why)),
    };
    say(&format!(
        "stopping: partitions are handed over, and running attempts may take {grace} more (a second signal stops at once)"
    ));
    let exit = tokio::select! {
        () = async { worker.stop(grace.into()).await; api.stop().await } => None,
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

/// Reaches the store and begins to take part.
async fn start(loaded: &Loaded, plan: Plan, data: &Path) -> Result<Worker, Failure> {
    let config = &loaded.config;
    let handlers = handlers(config, data).await?;
    let store = patiently("the store", async || CassandraStore::open(plan.cassandra.clone()).await).await?;
    let coordinator =
        ZooKeeperCoordinator::new(plan.zookeeper).map_err(|error| Failure::usage(error.to_string()))?;
    let settings = WorkerSettings { data_folder: Some(data.to_owned()), ..config.cluster_worker_settings() };
    let builder = Worker::builder(Arc::new(store)).settings(settings).handlers(handlers);
    Ok(builder.coordinator(Arc::new(coordinator), plan.cluster).start().await?)
}

fn tell(loaded: &Loaded, plan: &Plan, data: &Path, url: &str) {
    let files: Vec<String> = loaded.files.iter().rev().map(|file| file.display().to_string()).collect();
    let config = if files.is_empty() { "none, the defaults".to_owned() } else { files.join(", ") };
    let kinds: Vec<&str> = loaded.config.handlers.keys().map(String::as_str).collect();
    let handlers =
        if kinds.is_empty() { "none: this worker runs no jobs".to_owned() } else { kinds.join(", ") };
    say(&format!(
        "qdo {version} worker {name} answers at {url}
  workers   meet at ZooKeeper {zookeeper}, and reach this one at {address}
  store     Cassandra {nodes}, keyspace {keyspace}
  data      {data}
  config    {config}
  handlers  {handlers}
Ctrl-C stops it gently: its partitions are handed over first",
        version = env!("CARGO_PKG_VERSION"),
        name = printable(&plan.cluster.name),
        zookeeper = printable(&loaded.config.zookeeper.connect),
        address = printable(&plan.cluster.address),
        nodes = printable(&loaded.config.cassandra.contact_points.join(", ")),
        keyspace = printable(&loaded.config.cassandra.keyspace),
        data = data.display(),
        handlers = printable(&handlers),
    ));
}
