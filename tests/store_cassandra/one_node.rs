use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use qdo::store::{CassandraOptions, CassandraStore, Replication, Store};

static NEXT: AtomicU32 = AtomicU32::new(0);

async fn new_store() -> (Arc<dyn Store>, ()) {
    let begun = std::time::Instant::now();
    let keyspace = format!("t{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let options = CassandraOptions {
        contact_points: vec![std::env::var("QDO_TEST_CASSANDRA").expect("address")],
        keyspace,
        replication: Replication::Factor(1),
        ..CassandraOptions::default()
    };
    let store = CassandraStore::open(options).await.expect("a store");
    eprintln!("opened in {:?}", begun.elapsed());
    (Arc::new(store), ())
}

qdo::store_conformance!(new_store());
