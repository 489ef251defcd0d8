//! Each behaviour by itself.

use std::collections::BTreeSet;

use super::super::types::{ClockState, Input, Level};
use super::world::{SESSION_MS, World};
use super::{SETTLE_MS, member};
use crate::model::PartitionId;

/// Workers that have found their balance.
fn settled(workers: usize, partitions: u16) -> World {
    let mut world = World::new(7, partitions);
    for _ in 0..workers {
        world.start();
    }
    world.run(SETTLE_MS * 4);
    world.check_owned();
    world.check_balanced();
    (world.hand_overs, world.let_goes, world.owns) = (0, 0, 0);
    world
}

#[test]
fn the_first_worker_owns_everything_without_waiting() {
    let mut world = World::new(1, 100);
    world.start();
    world.run(500);
    assert_eq!(world.loads(), [100]);
    world.check_owned();
}

#[test]
fn a_joining_worker_gets_its_share_after_the_settle_time_and_nothing_else_moves() {
    let mut world = settled(3, 60);
    world.start();
    world.run(SETTLE_MS - 100);
    assert_eq!(world.loads(), [20, 20, 20, 0], "members have not settled");
    world.run(2_000);
    assert_eq!(world.loads(), [15, 15, 15, 15]);
    assert_eq!((world.hand_overs, world.owns, world.let_goes), (15, 15, 0));
}

#[test]
fn workers_that_join_one_after_another_put_off_moves_for_a_bounded_time() {
    let mut world = settled(1, 40);
    for _ in 0..15 {
        world.start();
        world.run(SETTLE_MS - 500);
    }
    assert!(world.hand_overs > 0, "they never settle");
}

#[test]
fn partitions_of_a_dead_worker_are_taken_at_once() {
    let mut world = settled(4, 100);
    world.kill(1);
    world.run(SESSION_MS);
    // Somebody joins just then: that is no reason to wait.
    world.start();
    world.run(300);
    world.check_owned();
    assert_eq!((world.owns, world.hand_overs), (25, 0), "only orphans have moved");
}

#[test]
fn a_worker_that_restarts_within_the_session_timeout_moves_nothing_of_others() {
    let mut world = settled(3, 30);
    world.kill(1);
    world.run(1_000);
    let mut again = member(1);
    (again.id, again.started_ms) = ("w1:2:ffffffffffffffff".into(), 100);
    let number = world.start_as(again);
    world.run(SESSION_MS + 2_000);
    world.check_owned();
    assert_eq!(world.nodes[number].owners.len(), 10);
    assert_eq!((world.owns, world.hand_overs), (10, 0));
}

#[test]
fn a_draining_worker_hands_all_over_and_then_leaves() {
    let mut world = settled(3, 30);
    world.tell(0, Input::Drain);
    world.run(2_000);
    assert!(world.nodes[0].drained);
    world.check_owned();
    world.check_balanced();
    assert_eq!((world.hand_overs, world.let_goes, world.owns), (10, 0, 10));
}

#[test]
fn the_last_worker_can_leave_too() {
    let mut world = settled(1, 30);
    world.tell(0, Input::Drain);
    world.run(3_000);
    assert!(world.nodes[0].drained && world.locks.is_empty());
    assert_eq!(world.hand_overs, 30);
}

#[test]
fn a_worker_without_a_session_leaves_at_once() {
    let mut world = World::new(1, 3);
    world.reachable = false;
    world.start();
    world.run(10_000);
    world.tell(0, Input::Drain);
    assert!(world.nodes[0].drained);
}

#[test]
fn a_worker_that_was_asked_to_drain_owns_nothing_until_it_is_asked_to_take_part_again() {
    let mut world = settled(2, 10);
    world.ask_to_drain(0, true);
    world.run(2_000);
    assert_eq!(world.loads(), [0, 10]);
    assert!(!world.nodes[0].drained, "it stays");
    world.run(60_000);
    assert_eq!(world.loads(), [0, 10]);
    world.ask_to_drain(0, false);
    world.run(SETTLE_MS + 2_000);
    world.check_owned();
    world.check_balanced();
}

#[test]
fn a_wrong_clock_owns_nothing_and_says_so() {
    let mut world = settled(2, 10);
    world.tell(0, Input::Clock(ClockState::Wrong(30_000)));
    world.run(2_000);
    assert_eq!(world.loads(), [0, 10]);
    let said = world.nodes[0].said.iter().find(|(level, _)| *level == Level::Error);
    assert!(said.is_some_and(|(_, text)| text.contains("30 s ahead of")), "{said:?}");
    world.tell(0, Input::Clock(ClockState::Right));
    world.run(SETTLE_MS + 2_000);
    world.check_balanced();
    world.check_owned();
}

#[test]
fn a_lost_session_ends_owners_at_once_and_is_followed_by_another() {
    let mut world = settled(2, 20);
    world.lose_session(0, 1_000);
    assert!(!world.nodes[0].sure, "it is not sure as soon as it doubts");
    world.run(999);
    world.run(1);
    assert_eq!(world.nodes[0].owners.len(), 0);
    assert_eq!(world.nodes[1].owners.len(), 20, "the other has taken them long ago");
    world.run(SETTLE_MS + 3_000);
    world.check_owned();
    world.check_balanced();
    assert!(world.nodes[0].sure);
    assert_eq!(world.let_goes, 10);
}

#[test]
fn while_the_session_is_in_doubt_nothing_is_given_up_or_taken() {
    let mut world = settled(2, 20);
    world.doubt_session(0, 4_000);
    world.start();
    world.run(3_900);
    assert!(!world.nodes[0].sure);
    assert_eq!((world.nodes[0].owners.len(), world.let_goes), (10, 0));
    world.run(3_000);
    assert!(world.nodes[0].sure);
    assert_eq!(world.let_goes, 0);
    world.check_owned();
    world.check_balanced();
}

#[test]
fn a_wiped_coordinator_moves_nothing() {
    let mut world = settled(4, 40);
    let owned: Vec<BTreeSet<PartitionId>> = world.nodes.iter().map(|node| node.owners.clone()).collect();
    world.wipe();
    world.run(1_000);
    world.check_owned();
    world.run(SETTLE_MS * 3);
    world.check_owned();
    let now: Vec<BTreeSet<PartitionId>> = world.nodes.iter().map(|node| node.owners.clone()).collect();
    assert_eq!(owned, now);
    assert_eq!((world.hand_overs, world.owns), (0, 40));
}

#[test]
fn an_ensemble_that_lost_all_sessions_moves_nothing() {
    let mut world = settled(4, 40);
    let owned: Vec<BTreeSet<PartitionId>> = world.nodes.iter().map(|node| node.owners.clone()).collect();
    for number in 0..4 {
        world.lose_session(number, 500 + number as u64 * 300);
    }
    world.run(3_000);
    world.check_owned();
    world.run(SETTLE_MS * 3);
    let now: Vec<BTreeSet<PartitionId>> = world.nodes.iter().map(|node| node.owners.clone()).collect();
    assert_eq!(owned, now);
    assert_eq!(world.hand_overs, 0);
}

#[test]
fn a_partition_that_cannot_be_served_here_is_tried_by_another_worker() {
    let mut world = settled(2, 10);
    let partition = *world.nodes[0].owners.first().expect("it owns some");
    world.tell(0, Input::Parked(partition));
    world.run(2_000);
    assert!(world.nodes[1].owners.contains(&partition));
    let said = &world.nodes[0].said;
    assert!(
        said.iter().any(|(level, text)| *level == Level::Error && text.contains("default/emails/")),
        "{said:?}"
    );
}

#[test]
fn a_partition_that_nobody_can_serve_is_tried_again() {
    let mut world = settled(1, 1);
    let partition = *world.nodes[0].owners.first().expect("it owns some");
    world.tell(0, Input::Parked(partition));
    world.run(59_000);
    assert_eq!(world.loads(), [0]);
    world.run(2_000);
    assert_eq!(world.loads(), [1]);
}

#[test]
fn new_partitions_have_an_owner_within_a_second() {
    let mut world = settled(3, 9);
    world.set_partitions(30);
    world.run(1_000);
    world.check_owned();
    world.check_balanced();
    assert_eq!(world.hand_overs, 0);
}

#[test]
fn partitions_that_are_gone_are_given_up() {
    let mut world = settled(3, 9);
    world.set_partitions(2);
    world.run(1_000);
    assert_eq!(world.loads().iter().sum::<usize>(), 2);
    assert_eq!(world.locks.len(), 2);
}

#[test]
fn an_away_coordinator_is_said_once_a_minute() {
    let mut world = World::new(1, 3);
    world.reachable = false;
    world.start();
    world.run(5 * 60_000 - 1);
    assert_eq!(world.nodes[0].said.len(), 5, "{:?}", world.nodes[0].said);
    world.reachable = true;
    world.run(10_000);
    world.check_owned();
}

#[test]
fn settings_that_differ_and_equal_names_are_said_once() {
    let mut world = World::new(1, 3);
    for number in 0..2 {
        let mut member = member(number);
        member.name = "same".to_owned();
        member.settings.insert("queue_defaults".to_owned(), format!("hash {number}"));
        world.start_as(member);
    }
    world.run(60_000);
    world.start();
    world.run(60_000);
    for number in 0..2 {
        let warnings: Vec<&String> = world.nodes[number].said.iter().map(|(_, text)| text).collect();
        let named = warnings.iter().filter(|text| text.contains("`queue_defaults`")).count();
        assert_eq!(named, 2, "one for each other worker: {warnings:?}");
        assert_eq!(warnings.iter().filter(|text| text.contains("has the name")).count(), 1, "{warnings:?}");
    }
}

#[test]
fn a_worker_on_another_store_takes_no_part() {
    let mut world = World::new(1, 6);
    for (number, store) in ["a", "a", "b"].iter().enumerate() {
        let mut member = member(number);
        member.settings.insert("store".to_owned(), (*store).to_owned());
        world.start_as(member);
        world.run(5_000);
    }
    assert!(world.nodes[2].refused.as_ref().is_some_and(|text| text.contains("another store")));
    world.check_owned();
    assert_eq!(world.loads(), [3, 3]);
}
