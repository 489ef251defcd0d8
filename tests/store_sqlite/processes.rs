//! One process owns a store; others are told who.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use qdo::store::{AppendOutcome, SqliteStore, Store, StoreErrorKind};

use crate::content::{append, claim, commit, count_gapless, open};

const PATH: &str = "QDO_TEST_STORE";

/// This test program again, running one of the ignored tests below.
fn other_process(test: &str, store: &Path) -> Child {
    command(test, store).spawn().expect("the test program starts again")
}

fn command(test: &str, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test program has a path"));
    command.args(["--ignored", "--exact", "--nocapture", test]);
    command.env(PATH, store).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn path_of_parent() -> std::path::PathBuf {
    std::env::var_os(PATH).expect("run by another test").into()
}

/// What a process says after that word, once it has ended.
fn said(process: Child, word: &str) -> String {
    let output = process.wait_with_output().expect("the process ends").stdout;
    let output = String::from_utf8(output).expect("it speaks UTF-8");
    let said = output.lines().find_map(|line| line.split_once(word).map(|(_, rest)| rest.to_owned()));
    said.unwrap_or_else(|| panic!("no {word:?} in {output}"))
}

#[test]
#[ignore = "run by a_second_process_is_refused_and_told_who_is_there"]
fn opens_and_says_what_came_of_it() {
    match open(&path_of_parent()) {
        Ok(_) => println!("outcome: opened"),
        Err(error) => println!("outcome: {:?} {error}", error.kind),
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).unwrap();
    let own = std::process::id();
    let ask = || said(other_process("processes::opens_and_says_what_came_of_it", &path), "outcome: ");
    let refused = ask();
    assert!(refused.starts_with("Locked") && refused.contains(&format!("process {own};")), "{refused}");

    store.set_address("http://127.0.0.1:7480").unwrap();
    let refused = ask();
    assert!(refused.contains(&format!("process {own} at http://127.0.0.1:7480")), "{refused}");
    assert!(refused.contains("jobs.db"), "{refused}");
    claim(&*store, 0).await;
    append(&*store, 0, 0, 100).await;

    drop(store);
    assert_eq!(ask(), "opened");
}

#[tokio::test]
async fn a_second_owner_in_the_same_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let first = open(&path).unwrap();
    assert_eq!(open(&path).err().map(|error| error.kind), Some(StoreErrorKind::Locked));
    let other_name = folder.path().join("other.db");
    std::os::unix::fs::symlink(&path, &other_name).unwrap();
    assert_eq!(open(&other_name).err().map(|error| error.kind), Some(StoreErrorKind::Locked));
    drop(first);
    open(&path).unwrap();
}

#[tokio::test]
#[ignore = "run by a_killed_owner_leaves_all_that_it_acknowledged"]
async fn appends_until_killed() {
    let store = open(&path_of_parent()).unwrap();
    claim(&*store, 0).await;
    for number in 0.. {
        append(&*store, 0, number, 5_000).await;
        let mut output = std::io::stdout().lock();
        writeln!(output, "\nacknowledged: {number}").unwrap();
    }
}

#[tokio::test]
async fn a_killed_owner_leaves_all_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let mut owner = other_process("processes::appends_until_killed", &path);
    let mut acknowledged = 0;
    for line in BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let Some(number) = line.strip_prefix("acknowledged: ") else { continue };
        acknowledged = number.parse::<u64>().unwrap() + 1;
        if acknowledged == 200 {
            let refused = open(&path).err().expect("the other process has it");
            assert!(refused.message.contains(&format!("process {}", owner.id())), "{refused}");
            owner.kill().unwrap();
        }
    }
    owner.wait().unwrap();
    assert!(acknowledged >= 200);
    let store = open(&path).expect("the lock ends with its process");
    let there = count_gapless(&*store, 0).await.unwrap();
    assert!(there >= acknowledged, "{acknowledged} were acknowledged, and {there} are there");
    assert_eq!(store.append(commit(0, there, 10)).await, AppendOutcome::Fenced);
}

#[tokio::test]
async fn a_store_can_be_read_beside_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).unwrap();
    claim(&*store, 0).await;
    append(&*store, 0, 0, 100).await;
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(count_gapless(&reader, 0).await, Ok(1));
    append(&*store, 0, 1, 100).await;
    assert_eq!(count_gapless(&reader, 0).await, Ok(2), "it sees what was acknowledged since");
    match reader.append(commit(0, 2, 100)).await {
        AppendOutcome::Refused(error) => assert_eq!(error.kind, StoreErrorKind::Unsupported),
        outcome => panic!("{outcome:?}"),
    }
    drop(store);
    assert_eq!(count_gapless(&reader, 0).await, Ok(2), "it goes on when the owner has ended");
    drop(reader);
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(count_gapless(&reader, 0).await, Ok(2), "and begins without one");
    let missing = SqliteStore::open_read_only(&folder.path().join("missing.db"));
    assert_eq!(missing.err().map(|error| error.kind), Some(StoreErrorKind::Permission));
}

#[test]
fn a_file_of_another_user_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    drop(open(&path).unwrap());
    let lock = folder.path().join("jobs.db.lock");
    let set_mode =
        |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let ask = || {
        let mut other = command("processes::opens_and_says_what_came_of_it", &path);
        if nix::unistd::geteuid().is_root() {
            // Root may do anything, so the other process is nobody.
            std::os::unix::process::CommandExt::uid(&mut other, 65_534);
        }
        said(other.spawn().unwrap(), "outcome: ")
    };
    set_mode(folder.path(), 0o755);
    set_mode(&lock, 0o444);
    let refused = ask();
    assert!(refused.starts_with("Permission") && refused.contains("jobs.db.lock"), "{refused}");
    set_mode(&lock, 0o666);
    set_mode(&path, 0);
    let refused = ask();
    assert!(refused.starts_with("Permission") && refused.contains("jobs.db can't be opened"), "{refused}");
    set_mode(&path, 0o444);
    let refused = ask();
    assert!(refused.starts_with("Permission") && refused.contains("jobs.db can't be opened"), "{refused}");
}

#[tokio::test]
async fn only_its_user_can_read_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).unwrap();
    claim(&*store, 0).await;
    append(&*store, 0, 0, 100).await;
    store.backup(&folder.path().join("copy.db")).await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["copy.db", "jobs.db", "jobs.db-shm", "jobs.db-wal", "jobs.db.lock"]);
}
