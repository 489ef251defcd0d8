//! INV-6: what an owner writes into its journal.

use bytes::Bytes;
use prost::Message;

use crate::model::Epoch;
use crate::model::row::{CommitRow, Origin};
use crate::sim::log::facts_of;
use crate::sim::store::{Durable, Fact};
use crate::store::Append;

use super::{Oracle, Row};

impl Oracle {
    /// A take-over has ended.
    pub fn taken_over(&mut self, epoch: Epoch, origin: &Origin) {
        let parent = origin
            .head
            .map(|head| (Epoch { number: head.epoch_number, incarnation: head.incarnation }, head.cut));
        self.parents.insert(epoch, parent);
    }

    /// A commit is sent, perhaps once more.
    pub fn appending(&mut self, append: &Append, durable: &Durable) {
        let epoch = append.segment.epoch;
        let key = (epoch, append.commit);
        if let Some(row) = self.rows.get(&key) {
            let same = row.bytes == append.row && row.segment == append.segment.segment;
            return self.demand(same, || format!("{key:?} was sent again with other bytes"));
        }
        let Ok(row) = CommitRow::decode(append.row.clone()) else {
            return self.fail(|| format!("{key:?} can't be read"));
        };
        if append.commit == 0 {
            self.first_row(epoch, &row, durable);
        }
        self.rows.insert(
            key,
            Row {
                segment: append.segment.segment,
                bytes: append.row.clone(),
                facts: facts_of(&row),
                condemned: row.condemned,
            },
        );
    }

    fn first_row(&mut self, epoch: Epoch, row: &CommitRow, durable: &Durable) {
        let other = *self.numbers.entry(epoch.number).or_insert(epoch);
        self.demand(other == epoch, || format!("{other} and {epoch} have one number, and both have rows"));
        let void = self.history(epoch).find(|(of, commit)| durable.since(Fact::Row(*of, *commit)).is_none());
        self.demand_rule(void.is_none(), || {
            format!("row 0 of {epoch} was sent while {void:?}, which it accepts, was not durable")
        });
        let named = row.origin.as_ref().and_then(|origin| origin.head);
        // Who starts anew must not have been able to see anything that counts.
        let parent = self.parents.get(&epoch).copied().flatten();
        let agree = named.map(|head| (head.epoch_number, head.incarnation, head.cut))
            == parent.map(|(head, cut)| (head.number, head.incarnation, cut));
        self.demand_rule(agree, || {
            format!("row 0 of {epoch} names {named:?}, and it goes on from {parent:?}")
        });
    }

    /// A row is written again by whoever accepts it: with the same bytes.
    pub fn repeating(&mut self, append: &Append) {
        let key = (append.segment.epoch, append.commit);
        let same = self.rows.get(&key).is_some_and(|row| row.bytes == Bytes::clone(&append.row));
        self.demand(same, || format!("{key:?} was written again with other bytes"));
    }
}
