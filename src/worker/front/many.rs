//! The same for many jobs of a queue.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::engine::Command;
use crate::model::{JobId, JobState, PartitionId};
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;
use crate::worker::partition::{AsNew, Change, Ids};

use super::{Front, TOGETHER};

/// Jobs that a queue can't be deleted with, unless it is said what becomes of them.
pub(super) const OPEN_OR_FAILED: [JobState; 5] =
    [JobState::Waiting, JobState::Scheduled, JobState::Blocked, JobState::Failed, JobState::Running];

impl Front {
    /// Does the same with all of a queue's jobs in a state; how many it was done with.
    pub(super) async fn for_all(
        &self,
        queue: &Arc<QueueEntry>,
        state: JobState,
        command: Command,
    ) -> Result<u64, RequestError> {
        let mut changed = 0;
        for partition in queue.partition_ids() {
            let ids = self.ask(partition, Ids { queue: queue.number, state }).await?;
            let outcomes = stream::iter(ids)
                .map(|id| async move { self.ask(partition, Change { job: id, command }).await });
            let outcomes: Vec<_> = outcomes.buffer_unordered(TOGETHER).collect().await;
            for outcome in outcomes {
                match outcome {
                    Ok(_) => changed += 1,
                    // It has moved on since it was listed.
                    Err(RequestError::Conflict(_) | RequestError::Gone(_) | RequestError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(changed)
    }

    /// Enqueues a job anew at another queue and forgets it here. The token makes a repetition safe.
    async fn move_job(
        &self,
        from: PartitionId,
        id: JobId,
        target: &Arc<QueueEntry>,
    ) -> Result<(), RequestError> {
        let mut job = self.ask(from, AsNew { job: id }).await?;
        job.token = Some(format!("move/{id}"));
        self.place(target, vec![job]).await?;
        self.ask(from, Change { job: id, command: Command::Delete }).await?;
        Ok(())
    }

    pub(super) async fn move_jobs(
        &self,
        queue: &Arc<QueueEntry>,
        target: &Arc<QueueEntry>,
    ) -> Result<u64, RequestError> {
        let mut moved = 0;
        for partition in queue.partition_ids() {
            for state in OPEN_OR_FAILED.into_iter().filter(|state| *state != JobState::Running) {
                for id in self.ask(partition, Ids { queue: queue.number, state }).await? {
                    match self.move_job(partition, id, target).await {
                        Ok(()) => moved += 1,
                        Err(RequestError::Conflict(_) | RequestError::Gone(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(moved)
    }
}
