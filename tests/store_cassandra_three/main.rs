//! The store in Cassandra, on three real nodes with a replica of every row on each: the suite that
//! every backend passes, and nodes that freeze, die and come back while rows are written.
//!
//! Cases share the nodes: those that only use them run at once; those that harm them run alone, and
//! leave them whole.
#![cfg(feature = "cassandra")]

#[path = "../cassandra_kit/mod.rs"]
mod cassandra_kit;
#[path = "../common/mod.rs"]
mod common;

mod faults;
mod swaps;

use std::sync::{Arc, OnceLock};

use qdo::store::{CassandraOptions, Store};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use common::servers::{Servers, Wanted};

/// Whoever uses the nodes has read access, whoever harms them write access.
static NODES: RwLock<()> = RwLock::const_new(());

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let servers = Wanted::cassandra().three().start();
        cassandra_kit::make_keyspace(&options(&servers));
        servers
    })
}

/// A replication factor of 3 is the default. One contact point: the other nodes are found by it.
fn options(servers: &Servers) -> CassandraOptions {
    CassandraOptions {
        contact_points: servers.contact_points()[..1].to_vec(),
        keyspace: "conformance".to_owned(),
        ..CassandraOptions::default()
    }
}

async fn started() -> &'static Servers {
    tokio::task::spawn_blocking(servers).await.unwrap()
}

async fn alone() -> (&'static Servers, RwLockWriteGuard<'static, ()>) {
    let guard = NODES.write().await;
    (started().await, guard)
}

/// Does that to the nodes of these names.
async fn harm(what: impl FnOnce(&'static Servers) + Send + 'static) {
    tokio::task::spawn_blocking(|| what(servers())).await.unwrap();
}

async fn new_store() -> (Arc<dyn Store>, RwLockReadGuard<'static, ()>) {
    let guard = NODES.read().await;
    (cassandra_kit::isolated(options(started().await)).await, guard)
}

qdo::store_conformance!(new_store());
