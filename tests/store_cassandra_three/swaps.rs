//! Compare-and-sets while a node is frozen and another one dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use qdo::store::{Store, StoreErrorKind, SwapOutcome};

use super::{alone, harm, options};
use crate::cassandra_kit::isolated;
use crate::common::PATIENCE;

const TASKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Tally {
    stops: AtomicBool,
    applied: AtomicU64,
    unknown: AtomicU64,
}

/// Adds one, again and again. Whether it was added is known, or counted as unknown.
async fn count(store: Arc<dyn Store>, tally: Arc<Tally>) {
    while !tally.stops.load(Relaxed) {
        let there = match store.document("count/a").await {
            Ok(there) => there.expect("it is there"),
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let number: u64 = std::str::from_utf8(&there.value).unwrap().parse().unwrap();
        let next = (number + 1).to_string().into();
        match store.swap_document("count/a", Some(there.version), Some(next)).await {
            SwapOutcome::Applied(_) => _ = tally.applied.fetch_add(1, Relaxed),
            SwapOutcome::Unknown(_) => _ = tally.unknown.fetch_add(1, Relaxed),
            SwapOutcome::Conflict(_) | SwapOutcome::Refused(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn more(what: &str, tally: &Tally, applied: u64) {
    let (begun, goal) = (Instant::now(), tally.applied.load(Relaxed) + applied);
    while tally.applied.load(Relaxed) < goal {
        assert!(begun.elapsed() < PATIENCE, "{what}: {} of {goal}", tally.applied.load(Relaxed));
        tokio::time::sleep(PAUSE).await;
    }
    println!("{what}: {applied} compare-and-sets in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compare_and_set_happens_once_whatever_becomes_of_nodes() {
    let (servers, _alone) = alone().await;
    let store = isolated(options(servers)).await;
    let first = store.swap_document("count/a", None, Some("0".into())).await;
    assert!(matches!(first, SwapOutcome::Applied(_)), "{first:?}");
    let tally = Arc::new(Tally::default());
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(count(store.clone(), tally.clone()))).collect();
    more("all nodes are there", &tally, 40).await;
    for node in ["cassandra-1", "cassandra-2", "cassandra-3"] {
        harm(move |servers| servers.pause(&[node])).await;
        more(&format!("{node} is frozen"), &tally, 20).await;
        harm(move |servers| servers.resume(&[node])).await;
        more(&format!("{node} goes on"), &tally, 20).await;
    }
    tally.stops.store(true, Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let last = store.document("count/a").await.unwrap().expect("it is there");
    let number: u64 = std::str::from_utf8(&last.value).unwrap().parse().unwrap();
    let (applied, unknown) = (tally.applied.load(Relaxed), tally.unknown.load(Relaxed));
    println!("counted to {number}: {applied} known, {unknown} of unknown outcome");
    assert!((applied..=applied + unknown).contains(&number), "{number}: {applied} known, {unknown} unknown");
}
