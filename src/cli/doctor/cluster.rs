//! The store and ZooKeeper of a cluster, and what its workers say of themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Findings;
use crate::cli::exit::Failure;
use crate::cli::worker::plan::Plan;
use crate::config::Loaded;
use crate::coordination::zookeeper::{ZooKeeperCoordinator, ZooKeeperOptions};
use crate::coordination::{Coordinator, View};
use crate::store::cassandra::{CREATION_OFF, CassandraOptions, CassandraStore};
use crate::store::{Durability, Store, StoreErrorKind};
use crate::worker::clock::Clock;
use crate::worker::clock_offset::{OFFSET_MS_MAX, measure};

/// A clock that is off by more should be set, ms.
const OFFSET_MS_ADVISED: i64 = 1_000;
/// Copies of each row that survive the loss of a node.
const REPLICAS_ADVISED: u32 = 3;
/// Whatever takes longer has no answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// A write that takes longer makes take-overs slow.
const WRITE_ADVISED: Duration = Duration::from_millis(200);

pub(super) async fn look(loaded: &Loaded, findings: &mut Findings) -> Result<(), Failure> {
    let plan = match Plan::of(loaded) {
        Ok(plan) => plan,
        Err(Failure::Said(_, message)) => {
            findings.fail("cluster", message, "");
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    listening(loaded, &plan, findings);
    store(&plan, findings).await;
    zookeeper(&plan, findings).await;
    Ok(())
}

fn listening(loaded: &Loaded, plan: &Plan, findings: &mut Findings) {
    const CHECK: &str = "listening";
    let listen = loaded.config.listen;
    let secret =
        if plan.cluster.secret.is_some() { "with a cluster secret" } else { "without a cluster secret" };
    let found = format!("at {listen}, {secret}");
    let is_far = !servers_are_here(&loaded.config.zookeeper.connect);
    if listen.ip().is_loopback() && is_far {
        let found = format!("{found}: workers on other hosts can't reach this one");
        findings.warn(CHECK, found, "set `listen` to an address that they reach, like \"0.0.0.0:7420\"");
    } else if !listen.ip().is_loopback() && plan.cluster.secret.is_none() {
        let advice = "set cluster.secret_file: whoever reaches the port can pose as a worker";
        findings.warn(CHECK, found, advice);
    } else {
        findings.ok(CHECK, found);
    }
}

/// All of the ensemble is on this host.
fn servers_are_here(connect: &str) -> bool {
    let servers = connect.split('/').next().unwrap_or_default();
    servers.split(',').all(|server| {
        let host = server.trim().rsplit_once(':').map_or(server.trim(), |(host, _)| host);
        host == "localhost" || host == "[::1]" || host.starts_with("127.")
    })
}

async fn store(plan: &Plan, findings: &mut Findings) {
    const CHECK: &str = "store";
    let may_create = plan.cassandra.create_schema;
    let keyspace = plan.cassandra.keyspace.clone();
    // Who looks makes nothing.
    let options = CassandraOptions { create_schema: false, ..plan.cassandra.clone() };
    let opened = timeout(PATIENCE, CassandraStore::open(options)).await;
    let store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) if may_create && error.message.contains(CREATION_OFF) => {
            let found = format!("Cassandra answers; keyspace {keyspace} is not there, or is not qdo's yet");
            return findings.warn(CHECK, found, "nothing to do: the first worker makes it");
        }
        Ok(Err(error)) => {
            let advice = match error.kind {
                StoreErrorKind::Unavailable => {
                    "start Cassandra, or correct cassandra.contact_points; workers wait for it"
                }
                _ => "",
            };
            return findings.fail(CHECK, error.message, advice);
        }
        Err(_) => {
            return findings.fail(
                CHECK,
                format!("Cassandra did not answer in {} s", PATIENCE.as_secs()),
                "look at its nodes, and at cassandra.contact_points",
            );
        }
    };
    let store: Arc<dyn Store> = Arc::new(store);
    match store.health().await {
        Err(error) => findings.fail(CHECK, error.message, "look at the log of Cassandra"),
        Ok(health) => {
            let up = health.nodes.iter().filter(|node| node.up).count();
            let mut centres: Vec<&str> =
                health.nodes.iter().filter_map(|node| node.datacenter.as_deref()).collect();
            centres.sort_unstable();
            centres.dedup();
            let found = format!(
                "{}, keyspace {keyspace}, {up} of {} nodes up, data centre {}",
                health.backend,
                health.nodes.len(),
                centres.join(", ")
            );
            if up < health.nodes.len() {
                let down = health.nodes.iter().filter(|node| !node.up);
                let down: Vec<&str> = down.map(|node| node.address.as_str()).collect();
                findings.warn(CHECK, found, format!("start these nodes again: {}", down.join(", ")));
            } else {
                findings.ok(CHECK, found);
            }
            replicas(health.replicas, findings);
            if health.durability < Durability::Power {
                findings.warn("durability", health.durability_note, "");
            } else {
                findings.ok("durability", health.durability_note);
            }
        }
    }
    clock(&*store, findings).await;
}

fn replicas(replicas: Option<u32>, findings: &mut Findings) {
    const CHECK: &str = "replicas";
    match replicas {
        Some(few) if few < REPLICAS_ADVISED => findings.warn(
            CHECK,
            format!("{few} copies of each row: the store stops when one node is down"),
            "with three nodes or more, alter the keyspace's replication factor to 3 and repair it",
        ),
        Some(enough) => findings.ok(CHECK, format!("{enough} copies of each row")),
        None => findings.warn(CHECK, "how many copies of rows there are is not known", ""),
    }
}

async fn clock(store: &dyn Store, findings: &mut Findings) {
    const CHECK: &str = "clock";
    const ADVICE: &str = "set the clocks of all hosts by NTP (chrony, systemd-timesyncd)";
    let offset = match measure(store, &Clock::of_machine()).await {
        Ok(offset) => offset,
        Err(error) => return findings.fail(CHECK, error.message, "look at the log of Cassandra"),
    };
    let found = format!("{} ms from the store's, to ±{} ms", offset.ms, offset.within_ms);
    // As a worker sees it: a doubt speaks for the clock.
    let least = offset.ms.abs() - offset.within_ms;
    if least > OFFSET_MS_MAX {
        findings.fail(CHECK, format!("{found}: a worker here takes no partitions"), ADVICE);
    } else if least > OFFSET_MS_ADVISED {
        findings.warn(CHECK, found, ADVICE);
    } else {
        findings.ok(CHECK, found);
    }
}

async fn zookeeper(plan: &Plan, findings: &mut Findings) {
    const CHECK: &str = "zookeeper";
    let coordinator = match ZooKeeperCoordinator::new(ZooKeeperOptions::clone(&plan.zookeeper)) {
        Ok(coordinator) => coordinator,
        Err(error) => return findings.fail(CHECK, error.message, ""),
    };
    let asked = async {
        let health = coordinator.health().await?;
        let has_chroot = coordinator.has_chroot().await?;
        Ok::<_, crate::coordination::CoordinationError>((health, has_chroot, coordinator.look().await?))
    };
    let (health, has_chroot, view) = match timeout(PATIENCE, asked).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => {
            let advice = "start the ensemble, or correct zookeeper.connect; workers wait for it";
            return findings.fail(CHECK, error.message, advice);
        }
        Err(_) => {
            let found = format!("ZooKeeper did not answer in {} s", PATIENCE.as_secs());
            return findings.fail(CHECK, found, "look at its servers, and at zookeeper.connect");
        }
    };
    let up = health.servers.iter().filter(|server| server.error.is_none()).count();
    let found = format!(
        "{up} of {} servers answer, a write takes {} ms",
        health.servers.len(),
        health.write.as_millis()
    );
    if up < health.servers.len() {
        let down = health
            .servers
            .iter()
            .filter_map(|server| server.error.as_ref().map(|error| format!("{} ({error})", server.address)));
        findings.warn(
            CHECK,
            found,
            format!("look at these servers: {}", down.collect::<Vec<_>>().join(", ")),
        );
    } else if health.write > WRITE_ADVISED {
        findings.warn(CHECK, found, "give ZooKeeper a disk of its own for its log (dataLogDir)");
    } else {
        findings.ok(CHECK, found);
    }
    match (has_chroot, plan.zookeeper.create_chroot) {
        (true, _) => findings.ok("chroot", "is there"),
        (false, true) => findings.ok("chroot", "is not there yet: the first worker makes it"),
        (false, false) => findings.fail(
            "chroot",
            "does not exist, and zookeeper.create_chroot is off",
            "make it with zkCli.sh, or correct zookeeper.connect",
        ),
    }
    members(plan, &view, findings);
}

fn members(plan: &Plan, view: &View, findings: &mut Findings) {
    const CHECK: &str = "workers";
    let named: Vec<String> =
        view.members.values().map(|member| format!("{} ({})", member.name, member.version)).collect();
    findings.ok(CHECK, if named.is_empty() { "none are here".to_owned() } else { named.join(", ") });
    for (key, ours) in &plan.cluster.equal {
        let others = view
            .members
            .values()
            .filter(|member| member.settings.get(key).is_some_and(|other| other != ours));
        let others: Vec<&str> = others.map(|member| member.name.as_str()).collect();
        if !others.is_empty() {
            findings.warn(
                "settings",
                format!("`{key}` is not the same here and at {}", others.join(", ")),
                "give all hosts the same configuration, and start their workers anew",
            );
        }
    }
    for member in view.members.values().filter(|member| !member.cannot_serve.is_empty()) {
        findings.warn(
            CHECK,
            format!("{} can't serve {}", member.name, member.cannot_serve.join(", ")),
            "look at its log, and at `qdo store check`",
        );
    }
}
