//! Partitions are added while keyed jobs flow in: slots move one by one, the order of each key holds,
//! and tokens are known across the move.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use qdo::coordination::assign::{AssignSettings, ManualRule, Policy};
use qdo::model::view::{Enqueued, JobView, QueueView};
use qdo::model::{Due, JobId, JobState, NewJob, QueueSettings};
use qdo::worker::{JobCommand, PartitionFilter, RequestError, Requests};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Node, PATIENCE, all_done, patient, shared_out};

/// Producers, each with a key of its own.
const KEYS: usize = 24;
/// Jobs between two steps of a test.
const STEP: usize = 150;
/// Pause between two looks at a condition.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(5);

fn keyed(key: &str) -> NewJob {
    NewJob { key: Some(key.into()), ..NewJob::new("note", "null") }
}

fn tokened(key: &str, token: &str) -> NewJob {
    NewJob { token: Some(token.into()), ..keyed(key) }
}

/// Asks until it is answered, as a client would.
async fn patiently<T, F: Future<Output = Result<T, RequestError>>>(ask: impl Fn() -> F) -> T {
    let answered = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(RequestError::Moved(_) | RequestError::Unavailable { .. }) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("it is answered in time")
}

async fn send(requests: &Arc<dyn Requests>, job: &NewJob) -> Enqueued {
    let taken = patiently(|| requests.enqueue("default", "q", vec![job.clone()])).await;
    taken.into_iter().next().expect("one job, one answer")
}

async fn queue(requests: &Arc<dyn Requests>) -> QueueView {
    patiently(|| requests.queue("default", "q")).await
}

async fn grow(requests: &Arc<dyn Requests>, partitions: u16) {
    let grown =
        patiently(|| requests.put_queue("default", "q", QueueSettings::default(), Some(partitions))).await;
    assert_eq!(grown.partitions, partitions);
}

/// Every one of these workers says that so many slots are still to move.
async fn slots_to_move(all: &[Arc<dyn Requests>], wanted: u64) {
    let done = async {
        for requests in all {
            while queue(requests).await.slots_to_move != wanted {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, done).await.expect("slots move in time");
}

/// Enqueues jobs of one key, `burst` of them one after another, then waits for their ends; repeats some
/// enqueues. All that it was told of, in order.
async fn produce(
    all: Vec<Arc<dyn Requests>>,
    key: String,
    burst: usize,
    sent: Arc<AtomicUsize>,
    stop: CancellationToken,
) -> Vec<(NewJob, JobId)> {
    let mut told: Vec<(NewJob, JobId)> = Vec::new();
    while !stop.is_cancelled() {
        for _ in 0..burst {
            let number = told.len();
            let job = NewJob { kind: "work".into(), ..tokened(&key, &format!("{key}-{number}")) };
            let requests = &all[number % all.len()];
            told.push((job.clone(), send(requests, &job).await.id));
            sent.fetch_add(1, Ordering::Relaxed);
            if number.is_multiple_of(3) {
                let (job, id) = &told[number / 2];
                let again = send(&all[(number + 1) % all.len()], job).await;
                assert_eq!(again.id, *id, "a token was answered with another job");
            }
        }
        for (_, id) in &told[told.len() - burst..] {
            let requests = &all[told.len() % all.len()];
            let view = patiently(|| requests.wait("default", *id, PATIENCE)).await;
            assert_eq!(view.state, JobState::Succeeded, "{view:?}");
        }
    }
    told
}

/// Waits for so many more jobs.
async fn more(sent: &AtomicUsize, jobs: usize) {
    let until = sent.load(Ordering::Relaxed) + jobs;
    let enough = async {
        while sent.load(Ordering::Relaxed) < until {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.expect("jobs flow");
}

/// No job was taken by a partition before those that its key had elsewhere had ended.
fn in_order(key: &str, jobs: &[JobView]) -> usize {
    let mut moves = 0;
    for (n, job) in jobs.iter().enumerate() {
        for before in jobs[..n].iter().filter(|before| before.partition != job.partition) {
            let ended = before.finished_at.expect("it has ended");
            assert!(ended <= job.enqueued_at, "{key}: {job:?} was taken while {before:?} was open");
        }
        moves += usize::from(n > 0 && jobs[n - 1].partition != job.partition);
    }
    moves
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_jobs_spread_over_added_partitions_in_order_while_owners_come_and_go() {
    let cluster = Cluster::new();
    let [a, b, c] = [cluster.node("a").await, cluster.node("b").await, cluster.node("c").await];
    a.requests().put_queue("default", "q", QueueSettings::default(), Some(1)).await.unwrap();
    shared_out(&[&a], 1).await;
    let all = vec![a.requests(), c.requests()];
    let (sent, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let producers: Vec<_> = (0..KEYS)
        .map(|key| {
            // One at a time, or several in a row.
            let burst = 1 + key % 3;
            tokio::spawn(produce(all.clone(), format!("key-{key}"), burst, sent.clone(), stop.clone()))
        })
        .collect();
    more(&sent, STEP).await;
    let owner = a.worker.view().unwrap().borrow().owners.values().next().cloned().unwrap();
    grow(&b.requests(), 4).await;
    cluster.meeting.expire(&owner);
    more(&sent, STEP).await;
    slots_to_move(&all, 0).await;
    grow(&a.requests(), 8).await;
    b.stop().await;
    let d = cluster.node("d").await;
    cluster.meeting.expire(&c.id);
    more(&sent, STEP).await;
    slots_to_move(&all, 0).await;
    shared_out(&[&a, &c, &d], 8).await;
    more(&sent, STEP).await;
    stop.cancel();
    let told: Vec<Vec<(NewJob, JobId)>> =
        join_all(producers).await.into_iter().map(|told| told.unwrap()).collect();
    let ids: Vec<JobId> = told.iter().flatten().map(|(_, id)| *id).collect();
    all_done(&d.requests(), &ids).await;
    cluster.ledger.holds_one_run_of_each(&ids);
    let counts = queue(&d.requests()).await.counts;
    assert_eq!((counts.succeeded as usize, counts.open()), (ids.len(), 0), "one job for each token");

    let mut moves = 0;
    for (key, told) in told.iter().enumerate() {
        let mut jobs = Vec::new();
        for (_, id) in told {
            jobs.push(patiently(|| all[0].job("default", *id)).await);
        }
        moves += in_order(&format!("key-{key}"), &jobs);
        for (job, id) in told {
            let again = send(&d.requests(), job).await;
            assert!(again.repeated && again.id == *id, "{again:?} is not {id}");
        }
    }
    assert!(moves > KEYS / 2, "only {moves} keys have moved");
    spread_over(&d.requests(), 8).await;
    join_all([a, c, d].map(Node::stop)).await;
}

/// New keys are spread evenly.
async fn spread_over(requests: &Arc<dyn Requests>, partitions: usize) {
    let mut shares: HashMap<String, usize> = HashMap::new();
    let jobs = (0..100 * partitions).map(|key| keyed(&format!("customer-{key}"))).collect::<Vec<_>>();
    let taken = patiently(|| requests.enqueue("default", "q", jobs.clone())).await;
    taken.iter().for_each(|taken| *shares.entry(taken.partition.clone()).or_default() += 1);
    let fair = shares.values().all(|share| (60..150).contains(share));
    assert!(shares.len() == partitions && fair, "{shares:?}");
    let listed =
        requests.partitions(PartitionFilter { limit: 100, ..PartitionFilter::default() }).await.unwrap();
    let slots: BTreeMap<_, _> =
        listed.partitions.iter().map(|view| (view.partition.clone(), view.slots)).collect();
    assert_eq!(slots.values().sum::<u64>(), 4_096);
    assert!(slots.values().all(|slots| *slots == 4_096 / partitions as u64), "{slots:?}");
    assert!(listed.partitions.iter().all(|view| view.slots_to_move == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_an_open_job_stays_until_that_has_ended_and_others_go() {
    let cluster = Cluster::new();
    let nodes = [cluster.node("a").await, cluster.node("b").await];
    let all = nodes.each_ref().map(Node::requests);
    let [a, b] = &all;
    a.put_queue("default", "q", QueueSettings::default(), Some(2)).await.unwrap();
    shared_out(&nodes.each_ref(), 2).await;
    let late = |key: usize| NewJob { due: Due::After(3_600_000), ..keyed(&format!("late-{key}")) };
    let mut open = Vec::new();
    for key in 0..40 {
        open.push(send(a, &late(key)).await);
    }
    grow(b, 6).await;
    let slots: std::collections::HashSet<u16> =
        (0..40).map(|key| qdo::model::slot_of(&format!("late-{key}"))).collect();
    let settled = async {
        let mut last = (u64::MAX, 0);
        // Three looks that are alike: what can move has moved.
        while last.1 < 3 || last.0 > slots.len() as u64 {
            let now = queue(a).await.slots_to_move;
            last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
            tokio::time::sleep(4 * LOOK_AGAIN).await;
        }
        last.0
    };
    let stay = tokio::time::timeout(PATIENCE, settled).await.expect("slots move in time");
    assert!(stay > 0, "those of open jobs stay");
    slots_to_move(&all, stay).await;
    for (key, before) in open.iter().enumerate() {
        let after = send(b, &late(key)).await;
        assert_eq!(after.partition, before.partition, "the key has moved, and a job of it is open");
        for id in [before.id, after.id] {
            patiently(|| b.command("default", id, JobCommand::Cancel)).await;
        }
    }
    slots_to_move(&all, 0).await;
    let mut moved = 0;
    for (key, before) in open.iter().enumerate() {
        moved += usize::from(send(a, &keyed(&format!("late-{key}"))).await.partition != before.partition);
    }
    assert!(moved > 10, "{moved} of 40 keys have moved, of which two thirds should");
    let mut used = std::collections::HashSet::new();
    for number in 0..60 {
        used.insert(patient(&all[number % 2], NewJob::new("note", "null")).await.partition());
    }
    assert_eq!(used.len(), 6, "what has no key goes anywhere");
    let fewer = a.put_queue("default", "q", QueueSettings::default(), Some(3)).await;
    assert!(matches!(fewer, Err(RequestError::Conflict(_))), "{fewer:?}");
    join_all(nodes.map(Node::stop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_wait_for_somebody_to_own_where_they_are_wanted() {
    let cluster = Cluster::new();
    let rule = |partitions, worker: &str| ManualRule {
        pattern: "*".into(),
        partitions: Some(partitions),
        workers: vec![worker.into()],
    };
    let assign = AssignSettings {
        policy: Policy::Manual(vec![rule(0..=0, "a"), rule(1..=1, "b")]),
        ..AssignSettings::default()
    };
    let a = cluster.node_as("a", 4, assign.clone()).await;
    let requests = a.requests();
    requests.put_queue("default", "q", QueueSettings::default(), Some(1)).await.unwrap();
    shared_out(&[&a], 1).await;
    let before = send(&requests, &tokened("key-1", "t")).await;
    all_done(&requests, &[before.id]).await;
    grow(&requests, 2).await;
    for key in 0..200 {
        let taken = send(&requests, &keyed(&format!("key-{key}"))).await;
        assert_eq!(taken.partition, before.partition, "nobody owns the other one");
    }
    assert_eq!(queue(&requests).await.slots_to_move, 2_048);
    let b = cluster.node_as("b", 4, assign).await;
    slots_to_move(&[requests.clone(), b.requests()], 0).await;
    let again = send(&b.requests(), &tokened("key-1", "t")).await;
    assert_eq!((again.id, again.repeated), (before.id, true));
    spread_over(&b.requests(), 2).await;
    join_all([a, b].map(Node::stop)).await;
}
