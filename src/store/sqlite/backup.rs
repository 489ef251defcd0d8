//! Copies a running store.
//!
//! The copy is one moment of the store: a single read transaction is held while SQLite's backup API
//! copies page by page. Writes go on; the write-ahead log grows by what is written meanwhile, and is
//! cut again afterwards. The copy appears under its name only when it is whole and on the disk.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::super::{StoreError, StoreErrorKind};
use super::error::describe;
use super::open::{Source, sync_folder};

/// Pages copied in one step.
const STEP_PAGES: i32 = 1_024;

/// Copies the store to `to`, which must not exist.
pub(super) fn copy(source: &Source, to: &Path) -> Result<(), StoreError> {
    let mut unfinished = to.as_os_str().to_owned();
    // A name that no other backup has, and no rest of one that was killed.
    let random = getrandom::u32().map_err(|error| failed(to, &std::io::Error::other(error.to_string())))?;
    unfinished.push(format!(".part-{random:08x}"));
    let unfinished = PathBuf::from(unfinished);
    refuse_existing(to)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&unfinished).map_err(|error| failed(&unfinished, &error))?;
    let copied = copy_pages(source, &unfinished).and_then(|()| finish(&unfinished, to));
    if copied.is_err() {
        // What is left of it is of no use, and has a name of its own.
        let _ = fs::remove_file(&unfinished);
    }
    copied
}

fn copy_pages(source: &Source, to: &Path) -> Result<(), StoreError> {
    let from = source.reader()?;
    let read = |error| describe(&source.path, Some(&from), &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags).map_err(|error| describe(to, None, &error))?;
    // With a transaction of its own open, no write makes the backup begin anew.
    from.execute_batch("BEGIN").map_err(read)?;
    from.query_row("SELECT count(*) FROM settings", [], |_| Ok(())).map_err(read)?;
    {
        let backup = Backup::new(&from, &mut copy).map_err(|error| describe(to, None, &error))?;
        loop {
            match backup.step(STEP_PAGES).map_err(|error| describe(to, None, &error))? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => {
                    return Err(StoreError::new(
                        StoreErrorKind::Unavailable,
                        format!("{} is busy; try the backup again", source.path.display()),
                    ));
                }
            }
        }
    }
    // The copy is one file, whatever the original's journal.
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(|error| describe(to, Some(&copy), &error))
}

fn finish(unfinished: &Path, to: &Path) -> Result<(), StoreError> {
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(|error| failed(unfinished, &error))?;
    // Unlike a rename, a link never takes the place of a file that has come meanwhile.
    match fs::hard_link(unfinished, to) {
        Ok(()) => fs::remove_file(unfinished).map_err(|error| failed(unfinished, &error))?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(failed(to, &error)),
        // A file system without links.
        Err(_) => {
            refuse_existing(to)?;
            fs::rename(unfinished, to).map_err(|error| failed(to, &error))?;
        }
    }
    sync_folder(to).map_err(|error| failed(to, &error))
}

fn refuse_existing(to: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(failed(to, &std::io::ErrorKind::AlreadyExists.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(to, &error)),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    let file = path.display();
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => StoreError::new(
            StoreErrorKind::Invalid,
            format!("{file} exists already, and a backup overwrites nothing; name another file"),
        ),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            StoreError::new(StoreErrorKind::Full, format!("no space left for the backup {file}"))
        }
        _ => StoreError::new(
            StoreErrorKind::Permission,
            format!("the backup {file} can't be written ({error})"),
        ),
    }
}
