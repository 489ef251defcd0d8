//! A store in a Cassandra cluster: Apache Cassandra or ScyllaDB, for workers on many hosts.
//!
//! ```text
//!  callers ─▶ bounded number of requests ─▶ driver: a replica in the local data centre, else another
//!             rows: blobs and entries at once, then the row      ─▶ LOCAL_QUORUM
//!             slower than 99 of 100? also to a second replica    ─▶ (idempotent statements only)
//! ```
//!
//! How the port's promises are kept, with N replicas and quorums of ⌊N/2⌋+1:
//!
//! - **durable**: an acknowledged write is in the commit log of a quorum. Whether that is on their
//!   disks is the servers' setting, which is read when the store is opened ([`Store::health`]).
//! - **fresh**: reads ask a quorum too, and two quorums share a replica. A list in pages is several
//!   reads; each begins after the one before, so what was acknowledged before the list is in it.
//! - **whole**: a row of up to 512 KiB is one mutation of one CQL row, which a replica applies
//!   whole, so that merging replicas' answers gives it whole or not at all. A longer value is in
//!   several rows, of which the first names the others and is sent when those are durable
//!   (`parts.rs`). Blobs and entries are durable before the row that needs them is sent.
//! - **deletions outlive writes**: rows are written with timestamp 1, and deleted with 2. A write
//!   that lands late finds itself deleted, for as long as the deletion is kept (`gc_grace_seconds`,
//!   ten days); no request is on its way that long.
//!
//! Nothing is decided by a clock, and apart from documents nothing is compared before it is written
//! ([`Store::writes_blind`]): a row's key is used once, so a write may be repeated for ever. Two
//! values under one key would be a mistake of the caller, which would go unnoticed.
//!
//! On failure: every write that was sent and not acknowledged is [`WriteOutcome::Unknown`]; refused is
//! only what was never sent. The driver connects anew to nodes that come back; the store needs no
//! opening again. What can't work (a wrong password, data centre or keyspace) is said on opening.

use std::sync::Arc;

use super::*;
use hedge::Hedge;
use link::Link;

mod connect;
mod documents;
mod dump;
mod error;
mod health;
mod hedge;
mod index;
mod journal;
mod keyspace;
mod link;
mod options;
mod parts;
mod port;
mod schema;
mod statements;
mod tls;

pub(crate) use keyspace::CREATION_OFF;
pub use options::{CassandraOptions, Replication};

/// A store in a Cassandra cluster.
pub struct CassandraStore {
    link: Link,
}

impl CassandraStore {
    /// Connects, makes the keyspace and tables if they are missing and that is allowed, and checks that
    /// the store can work.
    pub async fn open(options: CassandraOptions) -> Result<Self, StoreError> {
        let (reads, writes) = (Arc::new(Hedge::default()), Arc::new(Hedge::default()));
        let connected = connect::connect(&options, reads.clone(), writes.clone()).await?;
        let link = Link::new(connected, reads, writes, options.concurrency);
        let (durability, note) = link.durability().await;
        if durability < Durability::Power {
            tracing::warn!(keyspace = options.keyspace, "{note}");
        }
        Ok(Self { link })
    }
}
