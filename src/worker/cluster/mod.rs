//! A worker among others: store, coordinator, links to the others and supervisor, put together.
//!
//! ```text
//! store reached ─▶ catalogue read ─▶ clock measured ─▶ joined ─▶ partitions ─▶ drained ─▶ left
//! ```
//!
//! Each arrow waits for what is away and goes on by itself when it comes back; once a minute it is
//! said what is waited for.

mod identity;
mod late;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::coordination::assign::{ASSIGN_VERSION, AssignSettings};
use crate::coordination::{Coordinator, Member, View, WorkerId};
use crate::store::{Store, StoreError, StoreErrorKind};

use super::WorkerSettings;
use super::catalog::Catalog;
use super::clock::Clock;
use super::clock_offset;
use super::front::Front;
use super::look::Meeting;
use super::peer::{ClusterSecret, PeerServer, PeerService, PeerSettings, Peers};
use super::router::Neighbours;
use super::supervisor::{self, STORE_KEY, Settings, Supervision, SupervisorHandle};

pub use identity::{InvalidName, check_name, new_worker_id};
pub use late::Late;

/// Time between two tries while the store is away.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// What is still waited for is said once in so long.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How a worker takes part in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// This process, by [`new_worker_id`].
    pub id: WorkerId,
    /// What people call it.
    pub name: String,
    /// Where others reach its HTTP API: `http://host:port`.
    pub address: String,
    /// What all workers of the cluster know.
    pub secret: Option<ClusterSecret>,
    /// Members must have been the same for so long before partitions move between living workers.
    pub settle: Duration,
    /// After so long without a sign of life, a worker's attempts are taken for interrupted.
    pub lease: Duration,
    /// Who may own what; the same everywhere.
    pub assign: AssignSettings,
    /// What this worker is.
    pub labels: BTreeMap<String, String>,
    /// Its share of partitions next to others'.
    pub capacity: u32,
    /// Hashes of settings that must be equal everywhere, by name: differences are warned of.
    pub equal: BTreeMap<String, String>,
}

impl ClusterSettings {
    /// The defaults, for that process.
    pub fn new(id: WorkerId, name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            address: address.into(),
            secret: None,
            settle: Duration::from_secs(3),
            lease: Duration::from_secs(10),
            assign: AssignSettings::default(),
            labels: BTreeMap::new(),
            capacity: 100,
            equal: BTreeMap::new(),
        }
    }
}

/// A worker's part in its cluster, while it has one.
pub(super) struct Membership {
    pub supervisor: SupervisorHandle,
    neighbours: Arc<Neighbours>,
    server: PeerServer,
}

impl Membership {
    /// Lets other workers in.
    pub fn server(&self) -> PeerServer {
        self.server.clone()
    }

    /// Who is there and who owns what, as this worker sees it.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.neighbours.view.subscribe()
    }
}

/// What a worker will know of the others.
pub(super) fn neighbours(settings: &ClusterSettings) -> Arc<Neighbours> {
    let peers = Peers::new(settings.secret.clone(), settings.id.clone(), PeerSettings::default());
    let neighbours = Arc::new(Neighbours {
        me: settings.id.clone(),
        view: watch::Sender::default(),
        sure: watch::Sender::new(false),
        lease: settings.lease,
        link: Arc::new(peers.clone()),
    });
    tokio::spawn(keep_links(peers, neighbours.view.subscribe()));
    neighbours
}

/// Links to workers that are gone end.
async fn keep_links(peers: Peers, mut view: watch::Receiver<Arc<View>>) {
    while view.changed().await.is_ok() {
        let here: Vec<WorkerId> = view.borrow_and_update().members.keys().cloned().collect();
        // Without a view of anybody, nobody is known to be gone.
        if !here.is_empty() {
            peers.retain(&here);
        }
    }
}

/// What a front needs to take part.
pub(super) struct Parts {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Clock>,
    pub catalog: Arc<Catalog>,
    pub front: Arc<Front>,
    pub neighbours: Arc<Neighbours>,
    pub coordinator: Arc<dyn Coordinator>,
}

/// Begins to take part.
pub(super) async fn join(
    parts: Parts,
    settings: ClusterSettings,
    worker: &WorkerSettings,
    clock_ms: u64,
    store_identity: String,
) -> Membership {
    let Parts { store, clock, catalog, front, neighbours, coordinator } = parts;
    let server = peer_server(&settings, Arc::new(front.service()));
    let (offset, measured) = watch::channel(clock_offset::measure(&*store, &clock).await.ok());
    tokio::spawn(clock_offset::watch_offset(store, clock, offset));
    let member = member(&settings, worker, clock_ms, store_identity.clone());
    let supervision = Supervision {
        coordinator: coordinator.clone(),
        partitions: front.clone(),
        catalog,
        offset: measured,
        member,
        settings: Settings { assign: settings.assign.clone(), settle_ms: settings.settle.as_millis() as u64 },
        chance: clock_ms ^ u64::from(std::process::id()) << 32,
    };
    let supervisor = supervisor::start(supervision);
    let assign = settings.assign;
    front.joined(Meeting { coordinator, supervisor: supervisor.clone(), assign, store_identity });
    Membership { supervisor, neighbours, server }
}

/// Lets other workers in, to that service.
fn peer_server(settings: &ClusterSettings, service: Arc<dyn PeerService>) -> PeerServer {
    PeerServer::new(settings.secret.clone(), settings.id.clone(), service, PeerSettings::default())
}

fn member(
    settings: &ClusterSettings,
    worker: &WorkerSettings,
    started_ms: u64,
    store_identity: String,
) -> Member {
    let mut equal = settings.equal.clone();
    equal.insert(STORE_KEY.to_owned(), store_identity);
    Member {
        id: settings.id.clone(),
        name: settings.name.clone(),
        address: settings.address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        assign_version: ASSIGN_VERSION,
        slots: u32::try_from(worker.slots).unwrap_or(u32::MAX),
        capacity: settings.capacity,
        labels: settings.labels.clone(),
        cannot_serve: Vec::new(),
        draining: false,
        settings: equal,
        started_ms,
    }
}

/// Waits until the store answers, reads the catalogue, and gives the store's identity.
pub(super) async fn reach_store(store: &dyn Store, catalog: &Catalog) -> Result<String, StoreError> {
    patiently("the store", async || {
        catalog.reload().await?;
        identity::store_identity(store).await
    })
    .await
}

/// Tries again while something is away; other failures are for people.
pub async fn patiently<T>(
    what: &str,
    mut try_once: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut said: Option<tokio::time::Instant> = None;
    loop {
        let error = match try_once().await {
            Err(error) if matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::Full) => error,
            done => {
                metrics::gauge!(crate::telemetry::names::STORE_CONNECTED)
                    .set(f64::from(u8::from(done.is_ok())));
                if said.is_some() && done.is_ok() {
                    tracing::info!("{what} answers");
                }
                return done;
            }
        };
        metrics::gauge!(crate::telemetry::names::STORE_CONNECTED).set(0.0);
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(tokio::time::Instant::now());
            warn!("waiting for {what}: {error}; trying again");
        }
        tokio::time::sleep(STORE_AGAIN).await;
    }
}
