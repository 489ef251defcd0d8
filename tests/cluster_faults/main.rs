//! Faults of a cluster: real worker processes on a real Cassandra of three nodes and a real ZooKeeper
//! of three members, with jobs flowing in at all workers.
//!
//! What was acknowledged is known to the test; what ran is in a file that the handlers append to. After
//! each fault both are compared with each other and with what the workers say. Each prints a row.

#![cfg(all(feature = "cassandra", feature = "zookeeper"))]

#[path = "../common/mod.rs"]
mod common;

mod ensemble;
mod kit;
mod planned;
mod recovery;
mod soak;
mod store;
mod workers;
