//! `qdo worker` as processes on a real Cassandra and a real ZooKeeper: from nothing to shared
//! partitions, and what each says when something is wrong with what it was told.

#![cfg(all(feature = "cassandra", feature = "zookeeper"))]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::server::{Server, write_config};
use common::servers::{Servers, Wanted};

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Wanted::both().start())
}

/// A cluster of its own: keyspace and chroot that nobody else has.
struct Ground {
    folder: tempfile::TempDir,
    name: String,
    cassandra: String,
    zookeeper: String,
}

impl Ground {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let servers = servers();
        Self {
            folder: tempfile::tempdir().unwrap(),
            name: format!("ground_{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
            cassandra: servers.contact_points()[0].clone(),
            zookeeper: servers.zookeeper().to_owned(),
        }
    }

    /// A config file with these lines besides what all have.
    fn config(&self, more: &str) -> PathBuf {
        self.config_in("qdo.toml", "", "", more)
    }

    fn config_in(&self, file: &str, cassandra: &str, zookeeper: &str, more: &str) -> PathBuf {
        let folder = self.folder.path().join(file).with_extension("d");
        fs::create_dir_all(&folder).unwrap();
        write_config(
            &folder,
            &format!(
                "[cassandra]\ncontact_points = [{:?}]\nkeyspace = {:?}\nreplication_factor = 1\n{cassandra}\n\
                 [zookeeper]\nconnect = \"{}/{}\"\nsession_timeout = \"4s\"\n{zookeeper}\n{more}\n",
                self.cassandra, self.name, self.zookeeper, self.name
            ),
        )
    }

    fn worker(&self, name: &str, config: &Path) -> Server {
        self.worker_with(name, config, &[])
    }

    fn worker_with(&self, name: &str, config: &Path, variables: &[(&str, &str)]) -> Server {
        Server::spawn_worker(name, &self.folder.path().join(name), config, variables)
    }

    /// One that is a member.
    fn member(&self, name: &str, config: &Path) -> Server {
        let mut worker = self.worker(name, config);
        worker.wait_for_line("joined the cluster");
        worker
    }
}

/// Runs a command of the CLI against a worker; what it prints.
fn qdo(worker: &Server, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qdo"));
    command.args(words).args(["--address", worker.url()]);
    command.env_remove("QDO_CONFIG").env("HOME", "/nonexistent");
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "qdo {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// Asks until the worker says that.
fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
    begun.elapsed()
}

/// What a path answers: head and body.
fn get(worker: &Server, path: &str) -> String {
    let host = worker.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_ok(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

fn metric(worker: &Server, name: &str) -> f64 {
    let text = get(worker, "/metrics");
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0.0)
}

fn cql(node: &str, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = scylla::client::session_builder::SessionBuilder::new().known_node(node).build().await;
        session.unwrap().query_unpaged(statement, ()).await.unwrap();
    });
}

/// It ends, and says why in a line with all of these words.
fn refuses(worker: Server, words: &[&str]) {
    let (status, said) = worker.ended();
    assert!(!status.success(), "{said}");
    let last = said.lines().last().unwrap_or_default();
    for word in words {
        assert!(last.contains(word), "{word:?} is missing in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn three_workers_share_partitions_and_a_new_queue_is_served_within_a_second() {
    let ground = Ground::new();
    let config = ground.config("[handlers.hello]\nexec = [\"sh\", \"-c\", \"echo hello $(cat)\"]");
    let workers = ["a", "b", "c"].map(|name| ground.member(name, &config));
    let shown = qdo(&workers[0], &["job", "enqueue", "default", "--kind", "hello", "world", "--wait"]);
    assert_eq!(shown.trim(), "hello world");
    until("each has its share", || {
        let mut owned = workers.each_ref().map(|worker| metric(worker, "qdo_partitions_owned") as u32);
        owned.sort_unstable();
        owned == [2, 3, 3]
    });
    // A queue that is made at one is found by all.
    let begun = Instant::now();
    qdo(&workers[1], &["queue", "create", "more", "--partitions", "9"]);
    let found = until("the new queue is shared out", || {
        workers.each_ref().map(|worker| metric(worker, "qdo_partitions_owned") as u32).iter().sum::<u32>()
            == 17
    });
    println!("a new queue's nine partitions had owners {} ms after", begun.elapsed().max(found).as_millis());
    let shown = qdo(&workers[2], &["job", "enqueue", "more", "--kind", "hello", "all", "--wait"]);
    assert_eq!(shown.trim(), "hello all");
    for worker in workers {
        let said = worker.stop();
        assert!(said.contains("stopped"), "{said}");
    }
}

#[test]
fn a_worker_waits_for_a_store_that_is_away_and_says_so() {
    let mut ground = Ground::new();
    // Nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    ground.cassandra = nobody.to_string();
    let mut worker = ground.worker("a", &ground.config(""));
    worker.ready();
    worker.wait_for_line("waiting for the store");
    assert!(is_ok(&get(&worker, "/v1/health")));
    assert_eq!(metric(&worker, "qdo_store_connected") as u32, 0);
    let text = get(&worker, "/v1/ready");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("waits for the store"), "{text}");
    assert_eq!(worker.said().matches("waiting for the store").count(), 1);
    worker.stop();
}

#[test]
fn a_worker_waits_for_an_ensemble_that_is_away_and_goes_on_when_it_comes() {
    let mut ground = Ground::new();
    let at = TcpListener::bind("127.0.0.1:0").unwrap();
    let real = std::mem::replace(&mut ground.zookeeper, at.local_addr().unwrap().to_string());
    let address = at.local_addr().unwrap();
    drop(at);
    let mut worker = ground.worker("a", &ground.config(""));
    worker.ready();
    worker.wait_for_line("no ZooKeeper server can be used");
    // The way to it is opened.
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (near, far) = (stream.unwrap(), TcpStream::connect(&real).unwrap());
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (mut far_in, mut near_out) = (far, near);
            std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            std::thread::spawn(move || std::io::copy(&mut far_in, &mut near_out));
        }
    });
    worker.wait_for_line("joined the cluster");
    until("it is ready", || is_ok(&get(&worker, "/v1/ready")));
    worker.stop();
}

#[test]
fn what_is_wrong_with_the_store_is_said_and_ends_the_worker() {
    let ground = Ground::new();
    let config = |cassandra: &str| ground.config_in("wrong.toml", cassandra, "", "");
    let data_centre = config("datacenter = \"mars\"");
    refuses(ground.worker("a", &data_centre), &["mars", "datacenter1"]);
    let missing = config("create_schema = false");
    refuses(ground.worker("a", &missing), &[&ground.name, "create_schema"]);
    let config = ground.config("");
    ground.member("a", &config).stop();
    // Written by a newer qdo.
    let newer = format!("UPDATE {}.settings SET value = 9 WHERE name = 'format'", ground.name);
    cql(&ground.cassandra, &newer);
    refuses(ground.worker("a", &config), &[&ground.name, "format", "9"]);
}

#[test]
fn a_chroot_that_does_not_exist_is_named() {
    let ground = Ground::new();
    let config = ground.config_in("qdo.toml", "", "create_chroot = false", "");
    let chroot = format!("/{}", ground.name);
    refuses(ground.worker("a", &config), &[&chroot, "does not exist"]);
}

#[test]
fn settings_that_differ_and_equal_names_are_warned_of() {
    let ground = Ground::new();
    let one = ground.config_in("one.toml", "", "", "[queue_defaults]\nmax_attempts = 5");
    let other = ground.config_in("other.toml", "", "", "[queue_defaults]\nmax_attempts = 6");
    let mut a = ground.member("a", &one);
    let mut b = ground.member("b", &other);
    a.wait_for_line("`queue_defaults` is not the same here and at worker b");
    b.wait_for_line("`queue_defaults` is not the same here and at worker a");
    let second = ground.folder.path().join("second");
    let mut namesake = Server::spawn_worker("a", &second, &one, &[]);
    namesake.wait_for_line("has the name \"a\" too");
    a.wait_for_line("has the name \"a\" too");
    for worker in [a, b, namesake] {
        worker.stop();
    }
}

#[test]
fn a_worker_whose_clock_is_wrong_says_so_and_owns_nothing() {
    let ground = Ground::new();
    let config = ground.config("");
    let mut wrong = ground.worker_with("wrong", &config, &[("QDO_TEST_CLOCK_SHIFT_MS", "30000")]);
    wrong.wait_for_line("clock");
    wrong.wait_for_line("joined the cluster");
    let right = ground.member("right", &config);
    qdo(&right, &["queue", "create", "q"]);
    until("the other owns all", || metric(&right, "qdo_partitions_owned") as u32 == 8);
    assert_eq!(metric(&wrong, "qdo_partitions_owned") as u32, 0);
    assert!(wrong.said().contains("ahead of the store's"), "{}", wrong.said());
    wrong.stop();
    right.stop();
}

#[test]
fn what_the_configuration_lacks_is_said_before_anything_is_opened() {
    let ground = Ground::new();
    let beyond = ground.config("");
    let ran = Command::new(env!("CARGO_BIN_EXE_qdo"))
        .args(["worker", "--listen", "0.0.0.0:0", "--config"])
        .arg(&beyond)
        .env("QDO_TOKEN", "a-token")
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(!ran.status.success() && said.contains("cluster.secret"), "{said}");
    let short = ground.config("[cluster]\nsecret = \"short\"");
    refuses(ground.worker("a", &short), &["16"]);
    let address = ground.config("[cluster]\naddress = \"host-a\"");
    refuses(ground.worker("a", &address), &["cluster.address", "http://host:7420"]);
    refuses(ground.worker("a b", &beyond), &["cluster.name"]);
}
