//! What the tests of handlers share.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use qdo::model::row::SegmentName;
use qdo::model::{Attempt, Epoch, JobId, Outcome, PartitionId, Retry};
use qdo::runner::{ChunkSink, Context, ExecHandler, ExecSettings, Handler, Output, RunsFolder};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// How an attempt ended and what it logged.
#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub log: String,
}

impl Ran {
    /// The result, which must be text.
    #[track_caller]
    pub fn result(self) -> String {
        match self.outcome {
            Outcome::Succeeded { result } => String::from_utf8(result.to_vec()).unwrap(),
            _ => panic!("not a success: {self:?}"),
        }
    }
}

/// Keeps an attempt's log in memory.
#[derive(Default)]
struct Log {
    bytes: Mutex<Vec<u8>>,
}

#[async_trait]
impl ChunkSink for Log {
    async fn put(&self, _: u32, bytes: Bytes) -> bool {
        self.bytes.lock().unwrap().extend_from_slice(&bytes);
        true
    }
}

/// Everything to run attempts with.
pub struct Bench {
    pub folder: Arc<TempDir>,
    pub runs: RunsFolder,
    runs_path: PathBuf,
    pub attempt: Attempt,
    pub revoked: CancellationToken,
    log: Arc<Log>,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Self::at(folder.path().join("runs"), 1);
        bench.folder = Arc::new(folder);
        bench
    }

    pub fn at(runs_path: PathBuf, incarnation: u64) -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            runs: RunsFolder::open(runs_path.clone(), incarnation).unwrap(),
            runs_path: runs_path.join(format!("{incarnation:016x}")),
            attempt: an_attempt(),
            revoked: CancellationToken::new(),
            log: Arc::default(),
        }
    }

    pub fn payload(self, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        self.attempt(|attempt| attempt.payload = payload)
    }

    pub fn attempt(mut self, change: impl FnOnce(&mut Attempt)) -> Self {
        change(&mut self.attempt);
        self
    }

    /// The same worker with another attempt.
    pub fn attempt_again(&self, number: u32) -> Self {
        let attempt = Attempt { attempt: number, ..self.attempt.clone() };
        Self {
            folder: self.folder.clone(),
            runs: self.runs.clone(),
            runs_path: self.runs_path.clone(),
            attempt,
            revoked: CancellationToken::new(),
            log: Arc::default(),
        }
    }

    pub async fn sh(&self, script: &str) -> Ran {
        self.run(&["sh", "-c", script]).await
    }

    pub async fn run(&self, command: &[&str]) -> Ran {
        self.run_with(ExecSettings::new(command.iter().copied())).await
    }

    pub async fn run_with(&self, settings: ExecSettings) -> Ran {
        self.run_handler(&ExecHandler::new(settings, self.runs.clone())).await
    }

    pub async fn run_handler(&self, handler: &dyn Handler) -> Ran {
        self.log.bytes.lock().unwrap().clear();
        let context = Context {
            attempt: Arc::new(self.attempt.clone()),
            revoked: self.revoked.clone(),
            output: Output::new(self.log.clone()),
        };
        let output = context.output.clone();
        let report = tokio::time::timeout(Duration::from_secs(60), handler.run(context)).await;
        let report = report.expect("an attempt ends");
        output.finish().await;
        Ran { outcome: report.outcome, exit_code: report.exit_code, log: self.log() }
    }

    /// The log as kept so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.bytes.lock().unwrap()).into_owned()
    }

    /// What is in the worker's folder and belongs to attempts.
    pub fn left_behind(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.runs_path).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lock" && name != "boot").collect()
    }
}

fn an_attempt() -> Attempt {
    let partition = PartitionId { group: 1, index: 2 };
    Attempt {
        job: JobId::new(partition, 7, 11, 0),
        partition,
        epoch: Epoch { number: 7, incarnation: 99 },
        attempt: 3,
        namespace: "default".into(),
        queue: "emails".into(),
        kind: "kind".into(),
        payload: Bytes::new(),
        content_type: String::new(),
        key: String::new(),
        headers: Vec::new(),
        timeout_ms: 0,
        deadline_ms: 0,
        failures: 0,
        max_attempts: 5,
        suspect: false,
        output_blob: 0,
        output_segment: SegmentName::default(),
    }
}

pub fn succeeded(result: &str) -> Outcome {
    Outcome::Succeeded { result: Bytes::copy_from_slice(result.as_bytes()) }
}

pub fn failed(class: &str, error: &str, retry: Retry) -> Outcome {
    Outcome::Failed { error: error.to_owned(), class: class.to_owned(), retry }
}

#[track_caller]
pub fn assert_failure(ran: &Ran, wanted_class: &str, part: &str) {
    match &ran.outcome {
        Outcome::Failed { error, class, .. } if class == wanted_class && error.contains(part) => {}
        _ => panic!("not a failure of class {wanted_class} with {part:?}: {ran:?}"),
    }
}

/// Waits for a condition, for at most 20 seconds.
pub async fn eventually(mut condition: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// There is such a process, and it is not a zombie.
pub fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

/// The most memory that this process has had so far.
pub fn resident_bytes_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Starts a program as the leader of a process group.
pub trait SpawnGroup {
    fn spawn_group(&mut self) -> Child;
}

impl SpawnGroup for Command {
    fn spawn_group(&mut self) -> Child {
        self.process_group(0).spawn().unwrap()
    }
}
