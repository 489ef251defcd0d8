use super::*;

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn nobody_gets_what_it_cannot_serve((workers, partitions, in_group, seed) in sizes()) {
        let world = World::even(workers, partitions, in_group, seed).with_capacities().with_limits().with_owners();
        let wanted = world.assign();
        for partition in &world.partitions {
            if let Some(owner) = wanted.get(&partition.id) {
                prop_assert!(world.can_serve(&world.members[owner], partition), "{} to {}", partition, owner);
            }
        }
    }
}

/// Two groups of four partitions, three workers.
fn small() -> World {
    World::even(3, 8, 4, 1)
}

fn owner_names(world: &World, group: u32) -> Vec<String> {
    let wanted = world.assign();
    let mut names: Vec<String> = wanted
        .iter()
        .filter(|(p, _)| p.group == group)
        .map(|(_, id)| world.members[id].name.clone())
        .collect();
    names.dedup();
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_worker_that_drains_is_asked_to_or_has_no_capacity_gets_nothing() {
    let away: [fn(&mut World, &WorkerId); 3] = [
        |world, id| world.members.get_mut(id).unwrap().draining = true,
        |world, id| world.drained.push(id.clone()),
        |world, id| world.members.get_mut(id).unwrap().capacity = 0,
    ];
    for away in away {
        let mut world = small();
        world.settle();
        away(&mut world, &worker_id("w1", 1));
        let wanted = world.assign();
        assert_eq!(wanted.len(), 8);
        assert!(!wanted.values().any(|owner| *owner == worker_id("w1", 1)));
    }
}

#[test]
fn a_group_that_asks_for_a_label_goes_to_workers_that_have_it() {
    let mut world = small();
    world.settle();
    let ssd = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
    world.settings.labels.insert(2, ssd.clone());
    assert_eq!(owner_names(&world, 2), [""; 0], "nobody has it");
    world.members.get_mut(&worker_id("w2", 2)).unwrap().labels = ssd;
    assert_eq!(owner_names(&world, 2), ["w2"]);
    assert_eq!(owner_names(&world, 1), ["w0", "w1"], "the others take the rest");
}

#[test]
fn a_partition_that_its_owner_cannot_serve_goes_elsewhere() {
    let mut world = small();
    world.settle();
    let (partition, owner) = world.owners.iter().next().map(|(p, o)| (*p, o.clone())).unwrap();
    world.members.get_mut(&owner).unwrap().cannot_serve =
        vec![partition.to_string(), "no partition".to_owned(), "1/99999999".to_owned()];
    assert_ne!(world.assign()[&partition], owner);
    for member in world.members.values_mut() {
        member.cannot_serve = vec![partition.to_string()];
    }
    assert_eq!(world.assign().get(&partition), None);
}

#[test]
fn a_list_by_hand_is_followed_and_the_first_rule_that_matches_decides() {
    let mut world = small();
    world.settle();
    let rule = |pattern: &str, partitions, worker: &str| ManualRule {
        pattern: pattern.to_owned(),
        partitions,
        workers: vec![worker.to_owned()],
    };
    world.settings.policy = Policy::Manual(vec![
        rule("default/g0", Some(0..=0), "w2"),
        rule("default/g0", None, "w0"),
        rule("default/g0", None, "w1"),
    ]);
    let wanted = world.assign();
    assert_eq!(wanted[&PartitionId { group: 1, index: 0 }], worker_id("w2", 2));
    for index in 1..4 {
        assert_eq!(wanted[&PartitionId { group: 1, index }], worker_id("w0", 0));
    }
    assert_eq!(wanted.len(), 4, "what no rule names is nobody's");
    world.members.remove(&worker_id("w0", 0));
    assert_eq!(world.assign().len(), 1, "nobody stands in for a worker that is named");
}

#[test]
fn without_workers_or_partitions_there_is_nothing() {
    assert!(World::even(0, 100, 8, 1).assign().is_empty());
    assert!(World::even(5, 0, 8, 1).assign().is_empty());
}
