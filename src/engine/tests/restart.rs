//! What a successor makes of what is there.

use super::world::*;
use crate::engine::*;
use crate::model::row::{ChainLink, CommitRow, MarkerKind, MarkerRow, Origin, Place, SummaryRow};
use crate::model::{Epoch, JobState, NewJob, Outcome, QueueSettings};

fn token(text: &str) -> NewJob {
    NewJob { token: Some(text.into()), ..job("a") }
}

#[test]
fn from_the_journal_alone_all_is_as_it_was() {
    let mut world = World::new();
    world.runner(1, &["a"], 3);
    let ticket = world.enqueue(1, jobs("a", 6));
    world.settle();
    let ids = world.ids(ticket);
    world.finish(ids[0], 1, failure());
    world.finish(ids[1], 1, success());
    world.command(ids[5], Command::SetPriority(8));
    world.settle();
    assert!(world.store.progress.is_empty());
    let before: Vec<_> = ids.iter().map(|id| world.engine.state_of(*id, None)).collect();
    world.crash(0, false);
    let after: Vec<_> = ids.iter().map(|id| world.engine.state_of(*id, None)).collect();
    let rows = |found: &[Located<StateOfJob>]| -> Vec<_> {
        found
            .iter()
            .map(|found| if let Located::Here(state) = found { Some(state.row) } else { None })
            .collect()
    };
    assert_eq!(rows(&before), rows(&after));
    world.settle();
    world.check();
}

#[test]
fn from_progress_alone_all_is_as_it_was() {
    let mut world = World::new();
    world.runner(1, &["a"], 2);
    world.enqueue(1, jobs("a", 6));
    world.settle();
    world.engine.want_progress();
    world.settle();
    assert_eq!(world.store.progress.len(), 1);
    let counts = world.engine.counts(1);
    world.crash(0, false);
    assert_eq!(world.engine.counts(1), counts, "counts are exact at once");
    world.settle();
    world.check();
}

#[test]
fn progress_is_written_when_it_is_wanted_and_only_if_there_is_news() {
    let mut world = World::new();
    world.settle();
    world.enqueue(1, jobs("a", 1));
    world.settle();
    world.engine.want_progress();
    assert!(world.engine.has_commit());
    world.settle();
    assert_eq!(world.store.progress.len(), 1);
    let (&at, _) = world.store.progress.iter().next().unwrap();
    assert_eq!(at, *world.store.rows.keys().last().unwrap(), "it is as of the last commit");
    world.engine.want_progress();
    world.settle();
    assert_eq!(world.store.progress.keys().next(), Some(&at));
}

#[test]
fn a_repeated_token_is_answered_alike_by_successors() {
    let mut world = World::new();
    let first = world.enqueue(1, vec![token("x"), token("y"), token("x")]);
    world.settle();
    let ids = world.ids(first);
    assert_eq!(ids[0], ids[2], "also inside one request");
    for round in 0..3 {
        world.engine.want_progress();
        world.settle();
        world.crash(round, true);
        world.settle();
        let again = world.enqueue(1, vec![token("y"), token("x")]);
        world.settle();
        assert_eq!(world.ids(again), [ids[1], ids[0]]);
    }
    assert_eq!(world.engine.counts(1).waiting, 2);
    let other = world.enqueue(2, vec![token("x")]);
    world.settle();
    assert_ne!(world.ids(other)[0], ids[0], "a token is one queue's");
}

#[test]
fn a_token_whose_commit_was_never_accepted_is_new() {
    let mut world = World::new();
    world.settle();
    world.enqueue(1, jobs("a", 1));
    world.take();
    world.enqueue(1, vec![token("x")]);
    world.take();
    // The second of two commits in flight is durable, the first is lost: neither counts.
    world.make_durable(1);
    world.crash(0, true);
    let ticket = world.enqueue(1, vec![token("x")]);
    world.settle();
    let Reply::Enqueued(answer) = world.reply(ticket) else { panic!("it is enqueued") };
    assert!(!answer[0].2, "not a repetition");
    assert_eq!(world.engine.counts(1).waiting, 1);
    world.check();
}

#[test]
fn what_is_lost_with_its_owner_was_told_to_nobody() {
    let mut world = World::new();
    world.settle();
    world.runner(1, &["a"], 1);
    let ticket = world.enqueue(1, jobs("a", 1));
    world.take();
    world.crash(0, false);
    world.settle();
    assert!(!world.replies.contains_key(&ticket) && world.order.is_empty());
    assert_eq!(world.engine.counts(1), Default::default());
    world.check();
}

#[test]
fn a_runner_reports_to_whoever_owns_the_partition_by_then() {
    let mut world = World::new();
    world.runner(1, &["a"], 2);
    let ticket = world.enqueue(1, jobs("a", 2));
    world.settle();
    let ids = world.ids(ticket);
    world.crash(0, false);
    world.settle();
    world.crash(0, false);
    world.settle();
    let done = world.finish(ids[0], 1, success());
    world.event(Event::OrphansGone);
    let late = world.finish(ids[1], 1, success());
    world.settle();
    assert_eq!(world.reply(done), Reply::Finished { accepted: true });
    assert_eq!(world.reply(late), Reply::Finished { accepted: false });
    assert_eq!(world.state(ids[1]), Some(JobState::Scheduled));
    world.check();
}

#[test]
fn one_attempt_that_no_runner_has_is_interrupted_alone() {
    let mut world = World::new();
    world.runner(1, &["a"], 2);
    let ticket = world.enqueue(1, jobs("a", 2));
    world.settle();
    let ids = world.ids(ticket);
    world.event(Event::OrphanGone { job: ids[0], attempt: 1 });
    assert!(world.engine.orphans().is_empty(), "what this owner handed out is no orphan");
    world.crash(0, false);
    world.settle();
    let mut orphans = world.engine.orphans();
    orphans.sort_unstable();
    assert_eq!(orphans, [(ids[0], 1), (ids[1], 1)]);
    world.event(Event::OrphanGone { job: ids[0], attempt: 2 });
    world.event(Event::OrphanGone { job: ids[1], attempt: 1 });
    world.settle();
    assert_eq!(world.state(ids[0]), Some(JobState::Running));
    assert_eq!(world.state(ids[1]), Some(JobState::Scheduled));
    world.check();
}

#[test]
fn an_attempt_that_was_never_handed_out_costs_nothing_however_often() {
    let mut world = World::new();
    world.runner(1, &["a"], 1);
    let ticket = world.enqueue(1, jobs("a", 1));
    world.settle();
    let ids = world.ids(ticket);
    for attempt in 1..=10 {
        world.crash(0, false);
        world.settle();
        assert_eq!(world.engine.orphans(), [(ids[0], attempt)]);
        world.event(Event::OrphanUnstarted { job: ids[0], attempt: attempt + 1 });
        assert_eq!(world.state(ids[0]), Some(JobState::Running), "another attempt is meant");
        world.event(Event::OrphanUnstarted { job: ids[0], attempt });
        world.settle();
        assert_eq!(world.state(ids[0]), Some(JobState::Waiting));
        world.runner(1, &["a"], 1);
        world.settle();
    }
    let done = world.finish(ids[0], 11, success());
    world.settle();
    assert_eq!(world.reply(done), Reply::Finished { accepted: true });
    world.check();
}

#[test]
fn an_owner_whose_first_commit_is_lost_leaves_no_trace() {
    let mut world = World::new();
    world.enqueue(1, jobs("a", 3));
    world.settle();
    for _ in 0..3 {
        world.enqueue(1, jobs("a", 1));
        world.take();
        world.crash(0, true);
    }
    world.settle();
    assert_eq!(world.engine.counts(1).waiting, 3);
    world.check();
}

#[test]
fn a_result_and_an_output_are_in_the_journal() {
    let mut world = World::new();
    world.runner(1, &["a"], 2);
    let ticket = world.enqueue(1, jobs("a", 2));
    world.settle();
    let ids = world.ids(ticket);
    let large = bytes::Bytes::from(vec![3; 300_000]);
    world.finish(ids[0], 1, Outcome::Succeeded { result: large });
    world.finish_as(ids[1], 1, AttemptEnd { exit_code: Some(7), output_dropped_bytes: 9, ..end(success()) });
    assert!(world.take());
    let commit = &world.in_flight.back().unwrap().commit;
    let ended: Vec<&MarkerRow> =
        commit.row.markers.iter().filter(|marker| marker.kind() == MarkerKind::Succeeded).collect();
    assert_eq!(ended[0].result_blob.map(|blob| (blob.chunks, blob.bytes)), Some((2, 300_000)));
    assert_eq!(commit.blobs.len(), 2);
    assert_eq!(
        (&ended[1].result[..], ended[1].exit_code, ended[1].output_dropped_bytes),
        (&b"done"[..], Some(7), 9)
    );
    world.settle();
}

/// Takes over from a journal of one epoch with those commits.
fn take_over(rows: Vec<CommitRow>) -> Result<Engine, TakeoverError> {
    let epoch = Epoch { number: 1, incarnation: 1 };
    let head = ChainLink { epoch_number: 1, incarnation: 1, cut: rows.len() as u64 };
    let tail = rows.into_iter().enumerate().map(|(commit, row)| TailCommit {
        segment: segment_name(epoch, 0),
        commit: commit as u64,
        bytes: 100,
        row,
    });
    let taken = TakenOver {
        epoch: Epoch { number: 2, incarnation: 2 },
        chain: vec![head],
        origin: Origin { head: Some(head) },
        progress: None,
        tail: tail.collect(),
        queues: vec![(1, QueueSettings::default(), false)],
        tokens: Vec::new(),
        passed_over: 0,
    };
    Engine::open(PARTITION, EngineSettings::default(), taken, START_MS, &mut Vec::new())
}

#[test]
fn a_journal_that_does_not_add_up_is_refused_and_said_where() {
    let place = Place { epoch_number: 1, commit: 0, place: 3 };
    let marker = MarkerRow { job: Some(place), kind: MarkerKind::Started as i32, ..Default::default() };
    let row = CommitRow { markers: vec![marker], ..Default::default() };
    let error = take_over(vec![row]).map(drop).expect_err("there is no such job");
    let TakeoverError::Inconsistent { epoch_number, commit, .. } = error;
    assert_eq!((epoch_number, commit), (1, 0));
    let row = CommitRow {
        condemned: vec![segment_name(Epoch { number: 9, incarnation: 9 }, 9)],
        ..Default::default()
    };
    assert!(take_over(vec![row]).is_err());
    assert!(take_over(vec![CommitRow::default()]).is_ok());
}

#[test]
fn a_summary_that_does_not_fit_is_refused() {
    let mut world = World::with(EngineSettings { segment_jobs_max: 8, ..EngineSettings::default() });
    world.runner(1, &["a"], 1);
    world.enqueue(1, jobs("a", 20));
    world.settle();
    world.engine.want_progress();
    world.settle();
    let good = world.store.summaries.clone();
    let spoil: [fn(&mut SummaryRow); 5] = [
        |summary| summary.jobs_per_commit.push(1),
        |summary| summary.jobs_per_commit = vec![u32::MAX; 3],
        |summary| summary.states.truncate(1),
        |summary| summary.kinds = vec![99; summary.kinds.len()],
        |summary| summary.queues.clear(),
    ];
    for spoil in spoil {
        for bytes in world.store.summaries.values_mut() {
            let mut summary = <SummaryRow as prost::Message>::decode(&bytes[..]).unwrap();
            spoil(&mut summary);
            *bytes = prost::Message::encode_to_vec(&summary).into();
        }
        let error = world.try_crash().expect_err("the summary makes no sense");
        assert!(error.to_string().contains("does not add up"), "{error}");
        world.store.summaries = good.clone();
    }
    assert!(world.try_crash().is_ok());
}
