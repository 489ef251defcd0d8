//! qdo: a job queue whose partitions have one owner, the only writer.
//!
//! See `ARCHITECTURE.md` for the code map. What is exported here is what an embedder needs.

pub mod model;
pub mod runner;
pub mod store;
pub mod worker;
