//! `qdo store copy`: the command, killed again and again, into a file and into a real Cassandra.

mod cli_kit;
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cli_kit::{Server, qdo, run};
use common::PATIENCE;
use common::random::Random;
use common::servers::Wanted;
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use qdo::model::{JobState, NewJob};
use qdo::store::sqlite::{SqliteOptions, SqliteStore};
use qdo::store::{CassandraOptions, CassandraStore, Replication, Store};
use qdo::worker::{JobFilter, Worker, WorkerSettings};
use tokio::runtime::{Builder, Runtime};

const JOBS: usize = 100_000;
/// Jobs of one request.
const TOGETHER: usize = 20;
/// So that there are many pages.
const BODY_BYTES: usize = 500;
const PRODUCERS: usize = 16;
const KEYS: usize = 500;
/// Copies that are killed.
const KILLS: u64 = 6;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn copy(from: &Path, more: &[&str]) -> Command {
    let mut command = qdo();
    command.args(["store", "copy", "--from"]).arg(format!("sqlite:{}", from.display())).args(more);
    command
}

/// A store with that many waiting jobs, in rows as many producers make them.
fn fill(file: &Path) {
    let life = runtime();
    life.block_on(async {
        let store = SqliteStore::open(file, SqliteOptions::default()).unwrap();
        let settings = WorkerSettings { slots: 1, ..WorkerSettings::default() };
        let worker = Worker::builder(Arc::new(store)).settings(settings).start().await.unwrap();
        let requests = worker.requests();
        let produce = |producer: usize| {
            let requests = requests.clone();
            async move {
                for first in (producer * TOGETHER..JOBS).step_by(PRODUCERS * TOGETHER) {
                    let jobs = (first..first + TOGETHER).map(|number| NewJob {
                        key: Some(format!("{}", number % KEYS)),
                        headers: vec![("trace".into(), number.to_string())],
                        ..NewJob::new("note", format!("{number} {}", "x".repeat(BODY_BYTES)))
                    });
                    requests.enqueue("default", "mail", jobs.collect()).await.unwrap();
                }
            }
        };
        join_all((0..PRODUCERS).map(produce)).await;
        worker.stop(PATIENCE).await;
    });
    drop(life);
}

/// Kills copies early on the way that took `whole`, and lets the last come to its end. Gives how many were
/// killed at work.
fn copied_with_kills(file: &Path, to: &[&str], whole: Duration) -> u32 {
    let mut random = Random::announced();
    let mut killed = 0;
    for _ in 0..KILLS {
        let mut child = copy(file, to).stderr(Stdio::null()).spawn().expect("it can be run");
        std::thread::sleep(random.moment(whole.as_millis() as u64 / 3));
        child.kill().expect("it is there");
        killed += u32::from(!child.wait().expect("it ends").success());
    }
    let begun = Instant::now();
    let ran = run(&mut copy(file, to)).code(0);
    eprintln!("killed {killed} times; the last run took {:?}: {}", begun.elapsed(), ran.stderr);
    assert!(ran.stderr.contains("no server starts on the source any more"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("JOB IDS HAVE CHANGED"), "{}", ran.stderr);
    killed
}

/// Runs all jobs of a store in this process: each once.
fn run_all(store: impl FnOnce(&Runtime) -> Arc<dyn Store>) {
    let life = runtime();
    let store = store(&life);
    let runs: Arc<Mutex<Vec<usize>>> = Arc::default();
    let noted = runs.clone();
    life.block_on(async {
        let settings = WorkerSettings { slots: 512, ..WorkerSettings::default() };
        let builder = Worker::builder(store).settings(settings);
        let worker = builder
            .handler("note", move |context| {
                let text = std::str::from_utf8(&context.attempt.payload).unwrap();
                let number = text.split_once(' ').unwrap().0.parse().unwrap();
                noted.lock().unwrap().push(number);
                async { Ok(Bytes::new()) }
            })
            .start()
            .await
            .unwrap();
        let begun = Instant::now();
        let requests = worker.requests();
        let open = JobFilter { state: Some(JobState::Waiting), ..JobFilter::default() };
        loop {
            let queue = requests.queue("default", "mail").await.unwrap();
            if queue.counts.waiting + queue.counts.running == 0 {
                break;
            }
            let page = requests.jobs("default", "mail", open.clone(), None, 1).await.unwrap();
            if let Some(job) = page.jobs.first() {
                let _ = requests.wait("default", job.id, Duration::from_secs(1)).await;
            }
            assert!(begun.elapsed() < 4 * PATIENCE, "{:?}", queue.counts);
        }
        worker.stop(PATIENCE).await;
    });
    let runs = runs.lock().unwrap();
    let mut sorted = runs.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..JOBS).collect::<Vec<_>>(), "each job ran once");
}

#[test]
fn jobs_of_a_file_run_once_each_in_another_file_however_often_the_copy_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fill(&source);
    let to = format!("sqlite:{}", target.display());
    let begun = Instant::now();
    run(&mut copy(&source, &["--keep", "--to", &format!("{to}-whole")])).code(0);
    let whole = begun.elapsed();
    let seconds = whole.as_secs_f64();
    eprintln!("{JOBS} jobs from file to file in {seconds:.2} s: {:.0} jobs/s", JOBS as f64 / seconds);
    assert!(copied_with_kills(&source, &["--to", &to], whole) > 0);
    run_all(|_| Arc::new(SqliteStore::open(&target, SqliteOptions::default()).unwrap()));
}

#[test]
fn jobs_of_a_file_run_once_each_in_cassandra_however_often_the_copy_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fill(&source);
    let servers = Wanted::cassandra().start();
    let config = folder.path().join("cluster.toml");
    let nodes = servers.contact_points();
    let text =
        format!("[cassandra]\ncontact_points = {nodes:?}\nkeyspace = \"copy\"\nreplication_factor = 1\n");
    std::fs::write(&config, text).unwrap();
    let to = ["--to-config", config.to_str().unwrap()];
    let elsewhere =
        ["--keep", "--to-config", to[1], "--to", &format!("cassandra:{}/rehearsal", nodes.join(","))];
    let begun = Instant::now();
    run(&mut copy(&source, &elsewhere)).code(0);
    let whole = begun.elapsed();
    let seconds = whole.as_secs_f64();
    eprintln!("{JOBS} jobs from a file to one node in {seconds:.2} s: {:.0} jobs/s", JOBS as f64 / seconds);
    assert!(copied_with_kills(&source, &to, whole) > 0);
    run(qdo().args(["store", "check", "--store", &format!("cassandra:{}/copy", nodes.join(","))])).code(0);
    run_all(|runtime| {
        let options = CassandraOptions {
            contact_points: nodes,
            keyspace: "copy".into(),
            replication: Replication::Factor(1),
            ..CassandraOptions::default()
        };
        Arc::new(runtime.block_on(CassandraStore::open(options)).unwrap())
    });
}

#[test]
fn what_cannot_be_copied_is_refused_with_a_sentence() {
    let mut server = Server::start("");
    let id = server.enqueue("mail", "none", "x");
    let data = server.folder.join("data");
    let to = format!("sqlite:{}", server.folder.join("copy").display());
    run(&mut copy(&data, &["--to", &to])).code(4).says(&["is in use by process", "stop it first"]);
    server.signal(Signal::SIGTERM);
    server.ended();
    run(&mut copy(&server.folder, &["--to", &to])).code(3).says(&["there is no store in"]);
    run(&mut copy(&data, &["--to", &format!("sqlite:{}", data.display())])).code(2).says(&["the same file"]);
    run(&mut copy(&data, &["--to", "mysql:db"])).code(2).says(&["sqlite:FILE or cassandra:HOST"]);
    run(qdo().args(["store", "copy", "--from", "cassandra:db/qdo", "--to", &to]))
        .code(2)
        .says(&["sqlite:FILE"]);
    run(&mut copy(&data, &["--to", "cassandra:127.0.0.1:1/qdo"])).code(1).says(&["127.0.0.1:1"]);

    let report = run(&mut copy(&data, &["--to", &to, "-o", "json"])).code(0).json();
    assert_eq!((&report["queues"], &report["groups_raised_by"]), (&1.into(), &0.into()));
    run(&mut copy(&data, &["--to", &to])).code(0).says(&["were copied", "before", "nothing was left to do"]);
    let refused = run(&mut Server::command(&server.folder, ""));
    assert_eq!(refused.code, 4, "{}", server.log());
    assert!(
        server.log().contains("would run twice") && server.log().contains("--take-back"),
        "{}",
        server.log()
    );

    run(&mut copy(&data, &["--take-back"])).code(0).says(&["may use", "again"]);
    let again = Server::start_in(&server.folder, "");
    assert_eq!(again.job(&id)["state"], "waiting");
    drop(again);
    run(&mut copy(&data, &["--to", &to])).code(4).says(&["queues of the same names", "default/mail"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::rename(server.folder.join("copy"), folder.path().join("data/qdo.sqlite")).unwrap();
    let copied = Server::start_in(folder.path(), "");
    assert_eq!(copied.job(&id)["state"], "waiting");
}
