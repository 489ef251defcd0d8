//! Deterministic simulation: everything from one seed.
//!
//! ```text
//! seed ─▶ plan ─▶ world = heap of events ─▶ workers (the product's protocol) ─▶ simulated store
//!                   │                          a small log in the engine's place       (faults)
//!                   └─▶ oracle: what must hold, seen from outside
//! ```
//!
//! What runs is the product's own [`crate::worker::protocol`]; only its edges are replaced. There
//! are no threads, no runtime and no clock in a run: the same seed gives the same trace.

#![deny(clippy::disallowed_methods)]

mod app;
pub mod command;
mod env;
mod heap;
mod minimize;
pub mod mutation;
mod oracle;
mod owners;
mod plan;
mod rng;
mod store;
mod work;
mod world;

pub use env::{Fault, Faults};
pub use oracle::{Invariant, Violation};
pub use plan::{Plan, StoreKind};
pub use world::{Outcome, run};
