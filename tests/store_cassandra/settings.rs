//! Settings that can't work are refused with a sentence that says what to change.

use std::net::TcpListener;
use std::time::Duration;

use qdo::store::{
    CassandraOptions, CassandraStore, Durability, Replication, Store, StoreError, StoreErrorKind, SwapOutcome,
};

use super::{options, servers};
use crate::cassandra_kit::fresh;

async fn refused(options: CassandraOptions) -> StoreError {
    match CassandraStore::open(options.clone()).await {
        Ok(_) => panic!("opened with {options:?}"),
        Err(error) => error,
    }
}

fn says(error: &StoreError, kind: StoreErrorKind, words: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in: {error}");
    }
}

#[tokio::test]
async fn an_unreachable_cluster_is_named_by_its_contact_points() {
    // A port that was free a moment ago, and one where nobody speaks the protocol.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_address = mute.local_addr().unwrap().to_string();
    let error = refused(CassandraOptions {
        contact_points: vec![free.clone(), mute_address.clone()],
        connect_timeout: Duration::from_millis(500),
        ..options(servers())
    })
    .await;
    says(&error, StoreErrorKind::Unavailable, &["contact points", &free, &mute_address]);
    let error = refused(CassandraOptions {
        contact_points: vec!["no-such-host.invalid:9042".into()],
        ..options(servers())
    })
    .await;
    says(&error, StoreErrorKind::Unavailable, &["no-such-host.invalid:9042"]);
}

#[tokio::test]
async fn one_contact_point_of_several_is_enough() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut contact_points = servers().contact_points();
    contact_points.insert(0, free);
    let store = CassandraStore::open(CassandraOptions { contact_points, ..options(servers()) }).await;
    store.expect("it opens").clock_ms().await.expect("it answers");
}

#[tokio::test]
async fn a_wrong_data_centre_is_told_those_that_exist() {
    let options = CassandraOptions {
        datacenter: Some("frankfurt".into()),
        rack: Some("r1".into()),
        ..options(servers())
    };
    says(&refused(options).await, StoreErrorKind::Invalid, &["frankfurt", "datacenter1"]);
}

#[tokio::test]
async fn a_missing_keyspace_is_not_made_against_the_settings() {
    let missing = CassandraOptions { keyspace: "missing".into(), create_schema: false, ..options(servers()) };
    says(&refused(missing).await, StoreErrorKind::Invalid, &["missing does not exist", "create_schema"]);
    let store = CassandraStore::open(CassandraOptions { create_schema: false, ..options(servers()) }).await;
    store.expect("what is there is used").clock_ms().await.expect("it answers");
}

#[tokio::test]
async fn a_keyspace_without_tables_is_missed_or_filled() {
    let keyspace = format!("empty_{}", fresh());
    let session = session().await;
    let create = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    );
    session.query_unpaged(create, ()).await.unwrap();
    let with =
        |create_schema| CassandraOptions { keyspace: keyspace.clone(), create_schema, ..options(servers()) };
    says(&refused(with(false)).await, StoreErrorKind::Invalid, &[&keyspace, "no tables"]);
    let store = CassandraStore::open(with(true)).await.expect("the tables are made");
    assert!(matches!(store.swap_document("queue/a", None, Some("1".into())).await, SwapOutcome::Applied(_)));
    let again = CassandraStore::open(with(false)).await.expect("they are there now");
    assert!(again.document("queue/a").await.unwrap().is_some());
}

#[tokio::test]
async fn more_replicas_than_nodes_are_refused_before_the_keyspace_is_made() {
    let keyspace = format!("wide_{}", fresh());
    let wide = CassandraOptions {
        keyspace: keyspace.clone(),
        replication: Replication::Factor(3),
        ..options(servers())
    };
    says(&refused(wide).await, StoreErrorKind::Invalid, &["factor of 3", "datacenter1", "has 1"]);
    // A keyspace that somebody made like this can't answer.
    let create = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}}"
    );
    let session = session().await;
    session.query_unpaged(create, ()).await.unwrap();
    let narrow = CassandraOptions { keyspace: keyspace.clone(), ..options(servers()) };
    CassandraStore::open(narrow.clone()).await.expect("it opens");
    let alter = format!(
        "ALTER KEYSPACE {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}}"
    );
    session.query_unpaged(alter, ()).await.unwrap();
    says(
        &refused(narrow).await,
        StoreErrorKind::Unavailable,
        &["3 replicas", "2 must answer", "nodes there is 1"],
    );
}

#[tokio::test]
async fn a_keyspace_of_a_newer_version_is_left_alone() {
    let keyspace = format!("newer_{}", fresh());
    let with = CassandraOptions { keyspace: keyspace.clone(), ..options(servers()) };
    drop(CassandraStore::open(with.clone()).await.expect("it opens"));
    let update = format!("UPDATE {keyspace}.settings SET value = 7 WHERE name = 'format' IF EXISTS");
    session().await.query_unpaged(update, ()).await.unwrap();
    says(&refused(with).await, StoreErrorKind::NewerFormat, &[&keyspace, "format 7", "newer"]);
}

#[tokio::test]
async fn many_workers_may_make_the_keyspace_at_once() {
    let keyspace = format!("together_{}", fresh());
    let with = CassandraOptions { keyspace, ..options(servers()) };
    let opened = futures_util::future::join_all((0..6).map(|_| CassandraStore::open(with.clone()))).await;
    for store in opened {
        store.expect("all of them open").document("queue/a").await.expect("all of them read");
    }
}

#[tokio::test]
async fn the_servers_sync_setting_is_reported() {
    let store = CassandraStore::open(options(servers())).await.expect("it opens");
    let health = store.health().await.expect("it answers");
    assert_eq!(health.durability, Durability::Power, "{health:?}");
    assert!(health.backend.starts_with("Apache Cassandra 5."), "{health:?}");
    assert_eq!(health.replicas, Some(1));
    assert_eq!(health.nodes.len(), 1);
    let node = &health.nodes[0];
    assert!(node.up && node.datacenter.as_deref() == Some("datacenter1"), "{node:?}");
}

#[tokio::test]
async fn a_keyspace_without_a_commit_log_is_reported() {
    let keyspace = format!("unlogged_{}", fresh());
    let session = session().await;
    let create = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}} AND durable_writes = false"
    );
    session.query_unpaged(create, ()).await.unwrap();
    let with = CassandraOptions { keyspace: keyspace.clone(), ..options(servers()) };
    let store = CassandraStore::open(with).await.expect("it opens");
    let health = store.health().await.expect("it answers");
    assert_eq!(health.durability, Durability::Memory, "{health:?}");
    let alter = format!("ALTER KEYSPACE {keyspace} WITH durable_writes = true");
    assert!(health.durability_note.ends_with(&alter), "{health:?}");
    session.query_unpaged(alter, ()).await.unwrap();
    let health = store.health().await.expect("it answers");
    assert_eq!(health.durability, Durability::Power, "{health:?}");
}

/// A session past the store, to prepare what it should find.
async fn session() -> scylla::client::session::Session {
    let points = servers().contact_points();
    scylla::client::session_builder::SessionBuilder::new().known_nodes(points).build().await.unwrap()
}
