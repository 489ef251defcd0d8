//! What would move if a worker joined or left: the assignment, computed for what is not. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::coordination::assign::{ASSIGN_VERSION, AssignSettings, Question, Wanted, assign};
use crate::coordination::{Member, PartitionName, View, WorkerId};
use crate::model::PartitionId;
use crate::model::cluster::{MoveView, PlanView, ShareView};
use crate::worker::supervisor::taking_part;
use crate::worker::{PlannedChange, RequestError, check_name};

use super::find_member;

/// What is now, and what is going to come of it without the change, is left out: the difference is
/// the change's own.
pub(crate) fn plan(
    view: &View,
    store_identity: Option<&String>,
    partitions: &[PartitionName],
    settings: &AssignSettings,
    change: &PlannedChange,
) -> Result<PlanView, RequestError> {
    let members = taking_part(view, store_identity);
    let wanted = |members: &BTreeMap<WorkerId, Member>, owners: &BTreeMap<PartitionId, WorkerId>| {
        assign(&Question { members, drained: &[], partitions, owners, settings })
    };
    let before = wanted(&members, &view.owners);
    let mut then = members.clone();
    let (mut join, mut leave) = (None, None);
    match change {
        PlannedChange::Join(name) => {
            let newcomer = newcomer(name, &members)?;
            then.insert(newcomer.id.clone(), newcomer);
            join = Some(name.clone());
        }
        PlannedChange::Leave(worker) => {
            let member = find_member(view, worker)?;
            then.remove(&member.id);
            leave = Some(member.id.to_string());
        }
    }
    let after = wanted(&then, &before);
    let mut all = members;
    all.extend(then);
    Ok(PlanView {
        join,
        leave,
        partitions: partitions.len() as u64,
        moves: moves(partitions, &before, &after),
        workers: shares(&all, &before, &after),
        without_owner: partitions
            .iter()
            .filter(|name| !after.contains_key(&name.id))
            .map(|name| name.id.to_string())
            .collect(),
    })
}

/// A worker that is like the others, but for its name.
fn newcomer(name: &str, members: &BTreeMap<WorkerId, Member>) -> Result<Member, RequestError> {
    check_name(name).map_err(|error| RequestError::Invalid {
        field: Some("join".to_owned()),
        message: error.to_string(),
    })?;
    let like = members.values().next();
    let id: WorkerId = name.into();
    Ok(Member {
        name: name.to_owned(),
        address: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        assign_version: like.map_or(ASSIGN_VERSION, |like| like.assign_version),
        slots: like.map_or(0, |like| like.slots),
        capacity: like.map_or(100, |like| if like.capacity == 0 { 100 } else { like.capacity }),
        labels: like.map(|like| like.labels.clone()).unwrap_or_default(),
        cannot_serve: Vec::new(),
        draining: false,
        settings: BTreeMap::new(),
        started_ms: 0,
        id,
    })
}

fn moves(partitions: &[PartitionName], before: &Wanted, after: &Wanted) -> Vec<MoveView> {
    let moved = partitions.iter().filter(|name| before.get(&name.id) != after.get(&name.id));
    moved
        .map(|name| MoveView {
            partition: name.id.to_string(),
            namespace: name.namespace.to_string(),
            group: name.group.to_string(),
            from: before.get(&name.id).map(ToString::to_string),
            to: after.get(&name.id).map(ToString::to_string),
        })
        .collect()
}

fn shares(members: &BTreeMap<WorkerId, Member>, before: &Wanted, after: &Wanted) -> Vec<ShareView> {
    let count = |wanted: &Wanted| {
        let mut counts: HashMap<WorkerId, u64> = HashMap::new();
        wanted.values().for_each(|worker| *counts.entry(worker.clone()).or_default() += 1);
        counts
    };
    let (before, after) = (count(before), count(after));
    let mut shares: Vec<ShareView> = members
        .values()
        .map(|member| ShareView {
            id: member.id.to_string(),
            name: member.name.clone(),
            before: before.get(&member.id).copied().unwrap_or(0),
            after: after.get(&member.id).copied().unwrap_or(0),
        })
        .collect();
    shares.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(names: &[&str], partitions: u16) -> (View, Vec<PartitionName>) {
        let mut view = View::default();
        for name in names {
            let mut member = newcomer(name, &BTreeMap::new()).unwrap();
            member.id = format!("{name}:1:0").into();
            member.address = format!("http://{name}:1");
            view.members.insert(member.id.clone(), member);
        }
        let named = |index| PartitionName {
            id: PartitionId { group: 1, index },
            namespace: "default".into(),
            group: "q".into(),
        };
        (view, (0..partitions).map(named).collect())
    }

    fn planned(names: &[&str], partitions: u16, change: PlannedChange) -> Result<PlanView, RequestError> {
        let (mut view, partitions) = cluster(names, partitions);
        let settings = AssignSettings::default();
        let question = Question {
            members: &view.members,
            drained: &[],
            partitions: &partitions,
            owners: &BTreeMap::new(),
            settings: &settings,
        };
        view.owners = assign(&question);
        plan(&view, None, &partitions, &settings, &change)
    }

    #[test]
    fn a_join_moves_partitions_to_the_one_who_joins_only() {
        let plan = planned(&["a", "b"], 12, PlannedChange::Join("c".to_owned())).unwrap();
        assert_eq!((plan.partitions, plan.moves.len()), (12, 4));
        assert!(plan.moves.iter().all(|moved| moved.to.as_deref() == Some("c")));
        assert!(plan.workers.iter().all(|share| share.after == 4), "{:?}", plan.workers);
        assert!(plan.without_owner.is_empty());
    }

    #[test]
    fn a_leave_moves_those_of_the_leaver_only() {
        let plan = planned(&["a", "b", "c"], 12, PlannedChange::Leave("c".to_owned())).unwrap();
        assert_eq!(plan.leave.as_deref(), Some("c:1:0"));
        assert_eq!(plan.moves.len(), 4);
        assert!(plan.moves.iter().all(|moved| moved.from.as_deref() == Some("c:1:0")));
        let last = planned(&["a"], 3, PlannedChange::Leave("a".to_owned())).unwrap();
        assert_eq!(last.without_owner, ["1/0", "1/1", "1/2"]);
    }

    #[test]
    fn what_cannot_be_planned_is_refused() {
        let unknown = planned(&["a"], 1, PlannedChange::Leave("b".to_owned()));
        assert!(matches!(unknown, Err(RequestError::NotFound(_))), "{unknown:?}");
        let wrong = planned(&["a"], 1, PlannedChange::Join("a/b".to_owned()));
        assert!(matches!(wrong, Err(RequestError::Invalid { .. })), "{wrong:?}");
        let (mut view, partitions) = cluster(&["a", "b"], 1);
        view.members.values_mut().for_each(|member| member.name = "same".to_owned());
        let change = PlannedChange::Leave("same".to_owned());
        let two = plan(&view, None, &partitions, &AssignSettings::default(), &change);
        assert!(matches!(two, Err(RequestError::Conflict(_))), "{two:?}");
    }
}
