//! A store in one SQLite file: the embedded default.
//!
//! ```text
//!  callers ──writes──▶ bounded channel ──▶ writer thread ──one transaction──▶ file + write-ahead log
//!          ──reads───▶ reader connections, lent to blocking threads ────────▶       (same)
//! ```
//!
//! - **durable**: a write is answered after its transaction's COMMIT, which syncs the write-ahead log
//!   unless the options say otherwise ([`Synchronous`]). All writes that wait share one sync.
//! - **fresh**, **whole**: SQLite's own; a read is one statement.
//! - The **fence** costs nothing: the highest claim is read inside the append's transaction, and
//!   transactions are one after another, so [`AppendOutcome::Fenced`] is exact (INV-2).
//! - **One process**: an exclusive lock beside the file, which says who has it.
//!
//! On failure: a full disk refuses writes and nothing else, and work goes on when there is space; a
//! damaged file is refused, never repaired or reset; a sync that fails makes outcomes unknown, and
//! the writer opens its connection anew. When nothing is asked, nothing runs.
//!
//! What it can't tell: SQLite takes the first frame of the write-ahead log that isn't whole for the
//! log's end, so a disk that spoils synced bytes of the log (at most a few MiB that are not in the
//! file yet) loses the commits behind them without a sign.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::count::{Counters, add};
use super::*;
use apply::{Applied, Write};
use error::Failure;
use lock::StoreLock;
use open::Source;
use read::Readers;
use writer::{Request, Writer};

mod apply;
mod backup;
mod dump;
mod error;
mod lock;
mod open;
mod pages;
mod port;
mod read;
mod schema;
mod writer;

pub use open::{SqliteOptions, Synchronous};

/// A store in one SQLite file. Reads need a tokio runtime.
pub struct SqliteStore {
    readers: Arc<Readers>,
    counters: Arc<Counters>,
    backup_runs: Arc<AtomicBool>,
    /// None if it is open for reading only.
    owner: Option<Owner>,
}

/// What only the process has that owns the file.
struct Owner {
    requests: mpsc::Sender<Request>,
    writer: JoinHandle<()>,
    lock: Mutex<StoreLock>,
}

impl SqliteStore {
    /// Opens the store in that file, or makes it (its folder must exist), and owns it until dropped.
    ///
    /// Refuses a file that another process owns, that is damaged, or of a newer format; such a file
    /// is left as it is.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let source = Source { path: open::canonical(path)?, options };
        let lock = StoreLock::take(&source.path)?;
        source.prepare()?;
        let counters = Arc::new(Counters::default());
        let backup_runs = Arc::new(AtomicBool::new(false));
        let (sender, requests) = mpsc::channel(source.options.writes_waiting_max.max(1));
        let mut writer = Writer {
            source: source.clone(),
            requests,
            counters: counters.clone(),
            backup_runs: backup_runs.clone(),
            log: writer::Log::default(),
            connection: None,
        };
        writer.open()?;
        let thread = std::thread::Builder::new().name("qdo-store".into());
        let writer = thread.spawn(move || writer.run()).map_err(|error| {
            StoreError::new(
                StoreErrorKind::Unavailable,
                format!("the store's thread can't be started ({error})"),
            )
        })?;
        let owner = Owner { requests: sender, writer, lock: Mutex::new(lock) };
        let readers = Arc::new(Readers::new(source, Vec::new()));
        Ok(Self { readers, counters, backup_runs, owner: Some(owner) })
    }

    /// Opens the store in that file for reading only, beside the process that owns it if there is one.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let source = Source { path: open::canonical(path)?, options: SqliteOptions::default() };
        let connection = source.checked_reader()?;
        let readers = Arc::new(Readers::new(source, vec![connection]));
        Ok(Self { readers, counters: Arc::default(), backup_runs: Arc::default(), owner: None })
    }

    /// Writes the address of this process beside the store, for whoever is refused by its lock.
    pub fn set_address(&self, address: &str) -> Result<(), StoreError> {
        match &self.owner {
            Some(owner) => owner.lock.lock().unwrap_or_else(PoisonError::into_inner).say(Some(address)),
            None => Err(Self::read_only()),
        }
    }

    fn read_only() -> StoreError {
        StoreError::new(StoreErrorKind::Unsupported, "the store is open for reading only")
    }

    /// Has the writer make a write, and waits for its outcome.
    async fn submit(&self, write: Write) -> Result<Applied, Failure> {
        let Some(owner) = &self.owner else { return Err(Failure::Refused(Self::read_only())) };
        let (answer, outcome) = oneshot::channel();
        let gone = || StoreError::new(StoreErrorKind::Unavailable, "the store's writer has ended");
        if owner.requests.send(Request { write, answer }).await.is_err() {
            return Err(Failure::Refused(gone()));
        }
        outcome.await.unwrap_or_else(|_| Err(Failure::Unknown(gone())))
    }

    /// A write that may be repeated blindly.
    async fn put(&self, checked: Result<(), StoreError>, write: Write) -> WriteOutcome {
        add(&self.counters.calls, 1);
        match checked {
            Ok(()) => to_outcome(self.submit(write).await),
            Err(error) => WriteOutcome::Refused(error),
        }
    }

    /// Repeats a write that does a slice at a time until nothing is left to do. Others' writes go
    /// between the slices.
    async fn put_slices(&self, slice: impl Fn() -> Write) -> WriteOutcome {
        add(&self.counters.calls, 1);
        loop {
            match self.submit(slice()).await {
                Ok(Applied::More) => {}
                outcome => return to_outcome(outcome),
            }
        }
    }

    /// Counts the call, and reads.
    async fn get<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        add(&self.counters.calls, 1);
        self.readers.read(read).await
    }

    async fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        if self.backup_runs.swap(true, Ordering::Relaxed) {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "another backup is running; try again later",
            ));
        }
        let runs = BackupRuns(self.backup_runs.clone());
        let source = self.readers.source().clone();
        let to = to.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            let _runs = runs;
            backup::copy(&source, &to)
        });
        task.await.unwrap_or_else(|error| {
            Err(StoreError::new(StoreErrorKind::Unavailable, format!("the backup was broken off ({error})")))
        })
    }
}

/// Says that a backup runs, until dropped.
struct BackupRuns(Arc<AtomicBool>);

impl Drop for BackupRuns {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn to_outcome(outcome: Result<Applied, Failure>) -> WriteOutcome {
    match outcome {
        Ok(_) => WriteOutcome::Durable,
        Err(Failure::Unknown(error)) => WriteOutcome::Unknown(error),
        Err(Failure::Refused(error)) => WriteOutcome::Refused(error),
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Readers first: the last connection that is closed copies the log into the file.
        self.readers.close();
        let Some(Owner { requests, writer, lock }) = self.owner.take() else { return };
        drop(requests);
        // A writer that panicked has answered nobody falsely; there is nothing to add here.
        let _ = writer.join();
        drop(lock);
    }
}

#[cfg(test)]
mod tests;
