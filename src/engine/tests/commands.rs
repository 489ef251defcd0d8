//! What people and programs ask for one job, in every state it can be in.

use super::world::*;
use crate::engine::*;
use crate::model::row::MarkerKind;
use crate::model::{Due, JobId, JobState, Lane, NewJob, Outcome};

/// A job in every state, by state.
fn one_in_each_state(world: &mut World) -> Vec<(JobId, JobState)> {
    world.runner(1, &["run"], 4);
    let later = NewJob { due: Due::After(60_000), ..job("wait") };
    let ticket = world.enqueue(1, vec![job("wait"), later, job("run"), job("run"), job("run"), job("run")]);
    world.settle();
    let ids = world.ids(ticket);
    let give_up =
        Outcome::Failed { error: "no".into(), class: "exit".into(), retry: crate::model::Retry::GiveUp };
    world.finish(ids[3], 1, success());
    world.finish(ids[4], 1, give_up);
    world.command(ids[5], Command::Cancel);
    world.settle();
    let states = [
        JobState::Waiting,
        JobState::Scheduled,
        JobState::Running,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Cancelled,
    ];
    for (id, state) in ids.iter().zip(states) {
        assert_eq!(world.state(*id), Some(state));
    }
    ids.into_iter().zip(states).collect()
}

/// Answers to a command in every state: waiting, scheduled, running, succeeded, failed, cancelled.
fn answers(command: Command) -> Vec<Reply> {
    let mut world = World::new();
    let jobs = one_in_each_state(&mut world);
    let tickets: Vec<Ticket> = jobs.iter().map(|(id, _)| world.command(*id, command)).collect();
    world.settle();
    world.check();
    tickets.into_iter().map(|ticket| world.reply(ticket)).collect()
}

use JobState::{Cancelled, Failed, Running, Scheduled, Succeeded, Waiting};
use Reply::{Done, WrongState};

#[test]
fn only_what_has_not_ended_can_be_cancelled() {
    let done = Done(Cancelled);
    let expected =
        [done.clone(), done.clone(), done.clone(), WrongState(Succeeded), WrongState(Failed), done];
    assert_eq!(answers(Command::Cancel), expected);
}

#[test]
fn only_what_failed_or_was_cancelled_can_be_retried() {
    let wrong = [Waiting, Scheduled, Running, Succeeded].map(WrongState);
    let expected: Vec<Reply> = wrong.into_iter().chain([Done(Waiting), Done(Waiting)]).collect();
    assert_eq!(answers(Command::Retry), expected);
}

#[test]
fn only_what_is_due_later_can_be_made_due_now() {
    let mut expected = vec![Done(Waiting), Done(Waiting)];
    expected.extend([Running, Succeeded, Failed, Cancelled].map(WrongState));
    assert_eq!(answers(Command::RunNow), expected);
}

#[test]
fn only_what_has_not_started_can_change_lanes() {
    let mut expected = vec![Done(Waiting), Done(Scheduled)];
    expected.extend([Running, Succeeded, Failed, Cancelled].map(WrongState));
    assert_eq!(answers(Command::SetPriority(9)), expected);
}

#[test]
fn anything_can_be_deleted_and_is_not_counted_any_more() {
    let mut world = World::new();
    let jobs = one_in_each_state(&mut world);
    for (id, state) in &jobs {
        let ticket = world.command(*id, Command::Delete);
        world.settle();
        let last = if state.is_final() { *state } else { Cancelled };
        assert_eq!(world.reply(ticket), Done(last));
        let again = world.command(*id, Command::Delete);
        world.settle();
        assert_eq!(world.reply(again), Reply::WhereIsIt);
    }
    world.check();
    assert_eq!(world.engine.counts(1), Default::default());
    world.crash(0, true);
    world.settle();
    world.check();
    assert_eq!(world.engine.counts(1), Default::default());
}

#[test]
fn a_retried_job_starts_anew_but_never_repeats_an_attempt_number() {
    let mut world = World::new();
    world.runner(1, &["a"], 10);
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    for attempt in 1..=3 {
        world.finish(id, attempt, failure());
        world.settle();
        world.pass(60_000);
        world.settle();
    }
    assert_eq!(world.state(id), Some(Failed));
    assert_eq!(world.command_by_index(id, Command::Retry), Done(Waiting));
    let fact = &world.released.jobs[&id];
    assert_eq!((fact.attempt, fact.failures, fact.state), (4, 0, Some(Running)));
    let row = world.body_of(id);
    let again = row.again.expect("it was written again");
    let kinds: Vec<MarkerKind> = again.history.iter().map(|marker| marker.kind()).collect();
    let (start, retry, end) = (MarkerKind::Started, MarkerKind::Retry, MarkerKind::Failed);
    assert_eq!(kinds, [start, retry, start, retry, start, end], "it brings its history along");
    assert_eq!(again.strings, ["host:1"]);
    assert_eq!(world.store.places_of(id), [fact.place], "the index knows where it is");
    world.crash(0, false);
    world.settle();
    let ticket = world.finish(id, 4, success());
    world.settle();
    world.check();
    assert_eq!(world.reply(ticket), Reply::Finished { accepted: true });
}

#[test]
fn a_retry_that_is_asked_for_twice_is_done_once() {
    let mut world = World::new();
    let jobs = one_in_each_state(&mut world);
    let failed = jobs[4].0;
    let tickets = [world.command(failed, Command::Retry), world.command(failed, Command::Retry)];
    world.settle();
    assert_eq!(tickets.map(|ticket| world.reply(ticket)), [Done(Waiting), Done(Waiting)]);
    let third = world.command(failed, Command::Retry);
    world.settle();
    assert_eq!(world.reply(third), WrongState(Waiting));
    world.check();
}

#[test]
fn the_higher_lane_goes_first_and_a_job_keeps_its_age_when_it_changes_lanes() {
    let mut world = World::new();
    world.stepwise(true);
    let ticket = world.enqueue(1, jobs("a", 4));
    world.pass(10);
    let urgent = NewJob { lane: Lane::new(9).unwrap(), ..job("a") };
    let late = world.enqueue(1, vec![urgent]);
    world.settle();
    let (ids, late) = (world.ids(ticket), world.ids(late)[0]);
    world.command(ids[2], Command::SetPriority(9));
    world.command(ids[0], Command::SetPriority(1));
    world.runner(1, &["a"], 10);
    world.settle();
    let order: Vec<JobId> = world.order.iter().map(|hand_out| hand_out.job).collect();
    assert_eq!(order, [ids[2], late, ids[1], ids[3], ids[0]]);
}

#[test]
fn a_paused_queue_starts_nothing_and_holds_nobody_up() {
    let mut world = World::new();
    world.stepwise(true);
    world.pause(1, true);
    let held = world.enqueue(1, jobs("a", 3));
    let free = world.enqueue(2, jobs("a", 2));
    world.runner(1, &["a"], 10);
    world.settle();
    let started: Vec<JobId> = world.order.iter().map(|hand_out| hand_out.job).collect();
    assert_eq!(started, world.ids(free));
    world.crash(0, false);
    world.settle();
    world.runner(2, &["a"], 10);
    world.settle();
    assert_eq!(world.order.len(), 2, "paused after a take-over too");
    world.pause(1, false);
    world.settle();
    let started: Vec<JobId> = world.order[2..].iter().map(|hand_out| hand_out.job).collect();
    assert_eq!(started, world.ids(held));
    world.check();
}

#[test]
fn queues_of_one_kind_take_turns() {
    let mut world = World::new();
    let first = world.enqueue(1, jobs("a", 3));
    let second = world.enqueue(2, jobs("a", 3));
    world.settle();
    world.runner(1, &["a"], 10);
    world.settle();
    let (first, second) = (world.ids(first), world.ids(second));
    let order: Vec<JobId> = world.order.iter().map(|hand_out| hand_out.job).collect();
    assert_eq!(order, [first[0], second[0], first[1], second[1], first[2], second[2]]);
}

#[test]
fn an_attempt_that_is_asked_back_costs_nothing() {
    let mut world = World::new();
    let jobs = one_in_each_state(&mut world);
    let running = jobs[2].0;
    world.revoked.clear();
    let ticket = world.command(running, Command::Interrupt);
    world.settle();
    assert_eq!(world.reply(ticket), Done(Running));
    assert_eq!(world.revoked, [(1, running, 1, Revocation::Interrupted)]);
    world.finish(running, 1, Outcome::Interrupted { reason: "asked back".into() });
    world.settle();
    let fact = &world.released.jobs[&running];
    assert_eq!((fact.state, fact.failures, fact.interruptions), (Some(Waiting), 0, 0));
    world.check();
}

#[test]
fn a_job_whose_runners_die_is_delayed_and_given_up_in_the_end() {
    let mut world = World::new();
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    for (n, delay_ms) in [(1, 1_000), (2, 4_000)] {
        world.runner(n, &["a"], 1);
        world.settle();
        world.runner_gone(n);
        world.settle();
        let fact = &world.released.jobs[&id];
        assert_eq!((fact.state, fact.due_ms), (Some(Scheduled), world.now_ms + delay_ms));
        world.pass(delay_ms);
    }
    world.runner(3, &["a"], 1);
    world.settle();
    assert!(world.order.last().unwrap().suspect);
    world.runner_gone(3);
    world.settle();
    let fact = &world.released.jobs[&id];
    assert_eq!((fact.state, fact.interruptions, fact.failures), (Some(Failed), 3, 0));
    assert_eq!(world.ended, [(id, Failed)]);
    world.check();
}

#[test]
fn suspects_run_one_at_a_time_on_a_runner() {
    let mut world = World::new();
    world.runner(1, &["a"], 3);
    let ticket = world.enqueue(1, jobs("a", 3));
    world.settle();
    let ids = world.ids(ticket);
    world.runner_gone(1);
    world.settle();
    world.pass(1_000);
    world.runner(2, &["a"], 5);
    world.settle();
    assert_eq!(world.order.len(), 4, "one of three suspects");
    let other = world.enqueue(1, vec![job("a")]);
    world.settle();
    assert_eq!(world.order.len(), 5, "a job that is no suspect runs beside it");
    assert_eq!(world.order[4].job, world.ids(other)[0]);
    world.finish(ids[0], 2, success());
    world.settle();
    assert_eq!((world.order.len(), world.order[5].job), (6, ids[1]));
    world.check();
}

#[test]
fn a_deadline_ends_what_waits_and_what_would_be_tried_again_but_not_what_runs() {
    let mut world = World::new();
    let until = |ms: u64| NewJob { deadline_ms: Some(START_MS + ms), ..job("a") };
    let ticket = world.enqueue(1, vec![until(100), until(100), NewJob { kind: "b".into(), ..until(100) }]);
    world.runner(1, &["a"], 2);
    world.settle();
    let ids = world.ids(ticket);
    world.pass(100);
    world.settle();
    assert_eq!(
        ids.iter().map(|id| world.state(*id)).collect::<Vec<_>>(),
        [Some(Running), Some(Running), Some(Cancelled)]
    );
    world.finish(ids[0], 1, success());
    world.finish(ids[1], 1, failure());
    world.settle();
    world.pass(1);
    world.settle();
    assert_eq!(world.state(ids[0]), Some(Succeeded));
    assert_eq!(world.state(ids[1]), Some(Cancelled), "it can't be started any more");
    world.check();
    assert_eq!(world.engine.timers.len(), 0);
}

#[test]
fn requests_about_nothing_are_answered() {
    let mut world = World::new();
    world.settle();
    let strange = JobId::new(crate::model::PartitionId { group: 1, index: 1 }, 1, 0, 0);
    let future = JobId::new(PARTITION, 1, 99, 0);
    let tickets = [strange, future].map(|id| world.command(id, Command::Cancel));
    let unknown_queue = world.enqueue(77, vec![job("a")]);
    let none = world.enqueue(1, Vec::new());
    let finish = world.finish(future, 1, success());
    world.settle();
    assert_eq!(tickets.map(|ticket| world.reply(ticket)), [Reply::UnknownJob, Reply::UnknownJob]);
    assert_eq!(world.reply(unknown_queue), Reply::UnknownQueue);
    assert_eq!(world.reply(none), Reply::Enqueued(Vec::new()));
    assert_eq!(world.reply(finish), Reply::Finished { accepted: false });
}

#[test]
fn a_full_backlog_refuses_more() {
    let mut world = World::new();
    let settings = crate::model::QueueSettings { backlog_max: 3, ..Default::default() };
    world.set_queue(1, settings);
    let taken = world.enqueue(1, jobs("a", 2));
    let refused = world.enqueue(1, jobs("a", 2));
    let fits = world.enqueue(1, jobs("a", 1));
    world.settle();
    assert!(matches!(world.reply(taken), Reply::Enqueued(_)));
    assert_eq!(world.reply(refused), Reply::BacklogFull { max: 3 });
    assert!(matches!(world.reply(fits), Reply::Enqueued(_)));
}
