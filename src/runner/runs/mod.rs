//! Where attempts run: a clean folder for each, and a record of its process group.
//!
//! ```text
//! <runs>/lock                          held while folders of workers come and go
//! <runs>/<incarnation>/lock            held as long as that worker lives
//! <runs>/<incarnation>/boot            id of the boot that its pids belong to
//! <runs>/<incarnation>/<attempt>/          the attempt's working folder, 0700
//! <runs>/<incarnation>/<attempt>.control   JSON lines of the handler
//! <runs>/<incarnation>/<attempt>.process   the process group's leader, as in /proc/<pid>/stat
//! ```
//!
//! The record is written by the child itself, between fork and exec, so no program runs without one;
//! a child whose worker has died by then does not exec. What a killed worker left is ended by the next
//! one ([`RunsFolder::end_leftovers`]) before its attempts are called interrupted (INV-3, INV-4).
//! Nothing is synced: a record has to outlive the worker, not the machine.

mod leftovers;
mod record;
mod remove;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::model::JobId;

pub use leftovers::Leftovers;
pub(super) use record::Recorder;
pub(super) use remove::remove_tree;

/// So much is read of a control file, from its end.
pub(crate) const CONTROL_BYTES_MAX: u64 = 1 << 20;

/// A worker's folder for its attempts. Cheap to clone; removed, if empty, with the last clone.
#[derive(Clone, Debug)]
pub struct RunsFolder {
    own: Arc<OwnFolder>,
}

#[derive(Debug)]
struct OwnFolder {
    root: PathBuf,
    path: PathBuf,
    /// Its lock says that the worker lives.
    lock: Mutex<File>,
}

impl RunsFolder {
    /// Makes the folder of a worker under `path`, which is made if it is not there.
    /// Blocks while another worker on the same folder starts.
    pub fn open(path: PathBuf, incarnation: u64) -> io::Result<Self> {
        make_folder(&path, true)?;
        let root = path.canonicalize()?;
        let path = root.join(format!("{incarnation:016x}"));
        let _others = lock_root(&root)?;
        make_folder(&path, false)?;
        let lock = Mutex::new(mark_alive(&path)?);
        Ok(Self { own: Arc::new(OwnFolder { root, path, lock }) })
    }

    /// Ends process groups that killed workers left behind and removes their folders. Blocks until
    /// the processes are gone, at most some seconds. Other workers that live are let alone.
    pub fn end_leftovers(&self) -> io::Result<Leftovers> {
        let _others = lock_root(&self.own.root)?;
        leftovers::end(&self.own.root, &self.own.path)
    }

    /// Makes the folder of one attempt. Blocks on the file system.
    pub(super) fn attempt(&self, job: JobId, attempt: u32) -> io::Result<AttemptFolder> {
        let path = self.own.path.join(format!("{job}-{attempt}"));
        match make_folder(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_again()?;
                make_folder(&path, false)?;
            }
            made => made?,
        }
        Ok(AttemptFolder { path })
    }

    /// Somebody cleaned up the folder of a living worker, as cleaners of temporary folders do.
    fn make_again(&self) -> io::Result<()> {
        make_folder(&self.own.root, true)?;
        let _others = lock_root(&self.own.root)?;
        make_folder(&self.own.path, true)?;
        *self.own.lock.lock().unwrap_or_else(PoisonError::into_inner) = mark_alive(&self.own.path)?;
        Ok(())
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // With attempts still in it, it stays for `end_leftovers` of the next worker.
        let is_in_use = std::fs::read_dir(&self.path)
            .map_or(true, |mut entries| entries.any(|entry| entry.map_or(true, |e| !is_own_file(&e))));
        if !is_in_use && let Err(error) = remove_tree(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "a folder of attempts was not removed");
        }
    }
}

fn is_own_file(entry: &std::fs::DirEntry) -> bool {
    entry.file_name() == "lock" || entry.file_name() == "boot"
}

fn make_folder(path: &Path, may_exist: bool) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(may_exist).create(path)
}

/// Waits until nobody else makes or removes folders of workers.
fn lock_root(root: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(root.join("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Locks a worker's folder and says which boot its pids belong to.
fn mark_alive(path: &Path) -> io::Result<File> {
    std::fs::write(path.join("boot"), boot_id()?)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"))?;
    file.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => error,
        TryLockError::WouldBlock => io::Error::other("another worker of this number has its folder here"),
    })?;
    Ok(file)
}

fn boot_id() -> io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
}

/// The folder and files of one attempt, removed when dropped.
#[derive(Debug)]
pub(super) struct AttemptFolder {
    path: PathBuf,
}

impl AttemptFolder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the handler may write control lines; beside the folder, so that it is clean.
    pub(super) fn control_path(&self) -> PathBuf {
        self.path.with_added_suffix("control")
    }

    pub(super) fn record_path(&self) -> PathBuf {
        self.path.with_added_suffix("process")
    }

    /// What the handler wrote, at most the last [`CONTROL_BYTES_MAX`] from the start of a line, and how
    /// much there was. A handler may put anything there: what is not a plain file is not read.
    pub(super) fn read_control(&self) -> io::Result<(Vec<u8>, u64)> {
        let opened =
            OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(self.control_path());
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        let start = metadata.len().saturating_sub(CONTROL_BYTES_MAX);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(CONTROL_BYTES_MAX).read_to_end(&mut bytes)?;
        if start > 0 {
            let partial_line = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.drain(..partial_line);
        }
        Ok((bytes, metadata.len()))
    }
}

trait WithAddedSuffix {
    fn with_added_suffix(&self, suffix: &str) -> PathBuf;
}

impl WithAddedSuffix for PathBuf {
    fn with_added_suffix(&self, suffix: &str) -> PathBuf {
        let mut path = self.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }
}

impl Drop for AttemptFolder {
    fn drop(&mut self) {
        let removed =
            [remove_tree(&self.path), remove_tree(&self.control_path()), remove_tree(&self.record_path())];
        for error in removed.into_iter().filter_map(Result::err) {
            tracing::warn!(folder = %self.path.display(), %error, "an attempt's folder was not removed");
        }
    }
}

#[cfg(test)]
mod tests;
