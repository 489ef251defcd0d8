//! How the cluster is, and what its acknowledgements are worth.
//!
//! A node acknowledges a write when it is in its commit log (or in its memory only, in a keyspace
//! without `durable_writes`); whether that is on the disk by then is
//! the node's own setting, `commitlog_sync`, and its default is to sync every ten seconds.

use std::sync::Arc;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::cluster::Node;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;

use super::super::{Durability, StoreError, StoreHealth, StoreNode};
use super::connect::nodes_of;
use super::link::{Link, first_row};

/// Nodes that are asked for their settings.
const NODES_ASKED_MAX: usize = 64;

impl Link {
    pub(super) async fn health(&self) -> Result<StoreHealth, StoreError> {
        // One answer at quorum: what counts is whether rows can be read and written.
        self.read(&self.connected.statements.document, ("health", "health")).await?;
        let state = self.connected.session.get_cluster_state();
        let mut nodes = Vec::new();
        for node in state.get_nodes_info() {
            let version = match node.is_connected() {
                true => self.version(node).await,
                false => None,
            };
            nodes.push(StoreNode {
                address: node.address.to_string(),
                datacenter: node.datacenter.clone(),
                rack: node.rack.clone(),
                version,
                up: node.is_connected(),
            });
        }
        nodes.sort_by(|a, b| a.address.cmp(&b.address));
        let (durability, durability_note) = self.durability().await;
        let is_scylla = state.get_nodes_info().iter().any(|node| node.sharder().is_some());
        let product = if is_scylla { "ScyllaDB" } else { "Apache Cassandra" };
        let version = nodes.iter().filter_map(|node| node.version.as_deref()).min().unwrap_or("?");
        Ok(StoreHealth {
            backend: format!("{product} {version}"),
            durability,
            durability_note,
            replicas: Some(self.connected.replicas),
            nodes,
        })
    }

    /// What a write survives that a quorum has acknowledged: the worst of the nodes decides.
    pub(super) async fn durability(&self) -> (Durability, String) {
        if let Some(note) = self.without_log().await {
            return (Durability::Memory, note);
        }
        let mut worst = (Durability::Power, "each node has a write on its disk when it answers".to_owned());
        let nodes = nodes_of(&self.connected.session, &self.connected.datacenter);
        let up = nodes.iter().filter(|node| node.is_connected()).take(NODES_ASKED_MAX);
        for node in up {
            let (durability, note) = self.durability_of(node).await;
            if durability < worst.0 {
                worst = (durability, note);
            }
        }
        worst
    }

    /// What is to be said if the keyspace's writes are in no commit log.
    async fn without_log(&self) -> Option<String> {
        let keyspace = &self.connected.keyspace;
        let select = "SELECT durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let result = self.connected.session.query_unpaged(select, (keyspace,)).await.ok()?;
        let (is_durable,) = first_row::<(bool,)>("a keyspace", &result.into_rows_result().ok()?).ok()??;
        (!is_durable).then(|| format!(
            "keyspace {keyspace} has durable_writes = false, so nodes keep a write in memory only, and those that end lose it: ALTER KEYSPACE {keyspace} WITH durable_writes = true"
        ))
    }

    async fn durability_of(&self, node: &Arc<Node>) -> (Durability, String) {
        let address = node.address;
        let cassandra = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'";
        let scylla = "SELECT value FROM system.config WHERE name = 'commitlog_sync'";
        let select = if node.sharder().is_some() { scylla } else { cassandra };
        let mode = self.text(node, select).await.map(|mode| mode.trim_matches('"').to_owned());
        match mode.as_deref() {
            Some("batch" | "group") => (Durability::Power, String::new()),
            Some("periodic") => (
                Durability::Process,
                format!(
                    "node {address} answers before a write is on its disk (commitlog_sync: periodic), so a power cut at a quorum of nodes at once may lose the last seconds: set commitlog_sync: group, or keep the nodes on separate power"
                ),
            ),
            Some(other) => (
                Durability::Unknown,
                format!(
                    "node {address} has commitlog_sync: {other}, which this version of qdo does not know"
                ),
            ),
            None => (
                Durability::Unknown,
                format!(
                    "node {address} does not show its setting of commitlog_sync; look into its configuration"
                ),
            ),
        }
    }

    async fn version(&self, node: &Arc<Node>) -> Option<String> {
        self.text(node, "SELECT release_version FROM system.local").await
    }

    /// The text that one node answers, if it does.
    async fn text(&self, node: &Arc<Node>, select: &str) -> Option<String> {
        let policy = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::Node(node.clone()), None);
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::One)
            .request_timeout(Some(self.connected.request_timeout))
            .load_balancing_policy(policy)
            .build();
        let mut statement = Statement::new(select);
        statement.set_execution_profile_handle(Some(profile.into_handle()));
        let result = self.connected.session.query_unpaged(statement, ()).await.ok()?;
        let result = result.into_rows_result().ok()?;
        first_row::<(Option<String>,)>("a setting", &result).ok()??.0
    }
}
