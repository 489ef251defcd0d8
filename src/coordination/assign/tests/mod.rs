//! Each promise of the assignment as a property, for 1 … 200 workers and 0 … 10,000 partitions.

use proptest::prelude::*;

use super::*;

mod balance;
mod limits;
mod moves;
mod versions;

const WORKERS_MAX: usize = 200;
const PARTITIONS_MAX: usize = 10_000;

/// A cluster that one number decides.
#[derive(Clone, Debug)]
struct World {
    members: BTreeMap<WorkerId, Member>,
    drained: Vec<WorkerId>,
    partitions: Vec<PartitionName>,
    owners: Wanted,
    settings: AssignSettings,
    dice: Dice,
}

/// SplitMix64.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn worker_id(name: &str, pid: usize) -> WorkerId {
    format!("{name}:{pid}:{pid:016x}").into()
}

fn member(name: &str, pid: usize, capacity: u32) -> Member {
    Member {
        id: worker_id(name, pid),
        name: name.to_owned(),
        address: "http://127.0.0.1:1".to_owned(),
        version: "1".to_owned(),
        assign_version: 1,
        slots: 1,
        capacity,
        labels: BTreeMap::new(),
        cannot_serve: Vec::new(),
        draining: false,
        settings: BTreeMap::new(),
        started_ms: pid as u64,
    }
}

impl World {
    /// Workers of one capacity, all able to serve everything; nobody owns anything.
    fn even(workers: usize, partitions: usize, in_group: usize, seed: u64) -> Self {
        let members = (0..workers).map(|n| member(&format!("w{n}"), n, 100));
        let name = |n: usize| PartitionName {
            id: PartitionId { group: (n / in_group) as u32 + 1, index: (n % in_group) as u16 },
            namespace: "default".into(),
            group: format!("g{}", n / in_group).into(),
        };
        Self {
            members: members.map(|member| (member.id.clone(), member)).collect(),
            drained: Vec::new(),
            partitions: (0..partitions).map(name).collect(),
            owners: BTreeMap::new(),
            settings: AssignSettings::default(),
            dice: Dice(seed),
        }
    }

    /// Owners drawn at random: some have more, some partitions have none, some owners are gone.
    fn with_owners(mut self) -> Self {
        let ids: Vec<WorkerId> = self.members.keys().cloned().collect();
        let narrow = self.dice.below(ids.len()) + 1;
        for partition in &self.partitions {
            let owner = match self.dice.below(8) {
                0 => continue,
                1 => worker_id("gone", self.dice.below(3)),
                2..5 => ids[self.dice.below(narrow)].clone(),
                _ => ids[self.dice.below(ids.len())].clone(),
            };
            self.owners.insert(partition.id, owner);
        }
        self
    }

    fn with_capacities(mut self) -> Self {
        for member in self.members.values_mut() {
            member.capacity = [0, 1, 50, 100, 100, 100, 300, 4_000_000_000][self.dice.below(8)];
        }
        self
    }

    /// Labels, workers that drain, partitions that some cannot serve, lists by hand.
    fn with_limits(mut self) -> Self {
        let groups = self.partitions.last().map_or(1, |last| last.id.group);
        for member in self.members.values_mut() {
            if self.dice.below(3) == 0 {
                member.labels.insert("disk".to_owned(), "ssd".to_owned());
            }
            member.draining = self.dice.below(10) == 0;
            for _ in 0..self.dice.below(4) {
                let Some(partition) = self.partitions.get(self.dice.below(self.partitions.len())) else {
                    break;
                };
                member.cannot_serve.push(partition.id.to_string());
            }
            if self.dice.below(10) == 0 {
                self.drained.push(member.id.clone());
            }
        }
        for _ in 0..self.dice.below(6) {
            let label = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
            self.settings.labels.insert(self.dice.below(groups as usize) as u32 + 1, label);
        }
        if self.dice.below(2) == 0 {
            let some = vec!["w1*".to_owned(), "w0".to_owned()];
            let rule = |pattern: &str, partitions, workers| ManualRule {
                pattern: pattern.to_owned(),
                partitions,
                workers,
            };
            self.settings.policy = Policy::Manual(vec![
                rule("default/g1*", Some(0..=3), some),
                rule("default/g*", None, vec!["*".to_owned()]),
            ]);
        }
        self
    }

    fn assign(&self) -> Wanted {
        assign(&Question {
            members: &self.members,
            drained: &self.drained,
            partitions: &self.partitions,
            owners: &self.owners,
            settings: &self.settings,
        })
    }

    fn settle(&mut self) {
        self.owners = self.assign();
    }

    /// By its own, plain, reading of the rules.
    fn can_serve(&self, member: &Member, partition: &PartitionName) -> bool {
        let named = match &self.settings.policy {
            Policy::Automatic => true,
            Policy::Manual(rules) => {
                let name = format!("{}/{}", partition.namespace, partition.group);
                let first = rules.iter().find(|rule| {
                    matches(&rule.pattern, &name)
                        && rule.partitions.as_ref().is_none_or(|range| range.contains(&partition.id.index))
                });
                first.is_some_and(|rule| rule.workers.iter().any(|name| matches(name, &member.name)))
            }
        };
        let labels = self.settings.labels.get(&partition.id.group);
        named
            && labels
                .is_none_or(|labels| labels.iter().all(|(key, value)| member.labels.get(key) == Some(value)))
            && member.capacity > 0
            && !member.draining
            && !self.drained.contains(&member.id)
            && !member.cannot_serve.contains(&partition.id.to_string())
    }
}

fn counts(wanted: &Wanted) -> BTreeMap<WorkerId, u64> {
    let mut counts = BTreeMap::new();
    wanted.values().for_each(|owner| *counts.entry(owner.clone()).or_default() += 1);
    counts
}

/// Small worlds often, and the largest now and then.
fn sizes() -> impl Strategy<Value = (usize, usize, usize, u64)> {
    let workers = prop_oneof![4 => 1..12_usize, 1 => 1..=WORKERS_MAX];
    let partitions = prop_oneof![4 => 0..200_usize, 1 => 0..=PARTITIONS_MAX];
    let in_group = prop_oneof![Just(1_usize), Just(8), 1..64_usize];
    (workers, partitions, in_group, any::<u64>())
}

fn some_cases() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}
