//! Anything, in any order: enqueues, runners, commands, late releases, crashes at any point. Then
//! the faults end, and everything must come to its end.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::*;
use crate::engine::*;
use crate::model::{Due, JobState, Lane, Outcome, QueueSettings, Retry, Span, slot_of};

const KINDS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        queue: u32,
        kind: usize,
        count: usize,
        lane: u8,
        delay_ms: Option<u64>,
        deadline_ms: Option<u64>,
        token: Option<u8>,
        key: Option<u8>,
    },
    /// Slots of some keys and tokens are wanted elsewhere.
    Leaving(u32),
    RunnerUp {
        kinds: u8,
        room: u32,
    },
    Reconnect {
        which: usize,
    },
    Pull {
        which: usize,
        attempts: u32,
    },
    Recall {
        which: usize,
        attempts: u32,
    },
    RunnerGone {
        which: usize,
    },
    Finish {
        which: usize,
        outcome: Outcome,
    },
    LateFinish {
        which: usize,
    },
    Command {
        which: usize,
        command: Command,
    },
    Pause {
        queue: u32,
        paused: bool,
    },
    Take,
    Durable(usize),
    Release,
    WriteProgress,
    Answer(usize),
    Drop(usize),
    Pass(u64),
    Settle,
    WantProgress,
    Crash {
        survive: usize,
        runners_die: bool,
    },
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let failed = |retry| Outcome::Failed { error: "it broke".into(), class: "exit".into(), retry };
    prop_oneof![
        6 => Just(success()),
        1 => (0usize..9_000).prop_map(|size| Outcome::Succeeded { result: Bytes::from(vec![7; size]) }),
        4 => Just(failed(Retry::Policy)),
        1 => (0u64..5_000).prop_map(move |ms| failed(Retry::After(ms))),
        1 => Just(failed(Retry::GiveUp)),
        1 => (0u64..5_000).prop_map(|delay_ms| Outcome::Snoozed { delay_ms }),
        1 => Just(Outcome::Released),
        1 => Just(Outcome::Interrupted { reason: "the worker stops".into() }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => Just(Command::Cancel),
        4 => Just(Command::Retry),
        1 => Just(Command::RunNow),
        2 => (1u8..=9).prop_map(Command::SetPriority),
        1 => Just(Command::Delete),
        1 => Just(Command::Interrupt),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let delay = prop_oneof![3 => Just(None), 1 => (0u64..20_000).prop_map(Some)];
    let deadline = prop_oneof![6 => Just(None), 1 => (1u64..30_000).prop_map(Some)];
    let token = prop_oneof![3 => Just(None), 1 => (0u8..12).prop_map(Some)];
    let key = prop_oneof![3 => Just(None), 1 => (0u8..6).prop_map(Some)];
    let lane = prop_oneof![3 => Just(5u8), 1 => 1u8..=9];
    prop_oneof![
        14 => (1u32..=2, 0usize..3, 1usize..6, lane, delay, deadline, token, key).prop_map(
            |(queue, kind, count, lane, delay_ms, deadline_ms, token, key)| Op::Enqueue {
                queue, kind, count, lane, delay_ms, deadline_ms, token, key
            }
        ),
        1 => any::<u32>().prop_map(Op::Leaving),
        3 => (0u8..8, 0u32..4).prop_map(|(kinds, room)| Op::RunnerUp { kinds, room }),
        2 => any::<usize>().prop_map(|which| Op::Reconnect { which }),
        6 => (any::<usize>(), 1u32..5).prop_map(|(which, attempts)| Op::Pull { which, attempts }),
        1 => (any::<usize>(), 1u32..5).prop_map(|(which, attempts)| Op::Recall { which, attempts }),
        1 => any::<usize>().prop_map(|which| Op::RunnerGone { which }),
        14 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Op::Finish { which, outcome }),
        1 => any::<usize>().prop_map(|which| Op::LateFinish { which }),
        5 => (any::<usize>(), command()).prop_map(|(which, command)| Op::Command { which, command }),
        1 => (1u32..=2, any::<bool>()).prop_map(|(queue, paused)| Op::Pause { queue, paused }),
        8 => Just(Op::Take),
        6 => (0usize..4).prop_map(Op::Durable),
        6 => Just(Op::Release),
        4 => Just(Op::WriteProgress),
        4 => (0usize..3).prop_map(Op::Answer),
        2 => (0usize..3).prop_map(Op::Drop),
        5 => (0u64..15_000).prop_map(Op::Pass),
        2 => Just(Op::Settle),
        1 => Just(Op::WantProgress),
        2 => (0usize..5, any::<bool>()).prop_map(|(survive, runners_die)| Op::Crash { survive, runners_die }),
    ]
}

/// Slots of all keys and tokens.
fn all_slots() -> Vec<u16> {
    let keys = (0..6).map(|key| slot_of(&format!("key {key}")));
    keys.chain((0..12).map(|token| slot_of(&format!("token {token}")))).collect()
}

fn pick<T: Clone>(from: &[T], which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[which % from.len()].clone())
}

fn runner(world: &World, which: usize) -> Option<RunnerId> {
    pick(&world.runners.keys().copied().collect::<Vec<_>>(), which)
}

fn act(world: &mut World, op: Op) {
    let open = world.engine.is_open();
    match op {
        Op::Answer(n) => {
            world.answer(n);
        }
        Op::Crash { survive, runners_die } => world.crash(survive, runners_die),
        // Whoever drives an engine asks nothing of it before it is open.
        _ if !open => {
            world.answer(0);
        }
        Op::Enqueue { queue, kind, count, lane, delay_ms, deadline_ms, token, key } => {
            let mut new = jobs(KINDS[kind], count);
            for job in &mut new {
                job.lane = Lane::new(lane).unwrap();
                job.due = delay_ms.map_or(Due::Now, Due::After);
                job.deadline_ms = deadline_ms.map(|ms| world.now_ms + ms);
            }
            if let Some(token) = token {
                new[0].token = Some(format!("token {token}"));
            }
            if let Some(key) = key {
                new.last_mut().unwrap().key = Some(format!("key {key}"));
            }
            world.enqueue(queue, new);
        }
        Op::Leaving(which) => {
            let slots = all_slots().into_iter().enumerate().filter(|(n, _)| which & (1 << n) != 0);
            world.event(Event::Leaving { slots: slots.map(|(_, slot)| slot).collect() });
        }
        Op::RunnerUp { kinds, room } => {
            if world.runners.len() < 4 {
                let kinds: Vec<&str> = (0..3).filter(|n| kinds & (1 << n) != 0).map(|n| KINDS[n]).collect();
                let runner = world.new_runner();
                world.runner(runner, &kinds, room);
            }
        }
        Op::Reconnect { which } => {
            if let Some(runner) = runner(world, which) {
                let kinds = world.runners[&runner].kinds.clone();
                let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
                world.runner(runner, &kinds, 1);
            }
        }
        Op::Pull { which, attempts } => {
            if let Some(runner) = runner(world, which) {
                world.pull(runner, attempts);
            }
        }
        Op::Recall { which, attempts } => {
            if let Some(runner) = runner(world, which) {
                world.event(Event::Recall { runner, attempts });
            }
        }
        Op::RunnerGone { which } => {
            if let Some(runner) = runner(world, which) {
                world.runner_gone(runner);
            }
        }
        Op::Finish { which, outcome } => {
            let running: Vec<_> = world.runners.values().flat_map(|runner| runner.running.clone()).collect();
            if let Some((job, attempt)) = pick(&running, which) {
                world.finish(job, attempt, outcome);
            }
        }
        Op::LateFinish { which } => {
            let all: Vec<_> = world.handed_out.iter().copied().collect();
            let Some((job, attempt)) = pick(&all, which) else { return };
            let fact = &world.taken.jobs[&job];
            if fact.state != Some(JobState::Running) || fact.attempt != attempt {
                let ticket = world.finish(job, attempt, success());
                world.never_accepted.insert(ticket);
            }
        }
        Op::Command { which, command } => {
            let all: Vec<_> = world.released.jobs.keys().copied().collect();
            if let Some(job) = pick(&all, which) {
                world.command(job, command);
            }
        }
        Op::Pause { queue, paused } => world.pause(queue, paused),
        Op::Take => {
            // As many as may be in flight.
            if world.in_flight.len() < 4 {
                world.take();
            }
        }
        Op::Durable(n) => world.make_durable(n),
        Op::Release => {
            world.release();
        }
        Op::WriteProgress => {
            world.write_progress();
        }
        Op::Drop(n) => {
            world.drop_segment(n);
        }
        Op::Pass(ms) => {
            world.now_ms += ms;
            world.event(Event::Tick);
        }
        Op::Settle => {
            world.settle();
            world.check();
        }
        Op::WantProgress => world.engine.want_progress(),
    }
}

/// No more faults: every open job must come to its end.
fn heal(world: &mut World) {
    world.settle();
    world.check();
    world.event(Event::OrphansGone);
    world.event(Event::Leaving { slots: all_slots().into_iter().collect() });
    world.pause(1, false);
    world.pause(2, false);
    for runner in world.runners.keys().copied().collect::<Vec<_>>() {
        world.runner_gone(runner);
    }
    let last = world.new_runner();
    world.runner(last, &KINDS, 3);
    for _ in 0..3_000 {
        world.settle();
        let running = world.runners[&last].running.clone();
        for &(job, attempt) in &running {
            world.finish(job, attempt, success());
            world.pull(last, 1);
        }
        if running.is_empty() {
            let open = |job: &super::facts::Fact| job.state.is_some_and(|state| !state.is_final());
            if !world.taken.jobs.values().any(open) {
                break;
            }
            let Some(at_ms) = world.engine.next_wake_ms() else {
                panic!("jobs are open, nothing runs and no wake-up is asked for")
            };
            world.now_ms = world.now_ms.max(at_ms);
            world.event(Event::Tick);
        }
    }
    world.settle();
    world.check();
    for (id, job) in &world.released.jobs {
        assert!(job.state.is_none_or(JobState::is_final), "{id} never ended: {job:?}");
    }
    world.pass(1_000);
    world.settle();
    let closed = &world.released.closed_slots;
    assert!(all_slots().iter().all(|slot| closed.contains(slot)), "no job is open, and a slot is");
    assert_eq!(*closed, world.closed_slots, "what is closed is said");
    assert!(world.unanswered().is_empty(), "requests without an answer: {:?}", world.unanswered());
}

fn settings() -> impl Strategy<Value = EngineSettings> {
    let window = prop_oneof![Just(16usize), Just(64), Just(1_000_000)];
    let segment = prop_oneof![Just((8u32, 4_096u64)), Just((32, 16_384)), Just((8_192, 8 << 20))];
    (window, segment, 1u64..20).prop_map(|(window_jobs_max, (jobs, bytes), progress_commits)| {
        EngineSettings {
            window_jobs_max,
            progress_commits,
            progress_bytes: 8 << 20,
            segment_jobs_max: jobs,
            segment_bytes_max: bytes,
        }
    })
}

fn queues(world: &mut World) {
    let first = QueueSettings { retention: Span::from_secs(30), ..QueueSettings::default() };
    let second = QueueSettings {
        retention: Span::from_secs(3_600),
        retention_count: 5,
        failed_retention: Span::from_secs(60),
        ..QueueSettings::default()
    };
    world.set_queue(1, first);
    world.set_queue(2, second);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_miscounted(
        settings in settings(), stepwise: bool, ops in vec(op(), 1..150)
    ) {
        let mut world = World::with(settings);
        queues(&mut world);
        world.stepwise(stepwise);
        for op in ops {
            act(&mut world, op);
        }
        heal(&mut world);
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}
