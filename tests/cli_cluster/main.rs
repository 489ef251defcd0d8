//! Looking into a cluster from the command line: workers in this process, and, where it is about
//! ZooKeeper and Cassandra themselves, real ones.

#[path = "../cli_kit/mod.rs"]
mod cli_kit;
#[path = "../common/mod.rs"]
mod common;

#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
mod real;
mod within;
