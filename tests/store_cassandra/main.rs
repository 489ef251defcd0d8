//! The store in Cassandra, on real servers.
#![cfg(feature = "cassandra")]

mod one_node;
