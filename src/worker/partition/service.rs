//! Answers what other workers ask about the partitions that are owned here.
//!
//! A partition that is not owned here is answered with [`RequestError::Moved`]: nothing was done, and
//! whoever asked looks again.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::PartitionId;
use crate::worker::reader::Reader;
use crate::worker::router::addressed;
use crate::worker::{OutputStream, RequestError};

use super::{
    AsNew, Change, Count, Enqueue, Finish, GetHistory, GetJob, GetOutput, Held, Ids, KnownTokens, List,
    Local, Operation, WaitForJob, not_understood,
};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    local: Arc<Local>,
}

impl Service {
    pub fn new(local: Arc<Local>) -> Self {
        Self { local }
    }

    /// Answers a question that has one answer.
    pub async fn answer(&self, kind: u32, body: Bytes) -> Result<Bytes, RequestError> {
        match kind {
            Enqueue::KIND => self.run::<Enqueue>(&body).await,
            GetJob::KIND => self.run::<GetJob>(&body).await,
            WaitForJob::KIND => self.run::<WaitForJob>(&body).await,
            GetHistory::KIND => self.run::<GetHistory>(&body).await,
            Change::KIND => self.run::<Change>(&body).await,
            AsNew::KIND => self.run::<AsNew>(&body).await,
            Count::KIND => self.run::<Count>(&body).await,
            List::KIND => self.run::<List>(&body).await,
            Ids::KIND => self.run::<Ids>(&body).await,
            KnownTokens::KIND => self.run::<KnownTokens>(&body).await,
            Finish::KIND => self.run::<Finish>(&body).await,
            Held::KIND => Ok(Held::decode(&body)?.run(&self.local).await),
            other => {
                let answered = super::look::answer(other, &body, &self.local).await;
                answered.unwrap_or_else(|| Err(unknown_kind(other)))
            }
        }
    }

    /// True for questions that are answered by many parts: [`Service::stream`].
    pub fn is_stream(kind: u32) -> bool {
        kind == GetOutput::KIND
    }

    /// Answers a question that has many parts.
    pub async fn stream(&self, kind: u32, body: Bytes) -> Result<OutputStream, RequestError> {
        if !Self::is_stream(kind) {
            return Err(unknown_kind(kind));
        }
        let (reader, question) = self.find(&body)?;
        let get: GetOutput = super::from_json(&question)?;
        get.run(&self.local, reader).await
    }

    async fn run<O: Operation>(&self, body: &Bytes) -> Result<Bytes, RequestError> {
        let (reader, question) = self.find(body)?;
        Ok(O::encode_answer(O::decode(question)?.run(&self.local, reader).await?))
    }

    fn find(&self, body: &Bytes) -> Result<(Reader, Bytes), RequestError> {
        let (partition, question) = addressed(body).ok_or_else(|| not_understood("no partition"))?;
        let reader = self.local.find(partition).ok_or_else(|| not_here(partition))?;
        Ok((reader, question))
    }
}

fn not_here(partition: PartitionId) -> RequestError {
    RequestError::Moved(format!("partition {partition} is not with this worker: try again"))
}

fn unknown_kind(kind: u32) -> RequestError {
    not_understood(&format!("a question of kind {kind}, which only another version knows"))
}
