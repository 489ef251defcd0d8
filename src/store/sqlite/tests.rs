use std::sync::Arc;

use super::*;

async fn new_store() -> (Arc<dyn Store>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let store = SqliteStore::open(&folder.path().join("test.db"), SqliteOptions::default());
    (Arc::new(store.expect("a new store opens")), folder)
}

crate::store_conformance!(new_store());
