//! Backup and dump.

mod cli_kit;

use std::path::Path;

use cli_kit::{Server, qdo, run};
use nix::sys::signal::Signal;
use serde_json::Value;

const CAT: &str = "[handlers.cat]\nexec = [\"cat\"]\n";

/// Starts a server on a copy.
fn start_on_copy(folder: &Path, copy: &Path) -> Server {
    std::fs::create_dir(folder.join("data")).expect("a folder");
    std::fs::copy(copy, folder.join("data/qdo.sqlite")).expect("it can be copied");
    Server::start_in(folder, CAT)
}

#[test]
fn a_backup_of_a_running_server_starts_with_all_jobs() {
    let server = Server::start(CAT);
    let waiting = server.enqueue("q", "none", "x");
    let done = server.enqueue("q", "cat", "\"payload\"");
    server.run(["job", "wait", &done]).code(0);
    let copy = server.folder.join("copy.sqlite");
    run(server.qdo(["store", "backup"]).arg(&copy)).code(0).says(&["copied", "copy.sqlite"]);
    run(server.qdo(["store", "backup"]).arg(&copy)).code(4);
    server.run(["queue", "list"]).code(0);

    let folder = tempfile::tempdir().expect("a temporary folder");
    let restored = start_on_copy(folder.path(), &copy);
    assert_eq!(restored.job(&waiting)["state"], "waiting");
    assert_eq!(restored.job(&done)["result"], "payload");
}

#[test]
fn a_backup_without_a_server_is_made_from_the_file() {
    let mut server = Server::start(CAT);
    let id = server.enqueue("q", "none", "x");
    server.signal(Signal::SIGKILL);
    server.ended();
    let copy = server.folder.join("copy.sqlite");
    let data = server.folder.join("data");
    let backup = |to: &Path| run(qdo().args(["store", "backup"]).arg(to).arg("--data").arg(&data));
    backup(&copy).code(0);
    assert_ne!(backup(&copy).code, 0, "nothing is overwritten");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let restored = start_on_copy(folder.path(), &copy);
    assert_eq!(restored.job(&id)["state"], "waiting");
}

#[test]
fn a_dump_is_a_line_of_json_for_every_row_also_beside_a_server() {
    let server = Server::start(CAT);
    let id = server.enqueue("q", "cat", "{\"find\":\"me\"}");
    server.run(["job", "wait", &id]).code(0);
    let dump = run(qdo().args(["store", "dump", "--data"]).arg(server.folder.join("data"))).code(0);
    let lines: Vec<Value> =
        dump.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |table: &str| lines.iter().filter(|line| line["table"] == table).collect::<Vec<_>>();
    assert!(of("documents").iter().any(|line| line["key"] == "queue/default/q"), "{}", dump.stdout);
    assert_eq!(of("claims").len(), 1);
    let jobs: Vec<&Value> =
        of("commits").iter().filter_map(|line| line["jobs"].as_array()).flatten().collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!((&jobs[0]["id"], &jobs[0]["payload"]["find"]), (&id.as_str().into(), &"me".into()));
    let markers = of("commits").iter().filter_map(|line| line["markers"].as_array()).flatten().count();
    assert!(markers >= 2, "a start and an end: {}", dump.stdout);
}

#[test]
fn where_no_store_is_a_sentence_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for verb in [vec!["dump"], vec!["backup", "/nonexistent/copy"]] {
        let mut command = qdo();
        command.arg("store").args(&verb).arg("--data").arg(folder.path());
        run(&mut command).code(3).says(&["there is no store in", "--data"]);
    }
    std::fs::write(folder.path().join("qdo.sqlite"), "no store at all, but long enough to be looked at")
        .expect("it can be written");
    run(qdo().args(["store", "dump", "--data"]).arg(folder.path())).code(1).says(&["qdo.sqlite"]);
}
