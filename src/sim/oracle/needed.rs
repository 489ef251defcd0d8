//! Nothing that a successor needs is dropped or pruned: no take-over ever fails. One that comes upon
//! a hole because somebody with a higher claim is ahead of it is superseded instead. (The fence read
//! that tells may be overtaken in its turn by a claim that comes after it.)

use crate::model::Epoch;

use super::super::store::DurableSince;

pub(super) fn check(epoch: Option<Epoch>, what: &str, durable: &DurableSince) -> Result<(), String> {
    let superseded = epoch.is_some_and(|epoch| durable.claim_above(epoch).is_some());
    if superseded { Ok(()) } else { Err(format!("a take-over failed: {what}")) }
}
