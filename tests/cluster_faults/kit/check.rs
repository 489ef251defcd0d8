//! What must hold after every fault.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use qdo::model::view::{Counts, JobPage, JobView};
use qdo::model::{JobId, JobState};

use super::cluster::{Cluster, QUEUE};
use super::ledger::Run;
use super::load::Order;
use super::until;
use crate::common::jobs;

/// An attempt whose handler ended so long before a fault may not have been recorded at the fault.
const RECORDED_WITHIN_MS: u64 = 1_000;
/// Of what is wrong, so much is shown.
const SHOWN_MAX: usize = 10;

/// Jobs that are listed at a time.
const PAGE: usize = 500;

/// A time in which attempts of some workers may be interrupted.
#[derive(Clone, Debug)]
pub struct Fault {
    pub victims: Vec<String>,
    pub from_ms: u64,
    /// None while it lasts.
    pub to_ms: Option<u64>,
}

impl Fault {
    /// Whether an attempt was under way at this fault.
    fn caught(&self, run: &Run) -> bool {
        let begun = self.to_ms.is_none_or(|to| run.start_ms <= to);
        let open = run.end_ms.is_none_or(|end| end + RECORDED_WITHIN_MS >= self.from_ms);
        self.victims.contains(&run.worker) && begun && open
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Attempts after the first, by job.
    pub duplicates: BTreeMap<JobId, usize>,
    wrong: Vec<String>,
}

impl Found {
    fn say(&mut self, what: String) {
        self.wrong.push(what);
    }
}

/// Waits until no job is open, and checks all that was ever acknowledged.
pub async fn check(cluster: &mut Cluster, story: &str) -> Found {
    let orders = cluster.book.orders();
    drained(cluster, &orders, story).await;
    let mut found = Found::default();
    cluster.book.wrong().into_iter().for_each(|wrong| found.say(format!("an answer: {wrong}")));
    let faults = cluster.faults.clone();
    look_at_runs(&orders, cluster.ledger.read(), &faults, &mut found);
    let twice: Vec<_> = cluster.ledger.twice().iter().map(|line| format!("ran twice: {line}")).collect();
    twice.into_iter().for_each(|line| found.say(line));
    look_at_answers(cluster, &orders, &mut found).await;
    cluster.settled().await;
    let crashes = cluster.said(&["panicked at", "this is a bug"]);
    crashes.into_iter().for_each(|line| found.say(line));
    let shown = found.wrong.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(found.wrong.is_empty(), "{story}: {} wrong:\n{shown}\n{faults:?}", found.wrong.len());
    found
}

/// Every acknowledged job ran to its end, and no job is open.
async fn drained(cluster: &mut Cluster, orders: &[Order], story: &str) {
    let mut open = String::new();
    let waited = tokio::time::timeout(crate::common::PATIENCE, async {
        until("no job is open", async || {
            let runs = cluster.ledger.read();
            let done = |order: &&Order| {
                runs.get(&order.id).is_some_and(|runs| runs.iter().any(|run| run.end_ms.is_some()))
            };
            let missing: Vec<JobId> =
                orders.iter().filter(|order| !done(order)).map(|order| order.id).collect();
            let counts = jobs::queue(&cluster.client, cluster.any_url(), QUEUE).await;
            open = format!(
                "{:?}, missing {:?}; not ended: {missing:?}",
                counts.counts, counts.missing_partitions
            );
            (missing.is_empty() && counts.counts.open() == 0 && counts.missing_partitions.is_empty())
                .then_some(())
        })
        .await;
    })
    .await;
    if waited.is_err() {
        let listed = listed(cluster).await;
        let of_open = listed.iter().filter(|job| !job.state.is_final()).take(SHOWN_MAX);
        let shown: Vec<_> = of_open
            .map(|job| format!("{} {:?}: {} {:?}", job.id, job.state, job.reason, job.attempts))
            .collect();
        panic!("{story}: jobs stay open: {open}\n{}", shown.join("\n"));
    }
}

/// Nothing ran twice that was not under way at a fault.
fn look_at_runs(orders: &[Order], runs: &BTreeMap<JobId, Vec<Run>>, faults: &[Fault], found: &mut Found) {
    let acknowledged: HashSet<JobId> = orders.iter().map(|order| order.id).collect();
    for (job, runs) in runs {
        if !acknowledged.contains(job) {
            found.say(format!("job {job} ran, and nobody was told of it: {runs:?}"));
        }
        if runs.len() > 1 {
            found.duplicates.insert(*job, runs.len() - 1);
        }
        let mut runs = runs.clone();
        runs.sort_by_key(|run| run.attempt);
        for pair in runs.windows(2) {
            if !faults.iter().any(|fault| fault.caught(&pair[0])) {
                found.say(format!("job {job} ran again without a fault: {runs:?}"));
            }
            if pair[1].epoch < pair[0].epoch {
                found.say(format!("job {job} was started by an older owner: {runs:?}"));
            }
        }
    }
}

/// Every worker says the same, which is what is so.
async fn look_at_answers(cluster: &Cluster, orders: &[Order], found: &mut Found) {
    let wanted = Counts { succeeded: orders.len() as u64, ..Counts::default() };
    for url in cluster.urls() {
        let queue = jobs::queue(&cluster.client, &url, QUEUE).await;
        if queue.counts != wanted || !queue.missing_partitions.is_empty() {
            found.say(format!("{} were acknowledged, but {url} counts {queue:?}", orders.len()));
        }
    }
    let listed = listed(cluster).await;
    let known: BTreeSet<JobId> = listed.iter().map(|job| job.id).collect();
    let acknowledged: BTreeSet<JobId> = orders.iter().map(|order| order.id).collect();
    if known.len() != listed.len() {
        found.say(format!("{} jobs are listed more than once", listed.len() - known.len()));
    }
    known.difference(&acknowledged).for_each(|job| found.say(format!("job {job} was never acknowledged")));
    acknowledged.difference(&known).for_each(|job| found.say(format!("job {job} is gone")));
    for job in listed.iter().filter(|job| job.state != JobState::Succeeded) {
        found.say(format!("job {} is {:?}: {}", job.id, job.state, job.reason));
    }
}

/// All jobs of the queue, once every partition's owner has answered in time.
async fn listed(cluster: &Cluster) -> Vec<JobView> {
    let base = format!("{}/v1/default/queues/{QUEUE}/jobs?limit={PAGE}", cluster.any_url());
    let mut all = Vec::new();
    let mut url = base.clone();
    loop {
        let page = until("a whole page of jobs", async || {
            let answer = cluster.client.get(&url).send().await.ok()?;
            let text = answer.error_for_status().ok()?.text().await.ok()?;
            let page: JobPage = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            page.missing_partitions.is_empty().then_some(page)
        })
        .await;
        all.extend(page.jobs);
        let Some(cursor) = page.cursor else { return all };
        url = format!("{base}&cursor={cursor}");
    }
}
