//! What SQLite's errors mean for the port.
//!
//! The question that matters is whether a failed write is *known not to have happened*. All that
//! fails before COMMIT is: frames without a commit mark are never recovered. Of COMMIT's own
//! failures only a short write is (the commit mark is in the last frame, which is then not whole);
//! after a failed sync the frames may or may not survive, so the outcome is not known.

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use rusqlite::{Connection, ErrorCode, ffi};

use super::super::{StoreError, StoreErrorKind};

/// Why a transaction failed, and what is known about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// It has not happened.
    Refused(StoreError),
    /// It may have happened.
    Unknown(StoreError),
}

/// The system's error behind SQLite's latest.
fn system_errno(connection: &Connection) -> Errno {
    // SAFETY: the handle is open as long as the connection is borrowed, and the call only reads it.
    Errno::from_raw(unsafe { ffi::sqlite3_system_errno(connection.handle()) })
}

fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |error| error.extended_code)
}

fn no_space(error: &rusqlite::Error, errno: Errno) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure) => matches!(errno, Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT),
        _ => false,
    }
}

/// Whether the file and its folder allow it; if so, it is something else (too many open files, say).
fn may_be_opened(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_ok()
        && access(folder.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// Whether the connection can't be trusted after that error.
pub(super) fn spoils_connection(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ConstraintViolation)
    )
}

/// An error met with `connection`, or while it was opened.
pub(super) fn describe(path: &Path, connection: Option<&Connection>, error: &rusqlite::Error) -> StoreError {
    let errno = connection.map_or(Errno::from_raw(0), system_errno);
    let file = path.display();
    let kind = |kind, message| StoreError::new(kind, message);
    if no_space(error, errno) {
        return kind(
            StoreErrorKind::Full,
            format!("no space left for {file}; nothing was written, and work goes on when there is space"),
        );
    }
    match error.sqlite_error_code() {
        // Without an error of SQLite's own, a column is not what its table says.
        None | Some(ErrorCode::DatabaseCorrupt) => kind(
            StoreErrorKind::Damaged,
            format!("{file} is damaged ({error}); it is left as it is; restore a backup, or move it away"),
        ),
        Some(ErrorCode::NotADatabase) => kind(
            StoreErrorKind::Damaged,
            format!(
                "{file} is no store, or its beginning is damaged; restore a backup, or name another file"
            ),
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => kind(
            StoreErrorKind::Permission,
            format!("{file} can't be opened or written by this user ({error}); check its owner and mode"),
        ),
        Some(ErrorCode::CannotOpen) if !may_be_opened(path) => kind(
            StoreErrorKind::Permission,
            format!("{file} can't be opened or written by this user ({error}); check its owner and mode"),
        ),
        Some(ErrorCode::TooBig) => {
            kind(StoreErrorKind::Invalid, format!("a row is too big for {file} ({error})"))
        }
        _ => kind(StoreErrorKind::Unavailable, format!("{file} can't be used now ({error}); try again")),
    }
}

/// A failure before COMMIT.
pub(super) fn before_commit(path: &Path, connection: &Connection, error: &rusqlite::Error) -> Failure {
    Failure::Refused(describe(path, Some(connection), error))
}

/// A failure of COMMIT itself.
pub(super) fn of_commit(path: &Path, connection: &Connection, error: &rusqlite::Error) -> Failure {
    let described = describe(path, Some(connection), error);
    let short_write = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => true,
        Some(ErrorCode::SystemIoFailure) => {
            extended(error) == ffi::SQLITE_IOERR_WRITE && no_space(error, system_errno(connection))
        }
        _ => false,
    };
    if short_write { Failure::Refused(described) } else { Failure::Unknown(described) }
}
