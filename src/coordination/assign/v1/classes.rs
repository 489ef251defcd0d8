//! Partitions by who can serve them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Class, Place, Worker, mix, name_of, namesakes};
use crate::coordination::assign::{ManualRule, Policy, Question, matches};
use crate::coordination::check::partition_id;
use crate::coordination::{PartitionName, WorkerId};
use crate::model::PartitionId;

/// All partitions, by number, and the classes that they are in.
pub(super) struct Classes {
    pub places: Vec<Place>,
    /// Of each class, where its places are.
    pub members: Vec<Vec<usize>>,
    /// Of each class, the workers that can serve it, in order. May be none.
    pub eligible: Vec<Vec<Worker>>,
}

pub(super) fn sort(question: &Question<'_>, candidates: &[Candidate<'_>]) -> Classes {
    let mut partitions: Vec<&PartitionName> = question.partitions.iter().collect();
    partitions.sort_unstable();
    partitions.dedup_by_key(|partition| partition.id);
    let owners = Owners::new(question, candidates);
    let mut sorter = Sorter::new(question, candidates);
    let mut places = Vec::with_capacity(partitions.len());
    for group in partitions.chunk_by(|a, b| a.id.group == b.id.group) {
        let matching = sorter.matching(group[0]);
        for partition in group {
            let class = sorter.class(&matching, partition);
            let may_keep = |owner: &Worker| sorter.classes[class].binary_search(owner).is_ok();
            places.push(Place {
                partition: partition.id,
                class,
                owner: owners.of(partition.id).filter(may_keep),
                hash: mix(u64::from(partition.id.group) << 16 | u64::from(partition.id.index)),
            });
        }
    }
    let mut members = vec![Vec::new(); sorter.classes.len()];
    for (at, place) in places.iter().enumerate() {
        members[place.class].push(at);
    }
    Classes { places, members, eligible: sorter.classes }
}

/// Owners now, as candidates.
struct Owners<'a> {
    question: &'a Question<'a>,
    by_id: BTreeMap<&'a WorkerId, Worker>,
    by_name: BTreeMap<&'a str, Worker>,
}

impl<'a> Owners<'a> {
    fn new(question: &'a Question<'a>, candidates: &[Candidate<'a>]) -> Self {
        let by_id = candidates.iter().enumerate().map(|(worker, candidate)| (candidate.id, worker)).collect();
        Self { question, by_id, by_name: namesakes(candidates) }
    }

    fn of(&self, partition: PartitionId) -> Option<Worker> {
        let owner = self.question.owners.get(&partition)?;
        // One that is there and takes nothing is not gone: nobody steps in for it.
        if self.question.members.contains_key(owner) {
            return self.by_id.get(owner).copied();
        }
        self.by_name.get(name_of(owner)).copied()
    }
}

/// What partitions are alike by: the labels that they ask for, and their rule.
type Alike<'a> = (Option<&'a BTreeMap<String, String>>, Option<usize>);

struct Sorter<'a> {
    question: &'a Question<'a>,
    candidates: &'a [Candidate<'a>],
    rules: Option<&'a [ManualRule]>,
    /// Of each rule, which candidates it names.
    named: Vec<Vec<bool>>,
    refusals: BTreeMap<PartitionId, BTreeSet<Worker>>,
    classes: Vec<Vec<Worker>>,
    numbers: BTreeMap<Vec<Worker>, Class>,
    known: BTreeMap<Alike<'a>, Class>,
}

impl<'a> Sorter<'a> {
    fn new(question: &'a Question<'a>, candidates: &'a [Candidate<'a>]) -> Self {
        let rules = match &question.settings.policy {
            Policy::Automatic => None,
            Policy::Manual(rules) => Some(rules.as_slice()),
        };
        let named = |rule: &ManualRule| -> Vec<bool> {
            let is_named = |candidate: &Candidate<'_>| {
                rule.workers.iter().any(|pattern| matches(pattern, &candidate.member.name))
            };
            candidates.iter().map(is_named).collect()
        };
        Self {
            question,
            candidates,
            rules,
            named: rules.unwrap_or_default().iter().map(named).collect(),
            refusals: refusals(candidates),
            classes: Vec::new(),
            numbers: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Rules that match the name of a group.
    fn matching(&self, partition: &PartitionName) -> Vec<usize> {
        let Some(rules) = self.rules else { return Vec::new() };
        let name = format!("{}/{}", partition.namespace, partition.group);
        (0..rules.len()).filter(|rule| matches(&rules[*rule].pattern, &name)).collect()
    }

    fn class(&mut self, matching: &[usize], partition: &PartitionName) -> Class {
        let labels = self.question.settings.labels.get(&partition.id.group);
        let covers = |rule: &usize| {
            let range = self.rules.and_then(|rules| rules[*rule].partitions.as_ref());
            range.is_none_or(|range| range.contains(&partition.id.index))
        };
        let alike = (labels, matching.iter().copied().find(covers));
        if !self.refusals.contains_key(&partition.id) {
            if let Some(class) = self.known.get(&alike) {
                return *class;
            }
            let class = self.number(self.serving(alike));
            self.known.insert(alike, class);
            return class;
        }
        let mut serving = self.serving(alike);
        serving.retain(|worker| !self.refusals[&partition.id].contains(worker));
        self.number(serving)
    }

    fn serving(&self, (labels, rule): Alike<'_>) -> Vec<Worker> {
        let has_labels = |worker: &Worker| {
            let own = &self.candidates[*worker].member.labels;
            labels.is_none_or(|labels| labels.iter().all(|(key, value)| own.get(key) == Some(value)))
        };
        let is_named = |worker: &Worker| match rule {
            Some(rule) => self.named[rule][*worker],
            None => self.rules.is_none(),
        };
        (0..self.candidates.len()).filter(is_named).filter(has_labels).collect()
    }

    fn number(&mut self, serving: Vec<Worker>) -> Class {
        let next = self.classes.len();
        let class = *self.numbers.entry(serving.clone()).or_insert(next);
        if class == next {
            self.classes.push(serving);
        }
        class
    }
}

/// By partition, who cannot serve it. What does not read as a partition is ignored.
fn refusals(candidates: &[Candidate<'_>]) -> BTreeMap<PartitionId, BTreeSet<Worker>> {
    let mut refusals: BTreeMap<PartitionId, BTreeSet<Worker>> = BTreeMap::new();
    for (worker, candidate) in candidates.iter().enumerate() {
        let partitions = candidate.member.cannot_serve.iter().filter_map(|text| partition_id(text));
        partitions.for_each(|partition| {
            refusals.entry(partition).or_default().insert(worker);
        });
    }
    refusals
}
