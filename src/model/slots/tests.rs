use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// How many slots each of so many partitions is wanted to have.
fn shares(table: &SlotTable, partitions: u16) -> Vec<usize> {
    let mut shares = vec![0; usize::from(partitions)];
    table.0.iter().for_each(|&index| shares[usize::from(index)] += 1);
    shares
}

fn wanted(map: &SlotMap) -> SlotTable {
    match map {
        SlotMap::Even(partitions) => SlotTable::even(*partitions),
        SlotMap::Each(slots) => slots.wanted.clone().unwrap_or_else(|| slots.at.clone()),
    }
}

/// Numbers of partitions, each more than the one before.
fn growth() -> impl Strategy<Value = Vec<u16>> {
    let sizes = prop_oneof![4 => 1u16..=40, 1 => 1u16..=4_096];
    vec(sizes, 2..5).prop_map(|mut sizes| {
        sizes.sort_unstable();
        sizes
    })
}

fn each(map: SlotMap) -> MovingSlots {
    match map {
        SlotMap::Each(slots) => *slots,
        SlotMap::Even(_) => panic!("it has grown"),
    }
}

proptest! {
    #[test]
    fn growth_is_fair_and_moves_no_more_than_the_new_ones_share(sizes in growth()) {
        let mut map = SlotMap::Even(sizes[0]);
        for step in sizes.windows(2) {
            let before = wanted(&map);
            map = map.grown(step[1]);
            let after = wanted(&map);
            let shares = shares(&after, step[1]);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{shares:?}");
            let moved: Vec<u16> = (0..SLOTS)
                .filter(|slot| before.partition_of(*slot) != after.partition_of(*slot))
                .collect();
            let to_new: usize = shares[usize::from(step[0])..].iter().sum();
            prop_assert_eq!(moved.len(), to_new, "only new ones get, and nobody else");
            prop_assert!(moved.iter().all(|slot| after.partition_of(*slot) >= step[0]));
            prop_assert_eq!(map.grown(step[1]), map.clone(), "growing to the same changes nothing");
        }
    }

    #[test]
    fn no_partition_gets_a_slot_back_whatever_closes_when(
        sizes in growth(),
        closings in vec((any::<u16>(), vec(0u16..4_096, 0..600)), 0..12),
    ) {
        let mut map = SlotMap::Even(sizes[0]);
        let mut left: BTreeSet<(u16, u16)> = BTreeSet::new();
        let mut closings = closings.into_iter();
        for &size in &sizes[1..] {
            map = map.grown(size);
            for (partition, slots) in closings.by_ref().take(4) {
                let (partition, closed) = (partition % size, slots.into_iter().collect());
                let leaving: BTreeSet<u16> = map.leaving(partition).map(|(slot, _)| slot).collect();
                let Some(after) = map.after_closing(partition, &closed, 1) else {
                    prop_assert!(leaving.is_disjoint(&closed));
                    continue;
                };
                for slot in 0..SLOTS {
                    let (from, to) = (map.partition_of(slot), after.partition_of(slot));
                    let moves = leaving.contains(&slot) && closed.contains(&slot);
                    prop_assert_eq!(from != to, moves);
                    if moves {
                        prop_assert_eq!(to, wanted(&map).partition_of(slot));
                        left.insert((slot, from));
                        prop_assert!(after.formers(slot, 2).any(|former| former == from));
                    }
                    prop_assert!(!left.contains(&(slot, to)), "slot {} is back at {}", slot, to);
                }
                prop_assert_eq!(wanted(&after), wanted(&map), "what is wanted stays");
                map = after;
            }
        }
        let slots = each(map.grown(sizes[sizes.len() - 1] + 1));
        let text = serde_json::to_string(&slots).unwrap();
        prop_assert_eq!(serde_json::from_str::<MovingSlots>(&text).unwrap(), slots);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[A-Za-z0-9_-]{0,20}") {
        prop_assert!(SlotTable::try_from(text).is_err(), "too short");
    }
}

#[test]
fn once_all_has_moved_the_map_is_what_was_wanted_and_former_partitions_are_forgotten() {
    let mut map = SlotMap::Even(1).grown(4).grown(8);
    assert_eq!(map.to_move(), 4_096 - 512);
    assert_eq!(map.held_by(0), 4_096);
    let leaving: BTreeSet<u16> = map.leaving(0).map(|(slot, _)| slot).collect();
    let (first, second): (BTreeSet<u16>, BTreeSet<u16>) = leaving.iter().partition(|&&slot| slot % 3 == 0);
    map = map.after_closing(0, &first, 90_000).unwrap();
    assert_eq!(map.to_move(), second.len());
    map = map.after_closing(0, &leaving, 90_001).unwrap();
    assert_eq!(map.to_move(), 0);
    assert!((0..8).all(|index| map.held_by(index) == 512));
    assert_eq!(map.after_closing(0, &leaving, 90_002), None, "once more changes nothing");
    let slots = each(map.clone());
    assert_eq!((slots.wanted, slots.moved.len()), (None, 1), "one minute's moves are one entry");
    let slot = *first.first().unwrap();
    assert_eq!(map.formers(slot, 90_002).collect::<Vec<_>>(), [0]);
    let later = 120_000 + FORMER_ASKED_MS;
    assert!(map.has_formers(later - 1) && !map.has_formers(later));
    assert_eq!(map.formers(slot, later).count(), 0);
    let map = map.grown(9);
    let leaving: BTreeSet<u16> = map.leaving(3).map(|(slot, _)| slot).collect();
    let slots = each(map.after_closing(3, &leaving, later).unwrap());
    assert_eq!(slots.moved.iter().map(|moved| moved.from).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_text_that_is_no_map_is_refused_with_a_reason() {
    let good = String::from(SlotTable::even(70));
    assert_eq!(good.len(), 8_192);
    assert_eq!(SlotTable::try_from(good.clone()), Ok(SlotTable::even(70)));
    let short = SlotTable::try_from(good[2..].to_owned()).unwrap_err();
    assert!(short.contains("8190"), "{short}");
    let odd = SlotTable::try_from(good.replacen('A', "*", 1)).unwrap_err();
    assert!(odd.contains("means nothing"), "{odd}");
}

#[test]
fn a_job_is_routed_by_its_key_or_else_its_token() {
    let plain = NewJob::new("k", "null");
    assert_eq!(routing_slot(&plain), None);
    let token = NewJob { token: Some("t".into()), ..plain.clone() };
    assert_eq!(routing_slot(&token), Some(slot_of("t")));
    let both = NewJob { key: Some("key".into()), ..token };
    assert_eq!(routing_slot(&both), Some(slot_of("key")));
    // Stored with jobs: these never change.
    assert_eq!((slot_of(""), slot_of("a"), slot_of("customer-17")), (3_837, 2_090, 1_621));
}

#[test]
fn values_that_are_alike_have_slots_of_their_own() {
    let slots: BTreeSet<u16> = (0..1_000).map(|n| slot_of(&format!("customer-{n}"))).collect();
    assert!(slots.len() > 850, "{} slots for a thousand values", slots.len());
    let mut shares = [0; 8];
    (0..8_000).for_each(|n| shares[usize::from(slot_of(&format!("customer-{n}")) % 8)] += 1);
    assert!(shares.iter().all(|share| (900..1_100).contains(share)), "{shares:?}");
}
