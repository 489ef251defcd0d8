//! Joins, leaves, lost sessions, wipes and unknown outcomes at random: then everything heals.

use proptest::prelude::*;

use super::super::types::{ClockState, Input};
use super::world::{Faults, SESSION_MS, World};

const NODES_MAX: usize = 7;

fn trouble(world: &mut World) {
    let number = world.chance(world.nodes.len() as u64) as usize;
    let living = world.nodes.iter().filter(|node| node.alive).count();
    match world.chance(13) {
        0 | 1 if living < NODES_MAX => {
            world.start();
        }
        2 if living > 1 && world.nodes[number].alive => world.kill(number),
        3 if living > 1 => world.tell(number, Input::Drain),
        4 => {
            let after = world.chance(6_000);
            world.lose_session(number, after);
        }
        5 => {
            let after = world.chance(4_000);
            world.doubt_session(number, after);
        }
        6 => world.wipe(),
        7 => world.ask_to_drain(number, true),
        8 => world.ask_to_drain(number, false),
        9 => {
            let count = world.partitions.len() as u16 + world.chance(5) as u16;
            world.set_partitions(count.min(60));
        }
        10 => world.tell(number, Input::Clock(ClockState::Wrong(20_000))),
        11 => world.tell(number, Input::Clock(ClockState::Right)),
        _ => {
            if let Some(partition) = world.nodes[number].owners.first().copied() {
                world.tell(number, Input::Parked(partition));
            }
        }
    }
}

fn whatever_happens_everything_heals(seed: u64) {
    let mut world = World::new(seed, 1 + (seed % 40) as u16);
    for _ in 0..1 + world.chance(3) {
        world.start();
    }
    world.faults = Faults { unknown: 100, way_ms: 400 };
    for _ in 0..30 {
        let pause = world.chance(4_000);
        world.run(pause);
        world.reachable = world.chance(8) > 0;
        trouble(&mut world);
    }
    (world.faults, world.reachable) = (Faults { unknown: 0, way_ms: 5 }, true);
    world.drain_asked.clear();
    world.start();
    for number in 0..world.nodes.len() {
        world.tell(number, Input::Clock(ClockState::Right));
    }
    // Longer than a parked partition waits.
    world.run(SESSION_MS + 17 * 60_000);
    world.check_owned();
    world.check_balanced();
    let before = (world.hand_overs, world.let_goes, world.owns);
    world.run(10 * 60_000);
    assert_eq!(before, (world.hand_overs, world.let_goes, world.owns), "it never rests");
    world.check_owned();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_gets_one_owner_again_and_loads_are_equal(seed in 1_u64..) {
        whatever_happens_everything_heals(seed);
    }
}
