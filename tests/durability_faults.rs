//! Every call of the store can fail, be late, be doubled or have an unknown outcome.
//!
//! Workers come and go on a store with faults; then the faults stop, and everything must end well.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::PATIENCE;
use common::embedded::{Ledger, start};
use common::random::Random;
use qdo::model::{Epoch, PartitionId};
use qdo::store::faulty::{FaultPlan, FaultyStore};
use qdo::store::memory::MemoryStore;
use qdo::store::{Claim, Store, WriteOutcome};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
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

/// Claims every partition from outside, as a late claim of a former life does.
async fn supersede(store: &Arc<dyn Store>) -> u32 {
    let mut claims = 0;
    for group in 1..=2 {
        let partition = PartitionId { group, index: 0 };
        if let Some(highest) = store.highest_claim(partition).await.unwrap() {
            let epoch = Epoch { number: highest.epoch.number + 1, incarnation: 1 };
            let claim = Claim { epoch, owner: Bytes::from_static(b"a claim of the past") };
            claims += u32::from(store.insert_claim(partition, claim).await == WriteOutcome::Durable);
        }
    }
    claims
}

/// One worker that is superseded again and again while it works on a store with faults.
fn play_superseded(seed: u64) -> u32 {
    const STORMS: u32 = 5;
    let mut random = Random::new(seed);
    let ledger = Arc::new(Ledger::default());
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let faulty = Arc::new(FaultyStore::new(inner.clone(), seed, FaultPlan::default()));
    let store: Arc<dyn Store> = faulty.clone();
    runtime().block_on(async {
        let worker = start(&store, &ledger).await;
        let requests = worker.requests();
        faulty.set_plan(FaultPlan { lands_late: 60, ..FaultPlan::everything(60) });
        let mut claims = 0;
        for _ in 0..STORMS {
            let mut tasks = JoinSet::new();
            for _ in 0..PRODUCERS {
                let (requests, ledger, mut random) = (requests.clone(), ledger.clone(), random.fork());
                tasks.spawn(async move { ledger.produce(&requests, &mut random, 4 * ORDERS).await });
            }
            tokio::time::sleep(random.moment(150)).await;
            claims += supersede(&inner).await;
            tasks.join_all().await;
        }
        faulty.set_plan(FaultPlan::default());
        timeout(PATIENCE, ledger.drain(&requests)).await.expect("everything ends in time");
        ledger.check(&requests).await;
        ledger.check_uninterrupted(&requests).await;
        worker.stop(PATIENCE).await;
        claims
    })
}

#[test]
fn an_attempt_whose_start_outlived_its_claim_without_being_handed_out_runs_again() {
    let first = Random::announced().next() % 1_000_000;
    let claims: u32 = std::thread::scope(|scope| {
        let players: Vec<_> = (0..8).map(|n| scope.spawn(move || play_superseded(first + n))).collect();
        players.into_iter().map(|player| player.join().expect("a seed ends well")).sum()
    });
    assert!(claims > 30, "only {claims} claims from outside");
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
