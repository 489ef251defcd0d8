//! From a hand-out by place to an attempt with its body.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::engine::{AttemptEnd, HandOut};
use crate::model::row::{CommitRef, CommitRow, JobRow, SegmentName};
use crate::model::{Attempt, Backoff, Epoch, Outcome, QueueSettings, Retry};
use crate::runner::pool::{Given, Policy, Pool};
use crate::store::{StoreError, StoreErrorKind};
use crate::worker::catalog::{Catalog, QueueEntry};
use crate::worker::reader::Reader;

/// Delay before a body that could not be read is read again.
const RETRY: Duration = Duration::from_millis(500);

/// Gives one owner's attempts to the runners.
#[derive(Clone)]
pub(crate) struct HandOuts {
    catalog: Arc<Catalog>,
    pool: Pool,
    reader: Reader,
    epoch: Epoch,
}

impl HandOuts {
    pub fn new(catalog: Arc<Catalog>, pool: Pool, reader: Reader) -> Self {
        Self { catalog, pool, reader, epoch: Epoch { number: 0, incarnation: 0 } }
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The owner's epoch is known.
    pub fn opened(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Reads a row that is not at hand, so that it is when its start is released.
    pub fn prefetch(&self, segment: SegmentName, commit: u64) {
        let at = CommitRef { epoch_number: segment.epoch_number, commit };
        // What is being written now has not left memory yet.
        if segment.epoch_number == self.epoch.number || self.reader.row_at_hand(at).is_some() {
            return;
        }
        let reader = self.reader.clone();
        tokio::spawn(async move {
            // Whoever needs it says what is wrong.
            let _ = reader.row_for_hand_out(segment, at).await;
        });
    }

    /// Gives an attempt to the pool, once its body is there.
    pub fn give(&self, hand_out: HandOut) {
        self.pool.handed_out(self.reader.owner().partition(), hand_out.job, hand_out.attempt);
        let at = CommitRef { epoch_number: hand_out.place.epoch_number, commit: hand_out.place.commit };
        let at_hand = self.reader.row_at_hand(at);
        if let Some(given) = at_hand.and_then(|row| self.attempt(&hand_out, &row, None)) {
            return self.pool.run(given);
        }
        let this = self.clone();
        tokio::spawn(async move { this.read_and_give(hand_out, at).await });
    }

    async fn read_and_give(&self, hand_out: HandOut, at: CommitRef) {
        loop {
            match self.read(&hand_out, at).await {
                Ok(given) => return self.pool.run(given),
                Err(error) if error.kind == StoreErrorKind::Unavailable => {
                    warn!(job = %hand_out.job, %error, "a body can't be read: trying again");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return self.refuse(&hand_out, &error).await,
            }
        }
    }

    async fn read(&self, hand_out: &HandOut, at: CommitRef) -> Result<Given, StoreError> {
        let row = self.reader.row_for_hand_out(hand_out.segment, at).await?;
        let damaged = || {
            let what = format!("the body of job {} is not in commit {at:?}", hand_out.job);
            StoreError::new(StoreErrorKind::Damaged, what)
        };
        let job = row.jobs.get(hand_out.place.place as usize).ok_or_else(damaged)?;
        let payload = match job.payload_blob {
            Some(blob) => Some(self.reader.blob(blob).await?),
            None => Some(job.payload.clone()),
        };
        self.attempt(hand_out, &row, payload).ok_or_else(damaged)
    }

    /// The attempt, unless its payload has to be read first.
    fn attempt(&self, hand_out: &HandOut, row: &CommitRow, payload: Option<Bytes>) -> Option<Given> {
        let job = row.jobs.get(hand_out.place.place as usize)?;
        let payload = match (payload, job.payload_blob) {
            (Some(payload), _) => payload,
            (None, None) => job.payload.clone(),
            (None, Some(_)) => return None,
        };
        let text = |index: u32| row.strings.get(index as usize).map(String::as_str).unwrap_or_default();
        let queue = self.catalog.numbered(hand_out.queue);
        let defaults = QueueSettings::default();
        let settings = queue.as_ref().map_or(&defaults, |queue| &queue.settings);
        let policy = policy(job, settings);
        let timeout_ms = if job.timeout_ms == 0 { settings.timeout.ms } else { job.timeout_ms };
        let name = |part: fn(&QueueEntry) -> &Arc<str>| {
            queue.as_deref().map_or_else(|| "".into(), |queue| part(queue).clone())
        };
        let attempt = Attempt {
            job: hand_out.job,
            partition: self.reader.owner().partition(),
            epoch: self.epoch,
            attempt: hand_out.attempt,
            namespace: name(|queue| &queue.namespace),
            queue: name(|queue| &queue.name),
            kind: text(job.kind).into(),
            payload,
            content_type: job.content_type.checked_sub(1).map(text).unwrap_or_default().to_owned(),
            key: job.key.clone(),
            headers: job.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect(),
            timeout_ms,
            deadline_ms: job.deadline_ms,
            failures: hand_out.failures,
            max_attempts: policy.max_attempts,
            suspect: hand_out.suspect,
            output_blob: hand_out.output_blob,
            output_segment: hand_out.output_segment,
        };
        Some(Given { attempt: Arc::new(attempt), policy, owner: self.reader.owner().clone() })
    }

    /// A job that can't be read is contained: it fails, with the reason on record.
    async fn refuse(&self, hand_out: &HandOut, error: &StoreError) {
        let queue = self.catalog.numbered(hand_out.queue);
        let settings = queue.map(|queue| queue.settings.clone()).unwrap_or_default();
        let end = AttemptEnd {
            outcome: Outcome::Failed {
                error: error.message.clone(),
                class: "unreadable".into(),
                retry: Retry::Policy,
            },
            max_attempts: settings.max_attempts,
            backoff: settings.backoff,
            exit_code: None,
            output: None,
            output_dropped_bytes: 0,
        };
        self.pool.refused(self.reader.owner().clone(), hand_out.job, hand_out.attempt, end);
    }
}

/// What the job says itself, else what its queue says.
fn policy(job: &JobRow, settings: &QueueSettings) -> Policy {
    Policy {
        max_attempts: if job.max_attempts == 0 { settings.max_attempts } else { job.max_attempts },
        backoff: job.backoff.as_ref().map_or(settings.backoff, Backoff::from),
    }
}
