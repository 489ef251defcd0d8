//! What becomes of one job, step by step.

use super::world::*;
use crate::engine::*;
use crate::model::row::MarkerKind;
use crate::model::{JobState, Outcome, Retry};

#[test]
fn enqueue_and_start_are_one_commit_when_a_slot_is_free() {
    let mut world = World::new();
    world.settle();
    world.runner(1, &["a"], 2);
    let ticket = world.enqueue(1, vec![job("a")]);
    assert!(world.take());
    let row = &world.in_flight[0].commit.row;
    assert_eq!((row.jobs.len(), row.markers.len()), (1, 1));
    assert_eq!(row.markers[0].kind(), MarkerKind::Started);
    assert!(world.order.is_empty() && world.replies.is_empty(), "nothing is told before the release");
    world.settle();
    let id = world.ids(ticket)[0];
    assert_eq!(world.order.len(), 1);
    assert_eq!((world.order[0].job, world.order[0].attempt, world.order[0].runner), (id, 1, 1));
    let ticket = world.finish(id, 1, success());
    world.settle();
    assert_eq!(world.reply(ticket), Reply::Finished { accepted: true });
    assert_eq!(world.ended, [(id, JobState::Succeeded)]);
    world.check();
    assert!(world.engine.is_settled());
}

#[test]
fn a_job_of_a_taken_over_partition_runs_on() {
    let mut world = World::new();
    world.runner(1, &["a"], 1);
    let ticket = world.enqueue(1, vec![job("a"), job("a"), job("b")]);
    world.settle();
    let ids = world.ids(ticket);
    world.crash(0, false);
    world.settle();
    world.check();
    assert_eq!(world.state(ids[0]), Some(JobState::Running));
    let ticket = world.finish(ids[0], 1, success());
    world.runner(1, &["a", "b"], 5);
    world.settle();
    assert_eq!(world.reply(ticket), Reply::Finished { accepted: true });
    assert_eq!(world.state(ids[1]), Some(JobState::Running));
    world.crash(0, true);
    world.settle();
    world.check();
    assert_eq!(world.state(ids[1]), Some(JobState::Scheduled), "interrupted, it waits a little");
}

#[test]
fn a_failed_attempt_is_followed_by_others_until_they_are_used_up() {
    let mut world = World::new();
    world.runner(1, &["a"], 10);
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    world.finish(id, 1, failure());
    world.settle();
    assert_eq!(world.state(id), Some(JobState::Scheduled));
    world.pass(9_999);
    world.settle();
    assert_eq!(world.order.len(), 1, "not before its time");
    world.pass(1);
    world.settle();
    assert_eq!(world.order.len(), 2);
    world.finish(id, 2, failure());
    world.settle();
    world.pass(20_000);
    world.settle();
    assert_eq!(world.order[2].failures, 2);
    world.finish(id, 3, failure());
    world.settle();
    world.check();
    assert_eq!(world.state(id), Some(JobState::Failed));
    assert_eq!(world.ended, [(id, JobState::Failed)]);
}

#[test]
fn what_a_handler_wishes_is_done() {
    let mut world = World::new();
    world.runner(1, &["a"], 10);
    let ticket = world.enqueue(1, jobs("a", 4));
    world.settle();
    let ids = world.ids(ticket);
    let failed = |retry| Outcome::Failed { error: String::new(), class: "exit".into(), retry };
    world.finish(ids[0], 1, failed(Retry::GiveUp));
    world.finish(ids[1], 1, failed(Retry::After(77)));
    world.finish(ids[2], 1, Outcome::Snoozed { delay_ms: 55 });
    world.finish(ids[3], 1, Outcome::Released);
    world.settle();
    world.check();
    assert_eq!(world.state(ids[0]), Some(JobState::Failed));
    assert_eq!(world.released.jobs[&ids[1]].due_ms, world.now_ms + 77);
    let snoozed = &world.released.jobs[&ids[2]];
    assert_eq!((snoozed.due_ms, snoozed.failures), (world.now_ms + 55, 0), "a snooze costs nothing");
    let released = &world.released.jobs[&ids[3]];
    assert_eq!((released.attempt, released.failures, released.interruptions), (2, 0, 0));
    assert_eq!(world.state(ids[3]), Some(JobState::Running), "given back, it starts again");
}

#[test]
fn a_late_report_changes_nothing() {
    let mut world = World::new();
    world.runner(1, &["a"], 1);
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    let cancelled = world.command(id, Command::Cancel);
    world.settle();
    assert_eq!(world.reply(cancelled), Reply::Done(JobState::Cancelled));
    assert_eq!(world.revoked, [(1, id, 1, Revocation::Cancelled)]);
    let late = world.finish(id, 1, success());
    world.settle();
    assert_eq!(world.reply(late), Reply::Finished { accepted: false });
    world.check();
}
