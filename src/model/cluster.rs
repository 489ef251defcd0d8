//! What is seen of a cluster from outside: its workers, its partitions, and what would move.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{Counts, Rates};

/// A cluster, as one worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// Id of the worker that answers; none if nobody was asked (`--direct`).
    pub answered_by: Option<String>,
    /// That worker is sure that what it sees of the others is up to date; it starts nothing otherwise.
    pub sure: bool,
    /// Partitions of all queues.
    pub partitions: u64,
    /// Those that nobody owns now.
    pub partitions_without_owner: u64,
    /// Workers, by name.
    pub workers: Vec<WorkerView>,
    /// Ids of workers that did not answer in time: what only they know is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The store, as the answering worker sees it.
    pub store: StoreView,
    /// Where workers meet, as the answering worker sees it; none for a server that is alone.
    pub coordinator: Option<CoordinatorView>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    /// Its process, `name:pid:incarnation`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where its HTTP API is; none for a server that is alone.
    pub address: Option<String>,
    /// Version of qdo.
    pub version: String,
    /// Since when its process runs, by its own clock.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// It gives its partitions away and takes none.
    pub draining: bool,
    /// Its share of partitions next to others'.
    pub capacity: u32,
    /// What it is, for queues that ask for it.
    pub labels: BTreeMap<String, String>,
    /// Partitions that it owns.
    pub partitions: u64,
    /// Attempts that it runs at once, at most.
    pub slots: u32,
    /// Attempts that it runs now; none if it did not answer.
    pub running: Option<u64>,
    /// What happened in its partitions in the last minute; none if it did not answer.
    pub last_minute: Option<Rates>,
    /// Why it can't serve its partitions now, if it says so.
    pub trouble: Option<String>,
    /// Settings that should be equal everywhere and are not the same here as at most others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_differ: Vec<String>,
    /// Partitions that it has tried and can't serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cannot_serve: Vec<String>,
}

impl WorkerView {
    /// Share of its slots that are taken, 0 to 1.
    pub fn load(&self) -> Option<f64> {
        let running = self.running?;
        (self.slots > 0).then(|| running as f64 / f64::from(self.slots))
    }
}

/// A store's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoreView {
    /// What it is: `SQLite 3.50`, `Apache Cassandra 5.0.5`; none if it did not answer.
    pub backend: Option<String>,
    /// What an acknowledged write survives.
    pub durability: Option<String>,
    /// Copies of each row, if it keeps several.
    pub replicas: Option<u32>,
    /// Its servers, if it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<StoreNodeView>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// A server of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoreNodeView {
    /// Its address.
    pub address: String,
    /// Its data centre.
    pub datacenter: Option<String>,
    /// Its rack.
    pub rack: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// There is a connection to it.
    pub up: bool,
}

/// Health of where workers meet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CoordinatorView {
    /// `local` or `zookeeper`; none if it did not answer.
    pub kind: Option<String>,
    /// The answering worker's session: `sure`, `unsure`, or `none`; none if nobody was asked.
    pub session: Option<String>,
    /// How long a write took.
    pub write_seconds: Option<f64>,
    /// Its servers, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<CoordinatorServerView>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// A server of the ensemble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CoordinatorServerView {
    /// `host:port`.
    pub address: String,
    /// `leader`, `follower`, `observer`, `standalone`, if it says so.
    pub role: Option<String>,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartitionView {
    /// `group/index`, as in job ids and the store.
    pub partition: String,
    /// Namespace of its group.
    pub namespace: String,
    /// Name of its group.
    pub group: String,
    /// Queues with jobs in it.
    pub queues: Vec<String>,
    /// Id of the worker that owns it; none if nobody does.
    pub owner: Option<String>,
    /// Name of that worker, if it is known.
    pub owner_name: Option<String>,
    /// The owner's epoch, `number-incarnation`.
    pub epoch: Option<String>,
    /// Since when that owner has it open, by its clock.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Jobs per state, over its queues; none if its owner did not answer.
    pub counts: Option<Counts>,
    /// Lag: age of the oldest waiting job in seconds; none if none waits, or it is not known.
    pub oldest_waiting_seconds: Option<f64>,
    /// What happened in the last minute; none if its owner did not answer.
    pub last_minute: Option<Rates>,
    /// Slots of routing values that are with it, of 4,096 in its group.
    #[serde(default)]
    pub slots: u64,
    /// Of those, how many wait to go to another partition, which was added.
    #[serde(default)]
    pub slots_to_move: u64,
    /// When `counts` were written, if they are not the owner's own word but the last in the store.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<Timestamp>,
    /// Jobs enqueued after `counts` were written, if they are the last in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs_since: Option<u64>,
    /// What is wrong with it.
    pub trouble: Option<String>,
}

/// A page of partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartitionPage {
    /// The partitions, in the order of their numbers.
    pub partitions: Vec<PartitionView>,
    /// Those of this page whose owner did not answer in time, or that have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Where to go on; none at the end.
    pub cursor: Option<String>,
}

/// What would move if a worker joined or left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// Name of the worker that would join.
    pub join: Option<String>,
    /// Id of the worker that would leave.
    pub leave: Option<String>,
    /// Partitions of all queues.
    pub partitions: u64,
    /// What would move.
    pub moves: Vec<MoveView>,
    /// What each worker would have.
    pub workers: Vec<ShareView>,
    /// Partitions that nobody could own then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_owner: Vec<String>,
}

/// A partition that would move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MoveView {
    /// `group/index`.
    pub partition: String,
    /// Namespace of its group.
    pub namespace: String,
    /// Name of its group.
    pub group: String,
    /// Id of the worker that should own it now.
    pub from: Option<String>,
    /// Id of the worker that would own it then.
    pub to: Option<String>,
}

/// A worker's share before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShareView {
    /// Its id; for one that would join, its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Partitions that it should own now.
    pub before: u64,
    /// Partitions that it would own then.
    pub after: u64,
}

/// A worker that was asked to give its partitions away, or to take some again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainView {
    /// The worker's id.
    pub id: String,
    /// Its name, if it is here.
    pub name: Option<String>,
    /// It gives its partitions away and takes none.
    pub draining: bool,
    /// Partitions that it still owns.
    pub partitions: u64,
}
