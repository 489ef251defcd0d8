//! One job: what it is, what became of it, what is to become of it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::engine::{Command, Event, Reply};
use crate::model::view::{HistoryEvent, JobView};
use crate::model::{JobId, JobState, NewJob};
use crate::worker::owner::unavailable;
use crate::worker::reader::{Reader, events, gone, output_place, unknown};
use crate::worker::{OutputStream, RequestError};

use super::wire::JobMessage;
use super::{Local, Operation, json_codec, not_understood};

/// Places that are followed for one command.
const PLACES_MAX: usize = 8;

/// All about a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GetJob {
    pub job: JobId,
}

#[async_trait]
impl Operation for GetJob {
    const KIND: u32 = 2;
    const REPEATABLE: bool = true;
    type Answer = JobView;
    json_codec!();

    async fn run(self, local: &Local, reader: Reader) -> Result<JobView, RequestError> {
        let (state, story) = reader.state_and_story(self.job).await?;
        let queue = local.queue(story.job.queue).await?.ok_or_else(|| gone(self.job))?;
        reader.view(self.job, &state, story, &queue, true).await
    }
}

/// The same, once it is final, or as it is after that time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WaitForJob {
    pub job: JobId,
    pub timeout_ms: u64,
}

#[async_trait]
impl Operation for WaitForJob {
    const KIND: u32 = 3;
    const REPEATABLE: bool = true;
    type Answer = JobView;
    json_codec!();

    async fn run(self, local: &Local, reader: Reader) -> Result<JobView, RequestError> {
        let end = reader.owner().subscribe(self.job)?;
        let get = GetJob { job: self.job };
        let now = get.clone().run(local, reader.clone()).await?;
        if now.state.is_final() {
            return Ok(now);
        }
        // In time or not: what is answered is what it is then.
        let _ = tokio::time::timeout(Duration::from_millis(self.timeout_ms), end).await;
        get.run(local, reader).await
    }
}

/// What happened to a job of that namespace, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GetHistory {
    pub job: JobId,
    pub namespace: String,
}

#[async_trait]
impl Operation for GetHistory {
    const KIND: u32 = 4;
    const REPEATABLE: bool = true;
    type Answer = Vec<HistoryEvent>;
    json_codec!();

    async fn run(self, local: &Local, reader: Reader) -> Result<Vec<HistoryEvent>, RequestError> {
        let (_, story) = reader.state_and_story(self.job).await?;
        in_namespace(local, &self.namespace, self.job, story.job.queue).await?;
        Ok(events(&story))
    }
}

/// Does something with one job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    pub job: JobId,
    pub command: Command,
}

#[async_trait]
impl Operation for Change {
    const KIND: u32 = 5;
    const REPEATABLE: bool = false;
    type Answer = JobState;
    json_codec!();

    async fn run(self, _: &Local, reader: Reader) -> Result<JobState, RequestError> {
        let Self { job, command } = self;
        let mut place = None;
        for _ in 0..PLACES_MAX {
            let event = move |ticket| Event::Command { ticket, job, place, command };
            match reader.owner().ask(event).await? {
                Reply::Done(state) => return Ok(state),
                Reply::UnknownJob => return Err(unknown(job)),
                Reply::WrongState(state) => return Err(wrong_state(job, command, state)),
                Reply::WhereIsIt => match reader.place_in_index(job).await? {
                    found if found.is_some() && found != place => place = found,
                    _ => return Err(gone(job)),
                },
                other => return Err(unexpected(&other)),
            }
        }
        Err(gone(job))
    }
}

/// A job as if it was enqueued anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AsNew {
    pub job: JobId,
}

#[async_trait]
impl Operation for AsNew {
    const KIND: u32 = 6;
    const REPEATABLE: bool = true;
    type Answer = NewJob;

    fn encode(&self) -> Bytes {
        super::to_json(self)
    }

    fn decode(bytes: Bytes) -> Result<Self, RequestError> {
        super::from_json(&bytes)
    }

    fn encode_answer(answer: NewJob) -> Bytes {
        JobMessage::from(&answer).encode_to_vec().into()
    }

    fn decode_answer(bytes: Bytes) -> Result<NewJob, RequestError> {
        JobMessage::decode(bytes).map_err(|error| not_understood(&error.to_string()))?.try_into()
    }

    async fn run(self, _: &Local, reader: Reader) -> Result<NewJob, RequestError> {
        reader.as_new(self.job).await
    }
}

/// Output of an attempt (none: the latest), with `follow` until it ends. Answered by many parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GetOutput {
    pub job: JobId,
    pub namespace: String,
    pub attempt: Option<u32>,
    pub follow: bool,
}

impl GetOutput {
    pub const KIND: u32 = 7;

    pub async fn run(self, local: &Local, reader: Reader) -> Result<OutputStream, RequestError> {
        let Self { job, namespace, attempt, follow } = self;
        let (_, story) = reader.state_and_story(job).await?;
        in_namespace(local, &namespace, job, story.job.queue).await?;
        let Some(place) = output_place(&story, attempt) else {
            return match attempt {
                Some(attempt) => {
                    Err(RequestError::NotFound(format!("job {job} has no attempt {attempt} on record")))
                }
                None => Ok(stream::empty().boxed()),
            };
        };
        let live = if follow { local.pool().live(job, place.attempt) } else { None };
        Ok(reader.stream(place, live))
    }
}

async fn in_namespace(local: &Local, namespace: &str, job: JobId, queue: u32) -> Result<(), RequestError> {
    let queue = local.queue(queue).await?.ok_or_else(|| gone(job))?;
    if *queue.namespace == *namespace { Ok(()) } else { Err(unknown(job)) }
}

/// The view, if it is of that namespace: other jobs are none of the caller's business.
pub(crate) fn same_namespace(view: JobView, namespace: &str) -> Result<JobView, RequestError> {
    if view.namespace == namespace { Ok(view) } else { Err(unknown(view.id)) }
}

pub(super) fn unexpected(reply: &Reply) -> RequestError {
    unavailable(format!("the partition's owner answered something else: {reply:?}"))
}

fn wrong_state(id: JobId, command: Command, state: JobState) -> RequestError {
    let what = match command {
        Command::Cancel => "only a job that is not final can be cancelled",
        Command::Retry => "only a failed or cancelled job can be retried",
        Command::RunNow => "only a scheduled job can be run now",
        Command::SetPriority(_) => "only a job that has not started can get another priority",
        Command::Delete | Command::Interrupt => "try again",
    };
    RequestError::Conflict(format!("job {id} is {}: {what}", state.name()))
}
