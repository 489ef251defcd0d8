//! Random faults, one or two at a time, one after the other, for as long as is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::common::servers::Servers;
use crate::ensemble::control;
use crate::kit::cluster::{Cluster, SESSION_TIMEOUT, Setup};
use crate::kit::report::line;
use crate::kit::story::Story;

/// How long; `scripts/soak` sets it.
const SECONDS_VARIABLE: &str = "QDO_TEST_SOAK_SECONDS";
const SECONDS: u64 = 180;
/// Everything is checked after at most so long.
const CHAPTER: Duration = Duration::from_secs(150);
const WORKERS: [&str; 4] = ["a", "b", "c", "d"];

#[tokio::test]
async fn a_cluster_survives_random_faults() {
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(SECONDS, |text| {
        text.parse().unwrap_or_else(|_| panic!("{SECONDS_VARIABLE}={text} is no number of seconds"))
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut cluster = Cluster::start(Setup::new("soak"), &WORKERS).await;
    while Instant::now() < end {
        let story = Story::begin(&mut cluster, "random faults").await;
        let chapter_end = end.min(Instant::now() + CHAPTER);
        let mut kinds = BTreeMap::new();
        while Instant::now() < chapter_end {
            for kind in round(&mut cluster).await {
                *kinds.entry(kind).or_insert(0) += 1;
            }
        }
        let mut told = story.end(&mut cluster).await;
        let kinds: Vec<_> = kinds.iter().map(|(kind, times)| format!("{times} × {kind}")).collect();
        told.row.more += &format!(": {}", kinds.join(", "));
        told.row.print();
    }
}

/// Something that happens, and how long it lasts.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Killed(&'static str),
    Frozen(&'static str),
    Restarted(&'static str),
    CutFromZooKeeper(&'static str),
    CutFromStore(&'static str),
    NodeFrozen(usize),
    MemberKilled(usize),
    MemberFrozen(usize),
    Wiped,
    AllKilled,
}

impl Trouble {
    fn draw(cluster: &mut Cluster) -> Self {
        let worker = WORKERS[cluster.random.below(4) as usize];
        let server = 1 + cluster.random.below(3) as usize;
        match cluster.random.below(13) {
            0 | 1 => Self::Killed(worker),
            2 | 3 => Self::Frozen(worker),
            4 | 5 => Self::Restarted(worker),
            6 => Self::CutFromZooKeeper(worker),
            7 => Self::CutFromStore(worker),
            8 => Self::NodeFrozen(server),
            9 => Self::MemberKilled(server),
            10 => Self::MemberFrozen(server),
            11 => Self::AllKilled,
            _ => Self::Wiped,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Killed(_) => "worker killed",
            Self::Frozen(_) => "worker frozen",
            Self::Restarted(_) => "worker restarted",
            Self::CutFromZooKeeper(_) => "worker cut from ZooKeeper",
            Self::CutFromStore(_) => "worker cut from the store",
            Self::NodeFrozen(_) => "Cassandra node frozen",
            Self::MemberKilled(_) => "ZooKeeper member killed",
            Self::MemberFrozen(_) => "ZooKeeper member frozen",
            Self::AllKilled => "all workers killed",
            Self::Wiped => "ZooKeeper wiped",
        }
    }

    /// Whose attempts it may interrupt.
    fn victims(self) -> Vec<&'static str> {
        match self {
            Self::Killed(worker) | Self::Frozen(worker) | Self::CutFromZooKeeper(worker) => vec![worker],
            Self::AllKilled => WORKERS.to_vec(),
            _ => Vec::new(),
        }
    }

    /// What it is done to, so that two at once are not done to one thing.
    fn targets(self) -> Vec<String> {
        match self {
            Self::Restarted(worker) | Self::CutFromStore(worker) => vec![worker.to_owned()],
            Self::NodeFrozen(_) => vec!["cassandra".to_owned()],
            Self::MemberKilled(_) | Self::MemberFrozen(_) | Self::Wiped => vec!["zookeeper".to_owned()],
            _ => self.victims().into_iter().map(str::to_owned).collect(),
        }
    }

    fn fits(self, other: Self) -> bool {
        let targets = other.targets();
        !self.targets().iter().any(|target| targets.contains(target))
    }

    async fn begin(self, cluster: &mut Cluster) {
        match self {
            Self::Killed(worker) => cluster.kill(worker),
            Self::Frozen(worker) => cluster.worker(worker).signal(Signal::SIGSTOP),
            Self::Restarted(worker) => cluster.stop(worker).await,
            Self::CutFromZooKeeper(worker) => cluster.ways(worker).zookeeper.silence(),
            Self::CutFromStore(worker) => cluster.ways(worker).store.silence(),
            Self::NodeFrozen(number) => {
                let node = format!("cassandra-{number}");
                control(cluster, move |servers| servers.pause(&[&node])).await;
            }
            Self::MemberKilled(number) => {
                let member = format!("zookeeper-{number}");
                control(cluster, move |servers| servers.kill(&[&member])).await;
            }
            Self::MemberFrozen(number) => {
                let member = format!("zookeeper-{number}");
                control(cluster, move |servers| servers.pause(&[&member])).await;
            }
            Self::Wiped => control(cluster, Servers::wipe_zookeeper).await,
            Self::AllKilled => WORKERS.iter().for_each(|worker| cluster.kill(worker)),
        }
    }

    async fn end(self, cluster: &mut Cluster) {
        match self {
            Self::Killed(worker) | Self::Restarted(worker) => cluster.add(&[worker]).await,
            Self::Frozen(worker) => cluster.worker(worker).signal(Signal::SIGCONT),
            Self::CutFromZooKeeper(worker) => cluster.ways(worker).zookeeper.open(),
            Self::CutFromStore(worker) => cluster.ways(worker).store.open(),
            Self::NodeFrozen(number) => {
                let node = format!("cassandra-{number}");
                control(cluster, move |servers| servers.resume(&[&node])).await;
            }
            Self::MemberKilled(number) => {
                let member = format!("zookeeper-{number}");
                control(cluster, move |servers| servers.start_again(&[&member])).await;
            }
            Self::MemberFrozen(number) => {
                let member = format!("zookeeper-{number}");
                control(cluster, move |servers| servers.resume(&[&member])).await;
            }
            Self::Wiped => {}
            Self::AllKilled => cluster.add(&WORKERS).await,
        }
    }
}

/// One or two troubles at once, until all is well again.
async fn round(cluster: &mut Cluster) -> Vec<&'static str> {
    let first = Trouble::draw(cluster);
    let mut troubles = vec![first];
    if cluster.random.one_in(3) {
        let second = Trouble::draw(cluster);
        troubles.extend(first.fits(second).then_some(second));
    }
    let begun = Instant::now();
    let victims: Vec<&str> = troubles.iter().flat_map(|trouble| trouble.victims()).collect();
    cluster.fault(&victims);
    for trouble in &troubles {
        trouble.begin(cluster).await;
    }
    line(&format!("soak: {troubles:?} at {}", Timestamp::now()));
    let held = cluster.random.moment(2 * SESSION_TIMEOUT.as_millis() as u64);
    sleep(held).await;
    for trouble in &troubles {
        trouble.end(cluster).await;
    }
    cluster.healed().await;
    // What had ended while the store was away is under way until it is recorded: not at the next fault.
    cluster.committing().await;
    line(&format!("soak: {troubles:?} held for {held:?}, all well after {:?}", begun.elapsed()));
    troubles.iter().map(|trouble| trouble.kind()).collect()
}
