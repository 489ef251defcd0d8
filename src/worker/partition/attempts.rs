//! Attempts whose owner has changed: their ends, and whether somebody still has them.

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::engine::{AttemptEnd, Reply};
use crate::model::{Epoch, JobId, PartitionId};
use crate::worker::RequestError;
use crate::worker::reader::Reader;

use super::wire::EndMessage;
use super::{Local, Operation, not_understood};

/// An attempt has ended. Answers whether it was still the running one.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    pub job: JobId,
    pub attempt: u32,
    pub end: AttemptEnd,
}

#[async_trait]
impl Operation for Finish {
    const KIND: u32 = 20;
    /// A second report of the same attempt changes nothing.
    const REPEATABLE: bool = true;
    type Answer = bool;

    fn encode(&self) -> Bytes {
        let message = EndMessage {
            job: self.job.to_bytes().to_vec(),
            attempt: self.attempt,
            ..EndMessage::from(&self.end)
        };
        message.encode_to_vec().into()
    }

    fn decode(bytes: Bytes) -> Result<Self, RequestError> {
        let message = EndMessage::decode(bytes).map_err(|error| not_understood(&error.to_string()))?;
        let job = JobId::from_slice(&message.job).ok_or_else(|| not_understood("a job without an id"))?;
        Ok(Self { job, attempt: message.attempt, end: message.try_into()? })
    }

    fn encode_answer(accepted: bool) -> Bytes {
        super::to_json(&accepted)
    }

    fn decode_answer(bytes: Bytes) -> Result<bool, RequestError> {
        super::from_json(&bytes)
    }

    async fn run(self, _: &Local, reader: Reader) -> Result<bool, RequestError> {
        let answer = reader.owner().report(self.job, self.attempt, self.end);
        match reader.owner().reported(answer).await? {
            Reply::Finished { accepted } => Ok(accepted),
            other => Err(super::jobs::unexpected(&other)),
        }
    }
}

/// Of these attempts of a partition, those that this worker has. Its own owner of the partition, if
/// it has one of an earlier epoch, ends first: it hands out nothing more after the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub group: u32,
    pub index: u16,
    pub epoch_number: u32,
    pub incarnation: u64,
    pub attempts: Vec<(JobId, u32)>,
}

impl Held {
    pub const KIND: u32 = 21;

    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        super::from_json(bytes)
    }

    pub fn encode(&self) -> Bytes {
        super::to_json(self)
    }

    pub fn decode_answer(bytes: &[u8]) -> Result<Vec<(JobId, u32)>, RequestError> {
        super::from_json(bytes)
    }

    pub async fn run(self, local: &Local) -> Bytes {
        let partition = PartitionId { group: self.group, index: self.index };
        let epoch = Epoch { number: self.epoch_number, incarnation: self.incarnation };
        local.supersede(partition, epoch).await;
        let gone = local.pool().not_held(self.attempts.clone());
        let held: Vec<_> = self.attempts.into_iter().filter(|attempt| !gone.contains(attempt)).collect();
        super::to_json(&held)
    }
}
