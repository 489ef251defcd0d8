//! For tests of the store on real Cassandra servers.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

mod isolated;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use qdo::store::{CassandraOptions, CassandraStore, Store};

pub use isolated::Isolated;
pub use writers::Writers;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A number that no other test of this program has.
pub fn fresh() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An empty part of the store.
pub async fn isolated(options: CassandraOptions) -> Arc<dyn Store> {
    let store = CassandraStore::open(options).await.expect("the store can be opened");
    Arc::new(Isolated { store, number: fresh() })
}

/// Makes the keyspace, once for all tests, which each have a runtime of their own.
pub fn make_keyspace(options: &CassandraOptions) {
    let options = options.clone();
    let made = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(CassandraStore::open(options)).map(|_| ())
    });
    made.join().expect("it does not panic").expect("the keyspace can be made");
}
