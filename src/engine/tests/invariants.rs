//! What must hold inside an engine after every event.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::engine::segment::{JobRef, Phase};
use crate::model::JobState;

pub fn check(engine: &Engine) {
    if !engine.is_open() {
        return;
    }
    sizes(engine);
    counts(engine);
    running(engine);
    places(engine);
    nobody_idles(engine);
}

fn sizes(engine: &Engine) {
    let loaded: usize = engine
        .segments
        .iter()
        .filter_map(|(_, segment)| segment.loaded.as_ref())
        .map(|l| l.entries.len())
        .sum();
    assert_eq!(engine.loaded_jobs, loaded, "jobs in memory");
    for (_, segment) in engine.segments.iter().filter(|(_, segment)| segment.loaded.is_some()) {
        let mut tallies: BTreeMap<u32, crate::engine::segment::Tally> = BTreeMap::new();
        for entry in segment.loaded.iter().flat_map(|loaded| &loaded.entries) {
            if let Phase::Is(state) = entry.phase {
                let tally = tallies.entry(entry.queue).or_default();
                tally.by_state[state as usize] += 1;
                tally.waiting_by_lane[entry.lane.index()] += u32::from(state == JobState::Waiting);
            }
        }
        let mut counted = segment.tallies.clone();
        counted.retain(|_, tally| *tally != Default::default());
        assert_eq!(counted, tallies, "totals of {:?}", segment.name);
    }
    let waiting = entries(engine).filter(|(_, entry)| entry.phase == Phase::Is(JobState::Waiting)).count();
    assert_eq!(engine.lines.len(), waiting, "jobs in lines");
    let deadlines = entries(engine).filter(|(_, entry)| entry.is_pending() && entry.deadline_ms != 0).count();
    let scheduled =
        entries(engine).filter(|(_, entry)| entry.phase == Phase::Is(JobState::Scheduled)).count();
    assert_eq!(engine.timers.len(), scheduled + deadlines, "timers");
    let loading = engine.segments.iter().filter(|(_, segment)| segment.loading).count();
    assert_eq!(engine.loading as usize, loading, "segments being read");
    let unloaded = engine.segments.iter().filter(|(_, segment)| segment.loaded.is_none()).count();
    assert_eq!(engine.unloaded, unloaded, "segments not in memory");
}

fn entries(engine: &Engine) -> impl Iterator<Item = (JobRef, &crate::engine::segment::Entry)> {
    engine.segments.iter().flat_map(|(number, segment)| {
        let entries = segment.loaded.iter().flat_map(|loaded| loaded.entries.iter().enumerate());
        entries.map(move |(index, entry)| (JobRef { segment: number, index: index as u32 }, entry))
    })
}

fn counts(engine: &Engine) {
    let mut sums: BTreeMap<u32, [u64; JobState::COUNT]> = BTreeMap::new();
    for (_, entry) in entries(engine) {
        if let Phase::Is(state) = entry.phase {
            sums.entry(entry.queue).or_default()[state as usize] += 1;
        }
    }
    for (_, segment) in engine.segments.iter().filter(|(_, segment)| segment.loaded.is_none()) {
        for (queue, tally) in &segment.tallies {
            let sum = sums.entry(*queue).or_default();
            sum.iter_mut().zip(tally.by_state).for_each(|(sum, count)| *sum += count);
        }
    }
    for (index, queue) in engine.queues.iter().enumerate() {
        let sum = sums.remove(&(index as u32)).unwrap_or_default();
        assert_eq!(queue.by_state, sum, "counts of queue {}", queue.number);
    }
    assert!(sums.is_empty(), "jobs of no queue");
}

fn running(engine: &Engine) {
    let runs = |(job, entry): (JobRef, &crate::engine::segment::Entry)| {
        (entry.phase == Phase::Is(JobState::Running)).then_some(job)
    };
    let mut by_entry: Vec<JobRef> = entries(engine).filter_map(runs).collect();
    by_entry.sort_unstable();
    let mut listed: Vec<JobRef> = engine.running.keys().copied().collect();
    listed.sort_unstable();
    assert_eq!(by_entry, listed, "running jobs");
    for (_, segment) in engine.segments.iter().filter(|(_, segment)| segment.loaded.is_none()) {
        let running = segment.of(JobState::Running);
        assert_eq!(running, 0, "running jobs are in memory");
    }
}

fn places(engine: &Engine) {
    for (number, segment) in engine.segments.iter() {
        let Some(loaded) = &segment.loaded else { continue };
        for (&index, id) in &loaded.foreign {
            let job = JobRef { segment: number, index };
            if loaded.entries[index as usize].phase != Phase::Forgotten {
                assert_eq!(engine.places.get(id), Some(&job), "{id} is found");
            }
        }
    }
    for (id, job) in &engine.places {
        let loaded = engine.segments.get(job.segment).and_then(|segment| segment.loaded.as_ref());
        assert!(
            loaded.is_some_and(|loaded| loaded.foreign.get(&job.index) == Some(id)),
            "{id} is where it is said"
        );
    }
}

/// A runner with room has no job waiting for it in memory (INV-7).
fn nobody_idles(engine: &Engine) {
    for (job, entry) in entries(engine).filter(|(_, entry)| entry.phase == Phase::Is(JobState::Waiting)) {
        if engine.lines.is_paused(entry.queue) || engine.unloaded > 0 {
            continue;
        }
        for (id, runner) in engine.runners.iter().filter(|(_, runner)| runner.room > 0) {
            let may = entry.interruptions == 0 || runner.suspect.is_none();
            assert!(!(may && runner.kinds.contains(&entry.kind)), "runner {id} has room, and {job:?} waits");
        }
    }
}
