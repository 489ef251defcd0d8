//! Owners of partitions, and the worker that has them.

pub mod protocol;
mod requests;
mod standalone;

pub use requests::{DeleteQueue, JobCommand, JobFilter, OutputStream, RequestError, Requests};
pub use standalone::{StartError, Worker, WorkerBuilder, WorkerSettings};
