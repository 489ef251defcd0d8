//! What is kept, what goes, and what is written again so that the rest can go.

use super::world::*;
use crate::engine::*;
use crate::model::{JobId, JobState, NewJob, Outcome, QueueSettings, Retry, Span};

fn small() -> EngineSettings {
    EngineSettings {
        progress_commits: 4,
        segment_jobs_max: 16,
        segment_bytes_max: 16 << 10,
        ..EngineSettings::default()
    }
}

fn keep_for(secs: u64) -> QueueSettings {
    QueueSettings { retention: Span::from_secs(secs), ..QueueSettings::default() }
}

/// Enqueues and runs that many jobs to their success.
fn run(world: &mut World, queue: u32, count: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..count / 4 {
        let ticket = world.enqueue(queue, jobs("a", 4));
        world.pull(1, 4);
        world.settle();
        for id in world.ids(ticket) {
            world.finish(id, 1, success());
            ids.push(id);
        }
        world.settle();
    }
    ids
}

#[test]
fn finished_jobs_go_when_their_time_is_over_and_not_before() {
    let mut world = World::with(small());
    world.set_queue(1, keep_for(60));
    world.runner(1, &["a"], 0);
    let ids = run(&mut world, 1, 100);
    world.pass(59_999);
    world.settle();
    assert_eq!(world.engine.counts(1).succeeded, 100);
    assert!(world.store.dropped.is_empty());
    world.pass(1);
    world.settle();
    world.check();
    assert_eq!(world.engine.counts(1).succeeded, 0);
    assert!(world.store.dropped.len() >= 6);
    assert!(ids.iter().all(|id| matches!(world.engine.state_of(*id, None), Located::Elsewhere)));
    world.crash(0, true);
    world.settle();
    world.check();
}

#[test]
fn by_count_the_latest_finished_jobs_are_kept() {
    let mut world = World::with(small());
    world.set_queue(1, QueueSettings { retention_count: 40, ..keep_for(1_000_000) });
    world.runner(1, &["a"], 0);
    run(&mut world, 1, 400);
    world.check();
    let kept = world.engine.counts(1).succeeded;
    assert!((40..40 + 3 * 16).contains(&kept), "{kept} are kept");
}

#[test]
fn what_is_still_wanted_is_written_again_and_found_by_the_index() {
    let mut world = World::with(small());
    world.set_queue(1, keep_for(60));
    world.runner(1, &["a", "big"], 2);
    let payload = bytes::Bytes::from(vec![5; 40_000]);
    let ticket = world.enqueue(1, vec![job("nobody"), NewJob::new("big", payload.clone()), job("a")]);
    world.settle();
    let ids = world.ids(ticket);
    let give_up = || Outcome::Failed { error: "no".into(), class: "exit".into(), retry: Retry::GiveUp };
    world.finish(ids[1], 1, give_up());
    world.finish(ids[2], 1, success());
    run(&mut world, 1, 200);
    world.pass(60_000);
    world.settle();
    world.check();
    assert!(world.store.dropped.len() >= 10, "{} segments went", world.store.dropped.len());
    assert_eq!(world.state(ids[0]), Some(JobState::Waiting));
    assert_eq!(world.state(ids[1]), Some(JobState::Failed));
    assert!(world.released.jobs[&ids[2]].gone);
    world.crash(0, true);
    world.settle();
    world.check();
    // Not by its id's first place, which is gone, but by the index.
    assert_eq!(world.command_by_index(ids[1], Command::Retry), Reply::Done(JobState::Waiting));
    let blob = world.body_of(ids[1]).payload_blob.expect("its payload is beside");
    assert!(!world.store.dropped.contains(&blob.segment.unwrap()), "its payload moved along");
    world.runner(2, &["nobody", "big"], 5);
    world.settle();
    let started: Vec<JobId> = world.order.iter().rev().take(2).map(|hand_out| hand_out.job).collect();
    assert!(started.contains(&ids[0]) && started.contains(&ids[1]));
    world.finish(ids[0], 1, success());
    world.finish(ids[1], 2, success());
    world.settle();
    world.check();
}

#[test]
fn failed_jobs_go_when_their_own_time_is_over() {
    let mut world = World::with(small());
    world.set_queue(1, QueueSettings { failed_retention: Span::from_secs(300), ..keep_for(1) });
    world.runner(1, &["a"], 1);
    let ticket = world.enqueue(1, vec![job("a")]);
    world.settle();
    let id = world.ids(ticket)[0];
    world.finish(id, 1, Outcome::Failed { error: String::new(), class: "exit".into(), retry: Retry::GiveUp });
    world.settle();
    world.pass(299_000);
    world.settle();
    assert_eq!(world.engine.counts(1).failed, 1);
    world.pass(1_000);
    world.settle();
    assert_eq!(world.engine.counts(1).failed, 0);
    world.check();
}

#[test]
fn nothing_goes_or_starts_before_the_settings_of_its_queue_are_known() {
    let mut world = World::with(small());
    world.set_queue(1, keep_for(1));
    world.runner(1, &["a"], 0);
    run(&mut world, 1, 40);
    world.enqueue(1, jobs("a", 2));
    world.settle();
    let settings = world.queues.remove(&1).expect("it is known").0;
    world.crash(0, true);
    world.runner(2, &["a"], 5);
    world.pass(1_000_000);
    world.settle();
    assert_eq!(world.engine.counts(1).succeeded, 40);
    assert_eq!(world.engine.counts(1).waiting, 2);
    world.set_queue(1, settings);
    world.settle();
    assert!(world.engine.counts(1).succeeded < 16);
    assert_eq!(world.engine.counts(1).running, 2);
    world.check();
}

#[test]
fn a_running_job_is_not_written_again() {
    let mut world = World::with(small());
    world.set_queue(1, keep_for(1));
    world.runner(1, &["a", "long"], 1);
    let ticket = world.enqueue(1, vec![job("long")]);
    world.settle();
    let id = world.ids(ticket)[0];
    run(&mut world, 1, 200);
    world.pass(10_000);
    world.settle();
    assert!(world.store.dropped.is_empty());
    assert_eq!(world.released.jobs[&id].place.commit, id.commit());
    world.finish(id, 1, success());
    world.settle();
    world.pass(10_000);
    world.settle();
    world.check();
    assert!(world.store.dropped.len() >= 10);
}
