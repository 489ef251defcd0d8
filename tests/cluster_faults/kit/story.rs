//! One fault under load, from before it to when all is well again.

use super::check::check;
use super::cluster::Cluster;
use super::ledger::now_ms;
use super::load::Load;
use super::pauses::{Pause, longest, pauses};
use super::report::Row;
use super::until;

/// Jobs a second, over all workers.
pub const PER_SECOND: u32 = 30;
/// Jobs that are acknowledged before a fault and after it.
const AROUND: usize = 60;

/// See the module.
pub struct Story {
    name: &'static str,
    load: Load,
    from_ms: u64,
    orders_before: usize,
    faults_before: usize,
    duplicates_before: usize,
}

impl Story {
    /// Lets jobs flow in, some before anything happens.
    pub async fn begin(cluster: &mut Cluster, name: &'static str) -> Self {
        Self::begin_at(cluster, name, PER_SECOND).await
    }

    pub async fn begin_at(cluster: &mut Cluster, name: &'static str, per_second: u32) -> Self {
        let orders_before = cluster.book.acknowledged();
        let story = Self {
            name,
            load: cluster.load(per_second),
            from_ms: now_ms(),
            orders_before,
            faults_before: cluster.faults.len(),
            duplicates_before: cluster.duplicates,
        };
        more(cluster).await;
        story
    }

    /// After some more jobs, no more flow in; then everything is checked, and the row is printed.
    pub async fn end(self, cluster: &mut Cluster) -> Told {
        more(cluster).await;
        self.load.stop().await;
        let found = check(cluster, self.name).await;
        cluster.duplicates = found.duplicates.values().sum();
        let orders = &cluster.book.orders()[self.orders_before..];
        let pauses = pauses(orders, cluster.ledger.read());
        cluster.keep_orders(orders);
        let row = Row {
            story: self.name,
            jobs: orders.len(),
            faults: cluster.faults.len() - self.faults_before,
            duplicates: cluster.duplicates - self.duplicates_before,
            longest_pause_ms: longest(&pauses, self.from_ms, now_ms())
                .into_values()
                .max()
                .unwrap_or_default(),
            more: format!("{} s", (now_ms() - self.from_ms) / 1_000),
        };
        Told { pauses, row }
    }
}

/// Waits until some more jobs were acknowledged.
pub async fn more(cluster: &Cluster) {
    let wanted = cluster.book.acknowledged() + AROUND;
    until("jobs are acknowledged", async || (cluster.book.acknowledged() >= wanted).then_some(())).await;
}

/// What came of a story.
pub struct Told {
    pub pauses: Vec<Pause>,
    pub row: Row<'static>,
}
