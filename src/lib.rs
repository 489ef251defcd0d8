//! qdo: a job queue whose partitions have one owner, the only writer.
//!
//! See `ARCHITECTURE.md` for the code map. What is exported here is what an embedder needs.

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod coordination;
pub mod engine;
pub mod model;
pub mod runner;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod worker;
