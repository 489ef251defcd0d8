//! The nodes of a cluster: their paths, and what is in them.
//!
//! ```text
//! /workers/<id>                          ephemeral; the member as JSON
//! /owners/<namespace>/<group>/<index>    ephemeral; which partition, whose
//! /drained/<id>                          persistent; who was asked to let go
//! /catalog                               written to at each change of a group or queue
//! ```
//!
//! The folders in `owners` are containers: ZooKeeper removes them some time after the last lock is gone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::coordination::check::partition_id;
use crate::coordination::{PartitionName, WorkerId};
use crate::model::PartitionId;

pub(super) const WORKERS: &str = "/workers";
pub(super) const OWNERS: &str = "/owners";
pub(super) const DRAINED: &str = "/drained";
pub(super) const CATALOG: &str = "/catalog";

/// What is always there, but for the catalog.
pub(super) const FOLDERS: [&str; 3] = [WORKERS, OWNERS, DRAINED];

pub(super) fn worker_path(id: &str) -> String {
    format!("{WORKERS}/{id}")
}

pub(super) fn drained_path(id: &str) -> String {
    format!("{DRAINED}/{id}")
}

pub(super) fn lock_path(partition: &PartitionName) -> String {
    format!("{OWNERS}/{}/{}/{}", partition.namespace, partition.group, partition.id.index)
}

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node<'a> {
    Worker(&'a str),
    Lock,
    Drained(&'a str),
    Catalog,
    Other,
}

pub(super) fn node(path: &str) -> Node<'_> {
    let mut parts = path.split('/').skip(1);
    let (first, rest) = (parts.next(), (parts.next(), parts.next(), parts.next(), parts.next()));
    match (first, rest) {
        (Some("workers"), (Some(id), None, ..)) => Node::Worker(id),
        (Some("drained"), (Some(id), None, ..)) => Node::Drained(id),
        (Some("owners"), (Some(_), Some(_), Some(_), None)) => Node::Lock,
        (Some("catalog"), (None, ..)) => Node::Catalog,
        _ => Node::Other,
    }
}

/// What is in a lock's node.
#[derive(Serialize, Deserialize)]
struct LockData<'a> {
    partition: String,
    worker: std::borrow::Cow<'a, str>,
}

pub(super) fn lock_data(partition: PartitionId, worker: &str) -> Vec<u8> {
    let data = LockData { partition: partition.to_string(), worker: worker.into() };
    // Two strings are always written.
    serde_json::to_vec(&data).unwrap_or_default()
}

/// Whose lock, of which partition, if it reads as that.
pub(super) fn read_lock(data: &[u8]) -> Option<(PartitionId, WorkerId)> {
    let data: LockData<'_> = serde_json::from_slice(data).ok()?;
    Some((partition_id(&data.partition)?, Arc::from(&*data.worker)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_says_which_partition_and_whose() {
        let partition = PartitionId { group: 7, index: 3 };
        let data = lock_data(partition, "a\"b:1:0");
        assert_eq!(read_lock(&data), Some((partition, "a\"b:1:0".into())));
        for wrong in [&b""[..], b"{}", b"\xff", b"{\"partition\":\"7\",\"worker\":\"a\"}"] {
            assert_eq!(read_lock(wrong), None);
        }
    }

    #[test]
    fn a_path_stands_for_what_it_was_made_from() {
        assert_eq!(node(&worker_path("a:1:0")), Node::Worker("a:1:0"));
        assert_eq!(node(&drained_path("a:1:0")), Node::Drained("a:1:0"));
        assert_eq!(node(CATALOG), Node::Catalog);
        let partition = PartitionName {
            id: PartitionId { group: 7, index: 3 },
            namespace: "default".into(),
            group: "emails".into(),
        };
        assert_eq!(node(&lock_path(&partition)), Node::Lock);
        for other in
            ["", "/", "/workers", "/owners/a/b", "/owners/a/b/1/x", "/zookeeper/config", "/catalog/x"]
        {
            assert_eq!(node(other), Node::Other, "{other}");
        }
    }
}
