//! Files that are refused, and left as they are.

use std::fs;
use std::path::Path;

use qdo::store::{SqliteStore, Store, StoreError, StoreErrorKind};

use crate::content::{append, claim, count_gapless, open};

const COMMITS: u64 = 200;

/// A store with something of all kinds in it, closed.
async fn make(path: &Path) -> Vec<u8> {
    let store = open(path).unwrap();
    claim(&*store, 0).await;
    for number in 0..COMMITS {
        append(&*store, 0, number, 3_000).await;
    }
    store.swap_document("queue/a", None, Some(vec![1; 100].into())).await;
    drop(store);
    fs::read(path).unwrap()
}

/// Opens and reads all.
async fn try_to_use(path: &Path) -> Result<u64, StoreError> {
    let store = open(path)?;
    store.document("queue/a").await?;
    store.highest_claim(crate::content::partition(0)).await?;
    count_gapless(&*store, 0).await
}

fn refused(path: &Path) -> StoreError {
    open(path).err().expect("the file is refused")
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let whole = make(&folder.path().join("whole.db")).await;
    let path = folder.path().join("damaged.db");
    let overwritten = |at: usize, count: usize, with: u8| {
        let mut bytes = whole.clone();
        bytes[at..at + count].fill(with);
        bytes
    };
    let cases = [
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("cut by one page", whole[..whole.len() - 4_096].to_vec()),
        ("cut to one page", whole[..4_096].to_vec()),
        ("cut to a few bytes", whole[..50].to_vec()),
        ("empty", Vec::new()),
        ("the magic overwritten", overwritten(0, 16, b'x')),
        ("the page size overwritten", overwritten(16, 2, 0xFF)),
        ("the first page overwritten", overwritten(0, 4_096, 0)),
        ("the schema overwritten", overwritten(100, 3_996, 0xAA)),
        ("the tables overwritten", overwritten(4_096, 20 * 4_096, 0x55)),
        ("text", b"this is not a store, but somebody's diary\n".repeat(300)),
    ];
    for (what, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let error = refused(&path);
        assert_eq!(error.kind, StoreErrorKind::Damaged, "{what}: {error}");
        assert!(error.message.contains("damaged.db"), "{what}: {error}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
        let error = SqliteStore::open_read_only(&path).err().expect("refused for reading as well");
        assert_eq!(error.kind, StoreErrorKind::Damaged, "{what}: {error}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was changed by reading");
    }
}

#[tokio::test]
async fn damage_anywhere_is_an_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let whole = make(&folder.path().join("whole.db")).await;
    let path = folder.path().join("damaged.db");
    let mut seen = 0;
    for page in 0..whole.len() / 4_096 {
        // The beginning of a page says what is where in it.
        let mut bytes = whole.clone();
        let at = page * 4_096 + if page == 0 { 100 } else { 0 };
        bytes[at..at + 64].fill(0xA5);
        fs::write(&path, &bytes).unwrap();
        match try_to_use(&path).await {
            // Pages that are free, or belong to SQLite's own bookkeeping, are not met by reading.
            Ok(count) => assert_eq!(count, COMMITS),
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::Damaged, "page {page}: {error}");
                seen += 1;
            }
        }
    }
    assert!(seen > COMMITS / 4, "only {seen} damaged pages were noticed");
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    make(&path).await;
    for journal in ["WAL", "DELETE"] {
        let newer = rusqlite::Connection::open(&path).unwrap();
        newer.pragma_update(None, "journal_mode", journal).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        newer.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        let error = refused(&path);
        assert_eq!(error.kind, StoreErrorKind::NewerFormat, "{error}");
        assert!(error.message.contains("99") && error.message.contains("jobs.db"), "{error}");
        assert!(fs::read(&path).unwrap() == bytes);
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["jobs.db", "jobs.db.lock"], "nothing was made beside it");
    }
}

#[tokio::test]
async fn a_newer_format_that_is_only_in_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    make(&path).await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "journal_mode", "WAL").unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    // As a crash would leave it.
    let log = fs::read(folder.path().join("jobs.db-wal")).unwrap();
    let bytes = fs::read(&path).unwrap();
    let crashed = folder.path().join("crashed.db");
    fs::write(&crashed, &bytes).unwrap();
    fs::write(folder.path().join("crashed.db-wal"), &log).unwrap();
    assert_eq!(refused(&crashed).kind, StoreErrorKind::NewerFormat);
    assert!(fs::read(&crashed).unwrap() == bytes);
    assert!(fs::read(folder.path().join("crashed.db-wal")).unwrap() == log);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE commits (x); PRAGMA user_version = 1;").unwrap();
    other.close().unwrap();
    let bytes = fs::read(&path).unwrap();
    let error = refused(&path);
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    assert!(fs::read(&path).unwrap() == bytes);

    let error = refused(folder.path());
    assert_eq!(error.kind, StoreErrorKind::Invalid, "a folder is no store: {error}");
    let error = refused(&folder.path().join("missing/jobs.db"));
    assert_eq!(error.kind, StoreErrorKind::Permission);
    assert!(error.message.contains("missing/jobs.db"), "{error}");
}

#[tokio::test]
async fn a_log_without_its_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let log = folder.path().join("jobs.db-wal");
    fs::write(&log, [1; 5_000]).unwrap();
    let error = refused(&path);
    assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
    assert!(fs::read(&log).unwrap() == [1; 5_000] && !path.exists());
}

#[tokio::test]
async fn a_crash_while_a_store_is_made_leaves_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    fs::write(folder.path().join("jobs.db.new"), b"half a store").unwrap();
    fs::write(folder.path().join("jobs.db.new-journal"), b"and its journal").unwrap();
    let store = open(&path).unwrap();
    claim(&*store, 0).await;
    append(&*store, 0, 0, 100).await;
    assert!(!folder.path().join("jobs.db.new").exists());
    assert!(!folder.path().join("jobs.db.new-journal").exists());
}
