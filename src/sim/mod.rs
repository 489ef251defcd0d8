//! Deterministic simulation: the product's own protocol under a store that loses, delays and doubles,
//! workers that die and pause, a lock with two holders, and an oracle that knows better. Everything
//! follows from one seed: no threads, no tokio, no real clock.
//!
//! ```text
//! producers ─▶ node (log on worker::protocol) ─▶ store (replicas, coordinators)
//!                 ▲                                   │
//!               lock                               oracle ◀── all that is sent, durable, released, told
//! ```
//!
//! [`mutation`] plants bugs in the product; the simulator must find each (`tests/sim_protocol.rs`).

#![deny(clippy::disallowed_methods)]

pub mod command;
mod faults;
mod heap;
mod lock;
mod log;
pub mod mutation;
mod node;
mod oracle;
mod producers;
mod rng;
mod store;
mod story;
mod trace;
mod world;

pub use world::{RunOptions, RunReport, run};
