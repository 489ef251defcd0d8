//! Opening a store: what is checked before anything is touched.
//!
//! A file is refused as it is, and left as it is, if it is no store, damaged, or of a newer format.
//! A new store is made under another name and renamed when it is whole, so that a crash while it is
//! made leaves nothing that looks like a store, and an empty file is never taken for a new one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::super::{StoreError, StoreErrorKind};
use super::error::describe;
use super::schema::{self, APPLICATION_ID, FORMAT, TABLES};

/// How long a statement waits for a lock of this process's other connections.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The smallest page that SQLite knows; what is shorter, it takes for an empty file.
const PAGE_BYTES_MIN: u64 = 512;
/// Pages that the writer keeps in memory, KiB.
const WRITER_CACHE_KIB: i64 = 8 << 10;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 64;

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// After it is on the disk: survives a power cut.
    #[default]
    Full,
    /// After the system has it: survives the end of the process; a power cut may take the latest
    /// commits, but never spoils the file.
    Normal,
    /// Never synced: a power cut may spoil the file. Shows that the power-cut test can fail.
    #[cfg(any(test, feature = "testing"))]
    Off,
}

impl Synchronous {
    fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            #[cfg(any(test, feature = "testing"))]
            Self::Off => "OFF",
        }
    }
}

/// Settings of a store in a file.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// When a commit counts as durable.
    pub synchronous: Synchronous,
    /// Connections for reading.
    pub readers: usize,
    /// Writes that may wait for the writer; more wait at the caller.
    pub writes_waiting_max: usize,
    /// From here on the write-ahead log is copied into the file between two transactions, bytes.
    pub checkpoint_bytes: u64,
    /// From here on the writer waits for readers to let go of the write-ahead log, bytes.
    pub wal_bytes_max: u64,
    /// The SQLite VFS to be used, for tests; it must be registered.
    pub vfs: Option<String>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            readers: 4,
            writes_waiting_max: 1_024,
            checkpoint_bytes: 4 << 20,
            wal_bytes_max: 64 << 20,
            vfs: None,
        }
    }
}

/// Where connections come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) options: SqliteOptions,
}

impl Source {
    /// Checks the file, and makes it if there is none. The lock is held by the caller.
    pub(super) fn prepare(&self) -> Result<(), StoreError> {
        if self.options.vfs.is_some() {
            return self.prepare_in_place();
        }
        match fs::metadata(&self.path) {
            Ok(file) => {
                self.check_file(&file)?;
                self.check_header()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.create(),
            Err(error) => Err(self.permission(&error)),
        }
    }

    fn check_file(&self, file: &fs::Metadata) -> Result<(), StoreError> {
        let path = self.path.display();
        if !file.is_file() {
            return Err(StoreError::new(StoreErrorKind::Invalid, format!("{path} is not a file")));
        }
        if file.len() == 0 {
            return Err(StoreError::new(
                StoreErrorKind::Damaged,
                format!("{path} is empty, so it is no store; if nothing was ever kept in it, delete it"),
            ));
        }
        if file.len() < PAGE_BYTES_MIN {
            return Err(StoreError::new(
                StoreErrorKind::Damaged,
                format!("{path} has only {} bytes, so it is no whole store; restore a backup", file.len()),
            ));
        }
        Ok(())
    }

    /// Refuses what is no store of ours, without so much as a log file beside it.
    fn check_header(&self) -> Result<(), StoreError> {
        let connection = match self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY, "immutable=1") {
            Ok(connection) => connection,
            Err(error) => return Err(describe(&self.path, None, &error)),
        };
        match self.check_format(&connection) {
            // Half a checkpoint looks like damage as long as the log isn't read with it.
            Err(error) if error.kind == StoreErrorKind::Damaged && self.beside("-wal").exists() => Ok(()),
            checked => checked,
        }
    }

    /// Whether it is a store, of a format that is known here.
    fn check_format(&self, connection: &Connection) -> Result<(), StoreError> {
        let pragma = |name| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
                .map_err(|error| describe(&self.path, Some(connection), &error))
        };
        let (application, format) = (pragma("application_id")?, pragma("user_version")?);
        let path = self.path.display();
        if application != APPLICATION_ID {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                format!("{path} is an SQLite file of another program, not a store; name another file"),
            ));
        }
        if format > FORMAT {
            return Err(StoreError::new(
                StoreErrorKind::NewerFormat,
                format!("{path} has format {format}, and this version knows up to {FORMAT}; use a newer qdo"),
            ));
        }
        if format != FORMAT {
            return Err(StoreError::new(
                StoreErrorKind::Damaged,
                format!("{path} says it has format {format}, which never was; restore a backup"),
            ));
        }
        Ok(())
    }

    /// Reads a little of everything: damage that is found now is found before any work is taken.
    fn check_content(&self, connection: &Connection) -> Result<(), StoreError> {
        for (table, key) in TABLES {
            let newest =
                key.split(", ").map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ");
            for order in [key, newest.as_str()] {
                connection
                    .query_row(&format!("SELECT 1 FROM {table} ORDER BY {order} LIMIT 1"), [], |_| Ok(()))
                    .optional()
                    .map_err(|error| self.damaged_or(connection, &error))?;
            }
        }
        Ok(())
    }

    /// A table that is missing is damage as well.
    fn damaged_or(&self, connection: &Connection, error: &rusqlite::Error) -> StoreError {
        match error.sqlite_error().map(|error| error.extended_code) {
            Some(rusqlite::ffi::SQLITE_ERROR) => StoreError::new(
                StoreErrorKind::Damaged,
                format!(
                    "{} is damaged ({error}); it is left as it is; restore a backup",
                    self.path.display()
                ),
            ),
            _ => describe(&self.path, Some(connection), error),
        }
    }

    /// Makes a store under another name, and renames it when it is whole.
    fn create(&self) -> Result<(), StoreError> {
        for suffix in ["-wal", "-journal"] {
            let left = self.beside(suffix);
            if fs::metadata(&left).is_ok_and(|file| file.len() > 0) {
                return Err(StoreError::new(
                    StoreErrorKind::Damaged,
                    format!(
                        "{} is missing, but its log {} is there; put the file back, or move the log away",
                        self.path.display(),
                        left.display()
                    ),
                ));
            }
        }
        let new = Self { path: self.beside(".new"), options: self.options.clone() };
        let made = new.create_whole().and_then(|()| {
            fs::rename(&new.path, &self.path).map_err(|error| self.permission(&error))?;
            sync_folder(&self.path).map_err(|error| self.permission(&error))
        });
        if made.is_err() {
            // The name is ours, and a leftover would only be replaced by the next try.
            let _ = fs::remove_file(&new.path);
        }
        made
    }

    fn create_whole(&self) -> Result<(), StoreError> {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            match fs::remove_file(self.beside(suffix)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.permission(&error));
                }
                _ => {}
            }
        }
        // Made here for its mode, which SQLite's other files take over.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&self.path).map_err(|error| self.permission(&error))?;
        let connection = self
            .connect(OpenFlags::SQLITE_OPEN_READ_WRITE, "")
            .map_err(|error| describe(&self.path, None, &error))?;
        schema::create(&connection).map_err(|error| describe(&self.path, Some(&connection), &error))?;
        drop(connection);
        File::open(&self.path).and_then(|file| file.sync_all()).map_err(|error| self.permission(&error))
    }

    /// With a VFS of its own the file is not in the file system.
    fn prepare_in_place(&self) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = self.connect(flags, "").map_err(|error| describe(&self.path, None, &error))?;
        let describe = |error| describe(&self.path, Some(&connection), &error);
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(describe)?;
        if tables == 0 {
            schema::create(&connection).map_err(describe)
        } else {
            self.check_format(&connection)
        }
    }

    /// The writer's connection. Nothing is changed in the file before it is checked.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let connection = self
            .connect(OpenFlags::SQLITE_OPEN_READ_WRITE, "")
            .map_err(|error| describe(&self.path, None, &error))?;
        let describe = |error| describe(&self.path, Some(&connection), &error);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(describe)?;
        self.check_format(&connection)?;
        self.check_content(&connection)?;
        let journal: String = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(describe)?;
        if journal != "wal" {
            return Err(StoreError::new(
                StoreErrorKind::Unsupported,
                format!(
                    "{} is on a file system without shared memory; put it on a local disk",
                    self.path.display()
                ),
            ));
        }
        let synchronous = self.options.synchronous.pragma();
        connection.pragma_update(None, "synchronous", synchronous).map_err(describe)?;
        // Where a plain sync leaves bytes in the drive's cache (macOS).
        connection.pragma_update(None, "fullfsync", true).map_err(describe)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true).map_err(describe)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).map_err(describe)?;
        // The writer decides itself when to copy the log, after it has answered.
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(describe)?;
        let limit = i64::try_from(2 * self.options.checkpoint_bytes).unwrap_or(i64::MAX);
        connection.pragma_update(None, "journal_size_limit", limit).map_err(describe)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(describe)?;
        Ok(connection)
    }

    /// A connection for reading.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY, "").map_err(|error| describe(&self.path, None, &error))
    }

    /// A connection for reading to a file that was not checked yet.
    pub(super) fn checked_reader(&self) -> Result<Connection, StoreError> {
        let file = fs::metadata(&self.path).map_err(|error| self.permission(&error))?;
        self.check_file(&file)?;
        self.check_header()?;
        let connection = self.reader()?;
        self.check_format(&connection)?;
        self.check_content(&connection)?;
        Ok(connection)
    }

    fn connect(&self, flags: OpenFlags, parameters: &str) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let uri = uri(&self.path, parameters);
        let connection = match &self.options.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(uri, flags, vfs.as_str())?,
            None => Connection::open_with_flags(uri, flags)?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cell_size_check", "ON")?;
        Ok(connection)
    }

    /// The path with something added to its name.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(suffix);
        PathBuf::from(path)
    }

    fn permission(&self, error: &std::io::Error) -> StoreError {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
            _ => StoreErrorKind::Permission,
        };
        StoreError::new(kind, format!("{} can't be opened or made ({error})", self.path.display()))
    }
}

/// The file's one name, so that two names for it are not two locks. Its folder must exist.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, StoreError> {
    let unusable = |error: std::io::Error| {
        StoreError::new(
            StoreErrorKind::Permission,
            format!("{} can't be opened or made ({error}); its folder must exist", path.display()),
        )
    };
    match fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(unusable)?;
            let name = path.file_name().ok_or_else(|| unusable(error))?;
            Ok(folder.join(name))
        }
        found => found.map_err(unusable),
    }
}

/// Makes a rename in the path's folder durable.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// A file as SQLite's URI, any byte of its name included (<https://www.sqlite.org/uri.html>).
fn uri(path: &Path, parameters: &str) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(byte as char),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    if !parameters.is_empty() {
        uri.push('?');
        uri.push_str(parameters);
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_a_name_and_not_a_parameter() {
        assert_eq!(
            uri(Path::new("/a b/50%?x=1#y.db"), "immutable=1"),
            "file:/a%20b/50%25%3Fx%3D1%23y.db?immutable=1"
        );
    }
}
