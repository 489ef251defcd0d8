//! How long partitions had something to start and started nothing.

use std::collections::{BTreeMap, HashMap};

use qdo::model::{JobId, PartitionId};

use super::ledger::Run;
use super::load::Order;

/// A time in which a partition started nothing, though a job was waiting.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    pub partition: PartitionId,
    /// When it ended.
    pub until_ms: u64,
    pub ms: u64,
}

/// All pauses of these orders' partitions: each ends with a start, and begins with the start before or
/// when the oldest waiting job was asked for, whichever is later.
pub fn pauses(orders: &[Order], runs: &BTreeMap<JobId, Vec<Run>>) -> Vec<Pause> {
    let asked: HashMap<JobId, &Order> = orders.iter().map(|order| (order.id, order)).collect();
    let mut starts: BTreeMap<PartitionId, Vec<(u64, Option<u64>)>> = BTreeMap::new();
    for (job, runs) in runs {
        let Some(order) = asked.get(job) else { continue };
        for (number, run) in runs.iter().enumerate() {
            let asked_ms = (number == 0 && order.undisturbed).then_some(order.asked_ms);
            starts.entry(job.partition()).or_default().push((run.start_ms, asked_ms));
        }
    }
    let mut pauses = Vec::new();
    for (partition, mut starts) in starts {
        starts.sort_unstable();
        let mut oldest = u64::MAX;
        for at in (0..starts.len()).rev() {
            let (until_ms, asked_ms) = starts[at];
            oldest = oldest.min(asked_ms.unwrap_or(u64::MAX));
            let before = at.checked_sub(1).map_or(0, |before| starts[before].0);
            let ms = until_ms.saturating_sub(oldest.max(before));
            pauses.push(Pause { partition, until_ms, ms });
        }
    }
    pauses
}

/// The longest pause of each partition that ended in that time.
pub fn longest(pauses: &[Pause], from_ms: u64, to_ms: u64) -> BTreeMap<PartitionId, u64> {
    let mut longest = BTreeMap::new();
    for pause in pauses.iter().filter(|pause| (from_ms..=to_ms).contains(&pause.until_ms)) {
        let known: &mut u64 = longest.entry(pause.partition).or_default();
        *known = (*known).max(pause.ms);
    }
    longest
}

/// The smallest value that so many hundredths of all do not exceed; 0 of none.
pub fn percentile(values: impl IntoIterator<Item = u64>, hundredths: usize) -> u64 {
    let mut values: Vec<u64> = values.into_iter().collect();
    values.sort_unstable();
    let rank = (values.len() * hundredths).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
