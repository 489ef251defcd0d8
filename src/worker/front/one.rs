//! One job: who has it, and what is to be done with it.

use std::sync::{Arc, PoisonError};

use crate::engine::{Command, Event, Reply};
use crate::model::{JobId, JobState};
use crate::worker::RequestError;
use crate::worker::catalog::QueueEntry;
use crate::worker::reader::{Reader, gone, unknown};

use super::{Front, unexpected};

/// Places that are followed for one command.
const PLACES_MAX: usize = 8;

impl Front {
    /// The reader and queue of a job, if its namespace is that one.
    pub(super) fn reader_of(&self, id: JobId) -> Result<Reader, RequestError> {
        let partition = id.partition();
        let known = self.readers.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned();
        known.ok_or_else(|| unknown(id))
    }

    pub(super) fn queue_of(
        &self,
        namespace: &str,
        id: JobId,
        number: u32,
    ) -> Result<Arc<QueueEntry>, RequestError> {
        let queue = self.catalog().numbered(number).ok_or_else(|| gone(id))?;
        if *queue.namespace == *namespace { Ok(queue) } else { Err(unknown(id)) }
    }

    pub(super) async fn ask_command(
        &self,
        reader: &Reader,
        id: JobId,
        command: Command,
    ) -> Result<JobState, RequestError> {
        let mut place = None;
        for _ in 0..PLACES_MAX {
            let event = move |ticket| Event::Command { ticket, job: id, place, command };
            match reader.owner().ask(event).await? {
                Reply::Done(state) => return Ok(state),
                Reply::UnknownJob => return Err(unknown(id)),
                Reply::WrongState(state) => return Err(wrong_state(id, command, state)),
                Reply::WhereIsIt => match reader.place_in_index(id).await? {
                    found if found.is_some() && found != place => place = found,
                    _ => return Err(gone(id)),
                },
                other => return Err(unexpected(&other)),
            }
        }
        Err(gone(id))
    }
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
