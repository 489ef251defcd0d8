//! Version 1 of the assignment.
//!
//! ```text
//! classes   partitions by who can serve them; owners that may keep theirs
//! counts    how many of each class each worker should have: few move
//! choose    which ones: a group's partitions go to many workers
//! ```

use std::collections::BTreeMap;

use super::{Question, Wanted};
use crate::coordination::{Member, WorkerId};
use crate::model::PartitionId;

mod choose;
mod classes;
mod counts;

/// A worker by its place in the list of those that take partitions.
type Worker = usize;

/// A class by its number.
type Class = usize;

/// A worker that takes partitions.
struct Candidate<'a> {
    id: &'a WorkerId,
    member: &'a Member,
    /// Of its name: the same after a restart.
    hash: u64,
}

/// A partition, with all that matters about it here.
struct Place {
    partition: PartitionId,
    class: Class,
    /// Its owner now, if that may keep it.
    owner: Option<Worker>,
    hash: u64,
}

pub(super) fn assign(question: &Question<'_>) -> Wanted {
    let candidates = candidates(question);
    let classes = classes::sort(question, &candidates);
    let capacities: Vec<u64> = candidates.iter().map(|c| u64::from(c.member.capacity)).collect();
    let counts = counts::balance(&classes, &capacities);
    let owners = choose::choose(&classes, &counts, &candidates);
    let places = classes.places.iter().zip(owners);
    places.filter_map(|(place, owner)| Some((place.partition, candidates[owner?].id.clone()))).collect()
}

fn candidates<'a>(question: &Question<'a>) -> Vec<Candidate<'a>> {
    let taking = |id: &WorkerId, member: &Member| {
        member.capacity > 0 && !member.draining && !question.drained.contains(id)
    };
    let members = question.members.iter().filter(|(id, member)| taking(id, member));
    members.map(|(id, member)| Candidate { id, member, hash: hash_of(member.name.as_bytes()) }).collect()
}

/// FNV-1a.
fn hash_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The end of SplitMix64: of two close inputs, outputs far apart.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// How much a worker is wanted for a partition, where nothing else decides. By the worker's name, so
/// that one that comes back tends to get the same again.
fn liking(candidate: &Candidate<'_>, place: &Place) -> u64 {
    mix(candidate.hash ^ place.hash)
}

/// Owners that are gone, by name: the namesakes that started last.
fn namesakes<'a>(candidates: &[Candidate<'a>]) -> BTreeMap<&'a str, Worker> {
    let mut namesakes: BTreeMap<&str, Worker> = BTreeMap::new();
    for (worker, candidate) in candidates.iter().enumerate() {
        let last = namesakes.entry(candidate.member.name.as_str()).or_insert(worker);
        if candidate.member.started_ms > candidates[*last].member.started_ms {
            *last = worker;
        }
    }
    namesakes
}

/// The name in a worker id `name:pid:digits`.
fn name_of(id: &str) -> &str {
    id.rsplitn(3, ':').nth(2).unwrap_or(id)
}
