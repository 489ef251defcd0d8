//! How a worker is, and how the partitions are that it owns: asked of the worker, not of one
//! partition.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::model::view::{Counts, Rates};
use crate::model::{PartitionId, QueueNumber};
use crate::worker::RequestError;
use crate::worker::reader::Reader;

use super::{Local, not_understood};

/// Owners that are looked at at once.
const TOGETHER: usize = 64;
/// How long one owner is waited for: one that is just opening says nothing.
const OWNER_PATIENCE: Duration = Duration::from_secs(1);
/// Partitions of one question.
pub(crate) const LOCATED_MAX: usize = 256;

/// How a worker is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Attempts that run.
    pub running: u64,
    /// What happened in its partitions.
    pub last_minute: Rates,
    /// What is wrong, as one of its owners sees it.
    pub trouble: Option<String>,
}

/// See [`Told`].
pub(crate) struct Facts;

impl Facts {
    pub const KIND: u32 = 30;

    pub fn decode_answer(bytes: &[u8]) -> Result<Told, RequestError> {
        super::from_json(bytes)
    }

    pub async fn run(local: &Local) -> Told {
        let running = local.pool().running() as u64;
        let owners = local.readers_all();
        let trouble = owners.iter().find_map(|reader| reader.owner().trouble()).map(|error| error.message);
        let rates = stream::iter(owners).map(|reader| async move {
            let queues = queues(local, reader.owner().partition());
            let look = move |engine: &mut Engine| rates(engine, &queues);
            tokio::time::timeout(OWNER_PATIENCE, reader.owner().peek(look)).await
        });
        let mut told = Told { running, trouble, ..Told::default() };
        let mut rates = rates.buffer_unordered(TOGETHER);
        while let Some(counted) = rates.next().await {
            if let Ok(Ok(counted)) = counted {
                told.last_minute.add(&counted);
            }
        }
        told
    }
}

/// How a partition is, as its owner knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Located {
    /// `number-incarnation`.
    pub epoch: String,
    /// Since when, Unix ms by its worker's clock.
    pub since_ms: u64,
    /// Over all queues.
    pub counts: Counts,
    /// Age of the oldest waiting job.
    pub oldest_ms: Option<u64>,
    /// Over all queues.
    pub last_minute: Rates,
    /// What is wrong with the store, as it sees it.
    pub trouble: Option<String>,
}

/// How some partitions of a worker are; nothing of those that it has not, or can't tell in time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Locate {
    /// Group and index of each, at most [`LOCATED_MAX`].
    pub partitions: Vec<(u32, u16)>,
}

impl Locate {
    pub const KIND: u32 = 31;

    pub fn of(partitions: &[PartitionId]) -> Self {
        Self { partitions: partitions.iter().map(|id| (id.group, id.index)).collect() }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        let this: Self = super::from_json(bytes)?;
        match this.partitions.len() {
            0..=LOCATED_MAX => Ok(this),
            more => Err(not_understood(&format!("a question about {more} partitions"))),
        }
    }

    pub fn encode(&self) -> Bytes {
        super::to_json(self)
    }

    pub fn decode_answer(bytes: &[u8]) -> Result<Vec<Option<Located>>, RequestError> {
        super::from_json(bytes)
    }

    /// In the order of the question.
    pub async fn run(self, local: &Local) -> Vec<Option<Located>> {
        let partitions = self.partitions.into_iter().map(|(group, index)| PartitionId { group, index });
        let located = stream::iter(partitions).map(|partition| async move {
            let reader = local.find(partition)?;
            tokio::time::timeout(OWNER_PATIENCE, located(local, &reader)).await.ok()?
        });
        located.buffered(TOGETHER).collect().await
    }
}

async fn located(local: &Local, reader: &Reader) -> Option<Located> {
    let owner = reader.owner();
    let queues = queues(local, owner.partition());
    let look = move |engine: &mut Engine| {
        let mut counts = Counts::default();
        let mut oldest_ms: Option<u64> = None;
        for number in &queues {
            counts.add(&engine.counts(*number));
            let age = engine.oldest_waiting_ms(*number).map(|since| engine.now_ms().saturating_sub(since));
            oldest_ms = oldest_ms.max(age);
        }
        (engine.epoch().to_string(), counts, oldest_ms, rates(engine, &queues))
    };
    // An owner that has ended is not here.
    let (epoch, counts, oldest_ms, last_minute) = owner.peek(look).await.ok()?;
    let trouble = owner.trouble().map(|error| error.message);
    Some(Located { epoch, since_ms: owner.open_since_ms(), counts, oldest_ms, last_minute, trouble })
}

fn queues(local: &Local, partition: PartitionId) -> Vec<QueueNumber> {
    local.queues_of(partition).iter().map(|queue| queue.number).collect()
}

fn rates(engine: &Engine, queues: &[QueueNumber]) -> Rates {
    let mut sum = Rates::default();
    queues.iter().for_each(|number| sum.add(&engine.rates(*number)));
    sum
}

/// Answers a question about the worker itself.
pub(super) async fn answer(kind: u32, body: &[u8], local: &Local) -> Option<Result<Bytes, RequestError>> {
    match kind {
        Facts::KIND => Some(Ok(super::to_json(&Facts::run(local).await))),
        Locate::KIND => Some(match Locate::decode(body) {
            Ok(locate) => Ok(super::to_json(&locate.run(local).await)),
            Err(error) => Err(error),
        }),
        _ => None,
    }
}
