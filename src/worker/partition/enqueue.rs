//! New jobs for one partition.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;

use crate::engine::{Event, Reply};
use crate::model::{JobId, JobState, NewJob, QueueNumber, check};
use crate::worker::RequestError;
use crate::worker::reader::Reader;

use super::wire::{EnqueueMessage, JobMessage, TakenMessage};
use super::{Local, Operation, not_understood};

/// Jobs of one queue: all are taken, or none.
#[derive(Clone, Debug)]
pub(crate) struct Enqueue {
    pub queue: QueueNumber,
    pub jobs: Arc<Vec<NewJob>>,
}

/// Answer to [`Enqueue`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Placed {
    /// Id, state, and whether the token had been seen.
    Taken(Vec<(JobId, JobState, bool)>),
    /// Nothing was done: some are of slots that have left the partition.
    SlotsLeft,
}

#[async_trait]
impl Operation for Enqueue {
    const KIND: u32 = 1;
    const REPEATABLE: bool = false;
    type Answer = Placed;

    /// A token makes a repetition answer the first one's id.
    fn repeatable(&self) -> bool {
        self.jobs.iter().all(|job| job.token.is_some())
    }

    fn encode(&self) -> Bytes {
        let jobs = self.jobs.iter().map(JobMessage::from).collect();
        EnqueueMessage { queue: self.queue, jobs }.encode_to_vec().into()
    }

    fn decode(bytes: Bytes) -> Result<Self, RequestError> {
        let message = EnqueueMessage::decode(bytes).map_err(|error| not_understood(&error.to_string()))?;
        let jobs: Vec<NewJob> =
            message.jobs.into_iter().map(NewJob::try_from).collect::<Result<_, RequestError>>()?;
        // The clock is the producer's worker's: what is due when was checked there.
        jobs.iter().try_for_each(|job| check::new_job(job, 0))?;
        Ok(Self { queue: message.queue, jobs: Arc::new(jobs) })
    }

    fn encode_answer(answer: Placed) -> Bytes {
        let mut message = TakenMessage::default();
        let Placed::Taken(taken) = answer else {
            // What makes no sense to one that knows no slots: it must not take it for an acknowledgement.
            let refused = TakenMessage { ids: vec![0; 16], states: vec![u32::MAX], slots_left: true };
            return refused.encode_to_vec().into();
        };
        for (id, state, repeated) in taken {
            message.ids.extend(id.to_bytes());
            message.states.push(state as u32 * 2 + u32::from(repeated));
        }
        message.encode_to_vec().into()
    }

    fn decode_answer(bytes: Bytes) -> Result<Placed, RequestError> {
        let message = TakenMessage::decode(bytes).map_err(|error| not_understood(&error.to_string()))?;
        if message.slots_left {
            return Ok(Placed::SlotsLeft);
        }
        let ids = message.ids.as_chunks::<16>().0;
        let taken = ids.iter().zip(message.states).map(|(id, state)| {
            let repeated = state % 2 == 1;
            Some((JobId::from_slice(id)?, JobState::from_number(state / 2)?, repeated))
        });
        let taken = taken.collect::<Option<_>>().ok_or_else(|| not_understood("a job in no state"))?;
        Ok(Placed::Taken(taken))
    }

    async fn run(self, local: &Local, reader: Reader) -> Result<Placed, RequestError> {
        let Self { queue, jobs } = self;
        // A queue that was created elsewhere a moment ago: its jobs come before the news.
        if local.queue(queue).await?.is_none() {
            return Err(RequestError::NotFound("the queue has just been deleted".into()));
        }
        let jobs = Arc::unwrap_or_clone(jobs);
        let reply = reader.owner().ask(move |ticket| Event::Enqueue { ticket, queue, jobs }).await?;
        match reply {
            Reply::Enqueued(taken) => Ok(Placed::Taken(taken)),
            Reply::SlotsLeft => Ok(Placed::SlotsLeft),
            Reply::BacklogFull { max } => Err(RequestError::Overloaded {
                message: format!("the queue has reached its backlog_max of {max} waiting jobs"),
                retry_after: std::time::Duration::from_secs(5),
            }),
            Reply::TooMany { what, max } => Err(RequestError::Conflict(format!(
                "partition {} has had {max} {what} since it was opened, which is all it takes: use fewer",
                reader.owner().partition()
            ))),
            Reply::UnknownQueue => Err(RequestError::NotFound("the queue has just been deleted".into())),
            other => Err(super::jobs::unexpected(&other)),
        }
    }
}
