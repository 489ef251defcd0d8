//! A server whose user may not write where its data is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A user without rights: nobody.
const NOBODY: u32 = 65_534;

#[test]
fn a_data_folder_without_permission_is_one_clear_sentence() {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("qdo");
    // Where the program was built, another user may not look.
    fs::copy(env!("CARGO_BIN_EXE_qdo"), &program).unwrap();
    let locked = home.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();

    let data = locked.join("data");
    let mut command = Command::new(&program);
    command.args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(&data).env_clear();
    command.env("HOME", home.path()).current_dir(home.path());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.contains(&*data.to_string_lossy()) && said.contains("ermission denied"), "{said}");
    assert!(!data.exists());
}
