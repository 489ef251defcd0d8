//! The writer: one thread, one connection, and as few transactions as there can be.
//!
//! ```text
//!          a write arrives            all that waits, in one transaction
//!  asleep ───────────────▶ gathering ───────────────▶ committing ──▶ answering ──▶ gathering …
//!    ▲                         │ nothing waits                            │ the log has grown
//!    └─────────────────────────┘ ◀──────────────── checkpoint ◀───────────┘
//! ```
//!
//! No timer: what arrives while a transaction is committed makes the next one. A write that fails
//! takes its transaction with it, so each write of that group is then made in one of its own: the
//! failure stays with whom it belongs to. If COMMIT itself fails without its being known that
//! nothing happened, all of the group are answered *unknown*, and the connection is opened anew.
//!
//! Keeps the port's *durable*: nothing is answered before COMMIT has returned, which in
//! [`Synchronous::Full`] is after the log was synced. A sync that fails leaves the frames where the
//! next transaction writes its own, so what was once thought to be synced is never built upon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME};
use tokio::sync::{mpsc, oneshot};

use super::super::count::{Counters, add};
use super::super::{StoreError, StoreErrorKind};
use super::apply::{Applied, ApplyError, Write, apply};
use super::error::{Failure, before_commit, describe, of_commit, spoils_connection};
use super::open::{Source, Synchronous};

/// Writes of one transaction.
const GROUP_WRITES_MAX: usize = 1_024;
/// Bytes of one transaction, about.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// How long the writer waits for readers when the log is beyond its bound.
const READERS_TIMEOUT: Duration = Duration::from_secs(1);
/// Free pages are given back when they are more than this part of the file.
const FREE_PART: i64 = 4;
/// Pages that are given back with one slice of a drop.
const VACUUM_PAGES: i64 = 1_024;

/// What a caller waits for.
pub(super) type Answer = Result<Applied, Failure>;

/// A write, and where its outcome goes.
pub(super) struct Request {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The writer's thread.
pub(super) struct Writer {
    pub(super) source: Source,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) counters: Arc<Counters>,
    /// While a backup reads, the log can't be cut, and waiting for it would stop all writes.
    pub(super) backup_runs: Arc<AtomicBool>,
    pub(super) log: Log,
    pub(super) connection: Option<Connection>,
}

/// How long the write-ahead log is.
#[derive(Default)]
pub(super) struct Log {
    told: Arc<Told>,
    /// What was told of the commit before.
    frames_before: u64,
    commits_before: u64,
    /// Frames that are in the file already.
    frames_copied: u64,
    page_bytes: u64,
    /// The next checkpoint is tried from so many frames on.
    checkpoint_at: u64,
}

/// What SQLite tells after each commit that has written something.
#[derive(Default)]
struct Told {
    /// Frames in the log.
    frames: AtomicU64,
    commits: AtomicU64,
}

impl Writer {
    /// Opens the connection: what is wrong with the file is known before the thread starts.
    pub(super) fn open(&mut self) -> Result<(), StoreError> {
        let mut connection = self.source.writer()?;
        let path = self.source.path.clone();
        self.log.watch(&mut connection).map_err(|error| describe(&path, Some(&connection), &error))?;
        self.log.checkpoint_at = self.log.frames_of(self.source.options.checkpoint_bytes);
        self.connection = Some(connection);
        Ok(())
    }

    /// Until the last sender is gone.
    pub(super) fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let mut bytes = first.write.bytes();
            let mut group = vec![first];
            while group.len() < GROUP_WRITES_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = self.requests.try_recv() else { break };
                bytes += next.write.bytes();
                group.push(next);
            }
            self.commit(group);
            self.bound_log();
        }
    }

    /// Makes all writes of a group, and answers them.
    fn commit(&mut self, group: Vec<Request>) {
        match self.transact(&group) {
            Ok(applied) => {
                for (request, applied) in group.into_iter().zip(applied) {
                    answer(request, Ok(applied));
                }
            }
            Err(Failure::Refused(_)) if group.len() > 1 => {
                for request in group {
                    let outcome = self.transact(std::slice::from_ref(&request));
                    answer(request, outcome.map(|mut applied| applied.swap_remove(0)));
                }
            }
            Err(Failure::Refused(error)) => {
                group.into_iter().for_each(|request| answer(request, Err(Failure::Refused(error.clone()))));
            }
            Err(Failure::Unknown(error)) => {
                group.into_iter().for_each(|request| answer(request, Err(Failure::Unknown(error.clone()))));
            }
        }
    }

    /// One transaction of all these writes.
    fn transact(&mut self, group: &[Request]) -> Result<Vec<Applied>, Failure> {
        if self.connection.is_none() {
            self.open().map_err(Failure::Refused)?;
        }
        // A failure takes the connection away, and only one that is known to be sound comes back.
        let Some(connection) = self.connection.take() else {
            return Err(Failure::Refused(StoreError::new(
                StoreErrorKind::Unavailable,
                "the store is closed",
            )));
        };
        let path = self.source.path.clone();
        let made = begin_and_apply(&connection, group);
        let applied = match made {
            Ok(applied) => applied,
            Err(error) => {
                let (failure, sound) = match error {
                    ApplyError::Refused(error) => (Failure::Refused(error), true),
                    ApplyError::Sqlite(error) => (
                        before_commit(&path, &connection, &error),
                        !spoils_connection(&error) || is_full(&error),
                    ),
                };
                if roll_back(&connection) && sound {
                    self.connection = Some(connection);
                }
                return Err(failure);
            }
        };
        if let Err(error) = connection.execute_batch("COMMIT") {
            let failure = of_commit(&path, &connection, &error);
            if roll_back(&connection) && matches!(failure, Failure::Refused(_)) {
                self.connection = Some(connection);
            }
            return Err(failure);
        }
        self.count(group, &applied);
        self.connection = Some(connection);
        Ok(applied)
    }

    fn count(&mut self, group: &[Request], applied: &[Applied]) {
        for (request, applied) in group.iter().zip(applied) {
            if let (Write::Append(append), Applied::Fenced | Applied::Unfenced) = (&request.write, applied) {
                add(&self.counters.commits, 1);
                add(&self.counters.commit_bytes, append.row.len() as u64);
            }
        }
        let commits = self.log.told.commits.load(Ordering::Relaxed);
        if commits == self.log.commits_before {
            return;
        }
        self.log.commits_before = commits;
        let frames = self.log.told.frames.load(Ordering::Relaxed);
        add(&self.counters.transactions, 1);
        let begun_anew = frames <= self.log.frames_before || self.log.frames_before == 0;
        if begun_anew {
            self.log.frames_copied = 0;
            self.log.checkpoint_at = self.log.frames_of(self.source.options.checkpoint_bytes);
        }
        self.log.frames_before = frames;
        // A log that is begun anew syncs its header, and in FULL each commit syncs its frames.
        let syncs = match self.source.options.synchronous {
            Synchronous::Full => 1 + u64::from(begun_anew),
            Synchronous::Normal => u64::from(begun_anew),
            #[cfg(any(test, feature = "testing"))]
            Synchronous::Off => 0,
        };
        add(&self.counters.fsyncs, syncs);
    }

    /// Copies the log into the file when it has grown, so that it is begun anew.
    fn bound_log(&mut self) {
        let frames = self.log.told.frames.load(Ordering::Relaxed);
        if frames < self.log.checkpoint_at {
            return;
        }
        let options = &self.source.options;
        let beyond = frames >= self.log.frames_of(options.wal_bytes_max);
        let wait = beyond && !self.backup_runs.load(Ordering::Relaxed);
        let Some(connection) = &self.connection else { return };
        // A checkpoint that fails has lost nothing: the log still has it all, and it is tried again.
        match checkpoint(connection, wait) {
            Ok((all, copied)) => {
                let syncs = self.log.syncs_of_checkpoint(all, copied);
                if options.synchronous.syncs() {
                    add(&self.counters.fsyncs, syncs);
                }
            }
            Err(error) => {
                tracing::warn!(path = %self.source.path.display(), %error, "the write-ahead log can't be copied");
            }
        }
        // A reader that stays must not make every commit wait for it.
        let step_bytes = if wait { options.checkpoint_bytes } else { options.checkpoint_bytes / 4 };
        self.log.checkpoint_at = frames + self.log.frames_of(step_bytes).max(1);
    }
}

impl Synchronous {
    fn syncs(self) -> bool {
        match self {
            Self::Full | Self::Normal => true,
            #[cfg(any(test, feature = "testing"))]
            Self::Off => false,
        }
    }
}

impl Log {
    /// Has SQLite tell how long the log is, from now on.
    fn watch(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        self.page_bytes =
            connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
        let (frames, copied) = connection.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::NOOP)?;
        self.frames_before = u64::try_from(frames).unwrap_or(0);
        self.frames_copied = u64::try_from(copied).unwrap_or(0);
        self.told.frames.store(self.frames_before, Ordering::Relaxed);
        let told = self.told.clone();
        connection.wal_hook(Some(move |_: &mut Wal, frames: std::ffi::c_int| {
            told.frames.store(u64::try_from(frames).unwrap_or(0), Ordering::Relaxed);
            told.commits.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }))
    }

    /// The log is synced before anything is copied, and the file when all is.
    fn syncs_of_checkpoint(&mut self, all: u64, copied: u64) -> u64 {
        let before = std::mem::replace(&mut self.frames_copied, copied);
        if copied <= before { 0 } else { 1 + u64::from(copied == all) }
    }

    fn frames_of(&self, bytes: u64) -> u64 {
        bytes / self.page_bytes.max(1)
    }
}

/// Copies what it can; how many frames the log has, and how many of them are in the file now.
fn checkpoint(connection: &Connection, wait: bool) -> rusqlite::Result<(u64, u64)> {
    let run = |mode| {
        let (all, copied) = connection.wal_checkpoint_v2(DEFAULT_NAME, mode)?;
        Ok((u64::try_from(all).unwrap_or(0), u64::try_from(copied).unwrap_or(0)))
    };
    if !wait {
        return run(CheckpointMode::PASSIVE);
    }
    connection.busy_timeout(READERS_TIMEOUT)?;
    let done = match run(CheckpointMode::RESTART) {
        // A reader was slower than that: the log is as it was, and it is tried again later.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            run(CheckpointMode::NOOP)
        }
        done => done,
    };
    connection.busy_timeout(super::open::BUSY_TIMEOUT)?;
    done
}

fn begin_and_apply(connection: &Connection, group: &[Request]) -> Result<Vec<Applied>, ApplyError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut applied = Vec::with_capacity(group.len());
    for request in group {
        applied.push(apply(connection, &request.write)?);
    }
    if applied.iter().any(|applied| matches!(applied, Applied::More)) {
        give_back(connection)?;
    }
    Ok(applied)
}

/// Gives free pages at the end of the file back to the system, a few at a time.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("freelist_count")? > pragma("page_count")? / FREE_PART {
        // Each step gives back one page.
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
    }
    Ok(())
}

/// Ends a transaction without it, if SQLite has not done so; whether there is none now.
fn roll_back(connection: &Connection) -> bool {
    connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok()
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn answer(request: Request, outcome: Answer) {
    // Whoever no longer waits no longer wants to know.
    let _ = request.answer.send(outcome);
}
