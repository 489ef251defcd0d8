use super::*;

use std::os::unix::fs::{PermissionsExt, symlink};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use proptest::prelude::*;
use record::ProcessStat;

use crate::model::PartitionId;

fn a_job() -> JobId {
    JobId::new(PartitionId { group: 1, index: 0 }, 1, 1, 1)
}

#[test]
fn a_folder_nested_thousands_deep_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("top");
    std::fs::create_dir(&top).unwrap();
    let mut place = std::os::fd::OwnedFd::from(File::open(&top).unwrap());
    for _ in 0..3_000 {
        mkdirat(&place, "deeper", Mode::S_IRWXU).unwrap();
        place = openat(&place, "deeper", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    drop(place);
    remove_tree(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn names_that_look_like_our_own_are_removed_too() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("top");
    for name in [".moved-0", ".moved-1/a/b", "x/.moved-2/y/z", "x/y/.moved-0/q"] {
        std::fs::create_dir_all(top.join(name)).unwrap();
    }
    std::fs::write(top.join("x/y/file"), "").unwrap();
    symlink(&top, top.join("x/y/link")).unwrap();
    remove_tree(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn what_is_not_there_is_removed_already() {
    let folder = tempfile::tempdir().unwrap();
    remove_tree(&folder.path().join("a")).unwrap();
    remove_tree(&folder.path().join("a/b")).unwrap();
}

/// As root, rights do not count: the child gives root up first.
#[test]
fn folders_without_rights_are_removed_by_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runner::runs::tests::helper_without_root", "--ignored"])
        .env("QDO_TEST_FOLDER", folder.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    assert!(folder.path().join("ran").exists());
}

#[test]
#[ignore = "started by another test, in a process of its own"]
fn helper_without_root() {
    let folder = PathBuf::from(std::env::var_os("QDO_TEST_FOLDER").expect("is set by the other test"));
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65_534)).unwrap();
    }
    let top = folder.join("top");
    std::fs::create_dir_all(top.join("a/b/c")).unwrap();
    std::fs::write(top.join("a/b/file"), "").unwrap();
    for path in ["a/b/c", "a/b", "a", ""] {
        std::fs::set_permissions(top.join(path), std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    assert!(std::fs::remove_dir_all(&top).is_err(), "there is nothing to this test");
    remove_tree(&top).unwrap();
    assert!(!top.exists());
    std::fs::write(folder.join("ran"), "").unwrap();
}

#[test]
fn a_worker_whose_folder_was_cleaned_up_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("runs");
    let runs = RunsFolder::open(root.clone(), 1).unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    let attempt = runs.attempt(a_job(), 1).unwrap();
    assert!(attempt.path().is_dir());
    let next = RunsFolder::open(root, 2).unwrap();
    assert_eq!(next.end_leftovers().unwrap().workers_alive, 1);
}

#[test]
fn a_worker_that_ends_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let runs = RunsFolder::open(folder.path().to_owned(), 1).unwrap();
    drop(runs.attempt(a_job(), 1).unwrap());
    drop(runs);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["lock"]);
}

#[test]
fn a_number_that_is_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _runs = RunsFolder::open(folder.path().to_owned(), 1).unwrap();
    assert!(RunsFolder::open(folder.path().to_owned(), 1).is_err());
}

#[test]
fn a_program_name_cannot_forge_a_record() {
    let line = b"77 (a) R 1 5 1 0) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
    let expected = ProcessStat { pid: 77, group: 77, is_zombie: false, start_ticks: 4242 };
    assert_eq!(ProcessStat::parse(line), Some(expected));
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_none(bytes: Vec<u8>, fields in "[0-9 ()ZSR-]{0,80}") {
        for line in [bytes, fields.into_bytes()] {
            if let Some(process) = ProcessStat::parse(&line) {
                prop_assert!(process.pid > 1);
            }
        }
    }
}
