//! Where a partition's owner is, and asking it there.
//!
//! ```text
//! call ─▶ owned here? ─yes─▶ run ──────────────────────────────▶ answer
//!              │ no                 │ moved: nothing was done
//!              ▼                    ▼
//!         owner known? ─yes─▶ peer link ─▶ answer │ not sent, moved: look again
//!              │ no                               │ unknown: again if that does no harm, else said
//!              └──── wait for the next view, within the deadline ────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::coordination::{Member, View, WorkerId};
use crate::model::PartitionId;
use crate::worker::RequestError;
use crate::worker::owner::unavailable;

use super::partition::{Local, Operation};
use super::reader::Reader;

/// Pause before a partition is looked for again when nothing seems to have changed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// When to come back to a partition without an owner.
const NO_OWNER_RETRY: Duration = Duration::from_secs(1);

/// What a worker knows of the others.
pub(crate) struct Neighbours {
    /// This worker.
    pub me: WorkerId,
    /// Who is there and who owns what.
    pub view: watch::Sender<Arc<View>>,
    /// The session is sure to be alive.
    pub sure: watch::Sender<bool>,
    /// After so long without a sign of life, a worker's attempts are taken for interrupted.
    pub lease: Duration,
    pub link: Arc<dyn Link>,
}

/// How other workers are asked.
#[async_trait::async_trait]
pub(crate) trait Link: Send + Sync + 'static {
    /// One question, one answer.
    async fn call(
        &self,
        member: &Member,
        kind: u32,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, LinkError>;

    /// One question, many parts of an answer.
    async fn stream(
        &self,
        member: &Member,
        kind: u32,
        body: Bytes,
        within: Duration,
    ) -> Result<crate::worker::OutputStream, LinkError>;
}

/// Why there was no answer.
#[derive(Clone, Debug)]
pub(crate) enum LinkError {
    /// It did not get there.
    NotSent(String),
    /// It may have been done.
    Unknown(String),
    /// The other worker's answer.
    Refused(RequestError),
}

impl Neighbours {
    /// The member that owns a partition, as far as is known.
    pub fn owner_of(&self, partition: PartitionId) -> Option<Member> {
        let view = self.view.borrow();
        view.owners.get(&partition).and_then(|owner| view.members.get(owner)).cloned()
    }
}

/// See the module.
pub(crate) struct Router {
    local: Arc<Local>,
}

impl Router {
    pub fn new(local: Arc<Local>) -> Self {
        Self { local }
    }

    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    fn neighbours(&self) -> Option<&Neighbours> {
        self.local.shared().cluster.as_deref()
    }

    /// Asks a partition's owner, wherever it is.
    pub async fn call<O: Operation>(
        &self,
        partition: PartitionId,
        operation: O,
        within: Duration,
    ) -> Result<O::Answer, RequestError> {
        let Some(neighbours) = self.neighbours() else {
            return operation.run(&self.local, self.local.own(partition)).await;
        };
        let deadline = Instant::now() + within;
        let mut view = neighbours.view.subscribe();
        let mut last = no_owner(partition);
        let repeatable = operation.repeatable();
        loop {
            view.mark_unchanged();
            if let Some(reader) = self.local.find(partition) {
                match operation.clone().run(&self.local, reader.clone()).await {
                    Err(RequestError::Moved(what)) => last = RequestError::Moved(what),
                    Err(error @ RequestError::Unavailable { .. })
                        if repeatable && !self.is_owner(&reader) =>
                    {
                        last = error;
                    }
                    answer => return answer,
                }
            } else if let Some(member) =
                neighbours.owner_of(partition).filter(|owner| owner.id != neighbours.me)
            {
                let left = deadline.saturating_duration_since(Instant::now());
                let body = address(partition, operation.encode());
                match neighbours.link.call(&member, O::KIND, body, left).await {
                    Ok(answer) => return O::decode_answer(answer),
                    Err(LinkError::NotSent(what)) => last = not_reached(&member, &what),
                    Err(LinkError::Refused(RequestError::Moved(what))) => last = RequestError::Moved(what),
                    Err(LinkError::Refused(error)) => return Err(error),
                    Err(LinkError::Unknown(what)) if repeatable => last = not_reached(&member, &what),
                    Err(LinkError::Unknown(what)) => {
                        return Err(unavailable(format!("{what}: whether it was done is not known")));
                    }
                }
            }
            // Whatever comes first: the next view, or a little time.
            let again = deadline.min(Instant::now() + LOOK_AGAIN);
            let _ = timeout_at(again, view.changed()).await;
            if Instant::now() >= deadline {
                return Err(last);
            }
        }
    }

    /// Asks for something that is answered by many parts.
    pub async fn output(
        &self,
        partition: PartitionId,
        get: super::partition::GetOutput,
        within: Duration,
    ) -> Result<crate::worker::OutputStream, RequestError> {
        let Some(neighbours) = self.neighbours() else {
            return get.run(&self.local, self.local.own(partition)).await;
        };
        if let Some(reader) = self.local.find(partition) {
            return get.run(&self.local, reader).await;
        }
        let Some(member) = neighbours.owner_of(partition) else { return Err(no_owner(partition)) };
        let body = address(partition, serde_json::to_vec(&get).unwrap_or_default().into());
        let kind = super::partition::GetOutput::KIND;
        neighbours.link.stream(&member, kind, body, within).await.map_err(|error| match error {
            LinkError::NotSent(what) | LinkError::Unknown(what) => not_reached(&member, &what),
            LinkError::Refused(error) => error,
        })
    }

    fn is_owner(&self, reader: &Reader) -> bool {
        let now = self.local.find(reader.owner().partition());
        now.is_some_and(|now| now.owner().is_same(reader.owner()))
    }
}

/// A question about a partition, as it crosses the link.
fn address(partition: PartitionId, question: Bytes) -> Bytes {
    let mut body = Vec::with_capacity(6 + question.len());
    body.extend(partition.group.to_be_bytes());
    body.extend(partition.index.to_be_bytes());
    body.extend(&question);
    body.into()
}

/// The reverse.
pub(crate) fn addressed(body: &Bytes) -> Option<(PartitionId, Bytes)> {
    let (group, rest) = body.split_first_chunk::<4>()?;
    let index = rest.first_chunk::<2>()?;
    let partition = PartitionId { group: u32::from_be_bytes(*group), index: u16::from_be_bytes(*index) };
    Some((partition, body.slice(6..)))
}

fn no_owner(partition: PartitionId) -> RequestError {
    RequestError::Unavailable {
        message: format!("partition {partition} has no owner at the moment: nothing was done"),
        retry_after: NO_OWNER_RETRY,
    }
}

fn not_reached(member: &Member, what: &str) -> RequestError {
    unavailable(format!("worker {} at {} can't be reached: {what}", member.name, member.address))
}
