//! Who tells about the cluster: a worker, or the store and ZooKeeper themselves.

use tokio::runtime::Builder;

use crate::cli::args::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session;
use crate::client::Client;
use crate::config::{Loaded, Sources};
use crate::coordination::assign::AssignSettings;
use crate::model::PartitionId;
use crate::model::cluster::{ClusterView, PartitionPage, PartitionView, PlanView};
use crate::worker::look::direct::Direct;
use crate::worker::{PartitionFilter, PlannedChange};

/// See the module.
pub(super) enum Source {
    Worker(Client),
    Direct(Box<Reading>),
}

/// The store and ZooKeeper, opened once and read at each look.
pub(super) struct Reading {
    opened: session::Opened,
    assign: AssignSettings,
}

impl Reading {
    async fn look(&self) -> Result<Direct, Failure> {
        Ok(Direct::look(self.opened.store.clone(), self.opened.coordinator.clone()).await?)
    }
}

impl Source {
    pub async fn cluster(&self) -> Result<ClusterView, Failure> {
        match self {
            Self::Worker(client) => Ok(client.cluster().await?),
            Self::Direct(reading) => Ok(reading.look().await?.cluster().await),
        }
    }

    pub async fn partitions(&self, filter: &PartitionFilter) -> Result<PartitionPage, Failure> {
        match self {
            Self::Worker(client) => Ok(client.partitions(filter).await?),
            Self::Direct(reading) => Ok(reading.look().await?.partitions(filter).await?),
        }
    }

    pub async fn partition(&self, partition: PartitionId) -> Result<PartitionView, Failure> {
        match self {
            Self::Worker(client) => Ok(client.partition(partition).await?),
            Self::Direct(reading) => Ok(reading.look().await?.partition(partition).await?),
        }
    }

    pub async fn plan(&self, change: &PlannedChange) -> Result<PlanView, Failure> {
        match self {
            Self::Worker(client) => Ok(client.plan(change).await?),
            Self::Direct(reading) => Ok(reading.look().await?.plan(&reading.assign, change)?),
        }
    }
}

/// Runs a command with one.
pub(super) fn run(
    global: &Global,
    direct: bool,
    command: impl AsyncFnOnce(Source) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    if !direct {
        return session::run(global, async |client| command(Source::Worker(client)).await);
    }
    let loaded: Loaded = session::load(&Sources::of_process(global.config.clone()))?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let opened = session::open_cluster(&loaded).await?;
        let assign = loaded.config.assign_settings();
        command(Source::Direct(Box::new(Reading { opened, assign }))).await
    })
}
