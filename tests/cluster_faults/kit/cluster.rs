//! Several workers of one cluster, and the queue that all jobs of a test flow through.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Client;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use super::check::Fault;
use super::ledger::{Ledger, now_ms};
use super::load::{Book, Load, Order};
use super::tree::{self, Tree};
use super::until;
use super::ways::WaysOut;
use super::worker::WorkerProcess;
use crate::common::random::Random;
use crate::common::servers::{Servers, Wanted, offset};

/// Short, so that a test does not take long.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
pub const LEASE: Duration = Duration::from_secs(4);
/// The queue of all jobs.
pub const QUEUE: &str = "jobs";
/// How long a worker may take for an answer to a question about itself.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Clusters follow each other: the machine is small.
static ALONE: Mutex<()> = Mutex::const_new(());

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Wanted::both().three().start())
}

/// How a cluster is set up.
pub struct Setup {
    /// Also its keyspace and chroot.
    pub name: &'static str,
    pub partitions: u16,
    /// Of each worker.
    pub slots: usize,
    /// Members must be the same for so long before partitions move.
    pub settle: &'static str,
}

impl Setup {
    pub fn new(name: &'static str) -> Self {
        Self { name, partitions: 8, slots: 16, settle: "1s" }
    }
}

/// See the module.
pub struct Cluster {
    pub servers: &'static Servers,
    pub client: Client,
    pub setup: Setup,
    pub ledger: Ledger,
    pub book: Arc<Book>,
    pub faults: Vec<Fault>,
    /// Found so far.
    pub duplicates: usize,
    pub random: Random,
    folder: PathBuf,
    config: PathBuf,
    ways: BTreeMap<String, WaysOut>,
    workers: BTreeMap<String, WorkerProcess>,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts workers of these names.
    pub async fn start(setup: Setup, names: &[&str]) -> Self {
        let alone = ALONE.lock().await;
        let servers = tokio::task::spawn_blocking(servers).await.unwrap();
        // It stays, for whoever wants to know what a worker has said.
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}", offset())).join(setup.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let ledger = Ledger::create(&folder);
        let config = folder.join("qdo.toml");
        fs::write(&config, config_text(&setup, ledger.script())).unwrap();
        let client = Client::builder().connect_timeout(ANSWER_PATIENCE).build().unwrap();
        let mut cluster = Self {
            servers,
            client,
            setup,
            ledger,
            book: Arc::default(),
            faults: Vec::new(),
            duplicates: 0,
            random: Random::announced(),
            folder,
            config,
            ways: BTreeMap::new(),
            workers: BTreeMap::new(),
            _alone: alone,
        };
        cluster.add(names).await;
        cluster.create_queue().await;
        cluster.settled().await;
        cluster
    }

    /// Starts more workers, or killed ones again, and waits until they listen.
    pub async fn add(&mut self, names: &[&str]) {
        for name in names {
            if !self.ways.contains_key(*name) {
                self.ways.insert((*name).to_owned(), WaysOut::start(self.servers).await);
            }
            let mut variables = self.ways[*name].variables();
            variables.push(("WORKER".to_owned(), (*name).to_owned()));
            variables.push(("LEDGER".to_owned(), self.ledger.file().display().to_string()));
            let worker = WorkerProcess::spawn(name, &self.config, &self.folder.join(name), &variables);
            let earlier = self.workers.insert((*name).to_owned(), worker);
            assert!(earlier.is_none(), "worker {name} runs already");
        }
        for name in names {
            self.workers.get_mut(*name).expect("it was started").listening().await;
        }
        self.tell_load();
    }

    async fn create_queue(&self) {
        let settings = json!({"partitions": self.setup.partitions});
        until("the queue is created", async || {
            let url = format!("{}/v1/default/queues/{QUEUE}", self.any_url());
            let answer = self.client.put(url).json(&settings).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Begins to enqueue.
    pub fn load(&mut self, per_second: u32) -> Load {
        let random = self.random.fork();
        Load::start(&self.client, &self.book, QUEUE, per_second, random)
    }

    fn tell_load(&self) {
        self.book.set_workers(self.workers.values().map(|worker| worker.url().to_owned()).collect());
    }

    pub fn worker(&self, name: &str) -> &WorkerProcess {
        &self.workers[name]
    }

    pub fn ways(&self, name: &str) -> &WaysOut {
        &self.ways[name]
    }

    pub fn all_ways(&self) -> impl Iterator<Item = &WaysOut> {
        self.workers.keys().map(|name| &self.ways[name])
    }

    pub fn names(&self) -> Vec<String> {
        self.workers.keys().cloned().collect()
    }

    /// Where some worker answers.
    pub fn any_url(&self) -> &str {
        self.workers.values().next().expect("there is a worker").url()
    }

    pub fn urls(&self) -> Vec<String> {
        self.workers.values().map(|worker| worker.url().to_owned()).collect()
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        let worker = self.workers.remove(name).expect("it runs");
        self.tell_load();
        worker.kill();
    }

    /// Stops a worker gently.
    pub async fn stop(&mut self, name: &str) {
        let worker = self.workers.remove(name).expect("it runs");
        self.tell_load();
        worker.signal(nix::sys::signal::Signal::SIGTERM);
        let ended = worker.ended().await;
        assert!(ended.success(), "worker {name}: {ended}");
    }

    /// From now on attempts of these workers may be interrupted.
    pub fn fault(&mut self, victims: &[&str]) {
        let urls =
            victims.iter().filter_map(|name| self.workers.get(*name)).map(|worker| worker.url().to_owned());
        self.book.set_victims(urls.collect::<Vec<_>>());
        let victims = victims.iter().map(|name| (*name).to_owned()).collect();
        self.faults.push(Fault { victims, from_ms: now_ms(), to_ms: None });
    }

    /// No more, once every partition has an owner again.
    pub async fn healed(&mut self) {
        self.settled().await;
        self.book.set_victims(Vec::new());
        self.faults.last_mut().expect("there was a fault").to_ms = Some(now_ms());
    }

    /// Waits until every partition has acknowledged a job that was asked for after this call: what it
    /// was told before that is durable, too. There must be a load.
    pub async fn committing(&self) {
        let since_ms = now_ms();
        until("every partition commits", async || {
            let orders = self.book.orders();
            let later = orders.iter().filter(|order| order.asked_ms > since_ms);
            let partitions: BTreeSet<_> = later.map(|order| order.id.partition()).collect();
            (partitions.len() == usize::from(self.setup.partitions)).then_some(())
        })
        .await;
    }

    /// ZooKeeper as it is.
    pub async fn tree(&self) -> Option<Tree> {
        tree::read(self.servers, &self.chroot()).await
    }

    pub fn keyspace(&self) -> String {
        format!("faults_{}", self.setup.name)
    }

    fn chroot(&self) -> String {
        format!("/faults/{}", self.setup.name)
    }

    /// Waits until every partition has one owner, who knows it, and no partition is to move.
    pub async fn settled(&self) {
        let wanted = usize::from(self.setup.partitions);
        let mut last = String::new();
        let looked = tokio::time::timeout(crate::common::PATIENCE, async {
            loop {
                match self.look().await {
                    Ok(()) => return,
                    Err(why) => last = why,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(looked.await.is_ok(), "not all of {wanted} partitions have one owner: {last}");
    }

    async fn look(&self) -> Result<(), String> {
        let tree = self.tree().await.ok_or("ZooKeeper does not answer")?;
        if tree.members.len() != self.workers.len() {
            return Err(format!("{} workers run, but {tree:?}", self.workers.len()));
        }
        if tree.owners.len() != usize::from(self.setup.partitions)
            || tree.owners.values().any(|owner| !tree.members.contains(owner))
        {
            return Err(format!("{tree:?}"));
        }
        for worker in self.workers.values() {
            let prefix = format!("{}:", worker.name);
            let locked = tree.owners.values().filter(|owner| owner.starts_with(&prefix)).count();
            // What it says that it owns, and should own.
            let shown = self.metrics(worker.url(), ["qdo_partitions_owned", "qdo_partitions_wanted"]).await;
            if shown != Some([locked, locked]) {
                return Err(format!("{} owns and wants {shown:?}, but {tree:?}", worker.name));
            }
        }
        Ok(())
    }

    /// Metrics of a worker without labels.
    pub async fn metrics<const N: usize>(&self, url: &str, names: [&str; N]) -> Option<[usize; N]> {
        let asked = self.client.get(format!("{url}/metrics")).timeout(ANSWER_PATIENCE).send();
        let text = asked.await.ok()?.text().await.ok()?;
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let mut found = [0; N];
        for (place, name) in found.iter_mut().zip(names) {
            *place = values.get(name)?.parse::<f64>().ok()? as usize;
        }
        Some(found)
    }

    /// Leaves what was acknowledged beside the ledger, for whoever looks into a pause.
    pub fn keep_orders(&self, orders: &[Order]) {
        let lines = orders.iter().map(|order| {
            let Order { id, asked_ms, acked_ms, undisturbed } = order;
            format!("{id} {} {asked_ms} {acked_ms} {undisturbed}\n", id.partition())
        });
        fs::write(self.folder.join("orders"), lines.collect::<String>()).unwrap();
    }

    /// What all workers have said, of these levels.
    pub fn said(&self, levels: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for name in self.ways.keys() {
            let text = fs::read_to_string(self.folder.join(name).join("log")).unwrap_or_default();
            let wanted = text.lines().filter(|line| levels.iter().any(|level| line.contains(level)));
            lines.extend(wanted.map(|line| format!("{name}: {line}")));
        }
        lines
    }
}

fn config_text(setup: &Setup, script: &Path) -> String {
    let Setup { name, partitions, slots, settle } = setup;
    format!(
        r#"listen = "127.0.0.1:0"
[log]
filter = "info,qdo=debug"
[cluster]
name = "${{WORKER}}"
secret = "not really a secret, but long"
settle = "{settle}"
lease = "{lease}s"
[cassandra]
contact_points = ["${{CASSANDRA_1}}", "${{CASSANDRA_2}}", "${{CASSANDRA_3}}"]
keyspace = "faults_{name}"
[zookeeper]
connect = "${{ZOOKEEPER}}/faults/{name}"
session_timeout = "{timeout}s"
[worker]
slots = {slots}
partitions = {partitions}
[handlers.work]
exec = ["sh", "{script}"]
pass_env = ["PATH", "LEDGER", "WORKER"]
"#,
        lease = LEASE.as_secs(),
        timeout = SESSION_TIMEOUT.as_secs(),
        script = script.display(),
    )
}
