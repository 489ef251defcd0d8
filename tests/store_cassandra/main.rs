//! The store in Cassandra, on one real node: the suite that every backend passes, and what is wrong
//! with settings, said clearly.
#![cfg(feature = "cassandra")]

#[path = "../cassandra_kit/mod.rs"]
mod cassandra_kit;
#[path = "../common/mod.rs"]
mod common;

mod settings;

use std::sync::{Arc, OnceLock};

use qdo::store::{CassandraOptions, Replication, Store};

use common::servers::{Servers, Wanted};

/// One node, with a keyspace for the suite.
fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let servers = Wanted::cassandra().start();
        cassandra_kit::make_keyspace(&options(&servers));
        servers
    })
}

fn options(servers: &Servers) -> CassandraOptions {
    CassandraOptions {
        contact_points: servers.contact_points(),
        keyspace: "conformance".to_owned(),
        replication: Replication::Factor(1),
        ..CassandraOptions::default()
    }
}

async fn new_store() -> (Arc<dyn Store>, ()) {
    (cassandra_kit::isolated(options(servers())).await, ())
}

qdo::store_conformance!(new_store());
