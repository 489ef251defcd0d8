//! What is known of a cluster, put together. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::coordination::{CoordinationError, Health, Member, PartitionName, View, WorkerId};
use crate::model::cluster::{
    CoordinatorServerView, CoordinatorView, PartitionView, StoreNodeView, StoreView, WorkerView,
};
use crate::model::{PartitionId, SlotMap, view::Counts};
use crate::store::{StoreError, StoreHealth};
use crate::worker::partition::{Located, Told};
use crate::worker::reader::time;

/// All workers, by name; `told` has what each has said of itself.
pub(crate) fn workers(view: &View, told: &HashMap<WorkerId, Told>) -> Vec<WorkerView> {
    let mut owned: HashMap<&WorkerId, u64> = HashMap::new();
    view.owners.values().for_each(|owner| *owned.entry(owner).or_default() += 1);
    let usual = usual_settings(view);
    let mut workers: Vec<WorkerView> = view
        .members
        .values()
        .map(|member| {
            let told = told.get(&member.id);
            WorkerView {
                id: member.id.to_string(),
                name: member.name.clone(),
                address: Some(member.address.clone()),
                version: member.version.clone(),
                since: time(member.started_ms),
                draining: member.draining || view.drained.contains(&member.id),
                capacity: member.capacity,
                labels: member.labels.clone(),
                partitions: owned.get(&member.id).copied().unwrap_or(0),
                slots: member.slots,
                running: told.map(|told| told.running),
                last_minute: told.map(|told| told.last_minute),
                trouble: told.and_then(|told| told.trouble.clone()),
                settings_differ: differing(member, &usual),
                cannot_serve: member.cannot_serve.clone(),
            }
        })
        .collect();
    workers.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    workers
}

/// Of each setting, what more than half of all workers have; without a majority, nobody is right.
fn usual_settings(view: &View) -> BTreeMap<&str, Option<&str>> {
    let mut usual = BTreeMap::new();
    for key in view.members.values().flat_map(|member| member.settings.keys()) {
        usual.entry(key.as_str()).or_insert_with(|| {
            let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
            let values = view.members.values().filter_map(|member| member.settings.get(key));
            values.for_each(|value| *votes.entry(value).or_default() += 1);
            votes.into_iter().find(|(_, count)| count * 2 > view.members.len()).map(|(value, _)| value)
        });
    }
    usual
}

fn differing(member: &Member, usual: &BTreeMap<&str, Option<&str>>) -> Vec<String> {
    let differs = |(key, value): &(&&str, &Option<&str>)| {
        value.is_none() || member.settings.get(**key).map(String::as_str) != **value
    };
    usual.iter().filter(differs).map(|(key, _)| (*key).to_owned()).collect()
}

pub(crate) fn store(health: Result<StoreHealth, StoreError>) -> StoreView {
    match health {
        Ok(health) => StoreView {
            backend: Some(health.backend),
            durability: Some(health.durability_note),
            replicas: health.replicas,
            nodes: health
                .nodes
                .into_iter()
                .map(|node| StoreNodeView {
                    address: node.address,
                    datacenter: node.datacenter,
                    rack: node.rack,
                    version: node.version,
                    up: node.up,
                })
                .collect(),
            error: None,
        },
        Err(error) => StoreView { error: Some(error.message), ..StoreView::default() },
    }
}

pub(crate) fn coordinator(
    health: Result<Health, CoordinationError>,
    session: Option<&str>,
) -> CoordinatorView {
    let session = session.map(str::to_owned);
    match health {
        Ok(health) => CoordinatorView {
            kind: Some(health.kind.to_owned()),
            session,
            write_seconds: Some(health.write.as_secs_f64()),
            servers: health
                .servers
                .into_iter()
                .map(|server| CoordinatorServerView {
                    address: server.address,
                    role: server.role,
                    error: server.error,
                })
                .collect(),
            error: None,
        },
        Err(error) => CoordinatorView { session, error: Some(error.message), ..CoordinatorView::default() },
    }
}

/// Partitions that somebody owns, of those that there are.
pub(crate) fn owned(view: &View, partitions: &[PartitionName]) -> u64 {
    partitions.iter().filter(|name| view.owners.contains_key(&name.id)).count() as u64
}

/// A partition of which nothing is known but its name, its queues, its slots and its owner.
pub(crate) fn partition(
    name: &PartitionName,
    queues: Vec<String>,
    slots: Option<&SlotMap>,
    view: &View,
) -> PartitionView {
    let owner = view.owners.get(&name.id);
    PartitionView {
        partition: name.id.to_string(),
        namespace: name.namespace.to_string(),
        group: name.group.to_string(),
        queues,
        owner: owner.map(ToString::to_string),
        owner_name: owner.and_then(|owner| view.members.get(owner)).map(|member| member.name.clone()),
        epoch: None,
        since: None,
        counts: None,
        oldest_waiting_seconds: None,
        last_minute: None,
        slots: slots.map_or(0, |slots| slots.held_by(name.id.index) as u64),
        slots_to_move: slots.map_or(0, |slots| slots.leaving(name.id.index).count() as u64),
        counted_at: None,
        jobs_since: None,
        trouble: None,
    }
}

/// Adds what its owner says.
pub(crate) fn tell(view: &mut PartitionView, located: Located) {
    view.epoch = Some(located.epoch);
    view.since = (located.since_ms > 0).then(|| time(located.since_ms));
    view.counts = Some(located.counts);
    view.oldest_waiting_seconds = located.oldest_ms.map(|ms| ms as f64 / 1_000.0);
    view.last_minute = Some(located.last_minute);
    view.trouble = located.trouble;
}

/// `group/index`, as people and URLs write it.
pub(crate) fn parse_partition(text: &str) -> Option<PartitionId> {
    let (group, index) = text.split_once('/')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(group) || !digits(index) {
        return None;
    }
    Some(PartitionId { group: group.parse().ok()?, index: index.parse().ok()? })
}

/// Jobs by state, of a stored tally.
pub(crate) fn counts_of(by_state: &[u64]) -> Counts {
    let mut all = [0; crate::model::JobState::COUNT];
    all.iter_mut().zip(by_state).for_each(|(place, count)| *place = *count);
    Counts::from_array(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, settings: &[(&str, &str)]) -> Member {
        Member {
            id: name.into(),
            name: name.to_owned(),
            address: format!("http://{name}:1"),
            version: "1".to_owned(),
            assign_version: 1,
            slots: 4,
            capacity: 100,
            labels: BTreeMap::new(),
            cannot_serve: Vec::new(),
            draining: false,
            settings: settings.iter().map(|(key, hash)| ((*key).to_owned(), (*hash).to_owned())).collect(),
            started_ms: 1,
        }
    }

    fn view(members: Vec<Member>) -> View {
        let members = members.into_iter().map(|member| (member.id.clone(), member)).collect();
        View { members, ..View::default() }
    }

    fn differ(view: &View) -> Vec<(String, Vec<String>)> {
        let workers = workers(view, &HashMap::new());
        workers.into_iter().map(|worker| (worker.name, worker.settings_differ)).collect()
    }

    #[test]
    fn who_differs_from_most_others_is_named_with_the_setting() {
        let of = |hash| [("cluster.settle", hash), ("store", "s")];
        let three = view(vec![member("a", &of("1")), member("b", &of("2")), member("c", &of("1"))]);
        let named: Vec<_> = differ(&three).into_iter().filter(|(_, keys)| !keys.is_empty()).collect();
        assert_eq!(named, [("b".to_owned(), vec!["cluster.settle".to_owned()])]);
        let two = view(vec![member("a", &of("1")), member("b", &of("2"))]);
        assert!(differ(&two).iter().all(|(_, keys)| keys == &["cluster.settle"]), "nobody is right");
        let same = view(vec![member("a", &of("1")), member("b", &of("1"))]);
        assert!(differ(&same).iter().all(|(_, keys)| keys.is_empty()));
    }

    #[test]
    fn a_worker_that_says_nothing_is_shown_with_what_others_know() {
        let mut view = view(vec![member("a", &[])]);
        view.drained.push("a".into());
        view.owners.insert(PartitionId { group: 1, index: 0 }, "a".into());
        let shown = &workers(&view, &HashMap::new())[0];
        assert!(shown.draining && shown.partitions == 1 && shown.running.is_none());
        assert_eq!(shown.load(), None);
    }

    #[test]
    fn a_partition_is_written_as_two_numbers() {
        assert_eq!(parse_partition("7/12"), Some(PartitionId { group: 7, index: 12 }));
        for wrong in ["", "7", "/", "7/", "7/x", "+7/1", "7/1/2", "7/70000", "99999999999/1"] {
            assert_eq!(parse_partition(wrong), None, "{wrong:?}");
        }
    }
}
