//! Who should own what: a pure function that every worker computes alike from what it sees.
//!
//! It only proposes; the lock decides who tries, and the store who counts. What it promises, whatever
//! the input:
//!
//! - **Balanced**: no partition could go to a worker that can serve it and would then, by capacity,
//!   have less than the owner has now. Among workers of equal capacity that can serve the same, counts
//!   differ by at most 1.
//! - **Sticky**: owners keep what they have, up to their share. A join moves partitions to the one who
//!   joins only, a leave moves the leaver's only, and the same again moves nothing.
//! - **Possible**: nobody gets what it cannot serve, has not the labels for, or is not named for.
//! - **Spread**: what moves, moves so that a group's partitions are at many workers.
//! - **Alike**: the order of the input does not matter, and all use the lowest version published.
//!
//! No clock, no randomness, no order of a hash map (`clippy.toml` forbids the first two here).

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Member, PartitionName, WorkerId};
use crate::model::{GroupNumber, PartitionId};

mod pattern;
#[cfg(test)]
mod tests;
mod v1;

pub use pattern::matches;

/// Who should own each partition. One that nobody can serve is not in it.
pub type Wanted = BTreeMap<PartitionId, WorkerId>;

/// Highest version of the assignment that this program can compute.
pub const ASSIGN_VERSION: u32 = VERSIONS.len() as u32;

/// All versions, the first is version 1. One that was released is never changed: workers of two
/// releases must agree.
const VERSIONS: &[Version] = &[v1::assign];

type Version = fn(&Question<'_>) -> Wanted;

/// What an assignment is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Workers that are there.
    pub members: &'a BTreeMap<WorkerId, Member>,
    /// Workers that were asked to let go of their partitions.
    pub drained: &'a [WorkerId],
    /// All partitions, in any order.
    pub partitions: &'a [PartitionName],
    /// Who owns what now. An owner that is not there any more counts as its namesake that is.
    pub owners: &'a BTreeMap<PartitionId, WorkerId>,
    /// What was configured, the same at every worker.
    pub settings: &'a AssignSettings,
}

/// What was configured about assignment, the same at every worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssignSettings {
    /// Who may have what.
    pub policy: Policy,
    /// Labels that a worker must have to own partitions of a group.
    pub labels: BTreeMap<GroupNumber, BTreeMap<String, String>>,
}

/// Who may have what.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Policy {
    /// Everybody, everything.
    #[default]
    Automatic,
    /// The first rule that matches a partition says who; without a rule it is nobody's.
    Manual(Vec<ManualRule>),
}

/// Names the workers that may have some partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct ManualRule {
    /// `namespace/group`; `*` stands for any characters.
    pub pattern: String,
    /// These of each group that matches; all without it.
    pub partitions: Option<RangeInclusive<u16>>,
    /// Names of workers (not ids); `*` stands for any characters.
    pub workers: Vec<String>,
}

/// Who should own what, by the lowest version that a member has published.
pub fn assign(question: &Question<'_>) -> Wanted {
    by_version(VERSIONS, question)
}

fn by_version(versions: &[Version], question: &Question<'_>) -> Wanted {
    let lowest = question.members.values().map(|member| member.assign_version).min().unwrap_or(1);
    // A version 0 was never released, and one beyond ours needs no regard when nobody has less.
    let place = (lowest.max(1) as usize).min(versions.len()) - 1;
    versions[place](question)
}
