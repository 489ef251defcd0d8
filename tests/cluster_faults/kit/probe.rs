//! What the store itself takes meanwhile: one write and one read at a time, past every worker.

use std::time::Duration;

use bytes::Bytes;
use qdo::model::PartitionId;
use qdo::store::{CassandraOptions, CassandraStore, IndexEntry, Store, WriteOutcome};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::pauses::percentile;

const EVERY: Duration = Duration::from_millis(50);

/// See the module.
pub struct Probe {
    stop: CancellationToken,
    probing: JoinHandle<(Vec<u64>, Vec<u64>)>,
}

impl Probe {
    pub async fn start(cluster: &Cluster) -> Self {
        let options = CassandraOptions {
            contact_points: cluster.servers.contact_points(),
            keyspace: cluster.keyspace(),
            ..CassandraOptions::default()
        };
        let store = CassandraStore::open(options).await.unwrap();
        let stop = CancellationToken::new();
        Self { probing: tokio::spawn(probe(store, stop.clone())), stop }
    }

    /// Milliseconds of writes and of reads, at p99.
    pub async fn stop(self) -> (u64, u64) {
        self.stop.cancel();
        let (writes, reads) = self.probing.await.unwrap();
        (percentile(writes, 99), percentile(reads, 99))
    }
}

async fn probe(store: CassandraStore, stop: CancellationToken) -> (Vec<u64>, Vec<u64>) {
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let entry = IndexEntry {
            scope: "probe".into(),
            bucket: 0,
            term: Bytes::from(format!("{}", writes.len())),
            value: Bytes::from_static(b"0123456789abcdef"),
        };
        let begun = Instant::now();
        if store.put_entries(vec![entry]).await == WriteOutcome::Durable {
            writes.push(begun.elapsed().as_millis() as u64);
        }
        let begun = Instant::now();
        if store.highest_claim(PartitionId { group: 1, index: 0 }).await.is_ok() {
            reads.push(begun.elapsed().as_millis() as u64);
        }
    }
    (writes, reads)
}
