//! The lock beside the file: one process owns a store.
//!
//! `<file>.lock` is locked (`flock`) before the store is touched, and says who holds it, so that a
//! second process can be refused with a sentence that helps. The system frees the lock when its
//! process ends, however it ends. The lock's file is never deleted: who deletes it could let two in.
//!
//! A process that is killed while it starts a program leaves a child that shares its lock until it
//! runs that program, or ends. So if the holder is no more, the lock is waited for, for a moment.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::super::{StoreError, StoreErrorKind};

/// Longest text of a lock that is read.
const TEXT_BYTES_MAX: usize = 1024;
/// How long a lock whose holder is no more is waited for.
const GONE_WAIT: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// An exclusive lock on a store.
#[derive(Debug)]
pub(super) struct StoreLock {
    file: Flock<File>,
    path: PathBuf,
}

impl StoreLock {
    /// Takes the lock of the store at `store`, or says who has it.
    pub(super) fn take(store: &Path) -> Result<Self, StoreError> {
        let mut path = store.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(|error| unusable(&path, &error))?;
        let deadline = Instant::now() + GONE_WAIT;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => {
                    let mut lock = Self { file, path };
                    // On a full disk the lock holds all the same, it only says less.
                    if let Err(error) = lock.say(None) {
                        tracing::warn!(%error, "the store's lock doesn't say who holds it");
                    }
                    return Ok(lock);
                }
                Err((refused, Errno::EWOULDBLOCK)) => {
                    let holder = Holder::read(&refused);
                    if !holder.is_gone() || Instant::now() >= deadline {
                        return Err(holder.refusal(store));
                    }
                    thread::sleep(LOOK_EVERY);
                    file = refused;
                }
                Err((_, errno)) => return Err(unusable(&path, &errno.into())),
            }
        }
    }

    /// Writes down who holds the lock: process, and address if it has one yet.
    pub(super) fn say(&mut self, address: Option<&str>) -> Result<(), StoreError> {
        let mut text = format!("pid {}\n", std::process::id());
        if let Some(address) = address {
            text.push_str(&format!("address {address}\n"));
        }
        // Written over the old text before it is cut, so that a reader never finds it empty.
        let written = self.file.rewind().and_then(|()| self.file.write_all(text.as_bytes()));
        written
            .and_then(|()| self.file.set_len(text.len() as u64))
            .map_err(|error| unusable(&self.path, &error))
    }
}

/// Who says to hold the lock.
struct Holder {
    pid: Option<String>,
    address: Option<String>,
}

impl Holder {
    fn read(file: &File) -> Self {
        let mut bytes = [0; TEXT_BYTES_MAX];
        // A text that can't be read leaves the holder unnamed; whoever asks is still refused.
        let length = file.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..length]);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Self { pid: field("pid "), address: field("address ") }
    }

    /// No process of this machine has its number.
    fn is_gone(&self) -> bool {
        let pid = self.pid.as_ref().and_then(|pid| pid.parse().ok()).filter(|pid: &i32| *pid > 0);
        pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
    }

    fn refusal(&self, store: &Path) -> StoreError {
        let who = match (&self.pid, &self.address) {
            (Some(pid), Some(address)) => format!("process {pid} at {address}"),
            (Some(pid), None) => format!("process {pid}"),
            _ => "another process".to_owned(),
        };
        let what = format!("{} is in use by {who}; talk to that process, or stop it first", store.display());
        StoreError::new(StoreErrorKind::Locked, what)
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> StoreError {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied
        | std::io::ErrorKind::NotFound
        | std::io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Permission,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("the lock {} can't be written ({error})", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    /// A process that was, and is no more.
    fn gone_pid() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_server_started_right_after_kill_9_waits_for_the_lock_of_a_child_of_the_killed_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("jobs.db");
        let held = StoreLock::take(&store).unwrap();
        fcntl(&*held.file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        fcntl(&*held.file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let refused = StoreLock::take(&store).unwrap_err();
        assert_eq!(refused.kind, StoreErrorKind::Locked);
        assert!(refused.message.contains(&std::process::id().to_string()), "{refused}");

        // Forgotten and closed, not unlocked: the child shares the lock.
        std::fs::write(&held.path, format!("pid {}\n", gone_pid())).unwrap();
        let descriptor = held.file.as_raw_fd();
        std::mem::forget(held);
        nix::unistd::close(descriptor).unwrap();
        drop(child.stdin.take());
        assert!(StoreLock::take(&store).is_ok(), "the child ends in a moment");
        child.wait().unwrap();
    }
}
