//! What commands that talk to a server have in common.

use std::path::Path;

use tokio::runtime::Builder;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::out::say_warning;
use crate::client::{Client, ClientSettings};
use crate::config::{Loaded, Secret, Sources};

/// Reads the configuration that the flags name.
pub(super) fn load(sources: &Sources) -> Result<Loaded, Failure> {
    let loaded = sources.load()?;
    for warning in &loaded.warnings {
        say_warning(warning);
    }
    Ok(loaded)
}

/// A client for the server that flags, environment and configuration name, in this order.
pub(super) fn client(global: &Global) -> Result<Client, Failure> {
    // The configuration is only read for what is not said otherwise.
    let given_token = match &global.token_file {
        Some(file) => Some(read_token(file)?),
        None => std::env::var("QDO_TOKEN").ok().filter(|token| !token.is_empty()).map(Secret::from),
    };
    let file_matters = global.address.is_none() || given_token.is_none();
    let loaded = if file_matters { Some(load(&Sources::of_process(global.config.clone()))?) } else { None };
    let address = match (&global.address, &loaded) {
        (Some(address), _) => address.clone(),
        (None, Some(loaded)) => local_address(loaded),
        (None, None) => crate::client::DEFAULT_ADDRESS.to_owned(),
    };
    let token = match (given_token, loaded) {
        (Some(token), _) => Some(token),
        (None, Some(loaded)) => loaded.token()?,
        (None, None) => None,
    };
    Ok(Client::new(ClientSettings { address, namespace: global.namespace.clone(), token })?)
}

/// Where a server with that configuration is reached from the same machine.
fn local_address(loaded: &Loaded) -> String {
    let mut listen = loaded.config.listen;
    if listen.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match listen {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        listen.set_ip(loopback);
    }
    format!("http://{listen}")
}

fn read_token(file: &Path) -> Result<Secret, Failure> {
    let sources =
        Sources { flags: vec![("token_file", file.to_string_lossy().into_owned())], ..Sources::default() };
    sources.load()?.token()?.ok_or_else(|| Failure::usage(format!("{} holds no token", file.display())))
}

/// Runs a command with a client.
pub(super) fn run(
    global: &Global,
    command: impl AsyncFnOnce(Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let client = client(global)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(command(client))
}

/// What a cluster rests on, opened for reading.
pub(super) struct Opened {
    pub store: std::sync::Arc<dyn crate::store::Store>,
    pub coordinator: std::sync::Arc<dyn crate::coordination::Coordinator>,
}

/// Opens the store and ZooKeeper of the configuration; makes nothing in either.
#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
pub(super) async fn open_cluster(loaded: &Loaded) -> Result<Opened, Failure> {
    use std::sync::Arc;

    use crate::coordination::zookeeper::ZooKeeperCoordinator;
    use crate::store::{CassandraOptions, CassandraStore, StoreErrorKind};

    let config = &loaded.config;
    let zookeeper = config.zookeeper.options(loaded.zookeeper_password()?.as_ref());
    let coordinator =
        ZooKeeperCoordinator::new(zookeeper).map_err(|error| Failure::usage(error.to_string()))?;
    let options = config.cassandra.options(loaded.cassandra_password()?.as_ref());
    let store = CassandraStore::open(CassandraOptions { create_schema: false, ..options }).await;
    let store = store.map_err(|error| match error.kind {
        StoreErrorKind::Unavailable => Failure::new(Exit::Unreachable, error.message),
        _ => error.into(),
    })?;
    Ok(Opened { store: Arc::new(store), coordinator: Arc::new(coordinator) })
}

/// Says that this build can't.
#[cfg(not(all(feature = "cassandra", feature = "zookeeper")))]
pub(super) async fn open_cluster(_: &Loaded) -> Result<Opened, Failure> {
    Err(Failure::usage("this build of qdo knows no clusters (features \"cassandra\" and \"zookeeper\")"))
}
