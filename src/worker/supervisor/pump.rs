//! What is to be done next, as things stand.

use std::collections::BTreeSet;

use crate::coordination::assign::Policy;
use crate::model::PartitionId;

use super::machine::{Machine, Standing};
use super::places::Place;
use super::types::Output;

/// Locks asked for at a time.
const LOCKS_MAX: usize = 64;
/// Partitions handed over at a time.
const LEAVING_MAX: usize = 16;
/// Whoever leaves waits so long at most until others can have seen it.
const SHOWN_PATIENCE_MS: u64 = 1_000;

impl Machine {
    pub(super) fn pump(&mut self, out: &mut Vec<Output>) {
        self.join(out);
        self.forget_parked();
        self.tell(out);
        self.leave_or_stay();
        self.make_plan();
        for partition in self.places.due(self.now_ms) {
            self.attend(partition, out);
        }
        if self.review {
            self.look_around();
        }
        self.leave_some(out);
        self.lock_some(out);
        self.end(out);
        self.wake(out);
    }

    fn join(&mut self, out: &mut Vec<Output>) {
        if let Standing::Apart { join_ms } = self.standing
            && join_ms <= self.now_ms
            && !self.draining
        {
            let call = self.next_call();
            self.standing = Standing::Joining { call };
            let member = self.member();
            self.shown = Some(member.clone());
            out.push(Output::Join { call, member: Box::new(member) });
        }
    }

    /// What others should see, and what should be read.
    fn tell(&mut self, out: &mut Vec<Output>) {
        if self.reload.due(self.now_ms) {
            let call = self.next_call();
            (self.reload.wanted, self.reload.call) = (false, Some(call));
            self.reload_asked_ms = self.now_ms;
            out.push(Output::ReloadCatalog { call });
        }
        if !self.is_sure() {
            return;
        }
        let member = self.member();
        self.publish.wanted = self.shown.as_ref() != Some(&member);
        if self.publish.due(self.now_ms) {
            let call = self.next_call();
            self.publish.call = Some(call);
            self.shown = Some(member.clone());
            out.push(Output::Publish { call, member: Box::new(member) });
        }
        if self.raise.due(self.now_ms) {
            let call = self.next_call();
            (self.raise.wanted, self.raise.call) = (false, Some(call));
            out.push(Output::RaiseCatalog { call });
        }
    }

    /// Whether this worker gives up all that it has.
    fn leave_or_stay(&mut self) {
        let asked = self.view().is_some_and(|view| view.drained.contains(&self.me));
        let leaves = self.draining || self.clock_wrong || asked;
        if leaves != self.leaving_since_ms.is_some() {
            self.leaving_since_ms = leaves.then_some(self.now_ms);
            self.review = true;
        }
    }

    /// Whether hand-overs may begin: others take a partition only if they know that its owner leaves.
    fn may_leave(&self) -> bool {
        let Some(since_ms) = self.leaving_since_ms else { return false };
        let seen = self.members.get(&self.me).is_none_or(|shown| shown.draining || shown.capacity == 0);
        seen || since_ms + SHOWN_PATIENCE_MS <= self.now_ms
    }

    fn make_plan(&mut self) {
        if !self.plan.is_due(self.now_ms) {
            return;
        }
        if let Some(view) = self.view().cloned() {
            let settings = &self.settings.assign;
            let partitions = &self.partition_list;
            self.plan.make(self.now_ms, &self.me, settings, &self.members, partitions, &view);
            self.review = true;
        }
    }

    /// Something is to be done about a partition, as time has passed.
    fn attend(&mut self, partition: PartitionId, out: &mut Vec<Output>) {
        if !self.is_sure() {
            return;
        }
        let Some(name) = self.places.name(partition).cloned() else { return };
        match self.places.get(partition) {
            Some(Place::Doubtful { tries, .. }) => {
                if !self.wants(partition) {
                    let again_ms = self.now_ms;
                    self.places.set(partition, Place::unlocking(again_ms));
                    return self.attend(partition, out);
                }
                if self.places.locking() < LOCKS_MAX {
                    let call = self.next_call();
                    self.places.set(partition, Place::Locking { call, tries });
                    out.push(Output::Lock { call, partition: name });
                }
            }
            Some(Place::Owned { confirm_ms, .. }) if self.places.locking() < LOCKS_MAX => {
                let call = self.next_call();
                let confirming = Some(call);
                self.places.set(partition, Place::Owned { seen: false, confirm_ms, confirming });
                out.push(Output::Lock { call, partition: name });
            }
            Some(Place::Unlocking { call: None, tries, again_ms }) if self.places.leaving() < LEAVING_MAX => {
                let call = self.next_call();
                self.places.set(partition, Place::Unlocking { call: Some(call), tries, again_ms });
                out.push(Output::Unlock { call, partition: name });
            }
            _ => {}
        }
    }

    /// Whether this worker would take a partition if nobody had it.
    fn wants(&self, partition: PartitionId) -> bool {
        self.leaving_since_ms.is_none()
            && self.partitions.contains_key(&partition)
            && !self.is_parked(partition)
            && (self.before.contains(&partition)
                || (self.only_before_until_ms <= self.now_ms
                    && self.plan.wanted.get(&partition) == Some(&self.me)))
    }

    /// Whether nobody has it, as far as can be seen. A lock that is shown as this worker's and was
    /// not taken by it is a rest of its last session, or one whose answer was lost.
    fn is_free(&self, partition: PartitionId) -> bool {
        let Some(view) = self.view() else { return false };
        let waits = self.waits.get(&partition).is_some_and(|wait| wait.until_ms > self.now_ms);
        !waits
            && match view.owners.get(&partition) {
                None => true,
                // A worker that is gone has its locks for a little longer.
                Some(owner) => *owner == self.me || !view.members.contains_key(owner),
            }
    }

    /// Finds what is to be taken, and what is to be given up.
    fn look_around(&mut self) {
        self.review = false;
        self.to_lock.clear();
        self.to_leave.clear();
        let Some(view) = self.view().cloned() else { return };
        let me = &self.me;
        // Somebody else was quicker with these.
        let others = |partition: &PartitionId| view.owners.get(partition).is_some_and(|owner| owner != me);
        let mut before = std::mem::take(&mut self.before);
        before.retain(|partition| !others(partition));
        if self.only_before_until_ms <= self.now_ms {
            before.clear();
        }
        self.before = before;
        let candidates: BTreeSet<PartitionId> = self.before.iter().chain(&self.plan.mine).copied().collect();
        let takes = |partition: &PartitionId| {
            !self.places.contains(*partition) && self.wants(*partition) && self.is_free(*partition)
        };
        self.to_lock = candidates.into_iter().filter(takes).collect();
        let settled = self.settled_at_ms().is_none() && self.only_before_until_ms <= self.now_ms;
        let leaves = |(partition, place): (PartitionId, Place)| {
            let owned = matches!(place, Place::Owned { confirming: None, .. });
            (owned && self.gives_up(partition, settled)).then_some(partition)
        };
        self.to_leave = self.places.iter().filter_map(leaves).collect();
    }

    fn gives_up(&self, partition: PartitionId, settled: bool) -> bool {
        if self.leaving_since_ms.is_some() {
            return self.may_leave();
        }
        if !self.partitions.contains_key(&partition) {
            return true;
        }
        match (self.plan.wanted.get(&partition), &self.settings.assign.policy) {
            (Some(wanted), _) => settled && *wanted != self.me,
            // Nobody may have it.
            (None, Policy::Manual(_)) => settled,
            // Nobody can have it: not worse here than anywhere.
            (None, Policy::Automatic) => false,
        }
    }

    /// When members will have been the same for long enough; none if they have.
    fn settled_at_ms(&self) -> Option<u64> {
        self.settling.until_ms(self.now_ms, self.settings.settle_ms)
    }

    fn leave_some(&mut self, out: &mut Vec<Output>) {
        while self.is_sure() && self.places.leaving() < LEAVING_MAX {
            let Some(partition) = self.to_leave.pop_front() else { return };
            if let Some(Place::Owned { seen, confirming: None, .. }) = self.places.get(partition) {
                let call = self.next_call();
                self.places.set(partition, Place::HandingOver { call, seen });
                out.push(Output::HandOver { call, partition });
            }
        }
    }

    fn lock_some(&mut self, out: &mut Vec<Output>) {
        while self.is_sure() && self.places.locking() < LOCKS_MAX {
            let Some(partition) = self.to_lock.pop_front() else { return };
            let Some(name) = self.partitions.get(&partition).cloned() else { continue };
            if !self.places.contains(partition) {
                let call = self.next_call();
                self.places.insert(name.clone(), Place::Locking { call, tries: 0 });
                out.push(Output::Lock { call, partition: name });
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        if self.draining && !self.drained && self.places.is_empty() {
            self.drained = true;
            out.push(Output::Drained);
        }
    }

    fn wake(&mut self, out: &mut Vec<Output>) {
        let apart = match self.standing {
            Standing::Apart { join_ms } if !self.draining => Some(join_ms),
            _ => None,
        };
        let leaving = self.leaving_since_ms.map(|since_ms| since_ms + SHOWN_PATIENCE_MS);
        let only_before = Some(self.only_before_until_ms).filter(|until_ms| *until_ms != u64::MAX);
        let times = [
            apart,
            self.reload.due_ms(),
            self.publish.due_ms(),
            self.raise.due_ms(),
            self.plan.due_ms,
            self.settled_at_ms(),
            self.places.next_due_ms(self.now_ms),
            self.waits.values().map(|wait| wait.until_ms).filter(|until_ms| *until_ms > self.now_ms).min(),
            self.next_unpark_ms(),
            leaving,
            only_before,
        ];
        let next_ms = times.into_iter().flatten().filter(|time_ms| *time_ms > self.now_ms).min();
        if let Some(next_ms) = next_ms
            && self.woken_at_ms != Some(next_ms)
        {
            self.woken_at_ms = Some(next_ms);
            out.push(Output::WakeAt(next_ms));
        }
    }
}
