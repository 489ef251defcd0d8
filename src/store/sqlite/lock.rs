//! The lock beside the file: one process owns a store.
//!
//! `<file>.lock` is locked (`flock`) before the store is touched, and says who holds it, so that a
//! second process can be refused with a sentence that helps. The system frees the lock when its
//! process ends, however it ends. The lock's file is never deleted: who deletes it could let two in.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::super::{StoreError, StoreErrorKind};

/// Longest text of a lock that is read.
const TEXT_BYTES_MAX: u64 = 1024;

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
        let file = options.open(&path).map_err(|error| unusable(&path, &error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => {
                let mut lock = Self { file, path };
                // On a full disk the lock holds all the same, it only says less.
                if let Err(error) = lock.say(None) {
                    tracing::warn!(%error, "the store's lock doesn't say who holds it");
                }
                Ok(lock)
            }
            Err((file, Errno::EWOULDBLOCK)) => Err(StoreError::new(
                StoreErrorKind::Locked,
                format!(
                    "{} is in use by {}; talk to that process, or stop it first",
                    store.display(),
                    holder(file)
                ),
            )),
            Err((_, errno)) => Err(unusable(&path, &errno.into())),
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
fn holder(file: File) -> String {
    let mut text = String::new();
    // A text that can't be read leaves the holder unnamed; it is still refused.
    let _ = file.take(TEXT_BYTES_MAX).read_to_string(&mut text);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    match (field("pid "), field("address ")) {
        (Some(pid), Some(address)) => format!("process {pid} at {address}"),
        (Some(pid), None) => format!("process {pid}"),
        _ => "another process".to_owned(),
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
