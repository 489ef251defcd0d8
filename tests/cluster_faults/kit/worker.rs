//! `qdo worker` as a process of its own.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::until;

/// A running worker. Killed when dropped.
pub struct WorkerProcess {
    pub name: String,
    child: Child,
    log: PathBuf,
    address: PathBuf,
    url: Option<String>,
}

impl WorkerProcess {
    /// Starts one in its own folder, where its data stays from one process to the next.
    pub fn spawn(name: &str, config: &Path, folder: &Path, variables: &[(String, String)]) -> Self {
        fs::create_dir_all(folder).unwrap();
        let address = folder.join("address");
        // A killed predecessor's.
        let _ = fs::remove_file(&address);
        let log = folder.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_qdo"));
        command.arg("--config").arg(config).arg("worker");
        command.arg("--data").arg(folder.join("data")).arg("--address-file").arg(&address);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(variables.iter().cloned());
        let said = File::options().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().expect("the binary starts");
        Self { name: name.to_owned(), child, log, address, url: None }
    }

    /// Waits until it listens.
    pub async fn listening(&mut self) {
        let address = self.address.clone();
        let found = until("the worker listens", async || {
            if let Some(ended) = self.child.try_wait().unwrap() {
                panic!("worker {} ended, {ended}; it said:\n{}", self.name, self.said());
            }
            fs::read_to_string(&address).ok()
        });
        self.url = Some(found.await.trim().to_owned());
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        self.url.as_deref().expect("it listens")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the process is there");
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it is there");
        let ended = self.child.wait().unwrap();
        let early = ended.signal() != Some(Signal::SIGKILL as i32);
        assert!(!early, "worker {} ended before, {ended}; it said:\n{}", self.name, self.said());
    }

    /// Waits until it has ended by itself.
    pub async fn ended(mut self) -> ExitStatus {
        let what = format!("worker {} ends", self.name);
        until(&what, async || self.child.try_wait().unwrap()).await
    }

    /// All that it and its predecessors have said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
