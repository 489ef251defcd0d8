//! Jobs and ends of attempts, as they cross the link between workers. Fields are only ever added.

use bytes::Bytes;

use crate::engine::AttemptEnd;
use crate::model::row::{BackoffRow, BlobRef, Header};
use crate::model::{Backoff, Due, Lane, NewJob, Outcome, Retry};
use crate::worker::RequestError;

use super::not_understood;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EnqueueMessage {
    #[prost(uint32, tag = "1")]
    pub queue: u32,
    #[prost(message, repeated, tag = "2")]
    pub jobs: Vec<JobMessage>,
}

/// Ids, 16 bytes each; states times two, plus one for a repetition.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TakenMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub ids: Vec<u8>,
    #[prost(uint32, repeated, tag = "2")]
    pub states: Vec<u32>,
    /// Nothing was taken: slots have left the partition.
    #[prost(bool, tag = "3")]
    pub slots_left: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JobMessage {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    #[prost(string, tag = "3")]
    pub content_type: String,
    #[prost(string, optional, tag = "4")]
    pub key: Option<String>,
    #[prost(uint32, tag = "5")]
    pub lane: u32,
    /// At most one of the two; neither is now.
    #[prost(uint64, optional, tag = "6")]
    pub after_ms: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    pub at_ms: Option<u64>,
    #[prost(uint64, optional, tag = "8")]
    pub deadline_ms: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    pub timeout_ms: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    pub max_attempts: Option<u32>,
    #[prost(message, optional, tag = "11")]
    pub backoff: Option<BackoffRow>,
    #[prost(string, optional, tag = "12")]
    pub token: Option<String>,
    #[prost(string, repeated, tag = "13")]
    pub tags: Vec<String>,
    #[prost(message, repeated, tag = "14")]
    pub headers: Vec<Header>,
}

impl From<&NewJob> for JobMessage {
    fn from(job: &NewJob) -> Self {
        let (after_ms, at_ms) = match job.due {
            Due::Now => (None, None),
            Due::After(ms) => (Some(ms), None),
            Due::At(ms) => (None, Some(ms)),
        };
        let headers = job.headers.iter();
        Self {
            kind: job.kind.clone(),
            payload: job.payload.clone(),
            content_type: job.content_type.clone(),
            key: job.key.clone(),
            lane: job.lane.number().into(),
            after_ms,
            at_ms,
            deadline_ms: job.deadline_ms,
            timeout_ms: job.timeout_ms,
            max_attempts: job.max_attempts,
            backoff: job.backoff.as_ref().map(BackoffRow::from),
            token: job.token.clone(),
            tags: job.tags.clone(),
            headers: headers
                .map(|(name, value)| Header { name: name.clone(), value: value.clone() })
                .collect(),
        }
    }
}

impl TryFrom<JobMessage> for NewJob {
    type Error = RequestError;

    fn try_from(job: JobMessage) -> Result<Self, RequestError> {
        let lane = u8::try_from(job.lane).ok().and_then(Lane::new);
        Ok(Self {
            kind: job.kind,
            payload: job.payload,
            content_type: job.content_type,
            key: job.key,
            lane: lane.ok_or_else(|| not_understood("a job in no lane"))?,
            due: match (job.after_ms, job.at_ms) {
                (Some(ms), _) => Due::After(ms),
                (None, Some(ms)) => Due::At(ms),
                (None, None) => Due::Now,
            },
            deadline_ms: job.deadline_ms,
            timeout_ms: job.timeout_ms,
            max_attempts: job.max_attempts,
            backoff: job.backoff.as_ref().map(Backoff::from),
            token: job.token,
            tags: job.tags,
            headers: job.headers.into_iter().map(|header| (header.name, header.value)).collect(),
        })
    }
}

/// Kinds of [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum OutcomeKind {
    None = 0,
    Succeeded = 1,
    Failed = 2,
    Snoozed = 3,
    Released = 4,
    Interrupted = 5,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EndMessage {
    #[prost(bytes = "vec", tag = "1")]
    pub job: Vec<u8>,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
    #[prost(enumeration = "OutcomeKind", tag = "3")]
    pub outcome: i32,
    #[prost(bytes = "bytes", tag = "4")]
    pub result: Bytes,
    /// Error, or reason of an interruption.
    #[prost(string, tag = "5")]
    pub error: String,
    #[prost(string, tag = "6")]
    pub class: String,
    /// Delay of a snooze, or of the retry that the handler wishes.
    #[prost(uint64, optional, tag = "7")]
    pub delay_ms: Option<u64>,
    #[prost(bool, tag = "8")]
    pub give_up: bool,
    #[prost(uint32, tag = "9")]
    pub max_attempts: u32,
    #[prost(message, optional, tag = "10")]
    pub backoff: Option<BackoffRow>,
    #[prost(int32, optional, tag = "11")]
    pub exit_code: Option<i32>,
    #[prost(message, optional, tag = "12")]
    pub output: Option<BlobRef>,
    #[prost(uint64, tag = "13")]
    pub output_dropped_bytes: u64,
}

impl From<&AttemptEnd> for EndMessage {
    fn from(end: &AttemptEnd) -> Self {
        let mut message = Self {
            max_attempts: end.max_attempts,
            backoff: Some(BackoffRow::from(&end.backoff)),
            exit_code: end.exit_code,
            output: end.output,
            output_dropped_bytes: end.output_dropped_bytes,
            ..Self::default()
        };
        match &end.outcome {
            Outcome::Succeeded { result } => {
                message.set_outcome(OutcomeKind::Succeeded);
                message.result = result.clone();
            }
            Outcome::Failed { error, class, retry } => {
                message.set_outcome(OutcomeKind::Failed);
                (message.error, message.class) = (error.clone(), class.clone());
                match retry {
                    Retry::Policy => {}
                    Retry::After(ms) => message.delay_ms = Some(*ms),
                    Retry::GiveUp => message.give_up = true,
                }
            }
            Outcome::Snoozed { delay_ms } => {
                message.set_outcome(OutcomeKind::Snoozed);
                message.delay_ms = Some(*delay_ms);
            }
            Outcome::Released => message.set_outcome(OutcomeKind::Released),
            Outcome::Interrupted { reason } => {
                message.set_outcome(OutcomeKind::Interrupted);
                message.error.clone_from(reason);
            }
        }
        message
    }
}

impl TryFrom<EndMessage> for AttemptEnd {
    type Error = RequestError;

    fn try_from(message: EndMessage) -> Result<Self, RequestError> {
        let retry = match (message.give_up, message.delay_ms) {
            (true, _) => Retry::GiveUp,
            (false, Some(ms)) => Retry::After(ms),
            (false, None) => Retry::Policy,
        };
        let outcome = match message.outcome() {
            OutcomeKind::None => return Err(not_understood("an attempt that has not ended")),
            OutcomeKind::Succeeded => Outcome::Succeeded { result: message.result },
            OutcomeKind::Failed => Outcome::Failed { error: message.error, class: message.class, retry },
            OutcomeKind::Snoozed => Outcome::Snoozed { delay_ms: message.delay_ms.unwrap_or_default() },
            OutcomeKind::Released => Outcome::Released,
            OutcomeKind::Interrupted => Outcome::Interrupted { reason: message.error },
        };
        Ok(Self {
            outcome,
            max_attempts: message.max_attempts,
            backoff: message.backoff.as_ref().map(Backoff::from).unwrap_or_default(),
            exit_code: message.exit_code,
            output: message.output,
            output_dropped_bytes: message.output_dropped_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(outcome: Outcome) -> AttemptEnd {
        AttemptEnd {
            outcome,
            max_attempts: 3,
            backoff: Backoff::default(),
            exit_code: Some(7),
            output: Some(BlobRef { blob: 9, chunks: 2, ..BlobRef::default() }),
            output_dropped_bytes: 11,
        }
    }

    #[test]
    fn an_end_of_an_attempt_crosses_the_link_unchanged() {
        let failed = |retry| Outcome::Failed { error: "e".into(), class: "c".into(), retry };
        let outcomes = [
            Outcome::Succeeded { result: Bytes::from_static(b"r") },
            failed(Retry::Policy),
            failed(Retry::After(5)),
            failed(Retry::GiveUp),
            Outcome::Snoozed { delay_ms: 4 },
            Outcome::Released,
            Outcome::Interrupted { reason: "stop".into() },
        ];
        for outcome in outcomes {
            let sent = end(outcome.clone());
            let got = AttemptEnd::try_from(EndMessage::from(&sent)).unwrap();
            assert_eq!(got.outcome, outcome);
            assert_eq!((got.max_attempts, got.exit_code), (3, Some(7)));
            assert_eq!((got.output, got.output_dropped_bytes), (sent.output, 11));
            assert_eq!(got.backoff, sent.backoff);
        }
        assert!(AttemptEnd::try_from(EndMessage::default()).is_err());
    }

    #[test]
    fn a_job_crosses_the_link_unchanged() {
        for due in [Due::Now, Due::After(3), Due::At(4)] {
            let mut job = NewJob::new("kind", &b"payload"[..]);
            job.key = Some("k".into());
            job.token = Some("t".into());
            job.due = due;
            job.lane = Lane::new(9).unwrap();
            job.backoff = Some(Backoff::default());
            job.tags = vec!["a".into()];
            job.headers = vec![("n".into(), "v".into())];
            (job.deadline_ms, job.timeout_ms, job.max_attempts) = (Some(1), Some(2), Some(3));
            assert_eq!(NewJob::try_from(JobMessage::from(&job)).unwrap(), job);
        }
        assert!(NewJob::try_from(JobMessage::default()).is_err(), "lane 0");
    }
}
