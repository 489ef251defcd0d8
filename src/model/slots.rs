//! Slots: routing values are spread over 4,096 of them, and each slot is with one partition.
//!
//! ```text
//! job ─▶ routing value (key, else token) ─hash─▶ slot ─SlotMap─▶ partition
//! ```
//!
//! When a group gets more partitions, some slots are *wanted* in new ones and stay where they are
//! until they may go (`docs/design.md`, *Slots*). The path of a slot only leads to partitions that
//! were added later: no partition ever gets back a slot that has left it. A map that was stored counts
//! as it is: how the wanted one was found may change with versions, what is stored is never computed
//! again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::limits::TOKEN_AGE_MS_MAX;
use super::{NewJob, PartitionId};

#[cfg(test)]
mod tests;

/// Slots that routing values are spread over.
pub const SLOTS: u16 = 4_096;

/// How long a slot's former partition is asked for tokens after the slot has moved, ms: as long as
/// tokens are remembered, and a margin for clocks that differ.
pub const FORMER_ASKED_MS: u64 = TOKEN_AGE_MS_MAX + 300_000;

/// Moves of one minute and one partition are one entry of the document.
const MOVED_UNIT_MS: u64 = 60_000;

/// What pins a job to a partition: its key, else its idempotency token.
pub fn routing_value(job: &NewJob) -> Option<&str> {
    job.key.as_deref().or(job.token.as_deref())
}

/// The slot of a job's routing value, if it has one.
pub fn routing_slot(job: &NewJob) -> Option<u16> {
    routing_value(job).map(slot_of)
}

/// A routing value's slot: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) over its bytes, mixed as
/// MurmurHash3 ends (values that differ in their last letters share FNV's upper bits), in
/// 0 … [`SLOTS`] - 1. Never changed: it is stored with jobs.
pub fn slot_of(value: &str) -> u16 {
    let hash = value.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    ((hash ^ (hash >> 33)) >> (64 - SLOTS.trailing_zeros())) as u16
}

/// A partition's index for each slot. In documents it is a text of two characters per slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotTable(Box<[u16]>);

/// Six bits each, as in base64url (RFC 4648, 5): an index has at most twelve.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl SlotTable {
    /// Slot by slot in turn over the first partitions.
    fn even(partitions: u16) -> Self {
        Self((0..SLOTS).map(|slot| slot % partitions.max(1)).collect())
    }

    fn partition_of(&self, slot: u16) -> u16 {
        self.0[usize::from(slot % SLOTS)]
    }

    /// The highest index in it.
    pub fn last(&self) -> u16 {
        self.0.iter().copied().max().unwrap_or(0)
    }

    /// The same for so many partitions: those that have no slot yet get their share from the fullest,
    /// slot by slot, until none has more than one more than a new one. Nothing else moves.
    fn grown(&self, partitions: u16) -> Self {
        let mut grown = self.clone();
        let mut slots: Vec<Vec<u16>> = vec![Vec::new(); usize::from(self.last()) + 1];
        for (slot, &index) in (0..).zip(&self.0) {
            slots[usize::from(index)].push(slot);
        }
        let first_new = slots.len() as u16;
        let mut emptiest: BTreeSet<(usize, u16)> = (first_new..partitions).map(|new| (0, new)).collect();
        // Lowest index first among equals: `last` of the set is the fullest.
        let turned = |index: u16| u16::MAX - index;
        let mut fullest: BTreeSet<(usize, u16)> =
            (0..).zip(&slots).map(|(index, slots)| (slots.len(), turned(index))).collect();
        while let (Some(&(few, to)), Some(&(many, turned_from))) = (emptiest.first(), fullest.last()) {
            if many <= few + 1 {
                break;
            }
            let from = turned(turned_from);
            fullest.remove(&(many, turned_from));
            fullest.insert((many - 1, turned_from));
            emptiest.remove(&(few, to));
            emptiest.insert((few + 1, to));
            if let Some(slot) = slots[usize::from(from)].pop() {
                grown.0[usize::from(slot)] = to;
            }
        }
        grown
    }
}

impl From<SlotTable> for String {
    fn from(table: SlotTable) -> Self {
        let digit = |bits: u16| char::from(DIGITS[usize::from(bits & 63)]);
        table.0.iter().flat_map(|&index| [digit(index >> 6), digit(index)]).collect()
    }
}

impl TryFrom<String> for SlotTable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bits = |byte: u8| DIGITS.iter().position(|&digit| digit == byte).map(|bits| bits as u16);
        let pairs = text.as_bytes().as_chunks::<2>().0;
        if text.len() != usize::from(SLOTS) * 2 {
            return Err(format!("a slot map has {} characters, not {}", usize::from(SLOTS) * 2, text.len()));
        }
        let indexes = pairs.iter().map(|&[high, low]| Some(bits(high)? << 6 | bits(low)?));
        let indexes: Option<_> = indexes.collect();
        indexes.map(Self).ok_or_else(|| "a slot map has a character that means nothing".to_owned())
    }
}

/// Slots that have left a partition, and until when nobody could have known it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedSlots {
    /// The partition that they have left.
    pub from: u16,
    /// When at the latest, Unix ms.
    pub at_ms: u64,
    /// Which, in rising order.
    pub slots: Vec<u16>,
}

/// Which partition each slot is with, in a group that has grown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovingSlots {
    /// Where they are.
    pub at: SlotTable,
    /// Where they are wanted; none is where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<SlotTable>,
    /// What has moved so lately that former partitions may still know tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<MovedSlots>,
}

/// Which partition each slot is with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotMap {
    /// In turn over so many partitions: a group that has never grown.
    Even(u16),
    /// Slot by slot.
    Each(Box<MovingSlots>),
}

impl SlotMap {
    /// The partition that takes a slot's jobs.
    pub fn partition_of(&self, slot: u16) -> u16 {
        match self {
            Self::Even(partitions) => slot % (*partitions).max(1),
            Self::Each(slots) => slots.at.partition_of(slot),
        }
    }

    /// The highest index that any slot is at, or wanted at.
    pub fn last(&self) -> u16 {
        match self {
            Self::Even(partitions) => partitions.saturating_sub(1),
            Self::Each(slots) => slots.at.last().max(slots.wanted.as_ref().map_or(0, SlotTable::last)),
        }
    }

    /// Some slot is not where it is wanted.
    pub fn is_moving(&self) -> bool {
        matches!(self, Self::Each(slots) if slots.wanted.is_some())
    }

    /// Slots that are with a partition and wanted elsewhere, and where.
    pub fn leaving(&self, partition: u16) -> impl Iterator<Item = (u16, u16)> + '_ {
        let moving = match self {
            Self::Each(slots) => slots.wanted.as_ref().map(|wanted| (&slots.at, wanted)),
            Self::Even(_) => None,
        };
        moving.into_iter().flat_map(move |(at, wanted)| {
            let slots = (0..).zip(at.0.iter().zip(&wanted.0));
            slots
                .filter(move |(_, (at, wanted))| **at == partition && at != wanted)
                .map(|(slot, (_, &wanted))| (slot, wanted))
        })
    }

    /// How many slots are not where they are wanted.
    pub fn to_move(&self) -> usize {
        match self {
            Self::Each(slots) => slots.wanted.as_ref().map_or(0, |wanted| {
                slots.at.0.iter().zip(&wanted.0).filter(|(at, wanted)| at != wanted).count()
            }),
            Self::Even(_) => 0,
        }
    }

    /// How many slots are with a partition.
    pub fn held_by(&self, partition: u16) -> usize {
        (0..SLOTS).filter(|&slot| self.partition_of(slot) == partition).count()
    }

    /// Partitions that a slot has left so lately that they may know tokens of it.
    pub fn formers(&self, slot: u16, now_ms: u64) -> impl Iterator<Item = u16> + '_ {
        let moved = match self {
            Self::Each(slots) => slots.moved.as_slice(),
            Self::Even(_) => &[],
        };
        let may_know =
            move |moved: &&MovedSlots| moved.asked_at(now_ms) && moved.slots.binary_search(&slot).is_ok();
        moved.iter().filter(may_know).map(|moved| moved.from)
    }

    /// True if some slot has left a partition so lately that it may know tokens.
    pub fn has_formers(&self, now_ms: u64) -> bool {
        matches!(self, Self::Each(slots) if slots.moved.iter().any(|moved| moved.asked_at(now_ms)))
    }

    /// The same in a group of so many partitions: where slots are stays, where they are wanted changes.
    pub fn grown(&self, partitions: u16) -> Self {
        if partitions <= self.last() + 1 {
            return self.clone();
        }
        let mut slots = match self {
            Self::Even(spread) => {
                MovingSlots { at: SlotTable::even(*spread), wanted: None, moved: Vec::new() }
            }
            Self::Each(slots) => (**slots).clone(),
        };
        let wanted = slots.wanted.as_ref().unwrap_or(&slots.at).grown(partitions);
        slots.wanted = (wanted != slots.at).then_some(wanted);
        Self::Each(Box::new(slots))
    }

    /// The same after a partition has closed these slots for good: those that were leaving it are where
    /// they are wanted. None if that changes nothing.
    pub fn after_closing(&self, partition: u16, closed: &BTreeSet<u16>, now_ms: u64) -> Option<Self> {
        let Self::Each(slots) = self else { return None };
        let mut after = (**slots).clone();
        let leaving = self.leaving(partition).filter(|(slot, _)| closed.contains(slot));
        let gone: Vec<u16> = leaving
            .map(|(slot, wanted)| {
                after.at.0[usize::from(slot)] = wanted;
                slot
            })
            .collect();
        if gone.is_empty() {
            return None;
        }
        after.wanted = after.wanted.filter(|wanted| *wanted != after.at);
        after.moved.retain(|moved| moved.asked_at(now_ms));
        let at_ms = now_ms.next_multiple_of(MOVED_UNIT_MS);
        match after.moved.iter_mut().find(|moved| (moved.from, moved.at_ms) == (partition, at_ms)) {
            Some(moved) => {
                moved.slots.extend(gone);
                moved.slots.sort_unstable();
                moved.slots.dedup();
            }
            None => after.moved.push(MovedSlots { from: partition, at_ms, slots: gone }),
        }
        Some(Self::Each(Box::new(after)))
    }
}

impl MovedSlots {
    fn asked_at(&self, now_ms: u64) -> bool {
        now_ms < self.at_ms.saturating_add(FORMER_ASKED_MS)
    }
}

// An index fits into two digits.
const _: () = assert!(PartitionId::INDEX_MAX < 64 * 64);
