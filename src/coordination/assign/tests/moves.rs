use super::*;

/// Partitions whose owner is another one, or that have one no more.
fn moved(before: &Wanted, after: &Wanted) -> Vec<(PartitionId, WorkerId, Option<WorkerId>)> {
    let pairs =
        before.iter().map(|(partition, owner)| (*partition, owner.clone(), after.get(partition).cloned()));
    pairs.filter(|(_, before, after)| after.as_ref() != Some(before)).collect()
}

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn the_same_again_moves_nothing((workers, partitions, in_group, seed) in sizes()) {
        let mut world =
            World::even(workers, partitions, in_group, seed).with_capacities().with_limits().with_owners();
        world.settle();
        prop_assert_eq!(world.assign(), world.owners);
    }

    #[test]
    fn the_order_of_the_input_does_not_matter((workers, partitions, in_group, seed) in sizes()) {
        let world = World::even(workers, partitions, in_group, seed).with_capacities().with_limits().with_owners();
        let mut other = world.clone();
        for at in (1..other.partitions.len()).rev() {
            let with = other.dice.below(at + 1);
            other.partitions.swap(at, with);
        }
        let twice: Vec<PartitionName> = other.partitions.iter().take(3).cloned().collect();
        other.partitions.extend(twice);
        other.drained.reverse();
        prop_assert_eq!(world.assign(), other.assign());
    }

    #[test]
    fn owners_keep_their_share_and_no_more_moves_than_must(
        (workers, partitions, in_group, seed) in sizes()
    ) {
        let world = World::even(workers, partitions, in_group, seed).with_owners();
        let wanted = world.assign();
        let mut owned: Vec<u64> = {
            let owned = counts(&world.owners);
            world.members.keys().map(|id| owned.get(id).copied().unwrap_or(0)).collect()
        };
        // Those that have the most have the larger shares.
        owned.sort_unstable_by(|a, b| b.cmp(a));
        let (share, larger) = (partitions / workers, partitions % workers);
        let over = |(at, owned): (usize, &u64)| owned.saturating_sub((share + usize::from(at < larger)) as u64);
        let must: u64 = owned.iter().enumerate().map(over).sum();
        let there = |(_, owner, _): &(PartitionId, WorkerId, Option<WorkerId>)| world.members.contains_key(owner);
        let moved = moved(&world.owners, &wanted).into_iter().filter(there).count() as u64;
        prop_assert_eq!(moved, must);
    }

    #[test]
    fn a_join_moves_its_share_to_the_one_who_joins(
        (workers, partitions, in_group, seed) in sizes(),
        capacity in prop_oneof![Just(100_u32), Just(1), Just(350)],
        weighted in any::<bool>(),
    ) {
        let mut world = World::even(workers, partitions, in_group, seed);
        if weighted {
            world = world.with_capacities();
        }
        world = world.with_owners();
        world.settle();
        let joins = member("joins", 77, capacity);
        world.members.insert(joins.id.clone(), joins.clone());
        let wanted = world.assign();
        for (partition, _, to) in moved(&world.owners, &wanted) {
            prop_assert_eq!(to.as_ref(), Some(&joins.id), "{}", partition);
        }
        if !weighted {
            let share = partitions as f64 * f64::from(capacity) / f64::from(workers as u32 * 100 + capacity);
            let has = counts(&wanted).get(&joins.id).copied().unwrap_or(0);
            prop_assert!(has as f64 <= share.ceil() + f64::from(capacity / 100), "{} of {}", has, share);
        }
    }

    #[test]
    fn a_leave_moves_only_what_the_leaver_had(
        (workers, partitions, in_group, seed) in sizes(), weighted in any::<bool>(), drains in any::<bool>()
    ) {
        let mut world = World::even(workers + 1, partitions, in_group, seed);
        if weighted {
            world = world.with_capacities();
        }
        world = world.with_owners();
        world.settle();
        let place = world.dice.below(world.members.len());
        let leaver = world.members.keys().nth(place).unwrap().clone();
        if drains {
            world.drained.push(leaver.clone());
        } else {
            world.members.remove(&leaver);
        }
        for (partition, from, _) in moved(&world.owners, &world.assign()) {
            prop_assert_eq!(&from, &leaver, "{}", partition);
        }
    }

    #[test]
    fn a_worker_that_is_back_under_its_name_keeps_what_it_had(
        (workers, partitions, in_group, seed) in sizes()
    ) {
        let mut world = World::even(workers, partitions, in_group, seed).with_owners();
        world.settle();
        let before = world.owners.clone();
        let place = world.dice.below(workers);
        let old = world.members.keys().nth(place).unwrap().clone();
        let name = world.members.remove(&old).unwrap().name;
        let back = member(&name, 4_711, 100);
        world.members.insert(back.id.clone(), back.clone());
        let wanted = world.assign();
        for (partition, from, to) in moved(&before, &wanted) {
            prop_assert_eq!(&from, &old, "{}", partition);
            prop_assert_eq!(to.as_ref(), Some(&back.id), "{}", partition);
        }
    }
}

#[test]
fn of_two_workers_of_one_name_the_one_that_goes_leaves_the_other_its_own() {
    let mut world = World::even(0, 8, 8, 1);
    for pid in [1, 2] {
        let twin = member("twin", pid, 100);
        world.members.insert(twin.id.clone(), twin);
    }
    world.settle();
    let other = world.owners.clone();
    world.members.remove(&worker_id("twin", 1));
    let wanted = world.assign();
    assert!(wanted.values().all(|owner| *owner == worker_id("twin", 2)));
    assert!(moved(&other, &wanted).iter().all(|(_, from, _)| *from == worker_id("twin", 1)));
}

#[test]
fn one_that_joins_gets_partitions_of_many_groups() {
    let mut world = World::even(3, 8 * 8, 8, 5);
    world.settle();
    let joins = member("joins", 77, 100);
    world.members.insert(joins.id.clone(), joins.clone());
    let got: Vec<u32> = world
        .assign()
        .iter()
        .filter(|(_, owner)| **owner == joins.id)
        .map(|(partition, _)| partition.group)
        .collect();
    assert_eq!(got.len(), 16);
    let most = got.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap();
    assert!(most <= 3, "of each of 8 groups 2 would be even: {got:?}");
}
