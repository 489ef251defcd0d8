//! The calls about workers and partitions, typed.

use reqwest::Method;

use super::send::Call;
use super::{Client, ClientError};
use crate::model::PartitionId;
use crate::model::cluster::{ClusterView, DrainView, PartitionPage, PartitionView, PlanView};
use crate::worker::{PartitionFilter, PlannedChange};

impl Client {
    /// Who is there and how they are.
    pub async fn cluster(&self) -> Result<ClusterView, ClientError> {
        self.ask(Call::get(self.url(&["cluster"]))).await
    }

    /// A page of partitions.
    pub async fn partitions(&self, filter: &PartitionFilter) -> Result<PartitionPage, ClientError> {
        let mut url = self.url(&["cluster", "partitions"]);
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("limit", &filter.limit.to_string());
            if let Some(namespace) = &filter.namespace {
                query.append_pair("namespace", namespace);
            }
            if let Some(queue) = &filter.queue {
                query.append_pair("queue", queue);
            }
            if let Some(after) = filter.after {
                query.append_pair("after", &after.to_string());
            }
        }
        self.ask(Call::get(url)).await
    }

    /// One partition.
    pub async fn partition(&self, partition: PartitionId) -> Result<PartitionView, ClientError> {
        let (group, index) = (partition.group.to_string(), partition.index.to_string());
        self.ask(Call::get(self.url(&["cluster", "partitions", &group, &index]))).await
    }

    /// What would move.
    pub async fn plan(&self, change: &PlannedChange) -> Result<PlanView, ClientError> {
        let mut url = self.url(&["cluster", "plan"]);
        let (name, worker) = match change {
            PlannedChange::Join(name) => ("join", name),
            PlannedChange::Leave(worker) => ("leave", worker),
        };
        url.query_pairs_mut().append_pair(name, worker);
        self.ask(Call::get(url)).await
    }

    /// Asks a worker to give its partitions away, or, with `false`, to take some again.
    pub async fn drain(&self, worker: &str, drained: bool) -> Result<DrainView, ClientError> {
        let url = self.url(&["cluster", "workers", worker, "drain"]);
        let method = if drained { Method::POST } else { Method::DELETE };
        self.ask(Call::repeatable(method, url)).await
    }
}
