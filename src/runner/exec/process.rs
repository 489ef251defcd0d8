//! Starting a program as the leader of its own process group, and ending the group.

use std::env;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::ExecSettings;
use super::environment::{DEFAULT_PATH, environment};
use crate::model::Attempt;
use crate::runner::runs::{AttemptFolder, Recorder, RunsFolder};

/// Why a program was not started: what is wrong with what, and what to do.
#[derive(Debug)]
pub(super) struct SpawnFailure {
    pub(super) error: String,
}

/// What there is of a control file: its end, and the bytes of all of it.
pub(super) type ControlBytes = io::Result<(Vec<u8>, u64)>;

/// A started program with its folder. Dropped, the group is killed and the folder removed.
pub(super) struct Spawned {
    group: Group,
    /// After the group: what is killed first can't write into it.
    folder: AttemptFolder,
    exit: OwnedFd,
}

/// A started program that the runtime watches.
pub(super) struct Process {
    group: Group,
    folder: AttemptFolder,
    exit: AsyncFd<OwnedFd>,
    pipes: Option<Pipes>,
}

type Pipes = (Sender, Receiver, Receiver);

/// Makes the folder and starts the program. Blocks until the program runs.
pub(super) fn spawn(
    settings: &ExecSettings,
    runs: &RunsFolder,
    attempt: &Attempt,
) -> Result<Spawned, SpawnFailure> {
    let key = format!("handlers.{}", attempt.kind);
    let name = settings.command.first().map_or("", String::as_str);
    let program =
        resolve(name).map_err(|problem| SpawnFailure { error: format!("{problem} ({key}.exec)") })?;
    let no_folder = |error: io::Error| SpawnFailure {
        error: format!(
            "the attempt's folder can't be made: {error}; look at the worker's disk and its data folder"
        ),
    };
    let folder = runs.attempt(attempt.job, attempt.attempt).map_err(no_folder)?;
    let recorder = Recorder::new(&folder.record_path()).map_err(no_folder)?;
    let limits = Limits::new(settings);
    let start_folder = settings.folder.as_deref().unwrap_or(folder.path());
    if !start_folder.is_dir() {
        return Err(SpawnFailure {
            error: format!("folder {start_folder:?} is not there; make it ({key}.folder)"),
        });
    }
    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(&settings.command[1..])
        .env_clear()
        .envs(environment(settings, attempt, &folder))
        .current_dir(start_folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: both only make system calls, and allocate nothing.
    unsafe {
        command.pre_exec(move || {
            recorder.write()?;
            limits.set()
        });
    }
    let child =
        command.spawn().map_err(|error| SpawnFailure { error: not_started(&program, &key, &error) })?;
    let group = Group { child: Some(child) };
    match group.open_exit() {
        Ok(exit) => Ok(Spawned { group, folder, exit }),
        Err(error) => Err(SpawnFailure { error: format!("{program:?} can't be watched: {error}") }),
    }
}

/// The file of a program: as it is if it has a slash, or else the first in the worker's `PATH`.
fn resolve(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path =
            std::path::absolute(name).map_err(|error| format!("program {name:?} can't be found: {error}"))?;
        return match check_program(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT) => {
                Err(format!("program {name:?} is not there; install it or correct its path"))
            }
            Err(Errno::EISDIR) => Err(format!("{name:?} is a folder; name the program in it")),
            Err(Errno::EACCES) => {
                Err(format!("program {name:?} is not executable for the worker; chmod +x it"))
            }
            Err(error) => Err(format!("program {name:?} can't be used: {error}")),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut not_executable = None;
    for folder in env::split_paths(&path) {
        let candidate = std::path::absolute(folder.join(name)).unwrap_or_default();
        match check_program(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => not_executable = Some(candidate),
            Err(_) => {}
        }
    }
    Err(match not_executable {
        Some(file) => format!("program {file:?} is not executable for the worker; chmod +x it"),
        None => format!(
            "program {name:?} is not in the worker's PATH ({}); install it or give its full path",
            path.display()
        ),
    })
}

fn check_program(path: &Path) -> Result<(), Errno> {
    if path == Path::new("") {
        return Err(Errno::ENOENT);
    }
    access(path, AccessFlags::X_OK)?;
    if path.is_dir() { Err(Errno::EISDIR) } else { Ok(()) }
}

/// Why the system did not start a program that is there.
fn not_started(program: &Path, key: &str, error: &io::Error) -> String {
    let program = program.display();
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            format!(
                "program {program} names an interpreter that is not there (its first line); install it ({key}.exec)"
            )
        }
        Some(libc::EACCES | libc::EPERM) => {
            format!(
                "program {program} may not be run by the worker: {error}; give it the right to ({key}.exec)"
            )
        }
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => {
            format!("the system has no room for another process: {error}; raise its limit or lower slots")
        }
        Some(libc::E2BIG) => format!("arguments and environment of {program} are too long ({key})"),
        _ => format!("program {program} could not be started: {error} ({key}.exec)"),
    }
}

impl Spawned {
    /// Hands exit and pipes to the runtime. Must be called inside it.
    pub(super) fn watched(mut self) -> Result<Process, SpawnFailure> {
        let pipes = self.group.pipes();
        let failure =
            |error: io::Error| SpawnFailure { error: format!("the program can't be watched: {error}") };
        // SAFETY: an `OwnedFd` is the same descriptor until it is dropped.
        let exit = unsafe { AsyncFd::register_with_interest(self.exit, Interest::READABLE) };
        let exit = exit.map_err(|error| failure(error.into()))?;
        Ok(Process { pipes: Some(pipes.map_err(failure)?), group: self.group, folder: self.folder, exit })
    }
}

impl Process {
    /// Its stdin, stdout and stderr, once.
    pub(super) fn take_pipes(&mut self) -> Option<Pipes> {
        self.pipes.take()
    }

    /// Waits until the leader has exited. Its status is not taken.
    pub(super) async fn exited(&self) {
        if let Err(error) = self.exit.readable().await {
            // The runtime is shutting down, and drops this soon.
            tracing::debug!(%error, "a process is no longer watched");
            std::future::pending::<()>().await;
        }
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        self.group.signal(Signal::SIGTERM);
        // One that is stopped would not hear it.
        self.group.signal(Signal::SIGCONT);
    }

    /// Ends the group.
    pub(super) fn kill(&self) {
        self.group.kill();
    }

    /// Takes the status, none if it has not ended, and the control file; removes the folder. Blocks.
    pub(super) fn take_end(mut self) -> (Option<ExitStatus>, ControlBytes) {
        let status = self.group.take_status();
        (status, self.folder.read_control())
    }
}

/// A process group whose leader is our child, and whose status has not been taken: so its number
/// stands for nobody else.
struct Group {
    child: Option<Child>,
}

impl Group {
    /// Readable once the leader has exited.
    fn open_exit(&self) -> io::Result<OwnedFd> {
        let Some(child) = &self.child else { return Err(Errno::ESRCH.into()) };
        // SAFETY: the child is not waited for, so the pid is its own; the call returns a new
        // descriptor or an error.
        let exit = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id() as libc::pid_t, 0) };
        match i32::try_from(exit) {
            // SAFETY: it was just opened, and nobody else has it.
            Ok(exit) if exit >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(exit) }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn pipes(&mut self) -> io::Result<Pipes> {
        let taken = self
            .child
            .as_mut()
            .and_then(|child| Some((child.stdin.take()?, child.stdout.take()?, child.stderr.take()?)));
        let (stdin, stdout, stderr) = taken.ok_or(Errno::EBADF)?;
        Ok((
            Sender::from_owned_fd(stdin.into())?,
            Receiver::from_owned_fd(stdout.into())?,
            Receiver::from_owned_fd(stderr.into())?,
        ))
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // The pid of a child that has not been waited for. It fails only if none may be signalled.
            let _ = killpg(Pid::from_raw(child.id() as i32), signal);
        }
    }

    /// Stopped first, so that none forks away from the second signal.
    fn kill(&self) {
        self.signal(Signal::SIGSTOP);
        self.signal(Signal::SIGKILL);
    }

    /// Takes the leader's status if it has ended. After that there is nothing to signal any more.
    fn take_status(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if self.child.is_some()
            && self.take_status().is_none()
            && let Some(mut child) = self.child.take()
        {
            // Killed, it is gone in a moment, unless it is stuck in the kernel: nobody waits for that.
            let waiting = std::thread::Builder::new().name("qdo-reaper".to_owned());
            if let Err(error) = waiting.spawn(move || child.wait()) {
                tracing::warn!(%error, "a killed process is not waited for, and stays as a zombie");
            }
        }
    }
}

/// Limits of the resources of a program, and all that it starts.
#[derive(Clone, Copy)]
struct Limits {
    each: [Option<(libc::__rlimit_resource_t, libc::rlimit)>; 3],
}

impl Limits {
    fn new(settings: &ExecSettings) -> Self {
        let cpu_secs = settings.cpu_time_max.map(|time| time.ms / 1_000);
        Self {
            each: [
                settings.memory_bytes_max.map(|bytes| (libc::RLIMIT_AS, limit(libc::RLIMIT_AS, bytes, 0))),
                // XCPU at the limit, which can be caught, and KILL a second later.
                cpu_secs.map(|secs| (libc::RLIMIT_CPU, limit(libc::RLIMIT_CPU, secs, 1))),
                settings
                    .open_files_max
                    .map(|files| (libc::RLIMIT_NOFILE, limit(libc::RLIMIT_NOFILE, files, 0))),
            ],
        }
    }

    /// For the child between fork and exec: makes system calls only.
    fn set(&self) -> io::Result<()> {
        for (resource, limit) in self.each.iter().flatten() {
            // SAFETY: the limit is a valid struct, which the call only reads.
            if unsafe { libc::setrlimit(*resource, limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// A limit, within what the worker itself is allowed.
fn limit(resource: libc::__rlimit_resource_t, wanted: u64, above: u64) -> libc::rlimit {
    let mut own = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the struct is valid, and the call writes only to it. If it fails, nothing is capped here.
    unsafe { libc::getrlimit(resource, &mut own) };
    let max = wanted.saturating_add(above).min(own.rlim_max);
    libc::rlimit { rlim_cur: wanted.min(max), rlim_max: max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_the_path() {
        assert!(resolve("sh").unwrap().ends_with("sh"));
        let error = resolve("no-such-program-of-mine").unwrap_err();
        assert!(error.contains("is not in the worker's PATH"), "{error}");
        assert!(resolve("/no/such/program").unwrap_err().contains("is not there"));
        assert!(resolve("/etc/passwd").unwrap_err().contains("is not executable"));
        assert!(resolve("/tmp").unwrap_err().contains("is a folder"));
        assert!(resolve("").is_err());
    }
}
