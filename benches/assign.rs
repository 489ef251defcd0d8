//! How long one assignment takes: every worker computes it after each change of the cluster.
//!
//! `cargo bench --bench assign [-- PARTITIONS WORKERS]`
//!
//! Ends with an error if a case takes longer than the bound.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qdo::coordination::assign::{AssignSettings, ManualRule, Policy, Question, Wanted, assign};
use qdo::coordination::{Member, PartitionName, WorkerId};
use qdo::model::PartitionId;

/// For the default sizes.
const BOUND: Duration = Duration::from_millis(50);
const RUNS: usize = 11;
const IN_GROUP: usize = 8;

fn members(workers: usize) -> BTreeMap<WorkerId, Member> {
    let member = |n: usize| Member {
        id: format!("worker-{n}:{n}:{n:016x}").into(),
        name: format!("worker-{n}"),
        address: "http://127.0.0.1:1".to_owned(),
        version: "1".to_owned(),
        assign_version: 1,
        slots: 8,
        capacity: 100,
        labels: BTreeMap::from([("disk".to_owned(), ["ssd", "hdd"][n % 2].to_owned())]),
        cannot_serve: Vec::new(),
        draining: false,
        settings: BTreeMap::new(),
        started_ms: n as u64,
    };
    (0..workers).map(member).map(|member| (member.id.clone(), member)).collect()
}

fn partitions(partitions: usize) -> Vec<PartitionName> {
    let name = |n: usize| PartitionName {
        id: PartitionId { group: (n / IN_GROUP) as u32 + 1, index: (n % IN_GROUP) as u16 },
        namespace: "default".into(),
        group: format!("group-{}", n / IN_GROUP).into(),
    };
    (0..partitions).map(name).collect()
}

fn ask<'a>(
    partitions: &'a [PartitionName],
    members: &'a BTreeMap<WorkerId, Member>,
    owners: &'a Wanted,
    settings: &'a AssignSettings,
) -> Question<'a> {
    Question { members, drained: &[], partitions, owners, settings }
}

/// The median of some runs: others use the machine, too.
fn measure(case: &str, question: &Question<'_>) -> (Wanted, Duration) {
    let mut wanted = Wanted::new();
    let run = |_| {
        let started = Instant::now();
        wanted = assign(question);
        started.elapsed()
    };
    let mut took: Vec<Duration> = (0..RUNS).map(run).collect();
    took.sort_unstable();
    let median = took[RUNS / 2];
    let moved =
        question.owners.iter().filter(|(partition, owner)| wanted.get(partition) != Some(owner)).count();
    println!("{case:<44} {:>8.2} ms   {moved:>6} moved", median.as_secs_f64() * 1_000.0);
    (wanted, median)
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let mut size = |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (partition_count, workers) = (size(10_000), size(100));
    println!("{partition_count} partitions, {workers} workers; median of {RUNS} runs");
    let partitions = partitions(partition_count);
    let members = members(workers);
    let automatic = AssignSettings::default();
    let nobody = Wanted::new();
    let partitions = partitions.as_slice();
    let (wanted, new) = measure("a new cluster", &ask(partitions, &members, &nobody, &automatic));
    let (_, same) = measure("nothing has changed", &ask(partitions, &members, &wanted, &automatic));
    let first = members.keys().next().expect("there is a worker").clone();
    let all_at_one = partitions.iter().map(|partition| (partition.id, first.clone())).collect();
    let (_, one) = measure("all were at one worker", &ask(partitions, &members, &all_at_one, &automatic));

    let ssd = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    let groups = partition_count.div_ceil(IN_GROUP) as u32;
    let labels = AssignSettings {
        policy: Policy::Automatic,
        labels: (1..=groups / 2).map(|group| (group, ssd.clone())).collect(),
    };
    let (_, labelled) =
        measure("half of the groups ask for a label", &ask(partitions, &members, &wanted, &labels));
    let by_hand = (0..100).map(|n| ManualRule {
        pattern: format!("default/group-{n}*"),
        partitions: Some(0..=3),
        workers: (0..20).map(|worker| format!("worker-{}*", (n + worker) % 100)).collect(),
    });
    let manual = AssignSettings { policy: Policy::Manual(by_hand.collect()), labels: BTreeMap::new() };
    let (_, manual) = measure("a hundred lists by hand", &ask(partitions, &members, &wanted, &manual));

    let mut leaving = members.clone();
    leaving.remove(&first);
    let (_, leave) = measure("one leaves", &ask(partitions, &leaving, &wanted, &automatic));
    let (left, _) = measure("(the others)", &ask(partitions, &leaving, &nobody, &automatic));
    let (_, join) = measure("one joins", &ask(partitions, &members, &left, &automatic));
    let mut refusing = members.clone();
    for (n, member) in refusing.values_mut().enumerate() {
        member.cannot_serve =
            (0..20).map(|m| partitions[(n * 97 + m * 13) % partition_count].id.to_string()).collect();
    }
    let (_, refused) = measure("each cannot serve twenty", &ask(partitions, &refusing, &wanted, &automatic));

    let slowest =
        [new, same, one, labelled, manual, leave, join, refused].into_iter().max().unwrap_or_default();
    if partition_count <= 10_000 && workers <= 100 && slowest > BOUND {
        eprintln!("slower than {BOUND:?}");
        std::process::exit(1);
    }
}
