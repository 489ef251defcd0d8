//! `qdo standalone` as a process of its own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    lines: Receiver<String>,
    said: String,
    url: Option<String>,
}

impl Server {
    /// Starts one on a data folder and a config file, at a port of the system's choice.
    pub fn spawn(data: &Path, config: &Path) -> Self {
        Self::spawn_at("127.0.0.1:0", data, config, &[])
    }

    /// The same, at that address, and inside another command, like `nice`.
    pub fn spawn_at(listen: &str, data: &Path, config: &Path, inside: &[&str]) -> Self {
        let mut line: Vec<OsString> = inside.iter().map(Into::into).collect();
        line.extend([
            env!("CARGO_BIN_EXE_qdo").into(),
            "--config".into(),
            config.into(),
            "standalone".into(),
        ]);
        line.extend(["--data".into(), data.into(), "--listen".into(), listen.into()]);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]);
        Self::run(command, &[])
    }

    /// A `qdo worker` of that name, with these variables.
    pub fn spawn_worker(name: &str, data: &Path, config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qdo"));
        command.arg("worker").arg("--config").arg(config).arg("--data").arg(data);
        command.args(["--listen", "127.0.0.1:0", "--name", name]);
        Self::run(command, variables)
    }

    fn run(mut command: Command, variables: &[(&str, &str)]) -> Self {
        command.env_clear().envs(variables.iter().copied());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: String::new(), url: None }
    }

    /// Starts one and waits until it answers.
    pub fn start(data: &Path, config: &Path) -> Self {
        let mut server = Self::spawn(data, config);
        server.ready();
        server
    }

    /// Waits until it answers, and says where.
    #[track_caller]
    pub fn ready(&mut self) -> String {
        assert!(self.ready_within(PATIENCE), "the server is not ready; it said:\n{}", self.said);
        self.url().to_owned()
    }

    /// Waits so long for it to answer. A server that ends instead fails the test.
    #[track_caller]
    pub fn ready_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.url.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take_line(&line),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.child.wait().unwrap();
                    panic!("the server ended, {ended}; it said:\n{}", self.said);
                }
            }
        }
        true
    }

    /// Waits until a line with that text is said.
    #[track_caller]
    pub fn wait_for_line(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take_line(&line),
                Err(error) => panic!("{text:?} was not said ({error}), but:\n{}", self.said),
            }
        }
    }

    fn take_line(&mut self, line: &str) {
        writeln!(self.said, "{line}").unwrap();
        if let Some((_, url)) = line.split_once(" answers at ") {
            self.url.get_or_insert_with(|| url.trim().to_owned());
        }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        self.url.as_deref().expect("it is ready")
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it has said so far, or in the end.
    pub fn said(&mut self) -> &str {
        while let Ok(line) = self.lines.try_recv() {
            self.take_line(&line);
        }
        &self.said
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the process is there");
    }

    /// `kill -9`.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().expect("it is there");
        let ended = self.child.wait().unwrap();
        let text = self.said().to_owned();
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "it ended before, {ended}:\n{text}");
        assert!(!text.contains("panicked at"), "a thread panicked:\n{text}");
    }

    /// Waits until it has ended by itself: with what, and all that it has said.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take_line(&line),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it said:\n{}", self.said),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.said))
    }

    /// Ends it gently, which must succeed.
    #[track_caller]
    pub fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        let (status, said) = self.ended();
        assert!(status.success(), "{status}:\n{said}");
        assert!(!said.contains("panicked at"), "a thread panicked:\n{said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a config file into a folder.
pub fn write_config(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("qdo.toml");
    std::fs::write(&path, text).unwrap();
    path
}
