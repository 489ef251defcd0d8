//! Copying a store into another: what is there afterwards, wherever it was broken off.

mod common;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::PATIENCE;
use common::embedded::{Ledger, start};
use common::random::Random;
use futures_util::task::noop_waker;
use qdo::model::view::JobView;
use qdo::model::{Backoff, Due, JobId, JobState, Lane, NewJob, PartitionId, Span};
use qdo::store::copy::{CopyError, CopyOptions, CopyReport, copy, refuse_moved, take_back};
use qdo::store::faulty::{FaultPlan, FaultyStore};
use qdo::store::memory::MemoryStore;
use qdo::store::sqlite::{SqliteOptions, SqliteStore};
use qdo::store::{Store, StoreErrorKind, StoredRow, SwapOutcome};
use qdo::worker::{JobCommand, JobFilter, Worker, WorkerSettings};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const SEEDS: u64 = 12;
const ORDERS: u64 = 60;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Opens a file once whoever had it before has let go of it.
fn sqlite(folder: &Path, name: &str) -> SqliteStore {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match SqliteStore::open(&folder.join(name), SqliteOptions::default()) {
            Err(error) if error.kind == StoreErrorKind::Locked && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

fn options() -> CopyOptions {
    CopyOptions { page_rows: 7, page_bytes: 20_000, ..CopyOptions::new("sqlite:source", "target") }
}

async fn copied(from: &SqliteStore, to: &dyn Store, options: &CopyOptions) -> Result<CopyReport, CopyError> {
    copy(from, to, options, &mut |_| {}).await
}

/// Every row of a store but the documents that are the copy's own.
async fn rows(store: &dyn Store) -> Vec<String> {
    let mut rows = Vec::new();
    let mut visit = |row| {
        match row {
            StoredRow::Document(key, document) if key.starts_with("queue/") || key.starts_with("group/") => {
                rows.push(format!("{key} {:?}", document.value));
            }
            StoredRow::Document(..) => {}
            other => rows.push(format!("{other:?}")),
        }
        true
    };
    store.dump(&mut visit).await.unwrap();
    rows.sort_unstable();
    rows
}

/// A worker's life on a file, ended by a crash, as a rule while much is under way.
fn life(folder: &Path, ledger: &Arc<Ledger>, random: &mut Random) {
    let life = runtime();
    life.block_on(async {
        let store: Arc<dyn Store> = Arc::new(sqlite(folder, "source"));
        let worker = start(&store, ledger).await;
        let work = async {
            ledger.repeat(&worker.requests()).await;
            ledger.produce(&worker.requests(), random, ORDERS).await;
        };
        let moment = Duration::from_millis(400);
        let _ = timeout(moment, work).await;
    });
    drop(life);
}

/// Copies with faults at every call of the target until it is done; how many runs that took.
async fn copied_in_spite_of_faults(from: &SqliteStore, to: &Arc<dyn Store>, seed: u64) -> u32 {
    let faulty = FaultyStore::new(to.clone(), seed, FaultPlan::everything(30));
    // A call that fails ends the run.
    let options = CopyOptions { patience: Duration::ZERO, ..options() };
    for runs in 1.. {
        match copied(from, &faulty, &options).await {
            Ok(report) => {
                assert_eq!(report.groups_raised_by, 0);
                return runs;
            }
            Err(CopyError::Store(error)) => assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}"),
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("it ends")
}

#[test]
fn a_target_goes_on_where_its_source_was_and_runs_every_job_once() {
    let mut runs_in_all = 0;
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Ledger::default());
        for _ in 0..1 + random.below(3) {
            life(folder.path(), &ledger, &mut random);
        }
        runtime().block_on(async {
            let target: Arc<dyn Store> = match seed % 2 {
                0 => Arc::new(MemoryStore::new()),
                _ => Arc::new(sqlite(folder.path(), "target")),
            };
            let source = sqlite(folder.path(), "source");
            let runs = copied_in_spite_of_faults(&source, &target, seed).await;
            assert_eq!(rows(&*target).await, rows(&source).await);
            drop(source);
            let worker = start(&target, &ledger).await;
            let requests = worker.requests();
            timeout(PATIENCE, ledger.drain(&requests)).await.expect("everything ends in time");
            ledger.check(&requests).await;
            worker.stop(PATIENCE).await;
            eprintln!("seed {seed}: {runs} runs; jobs and runs {:?}", ledger.done());
            runs_in_all += runs;
        });
    }
    assert!(runs_in_all > SEEDS as u32, "no copy was ever broken off");
}

/// Polls a future so many times, and drops it as `kill -9` would.
fn polled(future: impl Future<Output = Result<CopyReport, CopyError>>, polls: u32) -> bool {
    let mut future = pin!(future);
    let waker = noop_waker();
    for _ in 0..polls {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => {
                result.unwrap();
                return true;
            }
            // What it waits for is other threads' business.
            Poll::Pending => std::thread::sleep(Duration::from_micros(300)),
        }
    }
    false
}

#[test]
fn a_copy_that_is_dropped_anywhere_goes_on_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    life(folder.path(), &ledger, &mut Random::new(7));
    let runtime = runtime();
    let _inside = runtime.enter();
    let source = sqlite(folder.path(), "source");
    let expected = runtime.block_on(rows(&source));
    let options = CopyOptions { page_rows: 50, ..options() };
    let mut dropped = 0;
    for polls in 0.. {
        let target = MemoryStore::new();
        runtime.block_on(take_back(&source)).unwrap();
        let done = polled(copied(&source, &target, &options), polls);
        // What is not whole is not seen: a queue has all its rows.
        let report = runtime.block_on(copied(&source, &target, &options)).unwrap();
        assert!(report.was_finished || !done);
        assert_eq!(runtime.block_on(rows(&target)), expected, "dropped after {polls} polls");
        if done {
            break;
        }
        dropped += 1;
    }
    // How many polls there are is up to threads.
    assert!(dropped > 5, "{dropped}");
}

/// A worker that succeeds, fails, and comes to nothing at once, as kinds say.
async fn worker(store: Arc<dyn Store>) -> Worker {
    let builder = Worker::builder(store).settings(WorkerSettings { slots: 4, ..WorkerSettings::default() });
    builder
        .handler("works", |context| async move {
            context.output.write(b"it ran\n").await;
            Ok(Bytes::from_static(b"\"done\""))
        })
        .handler("fails", |_| async { anyhow::bail!("it never works") })
        .start()
        .await
        .unwrap()
}

fn job(kind: &str, place: u32) -> NewJob {
    NewJob {
        key: Some(format!("key-{}", place % 3)),
        lane: Lane::new(1 + (place % 9) as u8).unwrap(),
        headers: vec![("trace".into(), place.to_string())],
        tags: vec!["tag".into()],
        token: Some(format!("token-{place}")),
        max_attempts: Some(2),
        backoff: Some(Backoff { base: Span::from_ms(1), ..Backoff::default() }),
        ..NewJob::new(kind, format!("{{\"place\": {place}}}"))
    }
}

/// One job of each kind that there is, in a queue that is paused in the end.
async fn all_kinds_of_jobs(store: Arc<dyn Store>) -> Vec<JobView> {
    let worker = worker(store).await;
    let requests = worker.requests();
    let hour = Due::After(3_600_000);
    let slow = Backoff { base: Span::from_secs(3_600), ..Backoff::default() };
    let jobs = vec![
        job("works", 0),
        job("fails", 1),
        NewJob { due: hour, ..job("works", 2) },
        NewJob { backoff: Some(slow), ..job("fails", 3) },
        job("nobody runs it", 4),
        NewJob { payload: Bytes::from(format!("\"{}\"", "x".repeat(300_000))), ..job("nobody runs it", 5) },
        NewJob { due: hour, ..job("works", 6) },
        job("fails", 7),
    ];
    let ids: Vec<JobId> =
        requests.enqueue("default", "mail", jobs).await.unwrap().iter().map(|answer| answer.id).collect();
    for (place, state) in [(0, JobState::Succeeded), (1, JobState::Failed), (7, JobState::Failed)] {
        let job = requests.wait("default", ids[place], PATIENCE).await.unwrap();
        assert_eq!(job.state, state, "{job:?}");
    }
    let until_scheduled = async {
        while requests.job("default", ids[3]).await.unwrap().attempt == 0
            || requests.job("default", ids[3]).await.unwrap().state != JobState::Scheduled
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until_scheduled).await.unwrap();
    requests.command("default", ids[6], JobCommand::Cancel).await.unwrap();
    requests.pause_queue("default", "mail", false).await.unwrap();
    // It is written again, under its id, elsewhere.
    requests.command("default", ids[7], JobCommand::Retry).await.unwrap();
    let views = listed(&worker).await;
    assert_eq!(views.len(), 8);
    worker.stop(PATIENCE).await;
    views
}

async fn listed(worker: &Worker) -> Vec<JobView> {
    let requests = worker.requests();
    let page = requests.jobs("default", "mail", JobFilter::default(), None, 100).await.unwrap();
    let mut views = Vec::new();
    for job in page.jobs {
        views.push(requests.job("default", job.id).await.unwrap());
    }
    views.sort_by_key(|job| job.id);
    views
}

fn raised(id: JobId, by: u32) -> JobId {
    let partition = PartitionId { group: id.partition().group + by, ..id.partition() };
    JobId::new(partition, id.epoch_number(), id.commit(), id.place())
}

/// What a person sees of a job, whatever its id.
fn seen(job: &JobView) -> serde_json::Value {
    let mut view = serde_json::to_value(job).unwrap();
    // Whether it is in memory decides how its state is explained.
    for fact in ["id", "partition", "reason"] {
        view.as_object_mut().unwrap().remove(fact);
    }
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_job_comes_along_with_all_that_is_known_of_it() {
    for others in [0, 3] {
        let folder = tempfile::tempdir().unwrap();
        let expected = all_kinds_of_jobs(Arc::new(sqlite(folder.path(), "source"))).await;
        let target: Arc<dyn Store> = Arc::new(sqlite(folder.path(), "target"));
        if others > 0 {
            let theirs = worker(target.clone()).await;
            for number in 0..others {
                let requests = theirs.requests();
                requests
                    .enqueue("default", &format!("theirs-{number}"), vec![job("works", 0)])
                    .await
                    .unwrap();
            }
            theirs.stop(PATIENCE).await;
        }
        let source = sqlite(folder.path(), "source");
        let report = copied(&source, &*target, &options()).await.unwrap();
        assert_eq!((report.queues, report.partitions, report.left.len()), (1, 1, 0));
        assert_eq!(report.groups_raised_by, others);
        drop(source);

        let worker = worker(target).await;
        let requests = worker.requests();
        let there = listed(&worker).await;
        for (job, expected) in there.iter().zip(&expected) {
            assert_eq!(job.id, raised(expected.id, others));
            assert_eq!(seen(job), seen(expected));
        }
        assert_eq!(there.len(), expected.len());
        // A token of before is known, unless the queue's number, which is part of it, has changed.
        let again = requests.enqueue("default", "mail", vec![job("works", 0)]).await.unwrap();
        assert_eq!(again[0].id == there[0].id, others == 0);
        // A new queue gets a number of its own.
        let new = requests.enqueue("default", "new", vec![job("works", 9)]).await.unwrap();
        assert!(there.iter().all(|job| job.id.partition().group < new[0].id.partition().group));
        requests.resume_queue("default", "mail").await.unwrap();
        requests.command("default", there[2].id, JobCommand::RunNow).await.unwrap();
        for (place, state) in [(2, JobState::Succeeded), (7, JobState::Failed)] {
            let job = timeout(PATIENCE, requests.wait("default", there[place].id, PATIENCE)).await;
            assert_eq!(job.unwrap().unwrap().state, state);
        }
        worker.stop(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    all_kinds_of_jobs(Arc::new(sqlite(folder.path(), "source"))).await;
    let target: Arc<dyn Store> = Arc::new(sqlite(folder.path(), "target"));
    let theirs = worker(target.clone()).await;
    theirs.requests().enqueue("default", "mail", vec![job("works", 0)]).await.unwrap();
    theirs.stop(PATIENCE).await;
    let source = sqlite(folder.path(), "source");
    let before = (rows(&source).await, rows(&*target).await);
    let refused = copied(&source, &*target, &options()).await.unwrap_err();
    assert!(refused.to_string().contains("default/mail"), "{refused}");
    assert_eq!((rows(&source).await, rows(&*target).await), before);
    assert_eq!(target.document("copy/from").await, Ok(None));
    assert_eq!(refuse_moved(&source).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_copied_is_not_run_until_it_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    all_kinds_of_jobs(Arc::new(sqlite(folder.path(), "source"))).await;
    let source = Arc::new(sqlite(folder.path(), "source"));
    let rehearsal = CopyOptions { keep: true, ..CopyOptions::new("source", "rehearsal") };
    copied(&source, &MemoryStore::new(), &rehearsal).await.unwrap();
    assert_eq!(refuse_moved(&*source).await, Ok(()));

    let target = MemoryStore::new();
    assert!(!copied(&source, &target, &options()).await.unwrap().was_finished);
    assert!(copied(&source, &target, &options()).await.unwrap().was_finished);
    let refused = Worker::builder(source.clone()).start().await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("copied to target") && refused.contains("--take-back"), "{refused}");
    let elsewhere = CopyOptions::new("source", "elsewhere");
    let refused = copied(&source, &MemoryStore::new(), &elsewhere).await.unwrap_err();
    assert_eq!(refused, CopyError::Moved { to: "target".into() });

    assert_eq!(take_back(&*source).await, Ok(Some("target".into())));
    worker(source.clone()).await.stop(PATIENCE).await;
    copied(&source, &MemoryStore::new(), &elsewhere).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_copy_is_not_mixed_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for folder in [&folder, &other] {
        all_kinds_of_jobs(Arc::new(sqlite(folder.path(), "source"))).await;
    }
    let target: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let kept = CopyOptions { keep: true, ..options() };
    {
        let source = sqlite(folder.path(), "source");
        let faulty = FaultyStore::new(target.clone(), 1, FaultPlan { refused: 300, ..FaultPlan::default() });
        let broken = CopyOptions { patience: Duration::ZERO, ..kept.clone() };
        while target.document("copy/from").await.unwrap().is_none() {
            copied(&source, &faulty, &broken).await.unwrap_err();
        }
    }
    let stranger = sqlite(other.path(), "source");
    let refused = copied(&stranger, &*target, &kept).await.unwrap_err();
    assert!(matches!(refused, CopyError::Unfinished { .. }), "{refused}");

    // The source is used before the copy goes on.
    worker(Arc::new(sqlite(folder.path(), "source"))).await.stop(PATIENCE).await;
    let source = sqlite(folder.path(), "source");
    assert_eq!(copied(&source, &*target, &kept).await, Err(CopyError::Changed));
    let report = copied(&source, &*target, &CopyOptions { anew: true, ..kept.clone() }).await.unwrap();
    assert!(!report.resumed && !report.was_finished);
    let there = worker(target.clone()).await;
    assert_eq!(listed(&there).await.len(), 8);
    there.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_created_meanwhile_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    all_kinds_of_jobs(Arc::new(sqlite(folder.path(), "source"))).await;
    let source = sqlite(folder.path(), "source");
    let target = MemoryStore::new();
    let mut created = false;
    // As a worker of the target would, while rows are being copied.
    let theirs = Bytes::from_static(br#"{"number":1000,"partitions":1,"created_ms":1}"#);
    {
        let options = options();
        let mut copying = pin!(copied(&source, &target, &options));
        let result = std::future::poll_fn(|context| {
            if !created && target.counters().transactions > 4 {
                let made = pin!(target.swap_document("group/default/mail", None, Some(theirs.clone())));
                let made = made.poll(context);
                assert!(matches!(made, Poll::Ready(SwapOutcome::Applied(_))), "{made:?}");
                created = true;
            }
            copying.as_mut().poll(context)
        });
        result.await.unwrap();
    }
    assert!(created);
    assert_eq!(target.document("group/default/mail").await.unwrap().unwrap().value, theirs);
    let worker = worker(Arc::new(target)).await;
    assert_eq!(listed(&worker).await.len(), 8, "its group has another name");
    worker.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_key_keep_their_order() {
    const JOBS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let idle = worker(Arc::new(sqlite(folder.path(), "source"))).await;
    let requests = idle.requests();
    for first in (0..JOBS).step_by(10) {
        let jobs = (first..first + 10).map(|number| NewJob {
            key: Some((number % 7).to_string()),
            ..NewJob::new("note", number.to_string())
        });
        requests.enqueue("default", "mail", jobs.collect()).await.unwrap();
    }
    drop(requests);
    idle.stop(PATIENCE).await;
    let target = Arc::new(MemoryStore::new());
    copied(&sqlite(folder.path(), "source"), &*target, &options()).await.unwrap();

    let (ran, mut runs) = tokio::sync::mpsc::channel(JOBS);
    // One slot: what is started first has ended first.
    let worker = Worker::builder(target)
        .settings(WorkerSettings { slots: 1, ..WorkerSettings::default() })
        .handler("note", move |context| {
            let number: usize = std::str::from_utf8(&context.attempt.payload).unwrap().parse().unwrap();
            ran.try_send(number).unwrap();
            async { Ok(Bytes::new()) }
        })
        .start()
        .await
        .unwrap();
    let mut latest = [None; 7];
    for _ in 0..JOBS {
        let number = timeout(PATIENCE, runs.recv()).await.unwrap().unwrap();
        assert!(latest[number % 7] < Some(number), "{number} after {:?}", latest[number % 7]);
        latest[number % 7] = Some(number);
    }
    worker.stop(PATIENCE).await;
}
