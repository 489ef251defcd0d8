//! Every call of the store can fail, be late, be doubled or have an unknown outcome.
//!
//! Workers come and go on a store with faults; then the faults stop, and everything must end well.

mod common;

use std::sync::Arc;

use common::PATIENCE;
use common::embedded::{Ledger, start};
use common::random::Random;
use qdo::store::Store;
use qdo::store::faulty::{FaultPlan, FaultyStore};
use qdo::store::memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const SEEDS: u64 = 40;
/// Seeds that are played at the same time: they wait most of the time.
const TOGETHER: u64 = 4;
const LIVES: u64 = 4;
const PRODUCERS: usize = 3;
const ORDERS: u64 = 12;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// All lives of one seed; how many faults there were.
fn play(seed: u64, inner: Arc<dyn Store>) -> u64 {
    let mut random = Random::new(seed);
    let ledger = Arc::new(Ledger::default());
    let faulty = Arc::new(FaultyStore::new(inner.clone(), seed, FaultPlan::default()));
    let store: Arc<dyn Store> = faulty.clone();
    for _ in 0..LIVES {
        let permille = 10 + random.below(80) as u32;
        faulty.set_plan(FaultPlan { lands_late: permille, ..FaultPlan::everything(permille) });
        let life = runtime();
        let moment = random.moment(400);
        let producers: Vec<_> = (0..PRODUCERS).map(|_| random.fork()).collect();
        life.block_on(async {
            let worker = start(&store, &ledger).await;
            for mut random in producers {
                let (requests, ledger) = (worker.requests(), ledger.clone());
                tokio::spawn(async move {
                    ledger.repeat(&requests).await;
                    ledger.produce(&requests, &mut random, ORDERS).await;
                });
            }
            // The moment of the crash, whatever goes on.
            tokio::time::sleep(moment).await;
        });
        drop(life);
    }
    runtime().block_on(async {
        let worker = start(&store, &ledger).await;
        let requests = worker.requests();
        // Some work of the last life goes on with faults.
        let _ = timeout(random.moment(200), ledger.repeat(&requests)).await;
        faulty.set_plan(FaultPlan::default());
        timeout(PATIENCE, ledger.drain(&requests)).await.expect("everything ends in time");
        ledger.check(&requests).await;
        worker.stop(PATIENCE).await;
    });
    // A successor on the bare store must read the same.
    runtime().block_on(async {
        let worker = start(&inner, &ledger).await;
        ledger.check(&worker.requests()).await;
        worker.stop(PATIENCE).await;
    });
    eprintln!("seed {seed}: {} faults, jobs and runs {:?}", faulty.faults(), ledger.done());
    faulty.faults()
}

fn play_all(store: impl Fn(u64) -> Arc<dyn Store> + Sync) {
    let first = Random::announced().next() % 1_000_000;
    let faults: u64 = std::thread::scope(|scope| {
        let store = &store;
        let player = |start: u64| {
            move || (start..SEEDS).step_by(TOGETHER as usize).map(|n| play(first + n, store(n))).sum::<u64>()
        };
        let players: Vec<_> = (0..TOGETHER).map(|start| scope.spawn(player(start))).collect();
        players.into_iter().map(|player| player.join().expect("a seed ends well")).sum()
    });
    assert!(faults > SEEDS * 20, "only {faults} faults");
}

#[test]
fn nothing_acknowledged_is_lost_whatever_the_store_in_memory_answers() {
    play_all(|_| Arc::new(MemoryStore::new()));
}

#[test]
#[cfg(feature = "sqlite")]
fn nothing_acknowledged_is_lost_whatever_the_store_in_a_file_answers() {
    use qdo::store::sqlite::{SqliteOptions, SqliteStore};
    let folder = tempfile::tempdir().unwrap();
    play_all(|number| {
        let path = folder.path().join(format!("{number}.db"));
        Arc::new(SqliteStore::open(&path, SqliteOptions::default()).unwrap())
    });
}
