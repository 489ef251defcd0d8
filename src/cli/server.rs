//! A server in this process: its HTTP API, and for `qdo standalone` store and worker behind it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failure};
use crate::api::{self, ApiSettings};
use crate::client::{Client, ClientSettings};
use crate::config::{Config, Secret, Synchronous};
use crate::runner::{Handlers, RunsFolder};
use crate::store::sqlite::{self, SqliteOptions, SqliteStore};
use crate::store::{StoreError, StoreErrorKind};
use crate::telemetry;
use crate::worker::{PeerServer, StartError, Worker, WorkerSettings};

/// The store's file in the data folder.
pub(super) const STORE_FILE: &str = "qdo.sqlite";
/// Where attempts get their folders, in the data folder.
const RUNS_FOLDER: &str = "runs";

/// The HTTP API, answering.
pub(super) struct Api {
    url: String,
    shutdown: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl Api {
    /// Answers at that listener, from now on.
    pub fn start(
        listener: TcpListener,
        url: String,
        router: axum::Router,
        peers: Option<PeerServer>,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(api::serve_with_peers(listener, router, peers, shutdown.clone()));
        Self { url, shutdown, serving }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until it ends by itself, which it should not, and says why.
    pub async fn broken(&mut self) -> Failure {
        let why = match (&mut self.serving).await {
            Ok(Ok(())) => "it ended by itself".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => JoinError::to_string(&error),
        };
        Failure::failed(format!("the HTTP API cannot go on: {why}"))
    }

    /// Answers no more.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if !self.serving.is_finished() {
            // What it says in the end is of no use to anybody.
            let _ = self.serving.await;
        }
    }
}

/// A server on one file. Dropped without [`Server::stop`] it ends with the process.
pub(super) struct Server {
    api: Api,
    worker: Worker,
}

impl Server {
    /// Starts one in a data folder, which is made if it is not there. `more` are handlers besides
    /// those of the configuration.
    pub async fn start(
        config: &Config,
        token: Option<Secret>,
        data: &Path,
        more: Handlers,
    ) -> Result<Self, Failure> {
        make_data_folder(data)?;
        let synchronous = match config.store.synchronous {
            Synchronous::Full => sqlite::Synchronous::Full,
            Synchronous::Normal => sqlite::Synchronous::Normal,
        };
        let options = SqliteOptions { synchronous, ..SqliteOptions::default() };
        // The store first: if another server has the folder, that is what must be said.
        let store = Arc::new(SqliteStore::open(&data.join(STORE_FILE), options)?);
        let (listener, address) = bind(config.listen).await?;
        let url = format!("http://{address}");
        store.set_address(&url)?;
        let metrics = telemetry::install_metrics();
        let mut handlers = handlers(config, data).await?;
        for kind in more.kinds() {
            handlers
                .insert(kind.clone(), more.get(kind).ok_or_else(|| Failure::failed("a handler is gone"))?);
        }
        let settings = WorkerSettings { data_folder: Some(data.to_owned()), ..config.worker_settings() };
        let worker = Worker::builder(store).settings(settings).handlers(handlers).start().await?;
        let token = token.map(|token| token.reveal().to_owned());
        let api_settings = ApiSettings { token, hosts: config.hosts.clone(), ..ApiSettings::default() };
        let router = api::router(worker.requests(), api_settings, metrics);
        Ok(Self { api: Api::start(listener, url, router, None), worker })
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        self.api.url()
    }

    /// Waits until the API ends by itself, which it should not, and says why.
    pub async fn broken(&mut self) -> Failure {
        self.api.broken().await
    }

    /// Starts no more attempts, lets running ones go on for so long, and ends. The API answers
    /// until then, since handlers may call it.
    pub async fn stop(self, grace: Duration) {
        self.worker.stop(grace).await;
        self.api.stop().await;
    }
}

pub(super) fn make_data_folder(data: &Path) -> Result<(), Failure> {
    // Payloads are nobody else's business.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(|error| {
        let what = format!("cannot make the data folder {}: {error}", data.display());
        Failure::failed(format!("{what}; name another with --data FOLDER"))
    })
}

/// Listens, and says where that is.
pub(super) async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = TcpListener::bind(listen).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    match bound {
        Ok(bound) => Ok(bound),
        Err(error) => Err(Failure::failed(match error.kind() {
            io::ErrorKind::AddrInUse if a_qdo_answers(listen).await => format!(
                "a qdo server answers at http://{listen} already: use that one, or start this one with --listen 127.0.0.1:0"
            ),
            io::ErrorKind::AddrInUse => format!(
                "{listen} is in use by another program: choose another address with --listen, port 0 is any"
            ),
            io::ErrorKind::PermissionDenied => {
                format!("no permission to listen at {listen}: choose a port above 1023 with --listen")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no address {}: choose another with --listen", listen.ip())
            }
            _ => format!("cannot listen at {listen}: {error}"),
        })),
    }
}

async fn a_qdo_answers(listen: SocketAddr) -> bool {
    let settings = ClientSettings { address: format!("http://{listen}"), ..ClientSettings::default() };
    match Client::new(settings) {
        Ok(client) => client.health().await.is_ok(),
        Err(_) => false,
    }
}

/// The handlers of the configuration, once nothing of a killed predecessor runs any more.
pub(super) async fn handlers(config: &Config, data: &Path) -> Result<Handlers, Failure> {
    let mut incarnation = [0u8; 8];
    getrandom::fill(&mut incarnation)
        .map_err(|error| Failure::failed(format!("the system gives no random bits: {error}")))?;
    let settings = config.handlers.clone();
    let runs = data.join(RUNS_FOLDER);
    let shown = runs.display().to_string();
    let made = tokio::task::spawn_blocking(move || {
        let folder = RunsFolder::open(runs, u64::from_le_bytes(incarnation))?;
        let leftovers = folder.end_leftovers()?;
        Ok::<_, io::Error>((folder, leftovers))
    });
    let (folder, leftovers) =
        made.await.map_err(io::Error::other).and_then(|made| made).map_err(|error| {
            Failure::failed(format!("cannot use the folder of attempts {shown}: {error}"))
        })?;
    if leftovers.groups_ended > 0 {
        tracing::info!(groups = leftovers.groups_ended, "ended processes that a killed server left behind");
    }
    Handlers::from_settings(&settings, &folder).map_err(|error| Failure::usage(error.to_string()))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error.kind {
            StoreErrorKind::Locked | StoreErrorKind::Moved => Exit::Refused,
            StoreErrorKind::Invalid => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, error.message)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
            other => Self::failed(other.to_string()),
        }
    }
}
