//! A worker that runs alone on one store: all partitions are its own.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tracing::{info, warn};

use crate::engine::EngineSettings;
use crate::model::QueueSettings;
use crate::runner::pool::Pool;
use crate::runner::{Context, FnHandler, Handler, Handlers};
use crate::store::{Store, StoreError};

use super::Requests;
use super::catalog::Catalog;
use super::clock::Clock;
use super::front::Front;
use super::owner::Shared;
use super::owner::bodies::Bodies;
use super::room::Window;

/// How long a stop waits for attempts that were told to end: handlers get their grace and the KILL.
const REVOKED_PATIENCE: Duration = Duration::from_secs(30);

/// Bounds and habits of a worker. The config file has the same names.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSettings {
    /// Attempts that run at once.
    pub slots: usize,
    /// Queues come into being at first use.
    pub auto_create: bool,
    /// Settings of a queue that says nothing else.
    pub queue_defaults: QueueSettings,
    /// Partitions of a new group.
    pub partitions: u16,
    /// Jobs held in memory, over all partitions (each may have 32,768 at least).
    pub window_jobs_max: usize,
    /// Requests that may wait for one partition; more are refused as overload.
    pub requests_max: usize,
    /// Bytes of bodies kept ready for the hand-out, over all partitions.
    pub bodies_bytes_max: usize,
    /// Where the data is: while less than `free_bytes_min` is free there, new jobs are refused.
    pub data_folder: Option<PathBuf>,
    /// Bytes kept for jobs that are there already; 0 is no such bound.
    pub free_bytes_min: u64,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            slots: std::thread::available_parallelism().map_or(4, |cores| cores.get() * 4),
            auto_create: true,
            queue_defaults: QueueSettings::default(),
            partitions: 1,
            window_jobs_max: 1_000_000,
            requests_max: 10_000,
            bodies_bytes_max: 64 << 20,
            data_folder: None,
            free_bytes_min: 64 << 20,
        }
    }
}

/// Builds a [`Worker`].
pub struct WorkerBuilder {
    store: Arc<dyn Store>,
    settings: WorkerSettings,
    handlers: Handlers,
}

/// A running worker. Dropped without [`Worker::stop`] it goes on until the process ends, which is as
/// good as killed and loses nothing.
pub struct Worker {
    front: Arc<Front>,
    pool: Pool,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random bits.
    #[error("the system gives no random bits: {0}")]
    Random(getrandom::Error),
}

impl WorkerBuilder {
    /// A worker on that store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, settings: WorkerSettings::default(), handlers: Handlers::default() }
    }

    /// All settings.
    pub fn settings(mut self, settings: WorkerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The handlers of many kinds. Processes that a killed predecessor has left must have been ended
    /// ([`crate::runner::RunsFolder::end_leftovers`]): its attempts are taken for interrupted.
    pub fn handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// The code for jobs of one kind.
    pub fn handler<F, R>(self, kind: impl Into<String>, run: F) -> Self
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
    {
        self.handle_with(kind, Arc::new(FnHandler::new(run)))
    }

    /// The handler for jobs of one kind.
    pub fn handle_with(mut self, kind: impl Into<String>, handler: Arc<dyn Handler>) -> Self {
        self.handlers.insert(kind.into(), handler);
        self
    }

    /// Opens what is there and begins to work.
    pub async fn start(self) -> Result<Worker, StartError> {
        let Self { store, settings, handlers } = self;
        let name = worker_name()?;
        let catalog = Arc::new(Catalog::open(store.clone()).await?);
        let pool = Pool::new(store.clone(), handlers, settings.slots, name.clone());
        let shared = Shared {
            store,
            clock: Arc::new(Clock::new()),
            bodies: Arc::new(Bodies::new(settings.bodies_bytes_max)),
            catalog: catalog.clone(),
            pool: pool.clone(),
            engine: EngineSettings::default(),
            window: Arc::new(Window::new(settings.window_jobs_max)),
            requests_max: settings.requests_max,
            name: Bytes::from(name),
            cluster: None,
        };
        let front = Arc::new(Front::new(shared, settings));
        front.own(catalog.partitions());
        Ok(Worker { front, pool })
    }
}

impl Worker {
    /// A worker on that store.
    pub fn builder(store: Arc<dyn Store>) -> WorkerBuilder {
        WorkerBuilder::new(store)
    }

    /// What the ways in talk to.
    pub fn requests(&self) -> Arc<dyn Requests> {
        self.front.clone()
    }

    /// Starts nothing more, lets running attempts end for so long, interrupts the rest, writes
    /// progress, and ends.
    pub async fn stop(self, grace: Duration) {
        self.pool.drain();
        let running = self.pool.running();
        if running > 0 {
            info!(running, grace_seconds = grace.as_secs(), "waiting for running attempts");
        }
        if tokio::time::timeout(grace, self.pool.idle()).await.is_err() {
            warn!(running = self.pool.running(), "ending attempts: their jobs run again at the next start");
            self.pool.revoke_all();
            // Whatever does not end by then is ended with the process.
            let _ = tokio::time::timeout(REVOKED_PATIENCE, self.pool.idle()).await;
        }
        let owners = self.front.owners();
        join_all(owners.iter().map(|owner| owner.hand_over())).await;
    }
}

/// `host:pid:incarnation`, for the record of every start.
fn worker_name() -> Result<String, StartError> {
    let mut drawn = [0u8; 4];
    getrandom::fill(&mut drawn).map_err(StartError::Random)?;
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!("{host}:{}:{:08x}", std::process::id(), u32::from_le_bytes(drawn)))
}
