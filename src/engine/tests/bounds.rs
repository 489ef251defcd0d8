//! Nothing grows without bound: commits, memory, names, what is remembered (INV-8).

use bytes::Bytes;
use prost::Message;

use super::world::*;
use crate::engine::*;
use crate::model::limits::{COMMIT_BYTES_MAX, KINDS_MAX, TOKEN_AGE_MS_MAX};
use crate::model::{Due, JobState, Lane, NewJob, Outcome, QueueSettings, Retry};

#[test]
fn ten_thousand_jobs_with_tokens_are_one_enqueue() {
    let mut world = World::new();
    let with_token = |n: usize| NewJob { token: Some(format!("token {n}")), ..job("a") };
    let ticket = world.enqueue(1, (0..10_000).map(with_token).collect());
    world.settle();
    let ids = world.ids(ticket);
    assert_eq!(ids.len(), 10_000);
    assert_eq!(world.engine.counts(1).waiting, 10_000);
    let again = world.enqueue(1, (0..10_000).map(with_token).collect());
    world.settle();
    assert_eq!(world.ids(again), ids, "a repetition gets the same answer");
    world.crash(0, true);
    world.settle();
    let again = world.enqueue(1, (0..10_000).map(with_token).collect());
    world.settle();
    assert_eq!(world.ids(again), ids, "from a successor too");
    assert_eq!(world.engine.counts(1).waiting, 10_000);
}

#[test]
fn large_payloads_are_spread_over_commits() {
    let mut world = World::new();
    let payload = Bytes::from(vec![7; 16 << 10]);
    let ticket = world.enqueue(1, (0..1_000).map(|_| NewJob::new("a", payload.clone())).collect());
    // Every commit's size is looked at when it is taken.
    world.settle();
    assert_eq!(world.ids(ticket).len(), 1_000);
    assert!(world.store.rows.len() >= 16);
    assert!(world.store.rows.values().map(|stored| stored.bytes).max() > Some(COMMIT_BYTES_MAX as u64 / 3));
}

#[test]
fn a_commit_never_outgrows_its_bound_whatever_is_in_it() {
    let mut world = World::new();
    let huge = |n: usize| NewJob {
        kind: format!("{n:0128}"),
        content_type: format!("text/{n:0100}"),
        key: Some("k".repeat(512)),
        headers: (0..32).map(|h| (format!("header {h}"), "v".repeat(240))).collect(),
        tags: (0..16).map(|t| format!("{t:0128}")).collect(),
        backoff: Some(Default::default()),
        max_attempts: Some(u32::MAX),
        timeout_ms: Some(u64::MAX >> 20),
        deadline_ms: Some(START_MS * 2),
        ..NewJob::new("", Bytes::from(vec![1; 16 << 10]))
    };
    world.enqueue(1, (0..600).map(huge).collect());
    world.settle();
    let names: Vec<String> = (0..600).map(|n| format!("{n:0128}")).collect();
    world.runner(1, &names.iter().map(String::as_str).collect::<Vec<_>>(), 600);
    world.settle();
    let text = "é".repeat(20_000);
    for (job, attempt) in world.runners[&1].running.clone() {
        let failed = Outcome::Failed { error: text.clone(), class: text.clone(), retry: Retry::Policy };
        world.finish(job, attempt, failed);
    }
    world.settle();
    assert_eq!(world.in_state(JobState::Scheduled).len(), 600);
}

#[test]
fn small_markers_fill_a_commit_without_outgrowing_it() {
    let mut world = World::new();
    world.runner(1, &["a"], 20_000);
    world.enqueue(1, jobs("a", 10_000));
    world.enqueue(1, jobs("a", 10_000));
    world.settle();
    for (job, attempt) in world.runners[&1].running.clone() {
        let (ticket, end) = (world.ticket(), end(Outcome::Snoozed { delay_ms: 9_000_000_000 }));
        world.event(Event::Finish { ticket, job, attempt, end });
    }
    world.settle();
    assert_eq!(world.engine.counts(1).scheduled, 20_000);
}

#[test]
fn a_job_that_failed_at_length_many_times_is_written_again() {
    let mut world = World::new();
    world.runner(1, &["a"], 1_000);
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    let text = "too long, 太长 ".repeat(2_000);
    for attempt in 1..=40 {
        let failed = Outcome::Failed { error: text.clone(), class: "exit".into(), retry: Retry::After(0) };
        let max_attempts = if attempt == 40 { 1 } else { 100 };
        world.finish_as(id, attempt, AttemptEnd { max_attempts, ..end(failed) });
        world.settle();
    }
    assert_eq!(world.state(id), Some(JobState::Failed));
    assert_eq!(world.command_by_index(id, Command::Retry), Reply::Done(JobState::Waiting));
    let again = world.body_of(id).again.expect("it was written again");
    assert!(again.encoded_len() < 100 << 10, "{} bytes", again.encoded_len());
    assert!(again.history.len() >= 10, "{} markers are kept", again.history.len());
    let last = again.history.last().expect("a marker");
    assert!(last.error.chars().count() > 1_000, "the latest error is kept whole");
    world.check();
}

#[test]
fn more_kinds_than_can_be_kept_apart_are_refused() {
    let mut world = World::new();
    let of_kind = |n: usize| job(&format!("kind {n}"));
    let taken = world.enqueue(1, (0..KINDS_MAX).map(of_kind).collect());
    let refused = world.enqueue(1, vec![job("kind 1"), job("one more")]);
    let known = world.enqueue(1, vec![job("kind 1")]);
    world.settle();
    assert_eq!(world.ids(taken).len(), KINDS_MAX);
    assert_eq!(world.reply(refused), Reply::TooMany { what: "kinds", max: KINDS_MAX });
    assert!(matches!(world.reply(known), Reply::Enqueued(_)));
    world.runner(1, &["kind 1", "one more still"], 5);
    world.settle();
    assert_eq!(world.order.len(), 2);
}

#[test]
fn what_moves_between_lanes_leaves_nothing_behind() {
    let mut world = World::new();
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    world.pause(1, true);
    for n in 0..70_000u32 {
        world.event(Event::Command {
            ticket: 1_000_000 + u64::from(n),
            job: id,
            place: None,
            command: Command::SetPriority((n % 9) as u8 + 1),
        });
    }
    assert_eq!(world.engine.lines.len(), 1);
    world.settle();
    world.check();
    assert_eq!(world.released.jobs[&id].lane, 69_999 % 9 + 1);
}

#[test]
fn ended_jobs_leave_no_timers() {
    let mut world = World::new();
    let far = |due| NewJob { due, deadline_ms: Some(START_MS * 2), ..job("a") };
    let ticket = world.enqueue(1, vec![far(Due::After(1_000_000)), far(Due::Now), far(Due::Now)]);
    world.settle();
    assert_eq!(world.engine.timers.len(), 4);
    for id in world.ids(ticket) {
        world.command(id, Command::Cancel);
    }
    world.settle();
    assert_eq!(world.engine.timers.len(), 0);
}

#[test]
fn tokens_are_forgotten_when_nothing_happens() {
    let mut world = World::new();
    world.enqueue(1, vec![NewJob { token: Some("t".into()), ..job("a") }]);
    world.settle();
    world.pass(TOKEN_AGE_MS_MAX - 1);
    world.settle();
    assert_eq!(world.engine.tokens.len(), 1);
    world.pass(1);
    world.settle();
    assert_eq!(world.engine.tokens.len(), 0);
    assert_eq!(world.engine.next_wake_ms(), None, "and an idle partition is left alone");
}

fn small(window_jobs_max: usize) -> EngineSettings {
    EngineSettings {
        window_jobs_max,
        progress_commits: 8,
        segment_jobs_max: 16,
        segment_bytes_max: 16 << 10,
        ..EngineSettings::default()
    }
}

#[test]
fn a_backlog_far_beyond_the_window_drains_in_order() {
    let mut world = World::with(small(64));
    world.stepwise(true);
    for n in 0..40 {
        let mut new = jobs("a", 10);
        new.iter_mut().for_each(|job| job.lane = Lane::new(5 + n % 2).unwrap());
        world.enqueue(u32::from(n % 3 == 0) + 1, new);
        world.now_ms += 5;
        world.settle();
        assert!(world.engine.loaded_jobs <= 64 + 16, "{} jobs in memory", world.engine.loaded_jobs);
    }
    assert!(world.engine.unloaded > 10);
    world.runner(1, &["a"], 4);
    for _ in 0..400 {
        world.settle();
        let running = world.runners[&1].running.clone();
        for &(job, attempt) in &running {
            world.finish(job, attempt, success());
            world.pull(1, 1);
        }
        // Four running jobs may hold a segment each.
        assert!(world.engine.loaded_jobs <= 64 + 6 * 16, "{} jobs in memory", world.engine.loaded_jobs);
    }
    world.settle();
    world.check();
    assert_eq!(world.in_state(JobState::Succeeded).len(), 400);
}

#[test]
fn jobs_that_nobody_runs_are_in_nobodys_way() {
    let mut world = World::with(small(32));
    for _ in 0..30 {
        world.enqueue(1, jobs("nobody", 10));
    }
    let wanted = world.enqueue(1, jobs("a", 3));
    for _ in 0..30 {
        world.enqueue(1, jobs("nobody", 10));
    }
    world.settle();
    world.runner(1, &["a"], 10);
    world.settle();
    let started: Vec<_> = world.order.iter().map(|hand_out| hand_out.job).collect();
    assert_eq!(started, world.ids(wanted));
    world.crash(0, true);
    world.settle();
    world.runner(2, &["nobody"], 10);
    world.settle();
    assert_eq!(world.order.len(), 13);
    world.check();
}

#[test]
fn jobs_that_are_due_beyond_the_window_come_in_time() {
    let mut world = World::with(small(32));
    for n in 0..20u64 {
        let later = |job: NewJob| NewJob { due: Due::After(1_000 + n * 100), ..job };
        world.enqueue(1, jobs("a", 10).into_iter().map(later).collect());
    }
    world.settle();
    assert!(world.engine.unloaded > 5);
    world.runner(1, &["a"], 1_000);
    world.settle();
    assert!(world.order.is_empty());
    for n in 1..=20 {
        world.pass(if n == 1 { 1_000 } else { 100 });
        world.settle();
        assert_eq!(world.order.len(), n * 10);
    }
    world.check();
}

#[test]
fn a_retention_of_nothing_leaves_nothing() {
    let mut world = World::with(small(1_000));
    let none = QueueSettings { retention: crate::model::Span::from_ms(0), ..Default::default() };
    world.set_queue(1, none);
    world.runner(1, &["a"], 10);
    for _ in 0..50 {
        world.enqueue(1, jobs("a", 5));
        world.settle();
        for (job, attempt) in world.runners[&1].running.clone() {
            world.finish(job, attempt, success());
            world.pull(1, 1);
        }
        world.settle();
        world.pass(10);
        world.settle();
    }
    world.check();
    assert!(world.store.rows.len() < 10, "{} commits are left", world.store.rows.len());
    assert_eq!(world.engine.counts(1), Default::default());
}
