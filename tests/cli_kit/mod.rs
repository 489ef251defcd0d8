//! What tests of the command line have in common: the real binary, and real servers.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `qdo`, without anything of the environment that it could be told by.
pub fn qdo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qdo"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QDO_") {
            command.env_remove(name);
        }
    }
    // No configuration of whoever runs the tests.
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// What a command said and how it ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub bytes: Vec<u8>,
}

impl Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Panics with all that was said if the code is another.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The one word on standard output.
    pub fn word(&self) -> String {
        self.stdout.trim().to_owned()
    }

    /// Asserts that standard error is one sentence with those words in it.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    Ran::from(command.output().expect("it can be run"))
}

/// Runs a command with something on its standard input.
pub fn run_with(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be run");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // Whoever does not read it all gets a closed pipe.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it can be waited for");
    writer.join().expect("the writer does not panic");
    Ran::from(output)
}

/// Waits until something is there.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `qdo standalone` in a folder of its own; killed when dropped.
pub struct Server {
    pub child: Child,
    pub address: String,
    pub folder: PathBuf,
    /// Removed with the server, unless it is somebody else's.
    own: Option<tempfile::TempDir>,
}

impl Server {
    /// One with those lines of configuration.
    pub fn start(config: &str) -> Self {
        let own = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self::start_in(own.path(), config);
        server.own = Some(own);
        server
    }

    /// One in a folder that stays.
    pub fn start_in(folder: &Path, config: &str) -> Self {
        let mut command = Self::command(folder, config);
        let child = command.spawn().expect("it can be run");
        let mut server = Self { child, address: String::new(), folder: folder.to_owned(), own: None };
        server.address = until("the server's address", || {
            if let Some(status) = server.child.try_wait().expect("it can be asked") {
                panic!("the server ended with {status}: {}", server.log());
            }
            std::fs::read_to_string(folder.join("address")).ok().map(|text| text.trim().to_owned())
        });
        server
    }

    /// The command that starts one in a folder.
    pub fn command(folder: &Path, config: &str) -> Command {
        std::fs::write(folder.join("qdo.toml"), config).expect("it can be written");
        let _ = std::fs::remove_file(folder.join("address"));
        let log = std::fs::File::create(folder.join("log")).expect("it can be written");
        let mut command = qdo();
        command.arg("standalone").arg("--config").arg(folder.join("qdo.toml"));
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data"));
        command.arg("--address-file").arg(folder.join("address"));
        command.stdout(Stdio::null()).stderr(log);
        command
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// `qdo` that talks to it.
    pub fn qdo<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = qdo();
        command.env("QDO_ADDRESS", &self.address).args(args);
        command
    }

    /// Runs such a command.
    pub fn run<const N: usize>(&self, args: [&str; N]) -> Ran {
        run(&mut self.qdo(args))
    }

    /// Enqueues a job and gives its id.
    #[track_caller]
    pub fn enqueue(&self, queue: &str, kind: &str, payload: &str) -> String {
        self.run(["job", "enqueue", queue, "--kind", kind, payload]).code(0).word()
    }

    /// The JSON of a job.
    #[track_caller]
    pub fn job(&self, id: &str) -> Value {
        self.run(["job", "show", id, "-o", "json"]).code(0).json()
    }

    /// Waits until a job is in that state.
    #[track_caller]
    pub fn until_state(&self, id: &str, state: &str) -> Value {
        until(state, || Some(self.job(id)).filter(|job| job["state"] == state))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it is there");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        until("the server's end", || self.child.try_wait().expect("it can be asked"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
