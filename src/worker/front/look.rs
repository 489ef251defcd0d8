//! Looking in: what all workers and owners say, gathered within a bound.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use crate::coordination::{
    CoordinationError, CoordinationErrorKind, Member, PartitionName, SessionState, View, WorkerId,
};
use crate::model::cluster::{
    ClusterView, CoordinatorView, DrainView, PartitionPage, PartitionView, PlanView, StoreView, WorkerView,
};
use crate::model::{PartitionId, check};
use crate::store::{StoreError, StoreErrorKind};
use crate::worker::look::{Meeting, find_member, plan, view};
use crate::worker::owner::unavailable;
use crate::worker::partition::{Facts, LOCATED_MAX, Locate, Located, Told};
use crate::worker::reader::time;
use crate::worker::router::Neighbours;
use crate::worker::{PartitionFilter, PlannedChange, RequestError};

use super::{Front, TOGETHER};

/// How long a worker, the store and the coordinator are waited for: without an answer, it is said.
const LOOK_PATIENCE: Duration = Duration::from_secs(4);

impl Front {
    pub(super) async fn look_at_cluster(&self) -> ClusterView {
        let names = self.catalog().partition_names();
        let Some(neighbours) = self.shared.cluster.clone() else { return self.look_alone(&names).await };
        let seen = neighbours.view.borrow().clone();
        let members = stream::iter(seen.members.values().cloned()).map(|member| {
            let neighbours = &neighbours;
            async move { (member.id.clone(), self.facts_of(neighbours, &member).await) }
        });
        let told = members.buffer_unordered(TOGETHER).collect::<Vec<_>>();
        let (told, store, coordinator) = tokio::join!(told, self.look_at_store(), self.look_at_coordinator());
        let mut known: HashMap<WorkerId, Told> = HashMap::new();
        let mut missing = Vec::new();
        for (id, told) in told {
            match told {
                Some(told) => drop(known.insert(id, told)),
                None => missing.push(id.to_string()),
            }
        }
        missing.sort();
        ClusterView {
            answered_by: Some(neighbours.me.to_string()),
            sure: *neighbours.sure.borrow(),
            partitions: names.len() as u64,
            partitions_without_owner: names.len() as u64 - view::owned(&seen, &names),
            workers: view::workers(&seen, &known),
            missing,
            store,
            coordinator,
        }
    }

    /// A server that is all of its cluster.
    async fn look_alone(&self, names: &[PartitionName]) -> ClusterView {
        let told = Facts::run(self.local()).await;
        let id = String::from_utf8_lossy(&self.shared.name).into_owned();
        let partitions = self.owners().len() as u64;
        let worker = WorkerView {
            name: name_in(&id).to_owned(),
            address: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: time(self.started_ms),
            draining: false,
            capacity: 100,
            labels: BTreeMap::new(),
            partitions,
            slots: u32::try_from(self.settings.slots).unwrap_or(u32::MAX),
            running: Some(told.running),
            last_minute: Some(told.last_minute),
            trouble: told.trouble,
            settings_differ: Vec::new(),
            cannot_serve: Vec::new(),
            id: id.clone(),
        };
        ClusterView {
            answered_by: Some(id),
            sure: true,
            partitions: names.len() as u64,
            partitions_without_owner: (names.len() as u64).saturating_sub(partitions),
            workers: vec![worker],
            missing: Vec::new(),
            store: self.look_at_store().await,
            coordinator: None,
        }
    }

    async fn facts_of(&self, neighbours: &Neighbours, member: &Member) -> Option<Told> {
        if member.id == neighbours.me {
            return Some(Facts::run(self.local()).await);
        }
        let answer = ask_worker(neighbours, member, Facts::KIND, Bytes::new()).await?;
        Facts::decode_answer(&answer).ok()
    }

    async fn look_at_store(&self) -> StoreView {
        let health = timeout(LOOK_PATIENCE, self.shared.store.health()).await;
        view::store(health.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::Unavailable, "the store did not answer in time"))
        }))
    }

    async fn look_at_coordinator(&self) -> Option<CoordinatorView> {
        let meeting = self.meeting.get()?;
        let state = meeting.supervisor.session().map(|session| *session.state().borrow());
        let session = match state {
            Some(SessionState::Sure) => "sure",
            Some(SessionState::Unsure) => "unsure",
            Some(SessionState::Lost) | None => "none",
        };
        let health = timeout(LOOK_PATIENCE, meeting.coordinator.health()).await.unwrap_or_else(|_| {
            let message = "where workers meet did not answer in time";
            Err(CoordinationError::new(CoordinationErrorKind::Unavailable, message))
        });
        Some(view::coordinator(health, Some(session)))
    }

    pub(super) async fn look_at_partitions(
        &self,
        filter: PartitionFilter,
    ) -> Result<PartitionPage, RequestError> {
        let group = match (&filter.namespace, &filter.queue) {
            (Some(namespace), Some(queue)) => Some(self.find_queue(namespace, queue)?.group_number),
            (Some(namespace), None) => {
                check::name("namespace", namespace)?;
                None
            }
            (None, Some(_)) => {
                let message = "`namespace` is missing: a queue is in one".to_owned();
                return Err(RequestError::Invalid { field: Some("namespace".to_owned()), message });
            }
            (None, None) => None,
        };
        let fits = |name: &PartitionName| {
            group.is_none_or(|group| name.id.group == group)
                && filter.namespace.as_deref().is_none_or(|namespace| *name.namespace == *namespace)
                && filter.after.is_none_or(|after| name.id > after)
        };
        let mut names: Vec<PartitionName> =
            self.catalog().partition_names().into_iter().filter(fits).take(filter.limit + 1).collect();
        let is_more = names.len() > filter.limit;
        names.truncate(filter.limit);
        let partitions = self.locate(&names).await;
        let missing = partitions.iter().filter(|view| view.counts.is_none());
        Ok(PartitionPage {
            missing: missing.map(|view| view.partition.clone()).collect(),
            cursor: partitions.last().filter(|_| is_more).map(|last| last.partition.clone()),
            partitions,
        })
    }

    pub(super) async fn look_at_partition(
        &self,
        partition: PartitionId,
    ) -> Result<PartitionView, RequestError> {
        let known = self.catalog().partition_names().into_iter().find(|name| name.id == partition);
        let none = || RequestError::NotFound(format!("there is no partition {partition}"));
        let name = known.ok_or_else(none)?;
        self.locate(&[name]).await.pop().ok_or_else(none)
    }

    /// Asks each owner's worker once for all of its partitions.
    async fn locate(&self, names: &[PartitionName]) -> Vec<PartitionView> {
        let seen = self.seen();
        let mut by_owner: BTreeMap<Option<WorkerId>, Vec<PartitionId>> = BTreeMap::new();
        for name in names {
            // Without others, or while this worker has it, it is asked here.
            let here = self.shared.cluster.is_none() || self.local().find(name.id).is_some();
            let owner = if here { None } else { seen.owners.get(&name.id).cloned() };
            if here || owner.is_some() {
                by_owner.entry(owner).or_default().push(name.id);
            }
        }
        let questions = by_owner.iter().flat_map(|(owner, partitions)| {
            partitions.chunks(LOCATED_MAX).map(|chunk| (owner.as_ref(), chunk))
        });
        let asked = questions.map(|(owner, partitions)| self.locate_at(&seen, owner, partitions));
        let mut located: HashMap<PartitionId, Located> =
            join_all(asked).await.into_iter().flatten().collect();
        let queues_of = |name: &PartitionName| {
            let mut queues: Vec<String> =
                self.catalog().queues_of(name.id).iter().map(|queue| queue.name.to_string()).collect();
            queues.sort();
            queues
        };
        let views = names.iter().map(|name| {
            let mut shown =
                view::partition(name, queues_of(name), self.catalog().slots_of(name.id).as_deref(), &seen);
            if self.shared.cluster.is_none() {
                shown.owner_name = shown.owner.as_deref().map(|id| name_in(id).to_owned());
            }
            match located.remove(&name.id) {
                Some(located) => view::tell(&mut shown, located),
                None if shown.owner.is_none() && self.shared.cluster.is_some() => {
                    shown.trouble = Some("it has no owner at the moment".to_owned());
                }
                None => shown.trouble = Some("its owner did not answer in time".to_owned()),
            }
            shown
        });
        views.collect()
    }

    async fn locate_at(
        &self,
        seen: &View,
        owner: Option<&WorkerId>,
        partitions: &[PartitionId],
    ) -> Vec<(PartitionId, Located)> {
        let question = Locate::of(partitions);
        let answer = match (owner, &self.shared.cluster) {
            (Some(owner), Some(neighbours)) if *owner != neighbours.me => {
                let Some(member) = seen.members.get(owner) else { return Vec::new() };
                let answer = ask_worker(neighbours, member, Locate::KIND, question.encode()).await;
                answer.and_then(|answer| Locate::decode_answer(&answer).ok()).unwrap_or_default()
            }
            _ => question.run(self.local()).await,
        };
        let pairs = partitions.iter().copied().zip(answer);
        pairs.filter_map(|(partition, located)| Some((partition, located?))).collect()
    }

    /// What this worker sees; one that is alone shows itself as everybody's owner.
    fn seen(&self) -> Arc<View> {
        if let Some(neighbours) = &self.shared.cluster {
            return neighbours.view.borrow().clone();
        }
        let me: WorkerId = String::from_utf8_lossy(&self.shared.name).into();
        let owners = self.owners().into_iter().map(|owner| (owner.partition(), me.clone())).collect();
        Arc::new(View { owners, ..View::default() })
    }

    fn meeting(&self) -> Result<(&Meeting, Arc<View>), RequestError> {
        match (self.meeting.get(), &self.shared.cluster) {
            (Some(meeting), Some(_)) => Ok((meeting, self.seen())),
            (None, Some(_)) => Err(unavailable("this worker has not joined its cluster yet")),
            _ => {
                let message = "this server is alone: there are no other workers that partitions could go to";
                Err(RequestError::Conflict(message.to_owned()))
            }
        }
    }

    pub(super) fn plan_change(&self, change: &PlannedChange) -> Result<PlanView, RequestError> {
        let (meeting, seen) = self.meeting()?;
        let names = self.catalog().partition_names();
        plan::plan(&seen, Some(&meeting.store_identity), &names, &meeting.assign, change)
    }

    pub(super) async fn drain_worker(&self, worker: &str, drained: bool) -> Result<DrainView, RequestError> {
        let (meeting, seen) = self.meeting()?;
        let (id, name) = match find_member(&seen, worker) {
            Ok(member) => (member.id.clone(), Some(member.name.clone())),
            // It is gone, and what was asked of it is still there.
            Err(RequestError::NotFound(_)) if !drained && seen.drained.iter().any(|id| **id == *worker) => {
                (worker.into(), None)
            }
            Err(error) => return Err(error),
        };
        let session = meeting.supervisor.session();
        let session = session
            .ok_or_else(|| unavailable("this worker has no session where workers meet: ask another"))?;
        session.drain(&id, drained).await?;
        let partitions = seen.owners.values().filter(|owner| **owner == id).count() as u64;
        Ok(DrainView { id: id.to_string(), name, draining: drained, partitions })
    }
}

/// The name that an id begins with.
fn name_in(id: &str) -> &str {
    id.split(':').next().unwrap_or_default()
}

/// One question, within the patience of a look.
async fn ask_worker(neighbours: &Neighbours, member: &Member, kind: u32, body: Bytes) -> Option<Bytes> {
    let asked = neighbours.link.call(member, kind, body, LOOK_PATIENCE);
    match timeout(LOOK_PATIENCE, asked).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::debug!(worker = %member.id, ?error, "a worker did not answer");
            None
        }
        Err(_) => None,
    }
}
