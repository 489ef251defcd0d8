//! A worker that runs alone on one store: all partitions are its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::QueueSettings;
use crate::runner::{Context, Handler};
use crate::store::Store;

use super::Requests;

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
    /// Jobs of one partition held in memory.
    pub window_jobs_max: usize,
    /// Requests that may wait for one partition; more are refused as overload.
    pub requests_max: usize,
    /// Bytes of bodies kept ready for the hand-out, over all partitions.
    pub bodies_bytes_max: usize,
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
        }
    }
}

/// Builds a [`Worker`].
pub struct WorkerBuilder {}

/// A running worker. Dropped without [`Worker::stop`] it is as good as killed, which loses nothing.
pub struct Worker {}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A folder can't be made or used.
    #[error("{what}: {source}")]
    Folder {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

#[expect(unused_variables, reason = "being built")]
impl WorkerBuilder {
    /// A worker on that store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        todo!()
    }

    /// All settings.
    pub fn settings(self, settings: WorkerSettings) -> Self {
        todo!()
    }

    /// The handlers of many kinds.
    pub fn handlers(self, handlers: crate::runner::Handlers) -> Self {
        todo!()
    }

    /// The code for jobs of one kind.
    pub fn handler<F, R>(self, kind: impl Into<String>, run: F) -> Self
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<Bytes>> + Send + 'static,
    {
        todo!()
    }

    /// The handler for jobs of one kind.
    pub fn handle_with(self, kind: impl Into<String>, handler: Arc<dyn Handler>) -> Self {
        todo!()
    }

    /// Opens what is there, ends leftovers of a killed predecessor, and begins to work.
    pub async fn start(self) -> Result<Worker, StartError> {
        todo!()
    }
}

#[expect(unused_variables, reason = "being built")]
impl Worker {
    /// A worker on that store.
    pub fn builder(store: Arc<dyn Store>) -> WorkerBuilder {
        WorkerBuilder::new(store)
    }

    /// What the ways in talk to.
    pub fn requests(&self) -> Arc<dyn Requests> {
        todo!()
    }

    /// Starts nothing more, lets running attempts end for so long, interrupts the rest, writes
    /// progress, and ends.
    pub async fn stop(self, grace: Duration) {
        todo!()
    }
}
