//! Processes that a killed worker left behind are ended by the next one, and nobody else's are.

mod runner_kit;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qdo::runner::{Leftovers, RunsFolder};
use runner_kit::*;

#[tokio::test]
async fn processes_of_a_worker_killed_with_kill_9_are_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_is_killed", "--ignored"])
        .env("QDO_TEST_FOLDER", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| pids(folder.path()).len() == 4, "the helper's programs to start").await;
    let [first, first_child, second, second_child] = pids(folder.path())[..] else { panic!("not four pids") };

    let next = RunsFolder::open(folder.path().join("runs"), 2).unwrap();
    let found = next.end_leftovers().unwrap();
    assert_eq!(found, Leftovers { workers_alive: 1, ..Leftovers::default() });
    assert!(pids(folder.path()).into_iter().all(is_running), "a living worker's programs were ended");

    helper.kill().unwrap();
    helper.wait().unwrap();
    // One group loses its leader, so that only the other member tells whose it is.
    assert!(Command::new("kill").args(["-9", &second.to_string()]).status().unwrap().success());
    eventually(|| !is_running(second), "the leader to end").await;
    assert!([first, first_child, second_child].into_iter().all(is_running), "programs outlive their worker");
    let found = next.end_leftovers().unwrap();
    assert_eq!(found, Leftovers { groups_ended: 2, ..Leftovers::default() });
    assert!(!pids(folder.path()).into_iter().any(is_running));
    assert!(!folder.path().join("runs/0000000000000001").exists());
}

fn pids(folder: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Runs two attempts of two processes each, one after the other, until it is killed.
#[tokio::test]
#[ignore = "started, and killed, by another test"]
async fn helper_that_is_killed() {
    let folder = PathBuf::from(std::env::var_os("QDO_TEST_FOLDER").expect("is set by the other test"));
    let bench = Bench::at(folder.join("runs"), 1);
    let again = bench.attempt_again(9);
    let script = format!(
        "trap '' TERM HUP; sleep 300 & printf '%s\\n%s\\n' $$ $! >> {}/pids; wait; sleep 300",
        folder.display()
    );
    let then = async {
        eventually(|| pids(&folder).len() == 2, "the first attempt's programs").await;
        again.sh(&script).await
    };
    tokio::join!(bench.sh(&script), then);
}

#[tokio::test]
async fn a_pid_that_is_used_again_is_not_killed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path().to_owned(), 2);
    let mut stranger = Command::new("sleep").arg("60").spawn_group();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    let mut fields: Vec<String> = stat.split(' ').map(str::to_owned).collect();
    fields[21] = (fields[21].parse::<u64>().unwrap() - 1).to_string();

    let dead = dead_worker(folder.path(), &fields.join(" "), &this_boot());
    assert_eq!(bench.runs.end_leftovers().unwrap(), Leftovers::default());
    assert!(!dead.exists(), "the dead worker's folder is removed");
    dead_worker(folder.path(), &stat, "another boot\n");
    assert_eq!(bench.runs.end_leftovers().unwrap(), Leftovers::default());
    assert!(is_running(stranger.id() as i32));

    // With the right start time, in the right boot, it is ended: the test can tell the difference.
    dead_worker(folder.path(), &stat, &this_boot());
    assert_eq!(bench.runs.end_leftovers().unwrap(), Leftovers { groups_ended: 1, ..Leftovers::default() });
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_group_without_its_leader_is_ended_only_if_it_is_the_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path().to_owned(), 2);
    let member_pid = folder.path().join("pid");
    let mut leader = Command::new("sh")
        .args(["-c", &format!("sleep 60 & echo $! > {}; read line", member_pid.display())])
        .stdin(Stdio::piped())
        .spawn_group();
    eventually(|| std::fs::read_to_string(&member_pid).is_ok_and(|text| text.ends_with('\n')), "a member")
        .await;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", leader.id())).unwrap();
    leader.kill().unwrap();
    leader.wait().unwrap();
    dead_worker(folder.path(), &stat, &this_boot());
    assert_eq!(bench.runs.end_leftovers().unwrap(), Leftovers::default());
    let member: i32 = std::fs::read_to_string(member_pid).unwrap().trim().parse().unwrap();
    assert!(is_running(member), "a member that is not the attempt's was killed");
    assert!(Command::new("kill").arg(member.to_string()).status().unwrap().success());
}

#[tokio::test]
async fn records_that_are_no_records_are_removed_and_kill_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder.path().to_owned(), 2);
    for record in
        ["", "1", "1 (init) S 0 1 1", "-1 (x) S 1 -1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5", "\0\u{7f}("]
    {
        let dead = dead_worker(folder.path(), record, &this_boot());
        assert_eq!(bench.runs.end_leftovers().unwrap(), Leftovers::default(), "{record:?}");
        assert!(!dead.exists());
    }
}

fn this_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap()
}

/// The folder of a worker that was killed while an attempt ran.
fn dead_worker(root: &Path, record: &str, boot: &str) -> PathBuf {
    let folder = root.join("0000000000000001");
    std::fs::create_dir_all(folder.join("job-1/files/of/the/attempt")).unwrap();
    std::fs::write(folder.join("boot"), boot).unwrap();
    std::fs::write(folder.join("job-1.process"), record).unwrap();
    folder
}
