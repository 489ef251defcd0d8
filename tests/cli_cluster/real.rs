//! On a real Cassandra and a real ZooKeeper: what can be told without any worker, and `qdo doctor`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli_kit::{Ran, qdo, run, until};
use crate::common::server::{Server, write_config};
use crate::common::servers::{Servers, Wanted};

/// A config file on these servers.
fn config(folder: &Path, servers: &Servers, more_cassandra: &str, more_zookeeper: &str) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let sections = format!(
        "[cassandra]\ncontact_points = {:?}\nkeyspace = \"looking\"\nreplication_factor = 1\n{more_cassandra}\n\
         [zookeeper]\nconnect = \"{}/looking\"\nsession_timeout = \"4s\"\n{more_zookeeper}\n\
         [handlers.cat]\nexec = [\"cat\"]\n",
        servers.contact_points(),
        servers.zookeeper()
    );
    write_config(folder, &sections)
}

fn ask(config: &Path, words: &[&str]) -> Ran {
    run(qdo().args(words).arg("--config").arg(config))
}

/// How the checks of that name ended.
fn outcomes(findings: &Value, check: &str) -> Vec<String> {
    let findings = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    findings.map(|finding| finding["outcome"].as_str().unwrap().to_owned()).collect()
}

/// One after another, since it is about what is there and what is not.
#[test]
fn a_cluster_is_examined_before_it_runs_while_it_runs_and_when_no_worker_is_left() {
    let servers = Wanted::both().start();
    let folder = tempfile::tempdir().unwrap();
    let good = config(&folder.path().join("good"), &servers, "", "");

    // Nothing is there yet, and looking makes nothing.
    for _ in 0..2 {
        let empty = ask(&good, &["doctor", "-o", "json"]).code(0).json();
        assert_eq!(outcomes(&empty, "store"), ["warn"], "{empty}");
        assert_eq!(outcomes(&empty, "zookeeper"), ["ok"]);
        let chroot = empty.as_array().unwrap().iter().find(|finding| finding["check"] == "chroot").unwrap();
        assert!(chroot["found"].as_str().unwrap().contains("not there yet"), "{chroot}");
    }
    ask(&good, &["cluster", "--direct"]).code(2).says(&["looking", "creation is off"]);

    let worker = |name: &str| {
        let mut worker = Server::spawn_worker(name, &folder.path().join(name), &good, &[]);
        worker.wait_for_line("joined the cluster");
        worker
    };
    let (one, two) = (worker("one"), worker("two"));
    let at = |worker: &Server, words: &[&str]| run(qdo().args(words).args(["--address", worker.url()]));
    until("a queue", || {
        Some(at(&one, &["queue", "create", "q", "--partitions", "4"])).filter(|ran| ran.code == 0)
    });
    let shares = |cluster: &Value| -> Vec<u64> {
        let workers = cluster["workers"].as_array().unwrap().iter();
        workers.map(|worker| worker["partitions"].as_u64().unwrap()).collect()
    };
    let seen = until("two shares", || {
        let seen = at(&two, &["cluster", "-o", "json"]);
        (seen.code == 0).then(|| seen.json()).filter(|seen| shares(seen) == [2, 2])
    });
    assert!(seen["store"]["backend"].as_str().unwrap().contains("Cassandra"), "{seen}");
    assert_eq!(seen["coordinator"]["kind"], "zookeeper");
    for number in 0..20 {
        let words = ["job", "enqueue", "q", "--kind", "cat", "x", "--wait", "--token", &number.to_string()];
        at(if number % 2 == 0 { &one } else { &two }, &words).code(0);
    }
    let table = at(&one, &["cluster"]).code(0).stdout;
    assert!(table.contains("1 of 1 nodes up") && table.contains("1 of 1 servers"), "{table}");

    let well = ask(&good, &["doctor", "-o", "json"]).code(0).json();
    for check in ["store", "zookeeper", "chroot", "clock", "handlers", "workers", "open files", "data folder"]
    {
        assert!(outcomes(&well, check).iter().all(|outcome| outcome == "ok"), "{check}: {well}");
    }
    assert_eq!(outcomes(&well, "replicas"), ["warn"]);
    let other = config(&folder.path().join("other"), &servers, "", "[cluster]\nsettle = \"9s\"");
    let differs = ask(&other, &["doctor"]).code(0).stdout;
    assert!(differs.contains("`cluster.settle` is not the same here and at one, two"), "{differs}");

    // Without asking anybody, with workers there.
    let direct = ask(&good, &["cluster", "--direct", "-o", "json"]).code(0).json();
    assert!(direct["answered_by"].is_null() && shares(&direct) == [2, 2], "{direct}");
    let listed = ask(&good, &["partition", "list", "q", "--direct", "-o", "json"]).code(0).json();
    let by_worker = at(&one, &["partition", "list", "q", "-o", "json"]).code(0).json();
    for (read, told) in listed.as_array().unwrap().iter().zip(by_worker.as_array().unwrap()) {
        assert_eq!((&read["partition"], &read["owner"]), (&told["partition"], &told["owner"]));
        assert_eq!(read["epoch"], told["epoch"], "{read}");
    }
    let plan =
        ask(&good, &["assignment", "plan", "--join", "three", "--direct", "-o", "json"]).code(0).json();
    assert_eq!(plan, at(&one, &["assignment", "plan", "--join", "three", "-o", "json"]).code(0).json());
    let ignored = run(qdo()
        .args(["cluster", "--direct", "--config"])
        .arg(&good)
        .env("QDO_ADDRESS", "http://127.0.0.1:1"));
    ignored.code(0);

    // No worker is left.
    one.kill();
    two.kill();
    until("no members", || {
        let direct = ask(&good, &["cluster", "--direct", "-o", "json"]).code(0).json();
        (direct["workers"] == serde_json::json!([]) && direct["partitions_without_owner"] == 4).then_some(())
    });
    let left = ask(&good, &["partition", "list", "--direct", "-o", "json"]).code(0).json();
    let known = left.as_array().unwrap().iter().map(|one| {
        assert_eq!(one["trouble"], "it has no owner at the moment");
        one["counts"]["succeeded"].as_u64().unwrap() + one["jobs_since"].as_u64().unwrap()
    });
    assert!(known.sum::<u64>() >= 20, "{left}");
    ask(&good, &["partition", "show", "1/0", "--direct"]).code(0);
    ask(&good, &["partition", "show", "7/0", "--direct"]).code(3);

    // What is wrong is said with what to do.
    let lost =
        config(&folder.path().join("lost"), &servers, "datacenter = \"nowhere\"", "create_chroot = false");
    let text = fs::read_to_string(&lost)
        .unwrap()
        .replace("/looking\"", "/elsewhere\"")
        .replace("\"cat\"", "\"nonesuch\"");
    fs::write(&lost, text).unwrap();
    let wrong = ask(&lost, &["doctor", "-o", "json"]).code(1);
    let findings = wrong.says(&["checks failed"]).json();
    for check in ["store", "chroot", "handlers"] {
        assert_eq!(outcomes(&findings, check), ["fail"], "{check}: {findings}");
    }
    servers.kill(&["zookeeper", "cassandra"]);
    let away = ask(&good, &["doctor", "-o", "json"]).code(1).json();
    assert_eq!(
        (outcomes(&away, "store"), outcomes(&away, "zookeeper")),
        (vec!["fail".to_owned()], vec!["fail".to_owned()])
    );
    ask(&good, &["cluster", "--direct"]).code(5);
}
