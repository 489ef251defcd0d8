//! What is in the tree, read and kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use zookeeper_client::{Error, MultiReadResult, Stat};

use super::errors::failed;
use super::link::Link;
use super::tree::{self, CATALOG, DRAINED, Node, OWNERS, WORKERS};
use crate::coordination::check::MEMBER_BYTES_MAX;
use crate::coordination::{CoordinationError, Member, View, WorkerId};
use crate::model::PartitionId;

/// Nodes read by one request.
const READ_TOGETHER: usize = 100;

/// All that is shown of the tree.
#[derive(Default)]
pub(super) struct Tree {
    members: BTreeMap<WorkerId, Member>,
    /// By path: a lock that is gone is known by nothing else.
    locks: BTreeMap<String, (PartitionId, WorkerId)>,
    /// With the time when each was asked, by the ensemble's clock, Unix ms.
    drained: BTreeMap<WorkerId, i64>,
    catalog: u64,
}

impl Tree {
    pub fn view(&self) -> View {
        View {
            members: self.members.clone(),
            owners: self.locks.values().cloned().collect(),
            drained: self.drained.keys().cloned().collect(),
            catalog: self.catalog,
        }
    }

    pub fn has_member(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    /// Workers that were asked to let go before that time, and are not there.
    pub fn drained_and_gone(&self, before_ms: i64) -> impl Iterator<Item = &WorkerId> {
        let old = self.drained.iter().filter(move |(_, since_ms)| **since_ms < before_ms);
        old.map(|(id, _)| id).filter(|id| !self.members.contains_key(*id))
    }

    /// Takes in a node as it is now. What does not read as what it should be is as if it were not there.
    pub fn put(&mut self, path: &str, now: Option<(Vec<u8>, Stat)>) {
        let Some((data, stat)) = now else { return self.remove(path) };
        match tree::node(path) {
            Node::Worker(id) => match read_member(id, &data) {
                Some(member) => _ = self.members.insert(member.id.clone(), member),
                None => self.unreadable(path),
            },
            Node::Lock => match tree::read_lock(&data) {
                Some(lock) => _ = self.locks.insert(path.to_owned(), lock),
                None => self.unreadable(path),
            },
            Node::Drained(id) => _ = self.drained.insert(id.into(), stat.ctime),
            // It was never written to as long as this is the number of its creation.
            Node::Catalog => self.catalog = stat.mzxid.cast_unsigned(),
            Node::Other => {}
        }
    }

    pub fn remove(&mut self, path: &str) {
        match tree::node(path) {
            Node::Worker(id) => _ = self.members.remove(id),
            Node::Lock => _ = self.locks.remove(path),
            Node::Drained(id) => _ = self.drained.remove(id),
            Node::Catalog => self.catalog = 0,
            Node::Other => {}
        }
    }

    fn unreadable(&mut self, path: &str) {
        tracing::warn!(path, "a node in ZooKeeper does not read as what it should be, and is passed over");
        self.remove(path);
    }
}

fn read_member(id: &str, data: &[u8]) -> Option<Member> {
    // Twice the limit, for members of a later release.
    if data.len() > 2 * MEMBER_BYTES_MAX {
        return None;
    }
    let member: Member = serde_json::from_slice(data).ok()?;
    (*member.id == *id).then_some(member)
}

/// The whole tree. What is not there has nothing in it.
pub(super) async fn list(link: &Link) -> Result<Tree, CoordinationError> {
    let top = [WORKERS, DRAINED, OWNERS].map(str::to_owned);
    let mut top = children(link, &top).await?.into_iter();
    let (workers, drained, namespaces) = (top.next(), top.next(), top.next());
    let groups = children(link, &namespaces.unwrap_or_default()).await?.concat();
    let locks = children(link, &groups).await?.concat();
    let flat = [workers.unwrap_or_default(), drained.unwrap_or_default(), locks].concat();
    let mut tree = Tree::default();
    let catalog = [CATALOG.to_owned()];
    for paths in [&flat[..], &catalog[..]] {
        read_into(link, &mut tree, paths).await?;
    }
    Ok(tree)
}

/// Reads those nodes again.
pub(super) async fn read_into(
    link: &Link,
    tree: &mut Tree,
    paths: &[String],
) -> Result<(), CoordinationError> {
    for together in paths.chunks(READ_TOGETHER) {
        let results = link.call(async |client| {
            let mut reader = client.new_multi_reader();
            together.iter().try_for_each(|path| reader.add_get_data(path))?;
            reader.commit().await
        });
        let results = results.await.map_err(|error| failed("reading the tree", error))?;
        for (path, result) in together.iter().zip(results) {
            match result {
                MultiReadResult::Data { data, stat } => tree.put(path, Some((data, stat))),
                MultiReadResult::Error { err: Error::NoNode } => tree.put(path, None),
                MultiReadResult::Error { err } => return Err(failed(&format!("reading {path}"), err)),
                other => {
                    return Err(failed("reading the tree", Error::UnexpectedError(format!("{other:?}"))));
                }
            }
        }
    }
    Ok(())
}

/// The full paths of what is in each.
async fn children(link: &Link, paths: &[String]) -> Result<Vec<Vec<String>>, CoordinationError> {
    let mut all = Vec::with_capacity(paths.len());
    for together in paths.chunks(READ_TOGETHER) {
        let results = link.call(async |client| {
            let mut reader = client.new_multi_reader();
            together.iter().try_for_each(|path| reader.add_get_children(path))?;
            reader.commit().await
        });
        let results = results.await.map_err(|error| failed("listing the tree", error))?;
        for (path, result) in together.iter().zip(results) {
            match result {
                MultiReadResult::Children { children } => {
                    all.push(children.iter().map(|name| format!("{path}/{name}")).collect());
                }
                MultiReadResult::Error { err: Error::NoNode } => all.push(Vec::new()),
                MultiReadResult::Error { err } => return Err(failed(&format!("listing {path}"), err)),
                other => {
                    return Err(failed("listing the tree", Error::UnexpectedError(format!("{other:?}"))));
                }
            }
        }
    }
    Ok(all)
}

/// A shared view, and whether it differs from the one before.
pub(super) fn show(view: &tokio::sync::watch::Sender<Arc<View>>, tree: &Tree) {
    let now = tree.view();
    view.send_if_modified(|shown| {
        if **shown == now {
            return false;
        }
        *shown = Arc::new(now);
        true
    });
}
