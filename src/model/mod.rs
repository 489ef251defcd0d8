//! Passive data: what is stored, asked and answered. No behaviour beyond parsing and bounds.

pub mod check;
pub mod cluster;
mod ids;
mod job;
pub mod limits;
mod queue;
pub mod row;
mod slots;
mod span;
pub mod view;

pub use ids::{Epoch, GroupNumber, InvalidJobId, JobId, PartitionId, QueueNumber};
pub use job::{Attempt, Due, JobState, Lane, NewJob, Outcome, Retry};
pub use queue::{Backoff, CounterDocument, GroupDocument, QueueDocument, QueueSettings};
pub use slots::{
    FORMER_ASKED_MS, MovedSlots, MovingSlots, SLOTS, SlotMap, SlotTable, routing_slot, routing_value, slot_of,
};
pub use span::{InvalidSpan, Span};
