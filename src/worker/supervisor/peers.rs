//! The other workers: which of them count, and what looks wrong about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordination::{Member, View, WorkerId};

use super::types::{Level, Output};

/// The key of [`Member::settings`] that names the store.
pub(crate) const STORE_KEY: &str = "store";
/// Workers that are named in one line.
const NAMED_MAX: usize = 8;
/// Oddities that are remembered as said; beyond, they are said again.
const SAID_MAX: usize = 10_000;

/// Members that take part, as every worker sees them: on the same store, and not replaced by a
/// newer process at the same address. Those that were asked to drain are shown as draining.
pub(crate) fn taking_part(view: &View, store: Option<&String>) -> BTreeMap<WorkerId, Member> {
    let mut newest: BTreeMap<&str, (u64, &WorkerId)> = BTreeMap::new();
    for (id, member) in &view.members {
        let this = (member.started_ms, id);
        let known = newest.entry(member.address.as_str()).or_insert(this);
        *known = this.max(*known);
    }
    let counts = |id: &WorkerId, member: &Member| {
        newest.get(member.address.as_str()).is_some_and(|(_, newest)| *newest == id)
            && same_store(member, store)
    };
    let members = view.members.iter().filter(|(id, member)| counts(id, member));
    members
        .map(|(id, member)| {
            let mut member = member.clone();
            member.draining |= view.drained.contains(id);
            (id.clone(), member)
        })
        .collect()
}

/// Members that may be given partitions.
pub(super) fn active(members: &BTreeMap<WorkerId, Member>) -> BTreeSet<WorkerId> {
    let active = members.iter().filter(|(_, member)| member.capacity > 0 && !member.draining);
    active.map(|(id, _)| id.clone()).collect()
}

/// What is said of a change of members; without `last` this worker has just joined.
pub(super) fn change(
    me: &WorkerId,
    last: Option<&BTreeMap<WorkerId, Member>>,
    now: &BTreeMap<WorkerId, Member>,
) -> Option<String> {
    let Some(last) = last else {
        return Some(format!("joined the cluster: {} workers are here", now.len()));
    };
    let missing = |from: &BTreeMap<WorkerId, Member>, of: &BTreeMap<WorkerId, Member>| {
        let missing = of.iter().filter(|(id, _)| *id != me && !from.contains_key(*id));
        let mut names: Vec<String> =
            missing.map(|(_, member)| format!("{} ({})", member.name, member.address)).collect();
        let more = names.len().saturating_sub(NAMED_MAX);
        names.truncate(NAMED_MAX);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        names.join(", ")
    };
    let (came, went) = (missing(last, now), missing(now, last));
    let said = [(came, "came"), (went, "gone")];
    let said: Vec<String> = said
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, what)| format!("{what}: {names}"))
        .collect();
    (!said.is_empty()).then(|| format!("{} workers are here; {}", now.len(), said.join("; ")))
}

fn same_store(member: &Member, store: Option<&String>) -> bool {
    match (member.settings.get(STORE_KEY), store) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => true,
    }
}

/// What is odd about the others is said once.
#[derive(Debug, Default)]
pub(super) struct Oddities {
    said: BTreeSet<(WorkerId, String)>,
}

impl Oddities {
    /// Looks at all others. `first` is this worker's first view of them: then a different store is
    /// its own mistake, and it must not take part.
    ///
    /// Whether it must not.
    pub fn look(&mut self, me: &Member, view: &View, first: bool, out: &mut Vec<Output>) -> bool {
        self.said.retain(|(id, _)| view.members.contains_key(id));
        if self.said.len() > SAID_MAX {
            self.said.clear();
        }
        for (id, other) in view.members.iter().filter(|(id, _)| **id != me.id) {
            if self.store(me, id, other, first, out) {
                return true;
            }
            self.address(me, id, other, out);
            self.settings(me, id, other, out);
        }
        false
    }

    fn store(
        &mut self,
        me: &Member,
        id: &WorkerId,
        other: &Member,
        first: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        if same_store(other, me.settings.get(STORE_KEY)) {
            return false;
        }
        if first {
            out.push(Output::Refuse(format!(
                "worker {} at {} uses another store with the same ZooKeeper chroot: give each cluster a chroot of its own (zookeeper.connect), or the same [cassandra] section to all of its workers",
                other.name, other.address
            )));
        } else if self.once(id, STORE_KEY) {
            let text =
                format!("worker {} at {} uses another store and is ignored", other.name, other.address);
            out.push(Output::Say(Level::Error, text));
        }
        first
    }

    fn address(&mut self, me: &Member, id: &WorkerId, other: &Member, out: &mut Vec<Output>) {
        if other.address == me.address {
            // One that began later at this very address stands where this one stood.
            if other.started_ms > me.started_ms && self.once(id, "\0address") {
                let text = format!(
                    "worker {id} says that it is reached at {} as well, and began later: this one takes no partitions; give each its own cluster.address",
                    me.address
                );
                out.push(Output::Say(Level::Error, text));
            }
        } else if other.name == me.name && self.once(id, "\0name") {
            let text = format!(
                "worker {id} at {} has the name {:?} too: both work, but people will mix them up (cluster.name)",
                other.address, me.name
            );
            out.push(Output::Say(Level::Warn, text));
        }
    }

    fn settings(&mut self, me: &Member, id: &WorkerId, other: &Member, out: &mut Vec<Output>) {
        let keys: BTreeSet<&String> = me.settings.keys().chain(other.settings.keys()).collect();
        for key in keys.into_iter().filter(|key| *key != STORE_KEY) {
            if me.settings.get(key) != other.settings.get(key) && self.once(id, key) {
                let text = format!(
                    "`{key}` is not the same here and at worker {} ({}): it should be equal everywhere",
                    other.name, other.address
                );
                out.push(Output::Say(Level::Warn, text));
            }
        }
    }

    fn once(&mut self, id: &WorkerId, what: &str) -> bool {
        self.said.insert((id.clone(), what.to_owned()))
    }
}
