//! Owners of partitions, and the worker that has them.

mod handle;

pub use handle::{DeleteQueue, JobCommand, JobFilter, OutputStream, RequestError, WorkerHandle};
