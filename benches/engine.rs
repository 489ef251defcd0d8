//! How many jobs one partition's engine takes through their lives in a second, without any I/O:
//! what the engine itself costs, beside what the store costs.
//!
//! `cargo bench --bench engine [-- JOBS]`
//!
//! On two shared cores: about 1.0 M lives a second as they come, 2.7 M enqueues, 0.65 M
//! starts and ends of a backlog.

use std::time::Instant;

use bytes::Bytes;
use qdo::engine::{AttemptEnd, Effect, Engine, EngineSettings, Event, TakenOver};
use qdo::model::row::Origin;
use qdo::model::{Backoff, Due, Epoch, JobId, Lane, NewJob, Outcome, PartitionId, QueueSettings};

const BATCH: usize = 64;

/// An engine, and the part of its driver that needs no store.
struct Driver {
    engine: Engine,
    now_ms: u64,
    effects: Vec<Effect>,
    running: Vec<(JobId, u32)>,
    replies: u64,
    ticket: u64,
}

impl Driver {
    fn new(queues: u32) -> Self {
        let taken = TakenOver {
            epoch: Epoch { number: 1, incarnation: 1 },
            chain: Vec::new(),
            origin: Origin { head: None },
            progress: None,
            tail: Vec::new(),
            queues: (1..=queues).map(|number| (number, QueueSettings::default(), false)).collect(),
            tokens: Vec::new(),
            passed_over: 0,
        };
        let partition = PartitionId { group: 1, index: 0 };
        let now_ms = 1_700_000_000_000;
        let mut effects = Vec::new();
        let engine = Engine::open(partition, EngineSettings::default(), taken, now_ms, &mut effects)
            .expect("a new partition opens");
        Self { engine, now_ms, effects, running: Vec::new(), replies: 0, ticket: 0 }
    }

    fn event(&mut self, event: Event) {
        self.engine.handle(self.now_ms, event, &mut self.effects).expect("the journal adds up");
        for effect in self.effects.drain(..) {
            match effect {
                Effect::HandOut(hand_out) => self.running.push((hand_out.job, hand_out.attempt)),
                Effect::Reply { .. } | Effect::ReplyFenced { .. } => self.replies += 1,
                _ => {}
            }
        }
    }

    /// Commits are durable at once.
    fn commit(&mut self) {
        while let Some((commit, progress)) = self.engine.take_commit(self.now_ms) {
            let up_to = commit.commit;
            self.event(Event::Released { up_to });
            if let Some(progress) = progress {
                self.event(Event::ProgressDurable { as_of: progress.as_of });
            }
        }
    }

    fn enqueue(&mut self, queue: u32, jobs: Vec<NewJob>) {
        self.ticket += 1;
        self.event(Event::Enqueue { ticket: self.ticket, queue, jobs });
    }

    fn finish_all(&mut self, runner: u64, outcome: &Outcome) {
        let running = std::mem::take(&mut self.running);
        let attempts = running.len() as u32;
        for (job, attempt) in running {
            self.ticket += 1;
            let end = AttemptEnd {
                outcome: outcome.clone(),
                max_attempts: 5,
                backoff: Backoff::default(),
                exit_code: None,
                output: None,
                output_dropped_bytes: 0,
            };
            self.event(Event::Finish { ticket: self.ticket, job, attempt, end });
        }
        self.event(Event::Pull { runner, attempts });
    }

    fn runner(&mut self, kinds: Vec<String>, attempts: u32) {
        self.event(Event::RunnerUp { runner: 1, name: "bench".into(), kinds });
        self.event(Event::Pull { runner: 1, attempts });
    }
}

fn job(kind: &str, payload: &Bytes) -> NewJob {
    NewJob::new(kind, payload.clone())
}

fn show(name: &str, jobs: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{name:<44} {:>9.0} jobs/s {:>7.0} ns a job",
        jobs as f64 / seconds,
        seconds * 1e9 / jobs as f64
    );
}

fn succeeded() -> Outcome {
    Outcome::Succeeded { result: Bytes::new() }
}

/// Jobs come, run and end at once.
fn lifecycles(jobs: usize) {
    let payload = Bytes::from_static(b"{\"n\":1}");
    let mut driver = Driver::new(1);
    driver.runner(vec!["noop".into()], BATCH as u32);
    let began = Instant::now();
    for batch in 0..jobs / BATCH {
        driver.now_ms += u64::from(batch % 8 == 0);
        driver.enqueue(1, (0..BATCH).map(|_| job("noop", &payload)).collect());
        driver.commit();
        driver.finish_all(1, &succeeded());
    }
    driver.commit();
    show("enqueue, start and finish, as they come", jobs, began);
    assert_eq!(driver.engine.counts(1).succeeded as usize, jobs / BATCH * BATCH);
}

/// All jobs wait before the first is started; over many lanes, queues and kinds.
fn backlog(jobs: usize, queues: u32, kinds: usize) {
    let payload = Bytes::from_static(b"{\"n\":1}");
    let names: Vec<String> = (0..kinds).map(|n| format!("kind {n}")).collect();
    let mut driver = Driver::new(queues);
    let began = Instant::now();
    for batch in 0..jobs / BATCH {
        driver.now_ms += u64::from(batch % 8 == 0);
        let new = |n: usize| {
            let mut job = job(&names[(batch * 31 + n) % kinds], &payload);
            job.lane = Lane::new((batch % 9) as u8 + 1).expect("a lane");
            job
        };
        driver.enqueue(batch as u32 % queues + 1, (0..BATCH).map(new).collect());
        driver.commit();
    }
    show(&format!("backlog of {queues} queues, {kinds} kinds: enqueue"), jobs, began);
    let began = Instant::now();
    driver.runner(names, BATCH as u32);
    let mut ended = 0;
    loop {
        driver.commit();
        if driver.running.is_empty() {
            break;
        }
        ended += driver.running.len();
        driver.now_ms += 1;
        driver.finish_all(1, &succeeded());
    }
    show(&format!("backlog of {queues} queues, {kinds} kinds: run"), ended, began);
    assert_eq!(ended, jobs / BATCH * BATCH);
}

/// Delayed jobs, most of them snoozed once.
fn delayed(jobs: usize) {
    let payload = Bytes::from_static(b"{\"n\":1}");
    let mut driver = Driver::new(1);
    driver.runner(vec!["noop".into()], BATCH as u32);
    let began = Instant::now();
    for batch in 0..jobs / BATCH {
        driver.now_ms += 1;
        let delayed = |n: usize| NewJob {
            due: Due::After((batch * 7 + n * 13) as u64 % 5_000 + 1),
            ..job("noop", &payload)
        };
        driver.enqueue(1, (0..BATCH).map(delayed).collect());
        driver.commit();
        driver.finish_all(1, &succeeded());
    }
    while let Some(at_ms) = driver.engine.next_wake_ms().filter(|at_ms| *at_ms < driver.now_ms + 60_000) {
        driver.now_ms = driver.now_ms.max(at_ms);
        driver.event(Event::Tick);
        driver.commit();
        driver.finish_all(1, &succeeded());
    }
    driver.commit();
    show("delayed by up to five seconds", jobs, began);
    assert_eq!(driver.engine.counts(1).succeeded as usize, jobs / BATCH * BATCH);
}

fn main() {
    let jobs = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    lifecycles(jobs);
    delayed(jobs);
    backlog(jobs, 1, 1);
    backlog(jobs, 100, 10);
    backlog(jobs / 4, 10, 2_000);
}
