use super::*;

proptest! {
    #![proptest_config(some_cases())]

    #[test]
    fn workers_of_equal_capacity_have_counts_that_differ_at_most_by_one(
        (workers, partitions, in_group, seed) in sizes()
    ) {
        let world = World::even(workers, partitions, in_group, seed).with_owners();
        let wanted = world.assign();
        prop_assert_eq!(wanted.len(), partitions, "everything has an owner");
        let counts = counts(&wanted);
        let of = |id: &WorkerId| counts.get(id).copied().unwrap_or(0);
        let least = world.members.keys().map(of).min().unwrap();
        let most = world.members.keys().map(of).max().unwrap();
        prop_assert!(most - least <= 1, "{} … {}", least, most);
    }

    #[test]
    fn no_partition_could_go_to_a_worker_that_would_then_have_less(
        (workers, partitions, in_group, seed) in sizes()
    ) {
        let world = World::even(workers, partitions, in_group, seed).with_capacities().with_limits().with_owners();
        let wanted = world.assign();
        let counts = counts(&wanted);
        let load = |member: &Member, more: u64| {
            (counts.get(&member.id).copied().unwrap_or(0) + more) as f64 / f64::from(member.capacity)
        };
        for partition in &world.partitions {
            let able = world.members.values().filter(|member| world.can_serve(member, partition));
            let Some(owner) = wanted.get(&partition.id) else {
                prop_assert_eq!(able.count(), 0, "{} has no owner", partition);
                continue;
            };
            let now = load(&world.members[owner], 0);
            for other in able.filter(|member| member.id != *owner) {
                prop_assert!(load(other, 1) >= now * (1.0 - 1e-9), "{} from {} to {}", partition, owner, other.id);
            }
        }
    }

    #[test]
    fn capacity_is_a_share(partitions in 0..2_000_usize, seed in any::<u64>()) {
        let mut world = World::even(4, partitions, 8, seed).with_owners();
        for (member, capacity) in world.members.values_mut().zip([100, 100, 200, 400]) {
            member.capacity = capacity;
        }
        let counts = counts(&world.assign());
        for (id, member) in &world.members {
            let share = partitions as f64 * f64::from(member.capacity) / 800.0;
            let has = counts.get(id).copied().unwrap_or(0) as f64;
            prop_assert!((has - share).abs() <= 3.0, "{} has {} of {}", id, has, share);
        }
    }

    #[test]
    fn a_new_clusters_groups_are_at_as_many_workers_as_there_are(
        (workers, partitions, in_group, seed) in sizes()
    ) {
        let world = World::even(workers, partitions, in_group, seed);
        let wanted = world.assign();
        let mut by_group: BTreeMap<u32, Vec<WorkerId>> = BTreeMap::new();
        for (partition, owner) in wanted {
            by_group.entry(partition.group).or_default().push(owner);
        }
        for (group, mut owners) in by_group {
            let partitions = owners.len();
            owners.sort_unstable();
            let most = owners.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap();
            prop_assert!(most <= partitions.div_ceil(workers), "group {} has {} of {} at one", group, most, partitions);
        }
    }
}
