//! The whole server at its limits: too much at once, a full disk, a second server, signals, idleness.

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::server::{Server, write_config};
use common::{jobs, processes};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use qdo::api::{Counters, EnqueuedMany, Problem};
use qdo::model::view::Enqueued;
use qdo::model::{JobId, JobState};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A data folder and a config file.
struct Home {
    folder: TempDir,
    data: PathBuf,
    config: PathBuf,
}

impl Home {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = write_config(folder.path(), config);
        Self { data: folder.path().join("data"), config, folder }
    }

    fn start(&self) -> Server {
        Server::start(&self.data, &self.config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn jobs_of(url: &str, queue: &str) -> String {
    format!("{url}/v1/default/queues/{queue}/jobs")
}

async fn enqueue(client: &Client, url: &str, job: &Value) -> Response {
    client.post(jobs_of(url, "q")).json(job).send().await.unwrap()
}

async fn enqueued(client: &Client, url: &str, job: &Value) -> JobId {
    let answer = enqueue(client, url, job).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
    answer.json::<Enqueued>().await.unwrap().id
}

/// A refusal that says in one sentence why, and when to come back.
async fn refusal(answer: Response) -> Problem {
    let status = answer.status();
    let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = answer.text().await.unwrap();
    assert!(matches!(status.as_u16(), 429 | 503), "{status}: {text}");
    assert!(
        after.is_some_and(|after| after.parse::<u32>().is_ok()),
        "it does not say when to come back: {text}"
    );
    let problem: Problem = serde_json::from_str(&text).unwrap();
    assert!(!problem.detail.is_empty(), "{text}");
    problem
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_enqueues_at_once_are_taken_or_refused_and_memory_stays_bounded() {
    const CLIENTS: u64 = 150;
    const REQUESTS: u64 = 20;
    const GROWTH_KIB_MAX: u64 = 160 << 10;
    let home = Home::new("[worker]\nrequests_max = 8\n");
    let server = home.start();
    let (url, client) = (server.url().to_owned(), Client::new());
    let idle_kib = processes::status_kib(server.pid(), "VmHWM:");
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (url, client) = (url.clone(), client.clone());
        tasks.spawn(async move {
            let job = json!({"kind": "none", "payload": "x".repeat(10_000)});
            let (mut taken, mut refused) = (0, 0);
            for _ in 0..REQUESTS {
                let answer = enqueue(&client, &url, &job).await;
                if answer.status() == StatusCode::CREATED {
                    taken += 1;
                } else {
                    assert_eq!(refusal(answer).await.status, 429);
                    refused += 1;
                }
            }
            (taken, refused)
        });
    }
    let (taken, refused) =
        tasks.join_all().await.into_iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    assert!(refused > 100 && taken > 100, "{taken} taken, {refused} refused");
    let grown_kib = processes::status_kib(server.pid(), "VmHWM:") - idle_kib;
    eprintln!("{taken} taken, {refused} refused, {grown_kib} KiB more memory than idle");
    assert!(grown_kib < GROWTH_KIB_MAX, "{grown_kib} KiB");
    enqueued(&client, &url, &json!({"kind": "none", "payload": 1})).await;
    let counts = jobs::queue(&client, &url, "q").await.counts;
    assert_eq!(counts.waiting, taken + 1, "what was refused is not there, what was taken is");
    server.stop();
}

#[tokio::test]
async fn a_queue_takes_no_more_than_its_backlog_and_others_go_on() {
    let home = Home::new("");
    let server = home.start();
    let (url, client) = (server.url().to_owned(), Client::new());
    let made =
        client.put(format!("{url}/v1/default/queues/q")).json(&json!({"backlog_max": 10})).send().await;
    assert!(made.unwrap().status().is_success());
    let job = json!({"kind": "none", "payload": 1});
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(enqueued(&client, &url, &job).await);
    }
    let problem = refusal(enqueue(&client, &url, &job).await).await;
    assert_eq!(problem.status, 429);
    assert!(problem.detail.contains("backlog_max"), "{problem:?}");
    let other = client.post(jobs_of(&url, "other")).json(&job).send().await.unwrap();
    assert_eq!(other.status(), StatusCode::CREATED);
    let cancelled = client.post(format!("{url}/v1/default/jobs/{}/cancel", ids[0])).send().await.unwrap();
    assert!(cancelled.status().is_success());
    enqueued(&client, &url, &job).await;
    assert_eq!(jobs::queue(&client, &url, "q").await.counts.waiting, 10);
    server.stop();
}

#[tokio::test]
async fn a_full_disk_is_said_loses_nothing_and_work_goes_on_when_there_is_space() {
    let home = Home::new("[handlers.ok]\nexec = [\"true\"]\n");
    let limit = ["prlimit", "--fsize=3000000:unlimited"];
    let mut server = Server::spawn_at("127.0.0.1:0", &home.data, &home.config, &limit);
    let url = server.ready();
    let client = Client::new();
    let job = |n: u64| json!({"kind": "later", "token": format!("t{n}"), "payload": "x".repeat(100_000)});
    let mut taken = Vec::new();
    let (problem, waited) = loop {
        let asked = Instant::now();
        let answer = enqueue(&client, &url, &job(taken.len() as u64)).await;
        if answer.status() != StatusCode::CREATED {
            break (refusal(answer).await, asked.elapsed());
        }
        taken.push(answer.json::<Enqueued>().await.unwrap().id);
        assert!(taken.len() < 1_000, "the disk does not become full");
    };
    eprintln!("{} jobs taken, then: {}", taken.len(), problem.detail);
    assert_eq!(problem.status, 503);
    assert!(problem.detail.contains("no space left"), "{problem:?}");
    assert!(waited < Duration::from_secs(15), "the first one was told after {waited:?}");
    let again = Instant::now();
    let problem = refusal(enqueue(&client, &url, &job(taken.len() as u64)).await).await;
    assert!(again.elapsed() < Duration::from_millis(900), "the next ones hear it at once");
    assert!(problem.detail.contains("no space left"), "{problem:?}");
    let ready = client.get(format!("{url}/v1/ready")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let looked = client.get(format!("{url}/v1/default/jobs/{}", taken[0])).send().await.unwrap();
    if looked.status() != StatusCode::OK {
        assert!(refusal(looked).await.detail.contains("no space left"));
    }

    let pid = server.pid().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
    assert!(raised.success());
    let deadline = Instant::now() + common::PATIENCE;
    loop {
        let answer = enqueue(&client, &url, &job(taken.len() as u64)).await;
        if answer.status() == StatusCode::CREATED {
            taken.push(answer.json::<Enqueued>().await.unwrap().id);
            break;
        }
        refusal(answer).await;
        assert!(Instant::now() < deadline, "it does not take jobs again; it said:\n{}", server.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = client.get(format!("{url}/v1/ready")).send().await.unwrap();
    assert!(ready.status().is_success());
    let ran = enqueued(&client, &url, &json!({"kind": "ok", "payload": 1})).await;
    assert_eq!(jobs::wait(&client, &url, ran).await.state, JobState::Succeeded);
    server.kill();

    let server = home.start();
    let listed: Vec<JobId> = jobs::list(&client, server.url(), "q").await.iter().map(|job| job.id).collect();
    taken.push(ran);
    assert_eq!(listed, taken, "each is there once, and no other");
    server.stop();
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_told_who_is_there() {
    let home = Home::new("");
    let server = home.start();
    let second = Server::spawn_at("127.0.0.1:0", &home.data, &home.config, &[]);
    let (status, said) = second.ended();
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains(&server.pid().to_string()) && said.contains(server.url()), "{said}");
    server.stop();
}

#[tokio::test]
async fn a_port_in_use_is_said_in_one_sentence_and_says_what_to_do() {
    let (home, other) = (Home::new(""), Home::new(""));
    let server = home.start();
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let (status, said) = Server::spawn_at(&address, &other.data, &other.config, &[]).ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("a qdo server answers at") && said.contains("--listen"), "{said}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (status, said) = Server::spawn_at(&address, &other.data, &other.config, &[]).ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another program"), "{said}");
    server.stop();
}

/// A handler that waits until something is written into a pipe with a name.
fn waits_for(gate: &Path) -> String {
    mkfifo(gate, Mode::S_IRWXU).unwrap();
    format!("[handlers.gated]\nexec = [\"sh\", \"-c\", 'read line < {}; echo $line']\n", gate.display())
}

/// Opens the pipe: returns once the handler is there to read.
async fn gate_opened(gate: &Path) -> std::fs::File {
    let gate = gate.to_owned();
    tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_first_sigterm_lets_a_running_attempt_end() {
    let home = Home::new("");
    let gate = home.path("gate");
    write_config(home.folder.path(), &format!("[worker]\nstop_grace = \"2m\"\n{}", waits_for(&gate)));
    let mut server = home.start();
    let (url, client) = (server.url().to_owned(), Client::new());
    let id = enqueued(&client, &url, &json!({"kind": "gated", "payload": 1})).await;
    let mut open = gate_opened(&gate).await;
    let waiting = enqueued(&client, &url, &json!({"kind": "unheard-of", "payload": 1})).await;
    server.signal(Signal::SIGTERM);
    server.wait_for_line("stopping");
    let during = client.get(format!("{url}/v1/default/jobs/{id}")).send().await.unwrap();
    assert_eq!(during.json::<Value>().await.unwrap()["state"], "running", "it answers while it stops");
    open.write_all(b"42\n").unwrap();
    let (status, said) = server.ended();
    assert!(status.success(), "{status}: {said}");

    let server = home.start();
    let done = jobs::wait(&client, server.url(), id).await;
    assert_eq!((done.state, done.attempt, done.interruptions), (JobState::Succeeded, 1, 0));
    assert_eq!(done.result, Some(json!(42)));
    let counts = jobs::queue(&client, server.url(), "q").await.counts;
    assert_eq!((counts.succeeded, counts.waiting, counts.running), (1, 1, 0), "{waiting} waits");
    server.stop();
}

#[tokio::test]
async fn a_second_sigterm_ends_the_server_at_once_and_its_attempts_run_again() {
    let home = Home::new("");
    let gate = home.path("gate");
    write_config(home.folder.path(), &format!("[worker]\nstop_grace = \"2m\"\n{}", waits_for(&gate)));
    let mut server = home.start();
    let (url, client) = (server.url().to_owned(), Client::new());
    let id = enqueued(&client, &url, &json!({"kind": "gated", "payload": 1})).await;
    let open = gate_opened(&gate).await;
    server.signal(Signal::SIGTERM);
    server.wait_for_line("stopping");
    let asked = Instant::now();
    server.signal(Signal::SIGTERM);
    let (status, said) = server.ended();
    assert!(asked.elapsed() < Duration::from_secs(30), "not at once");
    assert_eq!((status.code(), status.signal()), (Some(143), None), "{said}");

    let server = home.start();
    drop(open);
    let mut open = gate_opened(&gate).await;
    open.write_all(b"43\n").unwrap();
    let done = jobs::wait(&client, server.url(), id).await;
    assert_eq!((done.state, done.attempt, done.interruptions), (JobState::Succeeded, 2, 1));
    server.stop();
}

#[tokio::test]
async fn an_idle_server_asks_nothing_of_its_store_and_uses_no_processor() {
    const IDLE: Duration = Duration::from_secs(10);
    /// A tick is 10 ms: 0.1 % of ten seconds.
    const TICKS_MAX: u64 = 1;
    let home = Home::new("[handlers.ok]\nexec = [\"true\"]\n");
    let server = home.start();
    let (url, client) = (server.url().to_owned(), Client::new());
    let id = enqueued(&client, &url, &json!({"kind": "ok", "payload": 1})).await;
    jobs::wait(&client, &url, id).await;
    enqueued(&client, &url, &json!({"kind": "none", "payload": 1, "delay": "1h"})).await;
    let counters = async || -> Counters {
        client.get(format!("{url}/v1/counters")).send().await.unwrap().json().await.unwrap()
    };
    // What the last job has left to do is done once two looks in a row show the same.
    let mut before = counters().await;
    let deadline = Instant::now() + common::PATIENCE;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = counters().await;
        if now == before {
            break;
        }
        assert!(Instant::now() < deadline, "it does not come to rest: {before:?}, {now:?}");
        before = now;
    }
    let ticks = processes::cpu_ticks(server.pid());
    // The measured time itself.
    tokio::time::sleep(IDLE).await;
    let used = processes::cpu_ticks(server.pid()) - ticks;
    assert_eq!(counters().await, before, "calls of the store in {IDLE:?} of idleness");
    assert!(used <= TICKS_MAX, "{used} ticks of processor time in {IDLE:?}");
    server.stop();
}

#[tokio::test]
async fn counts_of_twenty_thousand_jobs_are_exact_right_after_a_restart() {
    let home = Home::new("");
    let server = home.start();
    let (mut url, client) = (server.url().to_owned(), Client::new());
    for batch in 0..10 {
        let line = |n: u64| match n % 4 {
            0 => json!({"kind": "a", "payload": n, "delay": "1h"}).to_string() + "\n",
            _ => json!({"kind": "a", "payload": n, "priority": 1 + n % 9}).to_string() + "\n",
        };
        let lines: String = (0..2_000).map(line).collect();
        let request = client.post(jobs_of(&url, ["one", "two"][batch % 2]));
        let answer = request.header("content-type", "application/x-ndjson").body(lines).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        let taken: EnqueuedMany = answer.json().await.unwrap();
        for job in taken.jobs.iter().step_by(199) {
            let cancelled =
                client.post(format!("{url}/v1/default/jobs/{}/cancel", job.id)).send().await.unwrap();
            assert!(cancelled.status().is_success());
        }
    }
    let mut before = Vec::new();
    for queue in ["one", "two"] {
        before.push(jobs::queue(&client, &url, queue).await.counts);
    }
    assert_eq!(before.iter().map(|counts| counts.open() + counts.cancelled).sum::<u64>(), 20_000);
    assert!(before.iter().all(|counts| counts.cancelled == 55 && counts.scheduled > 2_000), "{before:?}");
    server.kill();

    let server = home.start();
    url = server.url().to_owned();
    for (queue, before) in ["one", "two"].into_iter().zip(before) {
        assert_eq!(jobs::queue(&client, &url, queue).await.counts, before, "queue {queue}");
        assert_eq!(
            jobs::recount(&jobs::list(&client, &url, queue).await),
            before,
            "queue {queue}, recounted"
        );
    }
    server.stop();
}
