//! Power cuts under the embedded worker: a disk that forgets what was not synced.
#![cfg(all(feature = "sqlite", feature = "testing"))]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::PATIENCE;
use common::embedded::{Ledger, start, try_start};
use common::random::Random;
use qdo::store::powercut::PowerCutDisk;
use qdo::store::sqlite::{SqliteOptions, SqliteStore};
use qdo::store::{Store, StoreError};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const ROUNDS: u32 = 200;
const PRODUCERS: usize = 3;
const ORDERS: u64 = 4;
/// Most changes of the disk before the power is cut.
const CHANGES_MAX: u64 = 160;
const LOOK_EVERY: Duration = Duration::from_millis(1);

fn open(path: &Path, disk: &PowerCutDisk) -> Result<Arc<dyn Store>, StoreError> {
    let options = SqliteOptions { vfs: disk.vfs(), ..SqliteOptions::default() };
    Ok(Arc::new(SqliteStore::open(path, options)?))
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Works until the power is gone. True if the worker came to answer.
fn life(path: &Path, disk: &PowerCutDisk, random: &mut Random, ledger: &Arc<Ledger>) -> bool {
    let changes = random.below(CHANGES_MAX);
    // One in five cuts may meet the store while it is opened, or the worker while it starts.
    let early = random.one_in(5);
    disk.cut_after(if early { changes / 8 } else { u64::MAX });
    let store = match open(path, disk) {
        Ok(store) => store,
        Err(error) => {
            assert!(!disk.is_on(), "the file does not open: {error}");
            return false;
        }
    };
    let runtime = runtime();
    let started = runtime.block_on(async {
        let worker = match timeout(PATIENCE, try_start(&store, ledger)).await {
            Ok(Ok(worker)) => worker,
            Ok(Err(error)) => {
                assert!(!disk.is_on(), "the worker does not start: {error}");
                return false;
            }
            Err(_) => panic!("the worker neither starts nor says why"),
        };
        disk.cut_after(changes);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..PRODUCERS {
            let (requests, ledger, mut random) = (worker.requests(), ledger.clone(), random.fork());
            tasks.spawn(async move {
                ledger.repeat(&requests).await;
                ledger.produce(&requests, &mut random, ORDERS).await;
            });
        }
        let gone = async {
            while disk.is_on() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = gone => {}
            _ = async { while let Some(ended) = tasks.join_next().await { ended.unwrap() } } => {}
        }
        true
    });
    disk.cut();
    // Tasks are dropped where they wait, as a process is; what is durable was said to the ledger.
    drop(runtime);
    started
}

#[test]
fn an_acknowledged_job_survives_power_cuts() {
    let mut random = Random::announced();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let disk = PowerCutDisk::new(random.next());
    let ledger = Arc::new(Ledger::default());
    let mut started = 0;
    for _ in 0..ROUNDS {
        started += u32::from(life(&path, &disk, &mut random, &ledger));
        disk.restart();
    }
    disk.cut_after(u64::MAX);
    let store = open(&path, &disk).expect("the file opens");
    runtime().block_on(async {
        let worker = start(&store, &ledger).await;
        let requests = worker.requests();
        timeout(PATIENCE, ledger.drain(&requests)).await.expect("everything ends in time");
        ledger.check(&requests).await;
        worker.stop(PATIENCE).await;
    });
    let (acknowledged, runs) = ledger.done();
    eprintln!("{started} of {ROUNDS} lives started, {acknowledged} jobs acknowledged, {runs} attempts ran");
    assert!(acknowledged > ROUNDS as usize && started > ROUNDS / 2, "too little happened");
}
