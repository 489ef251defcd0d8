//! `qdo store dump` and `qdo store check` on a store in Cassandra.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use qdo::model::NewJob;
use qdo::store::{CassandraOptions, CassandraStore, Store};
use qdo::worker::Worker;
use serde_json::Value;

use super::{options, servers, session};
use crate::cassandra_kit::fresh;
use crate::cli_kit::{Ran, qdo, run};
use crate::common::PATIENCE;
use crate::common::servers::{PASSWORD, USER};

/// A keyspace with one job that has run and one that waits, and the configuration that names it.
struct Filled {
    folder: tempfile::TempDir,
    keyspace: String,
    id: String,
}

impl Filled {
    async fn new() -> Self {
        let keyspace = format!("filled_{}", fresh());
        let with = CassandraOptions { keyspace: keyspace.clone(), ..options(servers()) };
        let store: Arc<dyn Store> = Arc::new(CassandraStore::open(with).await.unwrap());
        let worker =
            Worker::builder(store).handler("echo", async |context| Ok(context.attempt.payload.clone()));
        let worker = worker.start().await.unwrap();
        let requests = worker.requests();
        let jobs = vec![NewJob::new("echo", "y".repeat(300_000)), NewJob::new("nobody", "\"waits\"")];
        let accepted = requests.enqueue("default", "mail", jobs).await.unwrap();
        let id = accepted[0].id;
        requests.wait("default", id, PATIENCE).await.unwrap();
        worker.stop(PATIENCE).await;
        let folder = tempfile::tempdir().unwrap();
        let filled = Self { folder, keyspace, id: id.to_string() };
        filled.configure(PASSWORD, &filled.keyspace);
        filled
    }

    fn configure(&self, password: &str, keyspace: &str) {
        std::fs::write(self.folder.path().join("password"), password).unwrap();
        let points = servers().contact_points();
        let text = format!(
            "[cassandra]\ncontact_points = {points:?}\nkeyspace = {keyspace:?}\nuser = {USER:?}\npassword_file = \"password\"\ntls_ca = {:?}\n",
            servers().ca(),
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("qdo.toml")
    }

    fn run<const N: usize>(&self, words: [&str; N]) -> Ran {
        let password = self.folder.path().join("password");
        assert!(Path::new(&password).exists());
        run(qdo()
            .current_dir(self.folder.path())
            .args(["store"])
            .args(words)
            .arg("--config")
            .arg(self.config()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_shows_the_rows_of_the_configured_cluster() {
    let filled = Filled::new().await;
    let dump = filled.run(["dump"]).code(0);
    let lines: Vec<Value> = dump.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |table: &str| lines.iter().filter(|line| line["table"] == table).collect::<Vec<_>>();
    assert!(of("documents").iter().any(|line| line["key"] == "queue/default/mail"), "{}", dump.stdout);
    assert!(!of("claims").is_empty() && !of("blobs").is_empty(), "{}", dump.stdout);
    let jobs: Vec<&Value> =
        of("commits").iter().filter_map(|line| line["jobs"].as_array()).flatten().collect();
    assert!(jobs.iter().any(|job| job["id"] == filled.id.as_str()), "{}", dump.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_all_there_and_then_what_was_taken_away() {
    let filled = Filled::new().await;
    let whole = filled.run(["check", "-o", "json"]).code(0);
    whole.says(&["Apache Cassandra 5.", "2 jobs are whole"]);
    let report = whole.json();
    assert_eq!(report["store"]["durability"], "power", "{report}");
    assert_eq!(report["store"]["nodes"][0]["up"], true, "{report}");
    let partition = &report["partitions"][0];
    assert!(partition["blobs"].as_u64() >= Some(1) && partition["jobs"] == 2, "{report}");

    let truncate = format!("TRUNCATE {}.blobs", filled.keyspace);
    session().await.query_unpaged(truncate, ()).await.unwrap();
    let harmed = filled.run(["check"]).code(1);
    harmed.says(&["have problems", "nothing was changed"]);
    assert!(harmed.stdout.contains("has no chunk 0"), "{}", harmed.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_chosen_by_its_name_and_never_made_by_a_look() {
    let filled = Filled::new().await;
    filled.configure(PASSWORD, "missing");
    for verb in ["dump", "check"] {
        filled.run([verb]).code(2).says(&["missing does not exist"]);
        let named = format!("cassandra:{}/{}", servers().contact_points().join(","), filled.keyspace);
        filled.run([verb, "--store", &named]).code(0);
    }
    filled.configure("not-the-password", &filled.keyspace);
    let refused = filled.run(["check"]);
    assert_ne!(refused.code, 0);
    refused.says(&["does not take the user and password"]);
    assert!(!refused.stderr.contains("not-the-password"), "{}", refused.stderr);
}
