//! Slots of routing values: how many open jobs each has here, and which are closed for good.
//!
//! ```text
//! here ──wanted elsewhere──▶ leaving ──no open job──▶ closed (a fact of a commit) ──released──▶ told
//! ```
//!
//! The counts are exact, also of jobs that are not in memory: they follow every change of a job, and
//! progress carries them to a successor. A job whose slot is not known (its rows are of a version that
//! did not write it down) is counted apart, and no slot is closed while one is open.
//!
//! Closed is closed: nothing takes it back, so whoever has seen a released commit close a slot knows that
//! no owner of this partition, ever, takes a new job of it (`docs/design.md`, *Slots*). A job that
//! had ended before and is retried is open again under its id, here.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::row::{JobRow, SlotsRow};
use crate::model::{NewJob, SLOTS, routing_slot, slot_of};

use super::segment::{Entry, Phase};
use super::tokens::TokenHash;
use super::{Effect, Engine};

/// Slots are closed at most once in so long, ms: those that have become free meanwhile go together,
/// with one change of the group's document.
const CLOSE_EVERY_MS: u64 = 200;

/// What pins a job to this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// It has no routing value.
    Anywhere,
    /// The slot of its routing value.
    Slot(u16),
    /// That was not written down.
    Unknown,
}

impl Routed {
    pub fn of(job: &NewJob) -> Self {
        routing_slot(job).map_or(Self::Anywhere, Self::Slot)
    }

    /// As it is stored: 0 is none, else the slot plus one.
    pub fn number(self) -> u32 {
        match self {
            Self::Anywhere => 0,
            Self::Slot(slot) => u32::from(slot) + 1,
            Self::Unknown => u32::from(SLOTS) + 1,
        }
    }

    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Anywhere,
            number => {
                u16::try_from(number - 1).ok().filter(|slot| *slot < SLOTS).map_or(Self::Unknown, Self::Slot)
            }
        }
    }

    /// Of a job's row. A token is stored as its hash, which tells nothing; one that is written again
    /// has not even that.
    pub fn of_row(row: &JobRow) -> Self {
        match row.slot {
            0 if !row.key.is_empty() => Self::Slot(slot_of(&row.key)),
            0 if !row.token.is_empty() || row.again.is_some() => Self::Unknown,
            number => Self::from_number(number),
        }
    }

    /// The slot, if it is known.
    pub fn slot(self) -> Option<u16> {
        match self {
            Self::Slot(slot) => Some(slot),
            Self::Anywhere | Self::Unknown => None,
        }
    }

    /// The better known of two.
    pub fn or(self, other: Self) -> Self {
        if self == Self::Unknown { other } else { self }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Open jobs by slot, none of them 0.
    open: BTreeMap<u16, u64>,
    /// Open jobs whose slot is not known.
    unknown: u64,
    /// Wanted elsewhere.
    leaving: BTreeSet<u16>,
    closed: BTreeSet<u16>,
    /// Whether something may be closed is to be looked at.
    look: bool,
    /// Not before.
    next_close_ms: u64,
}

impl Slots {
    /// One open job more, or one less.
    pub fn count(&mut self, routed: Routed, more: bool) {
        match (routed, more) {
            (Routed::Anywhere, _) => {}
            (Routed::Slot(slot), true) => *self.open.entry(slot).or_default() += 1,
            (Routed::Slot(slot), false) => {
                let left = self.open.get(&slot).copied().unwrap_or(0);
                debug_assert!(left > 0, "a count of open jobs may not fall below zero");
                if left > 1 {
                    self.open.insert(slot, left - 1);
                } else {
                    self.open.remove(&slot);
                    self.look |= self.leaving.contains(&slot);
                }
            }
            (Routed::Unknown, true) => self.unknown += 1,
            (Routed::Unknown, false) => {
                self.unknown = self.unknown.saturating_sub(1);
                self.look |= self.unknown == 0;
            }
        }
    }

    /// Counts follow a change of one job.
    pub fn changed(&mut self, before: &Entry, after: &Entry) {
        let (was_open, is_open) = (before.is_open(), after.is_open());
        if was_open != is_open {
            self.count(after.routed, is_open);
        }
    }

    /// Open jobs of a segment whose slots nobody had counted.
    pub fn add_uncounted(&mut self, open: u64) {
        self.unknown += open;
    }

    /// Such a segment is in memory now: what it holds is counted one by one.
    pub fn count_segment<'a>(&mut self, open: u64, entries: impl Iterator<Item = &'a Entry>) {
        self.unknown = self.unknown.saturating_sub(open);
        entries.filter(|entry| entry.is_open()).for_each(|entry| self.count(entry.routed, true));
        self.look = true;
    }

    pub fn is_closed(&self, slot: u16) -> bool {
        self.closed.contains(&slot)
    }

    pub fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// A predecessor has closed them.
    pub fn close_as_before(&mut self, slots: &[u32]) {
        self.closed.extend(slots.iter().filter_map(|&slot| u16::try_from(slot).ok()));
    }

    pub fn row(&self) -> SlotsRow {
        SlotsRow {
            slots: self.open.keys().map(|&slot| slot.into()).collect(),
            open: self.open.values().copied().collect(),
            unknown: self.unknown,
            closed: self.closed.iter().map(|&slot| slot.into()).collect(),
        }
    }

    /// What a predecessor had counted.
    pub fn from_row(row: &SlotsRow) -> Self {
        let slots = row.slots.iter().filter_map(|&slot| u16::try_from(slot).ok());
        let mut this = Self {
            open: slots.zip(row.open.iter().copied()).filter(|(_, open)| *open > 0).collect(),
            unknown: row.unknown,
            ..Self::default()
        };
        this.close_as_before(&row.closed);
        this
    }

    /// Open jobs by slot.
    #[cfg(test)]
    pub fn open(&self) -> &BTreeMap<u16, u64> {
        &self.open
    }

    #[cfg(test)]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Slots that could be closed now.
    fn free(&self) -> impl Iterator<Item = u16> + '_ {
        let known = self.unknown == 0;
        let free = move |slot: &u16| known && !self.open.contains_key(slot) && !self.closed.contains(slot);
        self.leaving.iter().copied().filter(free)
    }

    /// When something is to be closed, Unix ms.
    pub fn next_close_ms(&self) -> Option<u64> {
        self.look.then_some(self.next_close_ms)
    }
}

impl Engine {
    /// Which slots are wanted elsewhere.
    pub(super) fn set_leaving(&mut self, slots: BTreeSet<u16>) {
        self.slots.look |= !slots.is_empty();
        self.slots.leaving = slots;
    }

    /// Closes the slots that may go.
    pub(super) fn close_slots(&mut self) {
        if !self.slots.look || self.slots.next_close_ms > self.now_ms {
            return;
        }
        self.slots.look = false;
        let free: Vec<u16> = self.slots.free().collect();
        if free.is_empty() {
            return;
        }
        self.slots.next_close_ms = self.now_ms + CLOSE_EVERY_MS;
        self.ensure_room();
        self.slots.closed.extend(&free);
        self.journal.close_slots(&free);
        self.journal.after_release(Effect::SlotsClosed { slots: free });
    }

    /// Slots that are closed: said once what this owner has taken over is its own.
    pub(super) fn tell_closed(&mut self) {
        let slots: Vec<u16> = self.slots.closed.iter().copied().collect();
        if !slots.is_empty() {
            self.journal.after_release(Effect::SlotsClosed { slots });
        }
    }

    /// True if some of these jobs are of slots that are closed here, and are not known by their tokens.
    pub(super) fn has_left(&self, jobs: &[(NewJob, Routed, Option<TokenHash>)]) -> bool {
        !self.slots.closed.is_empty()
            && jobs.iter().any(|(_, routed, hash)| {
                let closed = routed.slot().is_some_and(|slot| self.slots.is_closed(slot));
                closed && hash.is_none_or(|hash| self.tokens.find(&hash).is_none())
            })
    }
}

impl Entry {
    /// Not final, and not forgotten.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Is(state) if !state.is_final())
    }
}
