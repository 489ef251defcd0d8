//! Jobs of a queue in one partition: how many, which.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::model::row::Place;
use crate::model::view::{Counts, JobView, Rates};
use crate::model::{JobId, JobState, QueueNumber};
use crate::worker::reader::Reader;
use crate::worker::{JobFilter, RequestError};

use super::{Local, Operation, json_codec};

/// Counts and rates of a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Count {
    pub queue: QueueNumber,
}

/// Answer to [`Count`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub counts: Counts,
    pub rates: Rates,
    /// Age of the oldest waiting job.
    pub oldest_ms: Option<u64>,
}

#[async_trait]
impl Operation for Count {
    const KIND: u32 = 10;
    const REPEATABLE: bool = true;
    type Answer = Counted;
    json_codec!();

    async fn run(self, _: &Local, reader: Reader) -> Result<Counted, RequestError> {
        let number = self.queue;
        let look = move |engine: &mut Engine| {
            let age = engine.oldest_waiting_ms(number).map(|since| engine.now_ms().saturating_sub(since));
            (engine.counts(number), engine.rates(number), age)
        };
        let (counts, rates, oldest_ms) = reader.owner().look(look).await?;
        Ok(Counted { counts, rates, oldest_ms })
    }
}

/// A page of jobs of a queue, in the order of their places.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct List {
    pub queue: QueueNumber,
    pub filter: JobFilter,
    /// Epoch, commit, place.
    pub after: Option<(u32, u64, u32)>,
    pub limit: usize,
}

/// Answer to [`List`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub jobs: Vec<JobView>,
    pub next: Option<(u32, u64, u32)>,
}

#[async_trait]
impl Operation for List {
    const KIND: u32 = 11;
    const REPEATABLE: bool = true;
    type Answer = Listed;
    json_codec!();

    async fn run(self, local: &Local, reader: Reader) -> Result<Listed, RequestError> {
        let Some(queue) = local.queue(self.queue).await? else {
            return Ok(Listed { jobs: Vec::new(), next: None });
        };
        let after = self.after.map(|(epoch_number, commit, place)| Place { epoch_number, commit, place });
        let page = reader.list(&queue, &self.filter, after, self.limit).await?;
        let next = page.next.map(|place| (place.epoch_number, place.commit, place.place));
        Ok(Listed { jobs: page.jobs, next })
    }
}

/// Ids of all jobs of a queue in a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ids {
    pub queue: QueueNumber,
    pub state: JobState,
}

#[async_trait]
impl Operation for Ids {
    const KIND: u32 = 12;
    const REPEATABLE: bool = true;
    type Answer = Vec<JobId>;
    json_codec!();

    async fn run(self, _: &Local, reader: Reader) -> Result<Vec<JobId>, RequestError> {
        reader.ids(self.queue, self.state).await
    }
}

/// Which of these tokens of a queue are remembered here. What is answered is released, and the owner
/// still counts: a token that is new here stays so, if its slot is closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KnownTokens {
    pub queue: QueueNumber,
    pub tokens: Vec<String>,
}

#[async_trait]
impl Operation for KnownTokens {
    const KIND: u32 = 13;
    const REPEATABLE: bool = true;
    type Answer = Vec<Option<(JobId, JobState)>>;
    json_codec!();

    async fn run(self, _: &Local, reader: Reader) -> Result<Self::Answer, RequestError> {
        let Self { queue, tokens } = self;
        let look =
            move |engine: &mut Engine| tokens.iter().map(|token| engine.known_token(queue, token)).collect();
        reader.owner().look(look).await
    }
}
