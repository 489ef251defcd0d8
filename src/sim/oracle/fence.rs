//! Nothing is released whose fence read began after a higher claim was durable at quorum.
//!
//! Seen from outside: a read that began after commit N was durable, and did not see a higher claim,
//! began before that claim was durable. So N was durable first.

use std::ops::RangeInclusive;

use crate::model::Epoch;
use crate::store::CommitKey;

use super::super::store::DurableSince;

pub(super) fn check(
    epoch: Epoch,
    commits: RangeInclusive<u64>,
    durable: &DurableSince,
) -> Result<(), String> {
    let claimed = durable.claim_above(epoch);
    for commit in commits {
        let Some(since) = durable.commits.get(&CommitKey { epoch, commit }) else {
            return Err(format!("commit {commit} of {epoch} was released and is not durable"));
        };
        if claimed.is_some_and(|claimed| claimed <= *since) {
            return Err(format!(
                "commit {commit} of {epoch} was released, durable only after a higher claim"
            ));
        }
    }
    Ok(())
}

/// The same for a reply without a commit: the claim came after it was asked for, and the commits
/// that it rests on are released.
pub(super) fn check_ticket(
    epoch: Epoch,
    asked: u64,
    given: u64,
    released: u64,
    durable: &DurableSince,
) -> Result<(), String> {
    if released < given {
        return Err(format!("a reply of {epoch} rests on {given} commits, of which {released} are released"));
    }
    match durable.claim_above(epoch) {
        Some(claimed) if claimed < asked => {
            Err(format!("a reply of {epoch} passed, asked after a higher claim"))
        }
        _ => Ok(()),
    }
}
