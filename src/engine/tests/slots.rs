//! Slots of routing values: open jobs are counted exactly, and a closed slot stays closed.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::world::*;
use crate::engine::*;
use crate::model::row::{ProgressRow, SummaryRow};
use crate::model::{Due, JobState, NewJob, Outcome, QueueSettings, Retry, Span, slot_of};

fn keyed(key: &str) -> NewJob {
    NewJob { key: Some(key.into()), ..job("a") }
}

fn token(text: &str) -> NewJob {
    NewJob { token: Some(text.into()), ..job("a") }
}

fn leave(world: &mut World, values: &[&str]) {
    world.event(Event::Leaving { slots: values.iter().map(|value| slot_of(value)).collect() });
}

fn closed(world: &World) -> BTreeSet<u16> {
    world.closed_slots.clone()
}

fn slots(values: &[&str]) -> BTreeSet<u16> {
    values.iter().map(|value| slot_of(value)).collect()
}

fn is_taken(world: &mut World, job: NewJob) -> bool {
    let ticket = world.enqueue(1, vec![job]);
    world.settle();
    match world.reply(ticket) {
        Reply::Enqueued(_) => true,
        Reply::SlotsLeft => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slot_is_closed_once_its_last_job_has_ended_and_not_before() {
    let mut world = World::new();
    world.runner(1, &["a"], 2);
    let ticket = world.enqueue(1, vec![keyed("x"), keyed("x"), job("a")]);
    world.settle();
    let ids = world.ids(ticket);
    leave(&mut world, &["x"]);
    assert!(is_taken(&mut world, keyed("x")), "as long as one is open, others are taken");
    for id in &ids[..2] {
        assert_eq!(closed(&world), slots(&[]));
        world.finish(*id, 1, success());
        world.settle();
        world.pull(1, 1);
    }
    world.settle();
    let last = world.in_state(JobState::Running);
    for id in last.into_iter().filter(|id| *id != ids[2]) {
        world.finish(id, 1, success());
    }
    assert_eq!(closed(&world), slots(&[]), "nothing is said before it is released");
    world.settle();
    assert_eq!(closed(&world), slots(&["x"]), "a job without a key holds no slot");
    assert!(!is_taken(&mut world, keyed("x")));
    assert!(is_taken(&mut world, keyed("y")) && is_taken(&mut world, job("a")));
    let mixed = world.enqueue(1, vec![keyed("y"), keyed("x")]);
    world.settle();
    assert_eq!(world.reply(mixed), Reply::SlotsLeft, "all or none");
    world.check();
}

#[test]
fn what_became_free_within_a_moment_is_closed_together() {
    let mut world = World::new();
    leave(&mut world, &["x", "y"]);
    assert!(world.engine.has_commit());
    world.settle();
    assert_eq!(closed(&world), slots(&["x", "y"]));
    leave(&mut world, &["x", "y", "z", "w"]);
    world.settle();
    assert_eq!(closed(&world), slots(&["x", "y"]), "not so soon again");
    let wake = world.engine.next_wake_ms().expect("it wants to be woken");
    world.pass(wake - world.now_ms);
    world.settle();
    assert_eq!(closed(&world), slots(&["w", "x", "y", "z"]));
    assert_eq!(world.engine.next_wake_ms(), None, "and then rests");
}

#[test]
fn a_known_token_is_answered_although_its_slot_has_left() {
    let mut world = World::new();
    world.runner(1, &["a"], 2);
    let tokened = NewJob { key: Some("x".into()), ..token("t") };
    let first = world.enqueue(1, vec![tokened.clone(), token("u")]);
    world.settle();
    let ids = world.ids(first);
    for id in &ids {
        world.finish(*id, 1, success());
    }
    leave(&mut world, &["x", "u"]);
    world.settle();
    assert_eq!(closed(&world), slots(&["u", "x"]));
    for round in 0..3 {
        let again = world.enqueue(1, vec![tokened.clone(), token("u")]);
        world.settle();
        assert_eq!(world.ids(again), ids);
        assert_eq!(world.engine.known_token(1, "t").map(|(id, _)| id), Some(ids[0]));
        assert_eq!(world.engine.known_token(1, "v"), None);
        let other = world.enqueue(1, vec![NewJob { key: Some("x".into()), ..token("v") }]);
        world.settle();
        assert_eq!(world.reply(other), Reply::SlotsLeft);
        world.engine.want_progress();
        world.settle();
        world.crash(round, true);
        world.settle();
    }
    world.check();
}

#[test]
fn a_closed_slot_stays_closed_and_is_said_again_by_every_successor() {
    let mut world = World::new();
    leave(&mut world, &["x"]);
    world.take();
    world.crash(0, false);
    world.settle();
    assert_eq!(closed(&world), slots(&[]), "what was lost was said to nobody");
    assert!(is_taken(&mut world, keyed("x")));
    let id = world.in_state(JobState::Waiting)[0];
    world.command(id, Command::Cancel);
    leave(&mut world, &["x"]);
    world.settle();
    assert_eq!(closed(&world), slots(&["x"]));
    for with_progress in [false, true, true] {
        if with_progress {
            world.engine.want_progress();
            world.settle();
            let (_, bytes) = world.store.progress.iter().next_back().unwrap();
            assert_eq!(ProgressRow::decode(&bytes[..]).unwrap().min_reader, 2, "old readers keep off");
        }
        world.closed_slots.clear();
        world.crash(0, false);
        assert_eq!(closed(&world), slots(&[]), "not before the successor counts");
        world.settle();
        assert_eq!(closed(&world), slots(&["x"]));
        assert!(!is_taken(&mut world, keyed("x")));
    }
    world.check();
}

#[test]
fn a_kept_failed_job_holds_no_slot_and_is_retried_where_it_is() {
    let mut world = World::new();
    world.runner(1, &["a"], 1);
    let ticket = world.enqueue(1, vec![keyed("x")]);
    world.settle();
    let ids = world.ids(ticket);
    let hopeless = Outcome::Failed { error: "no".into(), class: "exit".into(), retry: Retry::GiveUp };
    world.finish(ids[0], 1, hopeless);
    leave(&mut world, &["x"]);
    world.settle();
    assert_eq!((world.state(ids[0]), closed(&world)), (Some(JobState::Failed), slots(&["x"])));
    world.command(ids[0], Command::Retry);
    world.settle();
    assert_eq!(world.state(ids[0]), Some(JobState::Waiting));
    assert!(!is_taken(&mut world, keyed("x")));
    world.check();
}

/// Small segments, most of them not in memory.
fn small() -> EngineSettings {
    EngineSettings { window_jobs_max: 16, segment_jobs_max: 8, ..EngineSettings::default() }
}

#[test]
fn open_jobs_are_counted_beyond_memory_over_owners_and_when_written_again() {
    let mut world = World::with(small());
    world.set_queue(1, QueueSettings { retention: Span::from_secs(1), ..QueueSettings::default() });
    let late = |job| NewJob { due: Due::After(3_600_000), ..job };
    world.enqueue(1, vec![late(keyed("late")), late(token("t1")), late(keyed("late"))]);
    for n in 0..40 {
        world.enqueue(1, vec![keyed(&format!("k{}", n % 5)), token(&format!("u{n}")), job("a")]);
        world.settle();
        world.engine.want_progress();
        world.settle();
    }
    assert!(world.engine.unloaded > 5, "most is in the store");
    world.check();
    world.crash(0, false);
    world.settle();
    world.check();
    world.runner(1, &["a"], 1_000);
    for _ in 0..60 {
        world.settle();
        let running = world.runners[&1].running.clone();
        for (id, attempt) in running {
            world.finish(id, attempt, success());
        }
        world.engine.want_progress();
        world.settle();
        world.pass(1_000);
    }
    world.check();
    let again = world.taken.jobs.values().filter(|job| job.again).count();
    assert_eq!(again, 3, "what would pin the others was written again");
    assert_eq!(*world.engine.slots.open(), BTreeMap::from([(slot_of("late"), 2), (slot_of("t1"), 1)]));
    leave(&mut world, &["late", "k1", "t1"]);
    world.settle();
    assert_eq!(closed(&world), slots(&["k1"]), "who waits for a later time holds his slot");
    world.crash(0, false);
    world.settle();
    world.check();
    world.runner(2, &["a"], 1_000);
    leave(&mut world, &["late", "k1", "t1"]);
    world.pass(3_600_000);
    for _ in 0..50 {
        world.settle();
        let running = world.runners[&2].running.clone();
        for (id, attempt) in running {
            world.finish(id, attempt, success());
        }
    }
    world.pass(1_000);
    world.settle();
    assert_eq!(closed(&world), slots(&["k1", "late", "t1"]));
    assert_eq!(world.engine.slots.open(), &BTreeMap::new());
    world.check();
}

/// Leaves out of progress and summaries what a version that knows no slots does not write.
fn forget_slots(world: &mut World) {
    for bytes in world.store.progress.values_mut() {
        let mut row = ProgressRow::decode(&bytes[..]).unwrap();
        row.slots = None;
        row.segments.iter_mut().for_each(|segment| segment.slots_counted = false);
        *bytes = row.encode_to_vec().into();
    }
    for bytes in world.store.summaries.values_mut() {
        let mut row = SummaryRow::decode(&bytes[..]).unwrap();
        (row.slots, row.slots_alike) = (Vec::new(), 0);
        *bytes = row.encode_to_vec().into();
    }
}

#[test]
fn while_a_job_of_an_unknown_slot_is_open_none_is_closed() {
    for summaries_too in [false, true] {
        let mut world = World::with(small());
        world.enqueue(1, (0..30).map(|n| keyed(&format!("k{n}"))).collect());
        world.settle();
        world.engine.want_progress();
        world.settle();
        let kept = world.store.summaries.clone();
        forget_slots(&mut world);
        if !summaries_too {
            world.store.summaries = kept;
        }
        world.crash(0, false);
        world.settle();
        assert_eq!(world.engine.slots.unknown(), 30);
        leave(&mut world, &["free", "k3"]);
        world.settle();
        assert_eq!(closed(&world), slots(&[]));
        world.runner(1, &["a"], 1);
        let mut ends = 0;
        while world.engine.slots.unknown() > 0 {
            world.settle();
            if world.engine.slots.unknown() == 0 {
                break;
            }
            assert_eq!(closed(&world), slots(&[]));
            let (id, attempt) = world.runners[&1].running[0];
            world.finish(id, attempt, success());
            world.pull(1, 1);
            ends += 1;
            assert!(ends <= 30, "what has ended is known");
        }
        world.settle();
        assert!(closed(&world).contains(&slot_of("free")));
        assert_eq!(ends == 30, summaries_too, "what a summary knows is known once it is read");
        world.pass(1_000);
        world.settle();
        world.check();
    }
}
