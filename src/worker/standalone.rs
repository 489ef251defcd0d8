//! A worker that runs alone on one store: all partitions are its own.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::coordination::{Coordinator, View};
use crate::engine::EngineSettings;
use crate::model::QueueSettings;
use crate::runner::pool::Pool;
use crate::runner::{Context, FnHandler, Handler, Handlers};
use crate::store::{Store, StoreError};

use super::Requests;
use super::catalog::Catalog;
use super::clock::Clock;
use super::cluster::{self, ClusterSettings, Membership, Parts, reach_store};
use super::front::Front;
use super::owner::Shared;
use super::owner::bodies::Bodies;
use super::peer::{PeerServer, PeerService};
use super::room::Window;

/// How long the ends of attempts may take to be on record.
const REPORTED_PATIENCE: Duration = Duration::from_secs(15);
/// How long a stop waits for attempts that were told to end: handlers get their grace and the KILL.
const REVOKED_PATIENCE: Duration = Duration::from_secs(30);

/// How long a stop waits for the hand-over of all partitions.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(30);

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
    cluster: Option<(Arc<dyn Coordinator>, ClusterSettings)>,
}

/// A running worker. Dropped without [`Worker::stop`] it goes on until the process ends, which is as
/// good as killed and loses nothing.
pub struct Worker {
    front: Arc<Front>,
    pool: Pool,
    membership: Option<Membership>,
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
        Self { store, settings: WorkerSettings::default(), handlers: Handlers::default(), cluster: None }
    }

    /// Makes it one of many, on a store that they share: partitions are shared out among them.
    pub fn coordinator(mut self, coordinator: Arc<dyn Coordinator>, settings: ClusterSettings) -> Self {
        self.cluster = Some((coordinator, settings));
        self
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

    /// Opens what is there and begins to work. One of a cluster waits for a store that is away; for a
    /// coordinator that is away it waits while it answers.
    pub async fn start(self) -> Result<Worker, StartError> {
        let Self { store, settings, handlers, cluster } = self;
        let catalog = Arc::new(Catalog::unread(store.clone()));
        let (name, store_identity) = match &cluster {
            None => {
                #[cfg(feature = "sqlite")]
                crate::store::copy::refuse_moved(&*store).await?;
                catalog.reload().await?;
                (worker_name()?, String::new())
            }
            Some((_, settings)) => (settings.id.to_string(), reach_store(&*store, &catalog).await?),
        };
        let neighbours = cluster.as_ref().map(|(_, settings)| cluster::neighbours(settings));
        let clock = Arc::new(Clock::of_machine());
        let pool = Pool::new(store.clone(), handlers, settings.slots, name.clone());
        let shared = Shared {
            store: store.clone(),
            clock: clock.clone(),
            bodies: Arc::new(Bodies::new(settings.bodies_bytes_max)),
            catalog: catalog.clone(),
            pool: pool.clone(),
            engine: EngineSettings::default(),
            window: Arc::new(Window::new(settings.window_jobs_max)),
            requests_max: settings.requests_max,
            name: Bytes::from(name),
            cluster: neighbours.clone(),
        };
        let front = Arc::new(Front::new(shared, settings.clone()));
        let membership = match cluster.zip(neighbours) {
            None => {
                front.own(catalog.partitions());
                None
            }
            Some(((coordinator, cluster_settings), neighbours)) => {
                let started_ms = clock.now_ms();
                let parts = Parts { store, clock, catalog, front: front.clone(), neighbours, coordinator };
                Some(cluster::join(parts, cluster_settings, &settings, started_ms, store_identity).await)
            }
        };
        Ok(Worker { front, pool, membership })
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

    /// Lets other workers in, if it is one of a cluster: the API's port is theirs too.
    pub fn peers(&self) -> Option<PeerServer> {
        self.membership.as_ref().map(Membership::server)
    }

    /// Answers what other workers ask.
    pub(super) fn peer_service(&self) -> Arc<dyn PeerService> {
        Arc::new(self.front.service())
    }

    /// Who is there and who owns what, if it is one of a cluster.
    pub fn view(&self) -> Option<watch::Receiver<Arc<View>>> {
        self.membership.as_ref().map(Membership::view)
    }

    /// Waits until it must not go on, and says why: it is in the wrong cluster, say.
    pub async fn refused(&self) -> String {
        match &self.membership {
            Some(membership) => membership.supervisor.refused().await,
            None => std::future::pending().await,
        }
    }

    /// Starts nothing more, lets running attempts end for so long, interrupts the rest, writes
    /// progress, and ends. One of a cluster hands its partitions over meanwhile: the ends of attempts
    /// go to their new owners.
    pub async fn stop(self, grace: Duration) {
        self.pool.drain();
        let handed_over = async {
            if let Some(membership) = &self.membership
                && tokio::time::timeout(HAND_OVER_PATIENCE, membership.supervisor.drain()).await.is_err()
            {
                warn!("partitions could not be handed over in time: others take them");
            }
        };
        tokio::join!(handed_over, self.end_attempts(grace));
        let owners = self.front.owners();
        join_all(owners.iter().map(|owner| owner.hand_over())).await;
        if let Some(membership) = &self.membership {
            membership.supervisor.leave().await;
        }
    }

    async fn end_attempts(&self, grace: Duration) {
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
        // Whoever owns their partitions by now may still be opening them. What is not heard of there
        // would be taken for interrupted, and run again.
        if tokio::time::timeout(REPORTED_PATIENCE, self.pool.reported()).await.is_err() {
            let unreported = self.pool.unreported();
            warn!(unreported, "ends of attempts could not be reported in time: their jobs run again");
        }
    }
}

/// `host:pid:incarnation`, for the record of every start.
fn worker_name() -> Result<String, StartError> {
    let mut drawn = [0u8; 4];
    getrandom::fill(&mut drawn).map_err(StartError::Random)?;
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!("{host}:{}:{:08x}", std::process::id(), u32::from_le_bytes(drawn)))
}
