//! A cluster as the store and the coordinator show it, without asking any worker: for when none
//! answers. Nothing is written.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::view;
use crate::coordination::assign::AssignSettings;
use crate::coordination::{Coordinator, PartitionName, View};
use crate::model::PartitionId;
use crate::model::cluster::{ClusterView, PartitionPage, PartitionView, PlanView};
use crate::model::view::Counts;
use crate::store::Store;
use crate::worker::catalog::Catalog;
use crate::worker::protocol::look;
use crate::worker::reader::time;
use crate::worker::supervisor::STORE_KEY;
use crate::worker::{PartitionFilter, PlannedChange, RequestError};

/// Partitions that are read at once.
const TOGETHER: usize = 8;

/// What can be told without a worker.
pub(crate) struct Direct {
    store: Arc<dyn Store>,
    coordinator: Arc<dyn Coordinator>,
    catalog: Catalog,
    seen: View,
}

impl Direct {
    /// Looks once at both.
    pub async fn look(
        store: Arc<dyn Store>,
        coordinator: Arc<dyn Coordinator>,
    ) -> Result<Self, RequestError> {
        let (catalog, seen) = tokio::join!(Catalog::open(store.clone()), coordinator.look());
        Ok(Self { store, coordinator, catalog: catalog?, seen: seen? })
    }

    pub async fn cluster(&self) -> ClusterView {
        let names = self.catalog.partition_names();
        let (store, coordinator) = tokio::join!(self.store.health(), self.coordinator.health());
        ClusterView {
            answered_by: None,
            sure: false,
            partitions: names.len() as u64,
            partitions_without_owner: names.len() as u64 - view::owned(&self.seen, &names),
            workers: view::workers(&self.seen, &HashMap::new()),
            missing: Vec::new(),
            store: view::store(store),
            coordinator: Some(view::coordinator(coordinator, None)),
        }
    }

    pub async fn partitions(&self, filter: &PartitionFilter) -> Result<PartitionPage, RequestError> {
        let group = match (&filter.namespace, &filter.queue) {
            (Some(namespace), Some(queue)) => {
                let none = || {
                    RequestError::NotFound(format!("there is no queue {queue:?} in namespace {namespace:?}"))
                };
                Some(self.catalog.find(namespace, queue).ok_or_else(none)?.group_number)
            }
            _ => None,
        };
        let fits = |name: &PartitionName| {
            group.is_none_or(|group| name.id.group == group)
                && filter.namespace.as_deref().is_none_or(|namespace| *name.namespace == *namespace)
                && filter.after.is_none_or(|after| name.id > after)
        };
        let mut names: Vec<PartitionName> =
            self.catalog.partition_names().into_iter().filter(fits).take(filter.limit + 1).collect();
        let is_more = names.len() > filter.limit;
        names.truncate(filter.limit);
        let partitions: Vec<PartitionView> =
            stream::iter(names).map(|name| self.read(name)).buffered(TOGETHER).collect().await;
        let cursor = partitions.last().filter(|_| is_more).map(|last| last.partition.clone());
        Ok(PartitionPage { partitions, missing: Vec::new(), cursor })
    }

    pub async fn partition(&self, partition: PartitionId) -> Result<PartitionView, RequestError> {
        let name = self.catalog.partition_names().into_iter().find(|name| name.id == partition);
        let none = || RequestError::NotFound(format!("there is no partition {partition}"));
        Ok(self.read(name.ok_or_else(none)?).await)
    }

    pub fn plan(&self, settings: &AssignSettings, change: &PlannedChange) -> Result<PlanView, RequestError> {
        // Who meets there is on one store; whoever is not has been refused.
        let store = self.seen.members.values().find_map(|member| member.settings.get(STORE_KEY));
        super::plan::plan(&self.seen, store, &self.catalog.partition_names(), settings, change)
    }

    /// As a new owner would read it.
    async fn read(&self, name: PartitionName) -> PartitionView {
        let queues = self.catalog.queues_of(name.id);
        let mut names: Vec<String> = queues.iter().map(|queue| queue.name.to_string()).collect();
        names.sort();
        let mut shown = view::partition(&name, names, self.catalog.slots_of(name.id).as_deref(), &self.seen);
        match self.store.highest_claim(name.id).await {
            Ok(claim) => shown.epoch = claim.map(|claim| claim.epoch.to_string()),
            Err(error) => shown.trouble = Some(error.message),
        }
        match look(&*self.store, name.id).await {
            Ok(accepted) => {
                let mut counts = Counts::default();
                let progress = accepted.progress.as_ref().map(|(_, progress)| progress);
                let tallies = progress.map(|progress| progress.tallies.as_slice()).unwrap_or_default();
                for tally in
                    tallies.iter().filter(|tally| queues.iter().any(|queue| queue.number == tally.queue))
                {
                    counts.add(&view::counts_of(&tally.by_state));
                }
                shown.counts = Some(counts);
                shown.counted_at = progress.map(|progress| time(progress.time_ms));
                shown.jobs_since =
                    Some(accepted.tail.iter().map(|commit| commit.row.jobs.len() as u64).sum());
            }
            Err(error) => shown.trouble = Some(error.message),
        }
        if shown.owner.is_none() {
            shown.trouble.get_or_insert_with(|| "it has no owner at the moment".to_owned());
        }
        shown
    }
}
