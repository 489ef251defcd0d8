//! Owners of partitions, and the worker that has them.

pub mod protocol;
mod requests;

pub use requests::{DeleteQueue, JobCommand, JobFilter, OutputStream, RequestError, Requests};
