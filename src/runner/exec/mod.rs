//! `exec`: a process per attempt. The contract with the program is in `docs/handlers.md`.
//!
//! ```text
//! start ─▶ runs ─┬─ leader exits ───────────────────────────────▶ pipes end, ≤ 500 ms ─▶ KILL group ─▶ report
//!                ├─ time is up ─┐                                        ▲
//!                └─ revoked ────┴▶ TERM group ─▶ grace ─▶ KILL group ────┘
//! ```
//!
//! The program leads a process group of its own and is on record before it runs ([`RunsFolder`]).
//! The group is killed while its leader is a zombie, before its status is taken: until then nobody
//! else can have its number. Whatever the program does, the attempt ends: no pipe is waited for
//! without a bound, output and result are bounded, the folder is removed.
//!
//! On failure: what can't be started is a failed attempt of class `spawn`, with a sentence that says
//! what to do. If the future is dropped, the group is killed and the folder removed behind its back.

mod control;
mod environment;
mod launch;
mod pipes;
mod process;
pub(super) mod program;
mod verdict;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use tokio::time::timeout;

use super::text::error_text;
use super::{Context, Handler, Output, Report, RunsFolder, time_limit};
use crate::model::limits::RESULT_BYTES_MAX;
use crate::model::{Outcome, Retry, Span};
use control::Control;
use process::{Exit, Process, SpawnFailure};
use verdict::{Cause, Ended};

/// How long pipes may stay open after the program has exited, for what is still in them.
const PIPES_WAIT: Duration = Duration::from_millis(500);
/// The same after the group has been killed.
const KILLED_PIPES_WAIT: Duration = Duration::from_millis(100);
/// How long a killed process may take to go away before its attempt is reported without its status.
const KILLED_WAIT: Duration = Duration::from_secs(5);

/// How to run a program for each attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecSettings {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Where the program starts, instead of the attempt's clean folder.
    pub folder: Option<PathBuf>,
    /// Further variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Variables of the worker's own environment that it gets.
    pub pass_env: Vec<String>,
    /// From TERM to KILL, when the attempt must end.
    pub grace: Span,
    /// More than so many bytes on stdout is a failure.
    pub result_bytes_max: usize,
    /// Address space of each process, bytes.
    pub memory_bytes_max: Option<u64>,
    /// Processor time of each process, in whole seconds.
    pub cpu_time_max: Option<Span>,
    /// Open files of each process.
    pub open_files_max: Option<u64>,
}

impl Default for ExecSettings {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            folder: None,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            grace: Span::from_secs(10),
            result_bytes_max: RESULT_BYTES_MAX,
            memory_bytes_max: None,
            cpu_time_max: None,
            open_files_max: None,
        }
    }
}

impl ExecSettings {
    /// That program with those arguments, all else by default.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { command: command.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The first setting that can't be, by its name in the config file, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |field, problem: &str| Err((field, problem.to_owned()));
        if self.command.first().is_none_or(String::is_empty) {
            return wrong("exec", "names no program; write exec = [\"program\", \"argument\"]");
        }
        if self.command.iter().any(|part| part.contains('\0')) {
            return wrong("exec", "holds a NUL character, which no program can be given");
        }
        if self.env.iter().any(|(name, value)| !is_variable(name) || value.contains('\0')) {
            return wrong("env", "a variable has a name without \"=\", and no NUL character in it");
        }
        if self.env.keys().any(|name| name.starts_with("QDO_")) {
            return wrong("env", "names that begin with QDO_ are set by the worker; choose others");
        }
        if !self.pass_env.iter().all(|name| is_variable(name)) {
            return wrong("pass_env", "a variable has a name without \"=\", and no NUL character in it");
        }
        if self.result_bytes_max > RESULT_BYTES_MAX {
            return Err(("result_bytes_max", format!("is above {RESULT_BYTES_MAX}, the most that is kept")));
        }
        if self.cpu_time_max.is_some_and(|time| time.ms == 0 || time.ms % 1_000 != 0) {
            return wrong(
                "cpu_time_max",
                "is not a whole number of seconds; the system counts no smaller part",
            );
        }
        if self.memory_bytes_max.is_some_and(|bytes| bytes < 1 << 20) {
            return wrong("memory_bytes_max", "is below 1 MiB (1048576), in which no program starts");
        }
        if self.open_files_max.is_some_and(|files| files < 8) {
            return wrong("open_files_max", "is below 8, with which no program starts");
        }
        Ok(())
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// Runs a program for each attempt.
pub struct ExecHandler {
    settings: ExecSettings,
    runs: RunsFolder,
}

impl ExecHandler {
    /// A handler with those settings, whose attempts get their folders there.
    pub fn new(settings: ExecSettings, runs: RunsFolder) -> Self {
        Self { settings, runs }
    }
}

#[async_trait]
impl Handler for ExecHandler {
    async fn run(&self, context: Context) -> Report {
        if context.revoked.is_cancelled() {
            return Report { outcome: Outcome::Released, exit_code: None };
        }
        match self.start(&context).await {
            Ok(process) => self.run_to_end(process, &context).await,
            Err(outcome) => Report { outcome, exit_code: None },
        }
    }
}

impl ExecHandler {
    async fn start(&self, context: &Context) -> Result<Process, Outcome> {
        let (settings, runs, attempt) = (self.settings.clone(), self.runs.clone(), context.attempt.clone());
        let spawned = tokio::task::spawn_blocking(move || process::spawn(&settings, &runs, &attempt)).await;
        let spawned = match spawned {
            Ok(spawned) => spawned.and_then(|spawned| spawned.watched()),
            Err(stopped) if stopped.is_cancelled() => {
                return Err(Outcome::Interrupted { reason: "the worker is stopping".to_owned() });
            }
            Err(panicked) => {
                Err(SpawnFailure { error: format!("the worker failed at starting it: {panicked}") })
            }
        };
        spawned.map_err(|SpawnFailure { error }| Outcome::Failed {
            error: error_text(&error),
            class: "spawn".to_owned(),
            retry: Retry::Policy,
        })
    }

    async fn run_to_end(&self, mut process: Process, context: &Context) -> Report {
        let mut stdout = pipes::Stdout::new(self.settings.result_bytes_max);
        let mut stderr_end = pipes::LastBytes::default();
        let cause = self.watch(&mut process, context, &mut stdout, &mut stderr_end).await;
        let (exit, control) = take_end(process, &context.output).await;
        let ended = Ended { cause, exit, stdout, stderr_end, control };
        verdict::judge(ended, &self.settings, context).await
    }

    /// Feeds and reads the program's pipes until it has ended, and says why it did.
    async fn watch(
        &self,
        process: &mut Process,
        context: &Context,
        stdout: &mut pipes::Stdout,
        stderr_end: &mut pipes::LastBytes,
    ) -> Cause {
        let Some((stdin_pipe, stdout_pipe, stderr_pipe)) = process.take_pipes() else {
            unreachable!("a process is watched once, right after it was started with its pipes");
        };
        let payload = context.attempt.payload.clone();
        let mut feeding = std::pin::pin!(pipes::feed(stdin_pipe, payload).fuse());
        let reading = async {
            let read_stdout = stdout.read(stdout_pipe, &context.output);
            tokio::join!(read_stdout, stderr_end.read(stderr_pipe, &context.output));
        };
        let mut reading = std::pin::pin!(reading.fuse());

        let ends = async {
            tokio::select! {
                biased;
                () = process.exited() => Cause::Exit,
                () = context.revoked.cancelled() => Cause::Revoked,
                () = time_limit(context.attempt.timeout_ms) => Cause::Timeout,
            }
        };
        let cause = meanwhile(ends, &mut reading, &mut feeding).await;
        if !matches!(cause, Cause::Exit) {
            process.terminate();
            let grace = Duration::from(self.settings.grace);
            let ends = timeout(grace, process.exited());
            if meanwhile(ends, &mut reading, &mut feeding).await.is_err() {
                process.kill();
                // If it is stuck in the kernel, its attempt is reported all the same.
                let _ = meanwhile(timeout(KILLED_WAIT, process.exited()), &mut reading, &mut feeding).await;
            }
        }
        let is_read = reading.is_terminated() || timeout(PIPES_WAIT, &mut reading).await.is_ok();
        process.kill();
        if !is_read {
            // Whoever left the group and holds a pipe is not waited for any longer.
            let _ = timeout(KILLED_PIPES_WAIT, &mut reading).await;
        }
        cause
    }
}

/// Waits for something while the pipes go on.
async fn meanwhile<T>(
    wanted: impl Future<Output = T>,
    reading: &mut (impl FusedFuture<Output = ()> + Unpin),
    feeding: &mut (impl FusedFuture<Output = ()> + Unpin),
) -> T {
    let mut wanted = std::pin::pin!(wanted);
    loop {
        tokio::select! {
            biased;
            result = &mut wanted => return result,
            () = &mut *reading, if !reading.is_terminated() => {}
            () = &mut *feeding, if !feeding.is_terminated() => {}
        }
    }
}

/// For `fuzz/`: reads control lines, and counts what is wrong with them.
#[doc(hidden)]
pub fn complaints_about_control(bytes: &[u8]) -> usize {
    control::parse(bytes).1.len()
}

/// Takes the status and the control lines, and removes the attempt's folder.
async fn take_end(process: Process, output: &Output) -> (Option<Exit>, Control) {
    let taken = tokio::task::spawn_blocking(move || process.take_end()).await;
    let Ok((exit, control)) = taken else { return (None, Control::default()) };
    let (bytes, bytes_all) = match control {
        Ok(read) => read,
        Err(error) => {
            note(output, &format!("the control file can't be read: {error}")).await;
            return (exit, Control::default());
        }
    };
    if bytes_all > bytes.len() as u64 {
        note(output, &format!("of {bytes_all} bytes in the control file, only the end was read")).await;
    }
    let (control, complaints) = control::parse(&bytes);
    for complaint in complaints {
        note(output, &complaint).await;
    }
    (exit, control)
}

/// A line of the worker itself in the attempt's log.
async fn note(output: &Output, text: &str) {
    output.write(format!("qdo: {text}\n").as_bytes()).await;
}
