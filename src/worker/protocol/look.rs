//! What a claimant would go on from, found out without a claim: the take-over's own reads, with its
//! writes left out.

use std::collections::VecDeque;

use bytes::Bytes;

use super::take_over::{Next, Part, TakeOver};
use super::{Accepted, ProtocolSettings, Reply, Request, perform};
use crate::model::PartitionId;
use crate::store::{Claim, Store, StoreError, StoreErrorKind, WriteOutcome};

/// Looks at a partition that is claimed by others meanwhile.
const LOOKS_MAX: usize = 5;
/// Of a claim that nobody makes: the highest of its number.
const INCARNATION: u64 = u64::MAX;

/// What a claimant would accept now.
pub async fn look(store: &dyn Store, partition: PartitionId) -> Result<Accepted, StoreError> {
    for _ in 0..LOOKS_MAX {
        if let Some(accepted) = look_once(store, partition).await? {
            return Ok(accepted);
        }
    }
    let message = format!("partition {partition} is claimed again and again; look later");
    Err(StoreError::new(StoreErrorKind::Unavailable, message))
}

/// None if somebody has claimed it meanwhile.
async fn look_once(store: &dyn Store, partition: PartitionId) -> Result<Option<Accepted>, StoreError> {
    let mut take_over = TakeOver::start(partition, Bytes::new(), INCARNATION, ProtocolSettings::default());
    let mut own: Option<Claim> = None;
    let mut requests = VecDeque::from([(Part::First, take_over.first_request())]);
    while let Some((part, request)) = requests.pop_front() {
        let reply = match request {
            Request::InsertClaim { claim, .. } => {
                own = Some(claim);
                Reply::Written(WriteOutcome::Durable)
            }
            Request::Repeat { .. } => Reply::Written(WriteOutcome::Durable),
            // The claim is seen by the take-over alone.
            Request::Claims { below: None, .. } => match (perform(store, request).await, &own) {
                (Reply::Claims(Ok(mut claims)), Some(own)) => {
                    let at = claims.iter().position(|claim| claim.epoch < own.epoch);
                    claims.insert(at.unwrap_or(claims.len()), own.clone());
                    Reply::Claims(Ok(claims))
                }
                (reply, _) => reply,
            },
            request => perform(store, request).await,
        };
        if let Reply::Claims(Err(error)) | Reply::Progress(Err(error)) | Reply::Commits(Err(error)) = reply {
            return Err(error);
        }
        match take_over.go_on(part, reply) {
            Next::Ask(next) => requests.extend(next),
            Next::Wait => {}
            Next::Done(accepted) => return Ok(Some(*accepted)),
            Next::Superseded(_) => return Ok(None),
            Next::Failed(error) => return Err(error),
        }
    }
    Ok(None)
}
