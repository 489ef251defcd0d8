//! Queues and groups of both stores.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::super::sqlite::SqliteStore;
use super::super::{Document, Store, StoreError, StoreErrorKind, SwapOutcome};
use super::CopyError;
use super::plan::{decode, encode};
use super::renumber::Renumber;
use super::write::{Trial, Writer, refused, unknown};
use crate::model::{GroupDocument, PartitionId, QueueDocument};

/// Documents that are read at a time.
const PAGE: usize = 1_000;
/// Names that an error gives.
const NAMES_SHOWN: usize = 5;
/// Names that are tried for a group whose own is taken.
const GROUP_NAMES_MAX: usize = 100;
/// Documents that belong to no queue and are made anew where they are needed.
const OWN: [&str; 5] = ["queue/", "group/", "counter/", "copy/", "cluster/"];

/// A group of the source with a queue.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub document: GroupDocument,
    /// By name.
    pub queues: Vec<(String, QueueDocument)>,
}

/// What there is to be copied.
#[derive(Clone, Debug)]
pub(super) struct SourceCatalog {
    /// By `namespace/name`. Groups without a queue hold nothing that anybody can ask for.
    pub groups: BTreeMap<String, Group>,
    /// Lowest and highest.
    pub group_numbers: (u32, u32),
    /// Lowest and highest.
    pub queue_numbers: (u32, u32),
    /// Another one if anything was changed: whoever works on a partition claims it.
    pub fingerprint: String,
    /// Documents that are not copied.
    pub left: Vec<String>,
}

impl SourceCatalog {
    pub async fn read(store: &SqliteStore) -> Result<Self, StoreError> {
        let queues: Vec<(String, QueueDocument)> = read_all(store, "queue/").await?;
        let mut documents: BTreeMap<String, GroupDocument> =
            read_all(store, "group/").await?.into_iter().collect();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for (key, queue) in queues {
            let names = key.split_once('/').ok_or_else(|| no_group(&key))?;
            let name = format!("{}/{}", names.0, queue.group);
            if let Some(document) = documents.remove(&name) {
                groups.insert(name.clone(), Group { document, queues: Vec::new() });
            }
            let group = groups.get_mut(&name).ok_or_else(|| no_group(&key))?;
            group.queues.push((names.1.to_owned(), queue));
        }
        let fingerprint = fingerprint(store, &groups).await?;
        let left = others(store).await?;
        let all_queues = || groups.values().flat_map(|group| &group.queues);
        Ok(Self {
            group_numbers: bounds(groups.values().map(|group| group.document.number)),
            queue_numbers: bounds(all_queues().map(|(_, queue)| queue.number)),
            fingerprint,
            left,
            groups,
        })
    }
}

fn bounds(numbers: impl Iterator<Item = u32> + Clone) -> (u32, u32) {
    (numbers.clone().min().unwrap_or(1), numbers.max().unwrap_or(0))
}

fn no_group(key: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("document queue/{key} names no group that is there"))
}

async fn fingerprint(store: &SqliteStore, groups: &BTreeMap<String, Group>) -> Result<String, StoreError> {
    let mut hash = Sha256::new();
    for (name, group) in groups {
        hash.update(format!("{name} {}\n", text(&encode(&group.document)?)));
        for (queue, document) in &group.queues {
            hash.update(format!("{queue} {}\n", text(&encode(document)?)));
        }
        for index in 0..group.document.partitions {
            let id = PartitionId { group: group.document.number, index };
            let claim = store.highest_claim(id).await?;
            hash.update(claim.map_or_else(String::new, |claim| format!("{id} {}\n", claim.epoch)));
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn others(store: &SqliteStore) -> Result<Vec<String>, StoreError> {
    let mut others = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.documents("", &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(others) };
        after.clone_from(last);
        let keys = page.into_iter().map(|(key, _)| key);
        others.extend(keys.filter(|key| !OWN.iter().any(|own| key.starts_with(own))));
    }
}

/// What is in the target already.
#[derive(Clone, Debug)]
pub(super) struct TargetCatalog {
    /// Numbers of queues by `namespace/name`.
    queues: BTreeMap<String, u32>,
}

impl TargetCatalog {
    pub async fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let queues: Vec<(String, QueueDocument)> = read_all(store, "queue/").await?;
        Ok(Self { queues: queues.into_iter().map(|(key, queue)| (key, queue.number)).collect() })
    }

    /// Refuses names that are taken; those that this copy has published before are its own.
    pub fn refuse_names(&self, source: &SourceCatalog, numbers: Option<&Renumber>) -> Result<(), CopyError> {
        let mut taken = Vec::new();
        for (name, group) in &source.groups {
            for (queue, document) in &group.queues {
                let key = queue_key(name, queue);
                let own = numbers.map(|numbers| numbers.queue(document).number);
                let there = self.queues.get(&key);
                if there.is_some() && there != own.as_ref() {
                    taken.push(key);
                }
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let more = taken.len().saturating_sub(NAMES_SHOWN);
        taken.truncate(NAMES_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(CopyError::QueuesExist { names: format!("{}{more}", taken.join(", ")) })
    }

    /// Writes the documents of a group whose rows are all there: from now on workers see it.
    pub async fn publish(
        &self,
        writer: &Writer<'_>,
        name: &str,
        group: &Group,
        numbers: &Renumber,
    ) -> Result<(), CopyError> {
        let namespace = name.split_once('/').map_or(name, |(namespace, _)| namespace);
        let own_name = name.split_once('/').map_or(name, |(_, own)| own);
        let group_name =
            self.publish_group(writer, namespace, own_name, &numbers.group(&group.document)).await?;
        for (queue, document) in &group.queues {
            let document = QueueDocument { group: group_name.clone(), ..numbers.queue(document) };
            let key = format!("queue/{}", queue_key(name, queue));
            let is_own = |there: &Document| {
                decode::<QueueDocument>(&key, there).is_ok_and(|there| there.number == document.number)
            };
            if !create(writer, &key, &document, is_own).await? {
                return Err(CopyError::CreatedMeanwhile {
                    what: format!("queue {}", queue_key(name, queue)),
                });
            }
        }
        Ok(())
    }

    /// Under its own name; if a deleted queue has left a group of that name, under one like it.
    async fn publish_group(
        &self,
        writer: &Writer<'_>,
        namespace: &str,
        name: &str,
        document: &GroupDocument,
    ) -> Result<String, CopyError> {
        for number in 1..=GROUP_NAMES_MAX {
            let name = if number == 1 { name.to_owned() } else { format!("{name}.{number}") };
            let key = format!("group/{namespace}/{name}");
            let is_own = |there: &Document| {
                decode::<GroupDocument>(&key, there).is_ok_and(|there| there.number == document.number)
            };
            if create(writer, &key, document, is_own).await? {
                return Ok(name);
            }
        }
        Err(CopyError::CreatedMeanwhile { what: format!("groups of all names like {namespace}/{name}") })
    }
}

/// Makes a document; false if there is one that is not `is_own`.
async fn create<T: serde::Serialize>(
    writer: &Writer<'_>,
    key: &str,
    value: &T,
    is_own: impl Fn(&Document) -> bool,
) -> Result<bool, CopyError> {
    let value = encode(value)?;
    let taken = std::sync::atomic::AtomicBool::new(false);
    let attempt = || async {
        match writer.store.swap_document(key, None, Some(value.clone())).await {
            SwapOutcome::Applied(_) => Trial::DONE,
            SwapOutcome::Conflict(there) => {
                let own = there.as_ref().is_some_and(|there| there.value == value || is_own(there));
                taken.store(!own, std::sync::atomic::Ordering::Relaxed);
                Trial::DONE
            }
            SwapOutcome::Unknown(error) => unknown(error),
            SwapOutcome::Refused(error) => refused(error),
        }
    };
    writer.repeated(attempt).await?;
    Ok(!taken.into_inner())
}

/// `namespace/queue`, of a queue in that group.
fn queue_key(group: &str, queue: &str) -> String {
    let namespace = group.split_once('/').map_or(group, |(namespace, _)| namespace);
    format!("{namespace}/{queue}")
}

async fn read_all<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<(String, T)>, StoreError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = store.documents(prefix, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(all) };
        after.clone_from(last);
        for (key, document) in page {
            let value = decode(&key, &document)?;
            all.push((key[prefix.len()..].to_owned(), value));
        }
    }
}
