//! Owners of partitions: a state machine without I/O ([`core`]) and the task that runs it.

pub(crate) mod bodies;
pub(crate) mod core;
mod hand_out;
mod handle;
mod orphans;
mod slots;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use handle::{OwnerHandle, unavailable};
pub(crate) use task::{Owner, Shared};
