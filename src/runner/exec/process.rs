//! Starting a program as the leader of its own process group, and ending the group.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::environment::environment;
use super::launch::Launch;
use super::{ExecSettings, program};
use crate::model::Attempt;
use crate::runner::runs::{AttemptFolder, RunsFolder};

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
    pipes: (OwnedFd, OwnedFd, OwnedFd),
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
    let program = program::resolve(name)
        .map_err(|problem| SpawnFailure { error: format!("{problem} ({key}.exec)") })?;
    let no_folder = |error: io::Error| SpawnFailure {
        error: format!(
            "the attempt's folder can't be made: {error}; look at the worker's disk and its data folder"
        ),
    };
    let folder = runs.attempt(attempt.job, attempt.attempt).map_err(no_folder)?;
    let start_folder = settings.folder.as_deref().unwrap_or(folder.path());
    let launch = Launch::new(
        &program,
        settings,
        environment(settings, attempt, &folder),
        start_folder,
        &folder.record_path(),
    );
    let failure = |error: String| SpawnFailure { error };
    let launch =
        launch.map_err(|error| failure(format!("program {name:?} can't be given its text: {error}")))?;
    let launched = launch.start();
    let launched =
        launched.map_err(|error| failure(program::not_started(&program, start_folder, &key, error)))?;
    let group = Group { leader: Some(launched.pid) };
    match group.open_exit() {
        Ok(exit) => {
            Ok(Spawned { group, folder, exit, pipes: (launched.stdin, launched.stdout, launched.stderr) })
        }
        Err(error) => Err(failure(format!("program {name:?} can't be watched: {error}"))),
    }
}

impl Spawned {
    /// Hands exit and pipes to the runtime. Must be called inside it.
    pub(super) fn watched(self) -> Result<Process, SpawnFailure> {
        let failure =
            |error: io::Error| SpawnFailure { error: format!("the program can't be watched: {error}") };
        let (stdin, stdout, stderr) = self.pipes;
        let pipes = (
            Sender::from_owned_fd(stdin).map_err(failure)?,
            Receiver::from_owned_fd(stdout).map_err(failure)?,
            Receiver::from_owned_fd(stderr).map_err(failure)?,
        );
        // SAFETY: an `OwnedFd` is the same descriptor until it is dropped.
        let exit = unsafe { AsyncFd::register_with_interest(self.exit, Interest::READABLE) };
        let exit = exit.map_err(|error| failure(error.into()))?;
        Ok(Process { group: self.group, folder: self.folder, exit, pipes: Some(pipes) })
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
    pub(super) fn take_end(mut self) -> (Option<Exit>, ControlBytes) {
        let status = self.group.take_status();
        (status, self.folder.read_control())
    }
}

/// A process group whose leader is our child, and whose status has not been taken: so its number
/// stands for nobody else.
struct Group {
    leader: Option<Pid>,
}

impl Group {
    /// Readable once the leader has exited.
    fn open_exit(&self) -> io::Result<OwnedFd> {
        let leader = self.leader.ok_or(Errno::ESRCH)?;
        // SAFETY: the call takes two numbers and returns a new descriptor or an error.
        let exit = unsafe { libc::syscall(libc::SYS_pidfd_open, leader.as_raw(), 0) };
        match i32::try_from(exit) {
            // SAFETY: it was just opened, and nobody else has it.
            Ok(exit) if exit >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(exit) }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It fails only if there is none that may be signalled.
            let _ = killpg(leader, signal);
        }
    }

    /// Stopped first, so that none forks away from the second signal.
    fn kill(&self) {
        self.signal(Signal::SIGSTOP);
        self.signal(Signal::SIGKILL);
    }

    /// Takes the leader's status if it has ended. After that there is nothing to signal any more.
    fn take_status(&mut self) -> Option<Exit> {
        let exit = Exit::take(self.leader?, Some(WaitPidFlag::WNOHANG))?;
        self.leader = None;
        Some(exit)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if self.take_status().is_none()
            && let Some(leader) = self.leader.take()
        {
            // Killed, it is gone in a moment, unless it is stuck in the kernel: nobody waits for that.
            let waiting = std::thread::Builder::new().name("qdo-reaper".to_owned());
            if let Err(error) = waiting.spawn(move || Exit::take(leader, None)) {
                tracing::warn!(%error, "a killed process is not waited for, and stays as a zombie");
            }
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    fn take(leader: Pid, flags: Option<WaitPidFlag>) -> Option<Self> {
        let options = flags.map_or(0, |flags| flags.bits());
        loop {
            let mut status = 0;
            // SAFETY: the call writes a number to `status`. (nix's has no place for real-time signals.)
            let taken = unsafe { libc::waitpid(leader.as_raw(), &mut status, options) };
            match Errno::result(taken) {
                Ok(0) => return None,
                Ok(_) if libc::WIFSIGNALED(status) => return Some(Self::Signal(libc::WTERMSIG(status))),
                Ok(_) if libc::WIFEXITED(status) => return Some(Self::Code(libc::WEXITSTATUS(status))),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}
