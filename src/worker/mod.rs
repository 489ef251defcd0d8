//! Owners of partitions, and the worker that has them.
//!
//! ```text
//! requests ─▶ front ─▶ owner (task) ─▶ core = protocol (who counts) + engine (what follows)
//!                        │    ▲                         │
//!                        ▼    └── answers ── store ◀────┘ calls
//!                   hand-outs ─▶ runner::pool ─▶ handlers
//! ```

mod catalog;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod clock_offset;
mod cluster;
mod front;
mod link;
pub(crate) mod look;
pub(crate) mod owner;
pub(crate) mod partition;
#[doc(hidden)]
pub mod peer;
pub mod protocol;
mod reader;
mod requests;
mod room;
pub(crate) mod router;
mod standalone;
pub(crate) mod supervisor;

pub use cluster::{ClusterSettings, InvalidName, Late, check_name, new_worker_id, patiently};
pub use peer::{ClusterSecret, PeerServer, check_peers};
pub use requests::{
    DeleteQueue, JobCommand, JobFilter, OutputStream, PartitionFilter, PlannedChange, RequestError, Requests,
};
pub use standalone::{StartError, Worker, WorkerBuilder, WorkerSettings};
