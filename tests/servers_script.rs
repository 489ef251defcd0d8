//! `scripts/servers`, with the cheapest of its servers: one ZooKeeper.

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::servers::{Servers, Status, Wanted, four_letters, offset, script};

/// How long a frozen server is asked.
const MOMENT: Duration = Duration::from_millis(500);
/// How long a running one may take to answer.
const WHILE: Duration = Duration::from_secs(30);

fn the_one(servers: &Servers) -> Status {
    let all = servers.status();
    let [one] = &all[..] else { panic!("one server: {all:?}") };
    one.clone()
}

fn output(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// `up` without data in a folder of its own.
fn up(folder: &Path) -> Command {
    let mut command = script();
    command.args(["up", "--only", "zookeeper", "--offset", &offset(), "--folder"]).arg(folder);
    command
}

/// All in one, since servers take turns.
#[test]
fn servers_start_freeze_die_come_back_and_end_with_their_holder() {
    let servers = Wanted::zookeeper().start();
    let one = the_one(&servers);
    assert_eq!((one.name.as_str(), one.state.as_str(), one.role.as_str()), ("zookeeper-1", "up", "alone"));
    assert_eq!(servers.zookeeper(), one.address.to_string());
    assert_eq!(four_letters(&one.address, "ruok", WHILE).unwrap(), "imok");

    servers.pause(&["zookeeper-1"]);
    assert_eq!(the_one(&servers).state, "paused");
    four_letters(&one.address, "ruok", MOMENT).expect_err("it is frozen");
    servers.resume(&["1"]);
    assert_eq!(four_letters(&one.address, "ruok", WHILE).unwrap(), "imok");

    servers.kill(&["zookeeper"]);
    assert_eq!(the_one(&servers).state, "dead");
    four_letters(&one.address, "ruok", MOMENT).expect_err("it is dead");
    let (again, said) = output(script().args(["kill", "1", "--folder"]).arg(servers.folder()));
    assert!(!again.status.success() && said.contains("zookeeper-1 does not run"), "{said}");
    servers.start_again(&["zookeeper-1"]);
    servers.wipe_zookeeper();
    assert_eq!(four_letters(&one.address, "ruok", WHILE).unwrap(), "imok");

    let folder = servers.folder().to_owned();
    drop(servers);
    let (status, _) = output(script().args(["status", "--folder"]).arg(&folder));
    assert_eq!(status.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&status.stdout).contains("down"), "{status:?}");
    a_taken_port_is_said_with_whose_it_is(one.address.port());
    a_server_that_ends_at_its_start_shows_its_log();
}

fn a_taken_port_is_said_with_whose_it_is(port: u16) {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (output, said) = output(&mut up(folder.path()));
    drop(listener);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(&format!("127.0.0.1:{port}, where process {}", std::process::id())), "{said}");
}

fn a_server_that_ends_at_its_start_shows_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("zookeeper-1/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("version-2"), "not a folder").unwrap();
    let (output, said) = output(&mut up(folder.path()));
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("Exiting JVM with code") && said.contains("ended at its start"), "{said}");
}

#[test]
fn a_process_that_got_a_dead_servers_pid_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("settings"),
        "NODES=1\nOFFSET=0\nAUTH=0\nTLS=0\nCASSANDRA=\nKIND=zookeeper\n",
    )
    .unwrap();
    fs::create_dir(folder.path().join("zookeeper-1")).unwrap();
    let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(folder.path().join("zookeeper-1/pid"), format!("{} 1\n", stranger.id())).unwrap();
    let (kill, said) = output(script().args(["kill", "zookeeper-1", "--folder"]).arg(folder.path()));
    assert!(!kill.status.success() && said.contains("does not run"), "{said}");
    let (down, said) = output(script().args(["down", "--folder"]).arg(folder.path()));
    assert!(down.status.success(), "{said}");
    assert_eq!(stranger.try_wait().unwrap(), None, "it runs");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn mistakes_are_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["up", "--nodes", "2"][..], "--nodes is 1 or 3, not 2"),
        (&["up", "--only", "redis"], "--only is cassandra or zookeeper, not redis"),
        (&["up", "--offset", "42"], "--offset is a multiple of 100"),
        (&["up", "--cassandra", "3.11.2"], "a release from 4.1 on"),
        (&["up", "--nodes"], "--nodes needs a value"),
        (&["up", "--quick"], "there is no option --quick"),
        (&["upp"], "there is no command upp"),
        (&["up", "--folder", "/a b"], "has a space"),
        (&["up", "zookeeper-1"], "scripts/servers start zookeeper-1"),
        (&["status"], "there are no servers in"),
    ] {
        let mut command = script();
        command.arg("--folder").arg(folder.path()).args(arguments);
        let (output, said) = output(&mut command);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

/// The programs of this machine but for some, as a search path.
fn without(programs: &[&str]) -> tempfile::TempDir {
    let path = tempfile::tempdir().unwrap();
    for folder in ["/bin", "/usr/bin"] {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name();
            if !programs.iter().any(|program| name == *program) {
                // Most are in both.
                let _ = symlink(entry.path(), path.path().join(name));
            }
        }
    }
    path
}

#[test]
fn what_is_missing_and_cannot_be_installed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = without(&["java", "apt-get"]);
    let (no_java, said) = output(up(folder.path()).env("PATH", path.path()).env_remove("JAVA_HOME"));
    assert!(!no_java.status.success(), "{said}");
    assert!(said.contains("there is no Java: install a JDK 17"), "{said}");

    let (wrong_java, said) = output(up(folder.path()).env("JAVA_HOME", folder.path()));
    assert!(!wrong_java.status.success(), "{said}");
    assert!(said.contains("there is no bin/java"), "{said}");

    let path = without(&["mvn", "apt-get"]);
    let cache = folder.path().join("cache");
    let (no_maven, said) =
        output(up(folder.path()).env("PATH", path.path()).env("QDO_SERVERS_CACHE", &cache));
    assert!(!no_maven.status.success(), "{said}");
    assert!(said.contains("there is no Maven, which fetches zookeeper"), "{said}");
}
