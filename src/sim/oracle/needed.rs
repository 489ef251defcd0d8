//! Nothing that a successor needs is dropped or pruned: a take-over never comes upon a hole, unless
//! another one with a higher claim is already under way and this one will never release anything.

use crate::model::Epoch;

use super::super::store::DurableSince;

pub(super) fn check(epoch: Option<Epoch>, what: &str, durable: &DurableSince) -> Result<(), String> {
    let superseded = epoch.is_some_and(|epoch| durable.claim_above(epoch).is_some());
    if superseded { Ok(()) } else { Err(format!("a take-over failed: {what}")) }
}
