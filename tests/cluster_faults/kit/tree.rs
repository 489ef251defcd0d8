//! What is in ZooKeeper, read past every worker.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use zookeeper_client::{Client, Error};

use crate::common::servers::Servers;

/// Who is there and who has which partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub members: BTreeSet<String>,
    /// Lock by lock: partition and worker.
    pub owners: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Lock {
    partition: String,
    worker: String,
}

/// Reads a cluster's tree; nothing if it changes meanwhile or ZooKeeper is away.
pub async fn read(servers: &Servers, chroot: &str) -> Option<Tree> {
    let client = Client::connect(servers.zookeeper()).await.ok()?;
    let client = client.chroot(chroot.to_owned()).ok()?;
    let mut tree =
        Tree { members: children(&client, "/workers").await?.into_iter().collect(), ..Tree::default() };
    for namespace in children(&client, "/owners").await? {
        let namespace = format!("/owners/{namespace}");
        for group in children(&client, &namespace).await? {
            let group = format!("{namespace}/{group}");
            for index in children(&client, &group).await? {
                let (data, _) = client.get_data(&format!("{group}/{index}")).await.ok()?;
                let lock: Lock = serde_json::from_slice(&data).expect("a lock says whose it is");
                tree.owners.insert(lock.partition, lock.worker);
            }
        }
    }
    Some(tree)
}

async fn children(client: &Client, path: &str) -> Option<Vec<String>> {
    match client.list_children(path).await {
        Ok(children) => Some(children),
        Err(Error::NoNode) => Some(Vec::new()),
        Err(_) => None,
    }
}
