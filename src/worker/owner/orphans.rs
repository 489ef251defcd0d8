//! Attempts that were running before this owner came: with whom they are, and whether they still run.
//!
//! The worker that started one is on record with the start. It is asked; what it does not have was
//! never handed out, since it has an attempt until its end is on record: that is given back, and costs
//! the job nothing. What it has, it reports to whoever owns by then. A worker that is not there any
//! more is waited for as long as its lease; then its attempts are interrupted. Keeps INV-3: only a
//! worker that is known dead, or silent for that long, loses its attempts.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use crate::engine::Event;
use crate::model::{Epoch, JobId};
use crate::runner::pool::Pool;
use crate::worker::RequestError;
use crate::worker::partition::Held;
use crate::worker::reader::Reader;
use crate::worker::router::Neighbours;

/// How long a worker has for its answer.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// Attempts asked for at a time.
const ASKED_MAX: usize = 1_000;
/// Longest time between two looks.
const AGAIN: Duration = Duration::from_secs(2);

/// Ends when no orphan is left, or the owner has gone.
pub(super) async fn settle(neighbours: Arc<Neighbours>, pool: Pool, reader: Reader, epoch: Epoch) {
    // Workers that are not there, and since when.
    let mut missing: HashMap<String, Instant> = HashMap::new();
    let mut runners: HashMap<(JobId, u32), String> = HashMap::new();
    let mut view = neighbours.view.subscribe();
    loop {
        let Ok((now, orphans)) = reader.owner().peek(move |engine| (engine.epoch(), engine.orphans())).await
        else {
            return;
        };
        if orphans.is_empty() || now != epoch {
            return;
        }
        let mut by_runner: BTreeMap<String, Vec<(JobId, u32)>> = BTreeMap::new();
        for attempt in orphans {
            let runner = match runners.entry(attempt) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(unknown) => match runner_of(&reader, attempt).await {
                    Ok(runner) => unknown.insert(runner).clone(),
                    // It has ended meanwhile, or can't be read now: the next look tells.
                    Err(_) => continue,
                },
            };
            by_runner.entry(runner).or_default().push(attempt);
        }
        view.mark_unchanged();
        for (runner, attempts) in by_runner {
            for part in attempts.chunks(ASKED_MAX) {
                match look(&neighbours, &pool, &reader, epoch, &runner, part, &mut missing).await {
                    Found::Unstarted(attempts) => {
                        for (job, attempt) in attempts {
                            debug!(%job, attempt, runner, "an attempt was never handed out: it is given back");
                            reader.owner().tell(Event::OrphanUnstarted { job, attempt });
                        }
                    }
                    Found::Dead => {
                        for &(job, attempt) in part {
                            info!(%job, attempt, runner, "an attempt's worker is gone: it was interrupted");
                            reader.owner().tell(Event::OrphanGone { job, attempt });
                        }
                    }
                    Found::Nothing => {}
                }
            }
        }
        let _ = tokio::time::timeout(AGAIN.min(neighbours.lease / 4), view.changed()).await;
    }
}

/// Who started an attempt.
async fn runner_of(reader: &Reader, (job, attempt): (JobId, u32)) -> Result<String, RequestError> {
    let (_, story) = reader.state_and_story(job).await?;
    Ok(story.runner_of(attempt).unwrap_or_default())
}

/// What was found out about one worker's attempts.
enum Found {
    /// It is there, and these were never handed out to it.
    Unstarted(Vec<(JobId, u32)>),
    /// It has not been there for its lease.
    Dead,
    /// No answer yet.
    Nothing,
}

async fn look(
    neighbours: &Neighbours,
    pool: &Pool,
    reader: &Reader,
    epoch: Epoch,
    runner: &str,
    attempts: &[(JobId, u32)],
    missing: &mut HashMap<String, Instant>,
) -> Found {
    if *runner == *neighbours.me {
        return Found::Unstarted(pool.not_held(attempts.to_vec()));
    }
    let member = neighbours.view.borrow().members.get(runner).cloned();
    let Some(member) = member else {
        // While this worker is not sure to see what is there, nobody is missing.
        if !*neighbours.sure.borrow() {
            missing.remove(runner);
            return Found::Nothing;
        }
        let since = *missing.entry(runner.to_owned()).or_insert_with(Instant::now);
        return if since.elapsed() >= neighbours.lease { Found::Dead } else { Found::Nothing };
    };
    missing.remove(runner);
    let partition = reader.owner().partition();
    let question = Held {
        group: partition.group,
        index: partition.index,
        epoch_number: epoch.number,
        incarnation: epoch.incarnation,
        attempts: attempts.to_vec(),
    };
    let answer = neighbours.link.call(&member, Held::KIND, question.encode(), ASK_WITHIN).await;
    match answer.map(|answer| Held::decode_answer(&answer)) {
        Ok(Ok(held)) => {
            let unstarted = attempts.iter().filter(|attempt| !held.contains(attempt));
            Found::Unstarted(unstarted.copied().collect())
        }
        other => {
            debug!(runner, ?other, "a worker did not say which attempts it has: asking again");
            Found::Nothing
        }
    }
}
