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

/// A running server with a job whose payload and output are too long for its commit.
fn with_a_large_job() -> Server {
    let server = Server::start(CAT);
    let payload = format!("\"{}\"", "x".repeat(100_000));
    let id = server.enqueue("q", "cat", &payload);
    server.enqueue("q", "none", "waiting");
    server.run(["job", "wait", &id]).code(0);
    server
}

fn check(folder: &Path) -> cli_kit::Ran {
    run(qdo().args(["store", "check", "-o", "json", "--data"]).arg(folder))
}

#[test]
fn a_check_reads_all_that_an_owner_needs_also_beside_a_server() {
    let mut server = with_a_large_job();
    let data = server.folder.join("data");
    let ran = check(&data).code(0);
    ran.says(&["SQLite", "1 partitions with 2 jobs are whole"]);
    let partition = &ran.json()["partitions"][0];
    assert_eq!(partition["partition"], "default/q/0");
    assert_eq!(partition["problems"].as_array().map(Vec::len), Some(0));
    assert!(
        partition["blobs"].as_u64() >= Some(1) && partition["bytes"].as_u64() > Some(100_000),
        "{partition}"
    );
    let table =
        run(qdo().args(["store", "check", "--store"]).arg(format!("sqlite:{}", data.display()))).code(0);
    assert!(table.stdout.contains("default/q/0") && table.stdout.contains("whole"), "{}", table.stdout);
    server.signal(Signal::SIGTERM);
    server.ended();
    check(&data).code(0).says(&["2 jobs are whole"]);
}

#[test]
fn a_check_names_what_is_missing_or_damaged() {
    for (harm, words) in [
        ("DELETE FROM blobs WHERE chunk = 0", ["default/q/0", "has no chunk 0"]),
        ("UPDATE blobs SET bytes = x'00'", ["default/q/0", "damaged"]),
        ("UPDATE commits SET row = x'00' WHERE number = 0", ["default/q/0", "damaged"]),
        ("DELETE FROM commits WHERE number = 1", ["default/q/0", "commit 1 is missing"]),
    ] {
        let mut server = with_a_large_job();
        server.signal(Signal::SIGTERM);
        server.ended();
        let data = server.folder.join("data");
        let file = rusqlite::Connection::open(data.join("qdo.sqlite")).expect("it is there");
        assert!(file.execute(harm, ()).expect("it is harmed") > 0, "{harm}");
        let ran = run(qdo().args(["store", "check", "--data"]).arg(&data)).code(1);
        ran.says(&["1 of 1 partitions have problems", "nothing was changed"]);
        for word in words {
            assert!(ran.stdout.contains(word), "{harm}: {word:?} is not in {}", ran.stdout);
        }
    }
}

#[test]
fn a_store_that_is_named_wrongly_is_told_how_to_be_named() {
    for wrong in ["mysql:host", "cassandra:host", "cassandra:/qdo", "sqlite:", ""] {
        run(qdo().args(["store", "check", "--store", wrong]))
            .code(2)
            .says(&["cassandra:HOST[,HOST]/KEYSPACE"]);
    }
    run(qdo().args(["store", "dump", "--store", "sqlite:/x", "--data", "/y"])).code(2).says(&["--data"]);
}
