//! Which queues there are: their documents, and the same in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::model::{
    CounterDocument, GroupDocument, GroupNumber, PartitionId, QueueDocument, QueueNumber, QueueSettings,
    SlotMap, check,
};
use crate::store::{Document, Store, StoreError, StoreErrorKind, SwapOutcome};
use crate::worker::RequestError;

use super::owner::unavailable;

mod reload;
mod slots;

pub(crate) use reload::CatalogChange;

/// Documents that are read at a time.
const PAGE: usize = 1_000;
/// Tries of a compare-and-set that somebody else was first with.
const SWAPS_MAX: usize = 32;

/// A queue, with all that a request needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueEntry {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub number: QueueNumber,
    pub group: Arc<str>,
    pub group_number: GroupNumber,
    pub partitions: u16,
    /// Which of them takes which routing value; the same object for all queues of a group.
    pub slots: Arc<SlotMap>,
    pub settings: QueueSettings,
    pub paused: bool,
    pub created_ms: u64,
}

impl QueueEntry {
    /// The partitions of its group.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        let group = self.group_number;
        (0..self.partitions).map(move |index| PartitionId { group, index })
    }
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<(Arc<str>, Arc<str>), Arc<QueueEntry>>,
    by_number: HashMap<QueueNumber, Arc<QueueEntry>>,
    by_group: HashMap<GroupNumber, Vec<QueueNumber>>,
}

impl Known {
    fn insert(&mut self, queue: Arc<QueueEntry>) {
        self.by_name.insert((queue.namespace.clone(), queue.name.clone()), queue.clone());
        let numbers = self.by_group.entry(queue.group_number).or_default();
        if !numbers.contains(&queue.number) {
            numbers.push(queue.number);
        }
        self.by_number.insert(queue.number, queue);
    }
}

/// See the module.
pub(crate) struct Catalog {
    store: Arc<dyn Store>,
    known: Mutex<Known>,
    /// One change at a time; reads go on meanwhile.
    changing: tokio::sync::Mutex<()>,
    own_changes: watch::Sender<u64>,
}

impl Catalog {
    /// Reads all queues.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let catalog = Self::unread(store);
        catalog.reload().await?;
        Ok(catalog)
    }

    /// Knows no queues until [`Catalog::reload`] has read them.
    pub fn unread(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            known: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            own_changes: watch::Sender::new(0),
        }
    }

    /// A queue by name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<QueueEntry>> {
        self.known().by_name.get(&(namespace.into(), name.into())).cloned()
    }

    /// A queue by number.
    pub fn numbered(&self, number: QueueNumber) -> Option<Arc<QueueEntry>> {
        self.known().by_number.get(&number).cloned()
    }

    /// Queues of the group that a partition belongs to.
    pub fn queues_of(&self, partition: PartitionId) -> Vec<Arc<QueueEntry>> {
        let known = self.known();
        let numbers = known.by_group.get(&partition.group).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| known.by_number.get(number).cloned()).collect()
    }

    /// Every partition of every group with a queue.
    pub fn partitions(&self) -> Vec<PartitionId> {
        let known = self.known();
        let mut partitions: Vec<PartitionId> =
            known.by_number.values().flat_map(|queue| queue.partition_ids()).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// True if a group with that many partitions is known.
    pub fn has_partition(&self, partition: PartitionId) -> bool {
        self.queues_of(partition).iter().any(|queue| partition.index < queue.partitions)
    }

    /// Queues of a namespace by name, after `after`.
    pub fn list(&self, namespace: &str, after: &str, limit: usize) -> Vec<Arc<QueueEntry>> {
        let known = self.known();
        let from = (Arc::<str>::from(namespace), Arc::<str>::from(after));
        let bounds = (Bound::Excluded(from), Bound::Unbounded);
        let queues = known.by_name.range(bounds).take_while(|((other, _), _)| &**other == namespace);
        queues.take(limit).map(|(_, queue)| queue.clone()).collect()
    }

    /// Creates a queue with a group of its own; one that is there already is given back as it is.
    pub async fn create(
        &self,
        namespace: &str,
        name: &str,
        settings: QueueSettings,
        partitions: u16,
        now_ms: u64,
    ) -> Result<Arc<QueueEntry>, RequestError> {
        check::name("namespace", namespace)?;
        check::name("queue", name)?;
        let _changing = self.changing.lock().await;
        if let Some(known) = self.find(namespace, name) {
            return Ok(known);
        }
        let group = self.group(namespace, name, partitions, now_ms).await?;
        let queue = QueueDocument {
            number: self.next_number("counter/queues").await?,
            group: name.into(),
            settings,
            paused: false,
            created_ms: now_ms,
        };
        let key = format!("queue/{namespace}/{name}");
        let queue = self.create_document(&key, queue).await?;
        let group = match queue.group == name {
            true => group,
            // Somebody else has put it there, in a group of another name.
            false => {
                let key = format!("group/{namespace}/{}", queue.group);
                let stored = self.stored::<GroupDocument>(&key).await?;
                stored.ok_or_else(|| damaged(&key, "it is missing, and a queue is in it"))?.0
            }
        };
        let key = format!("group/{namespace}/{}", queue.group);
        let slots = self.slot_map(&key, &group)?;
        let created = self.remember(entry(namespace, name, &queue, &group, slots));
        self.changed_here();
        Ok(created)
    }

    /// Changes a queue's settings or whether it is paused.
    pub async fn change(
        &self,
        queue: &QueueEntry,
        change: impl Fn(&mut QueueDocument),
    ) -> Result<Arc<QueueEntry>, RequestError> {
        let _changing = self.changing.lock().await;
        let gone = || RequestError::NotFound(format!("there is no queue {:?}", &*queue.name));
        let known = self.numbered(queue.number).ok_or_else(gone)?;
        let key = format!("queue/{}/{}", known.namespace, known.name);
        let (mut document, version) = self.stored::<QueueDocument>(&key).await?.ok_or_else(gone)?;
        change(&mut document);
        self.swap(&key, Some(version), Some(&document)).await?;
        let mut changed = (*known).clone();
        (changed.settings, changed.paused) = (document.settings, document.paused);
        let changed = self.remember(changed);
        self.changed_here();
        Ok(changed)
    }

    /// Deletes a queue's document. Its group stays: the numbers in job ids are never given twice.
    pub async fn delete(&self, queue: &QueueEntry) -> Result<(), RequestError> {
        let _changing = self.changing.lock().await;
        let Some(known) = self.numbered(queue.number) else { return Ok(()) };
        let key = format!("queue/{}/{}", known.namespace, known.name);
        if let Some((_, version)) = self.stored::<QueueDocument>(&key).await? {
            self.swap::<QueueDocument>(&key, Some(version), None).await?;
        }
        let mut all = self.known();
        all.by_name.remove(&(known.namespace.clone(), known.name.clone()));
        all.by_number.remove(&known.number);
        if let Some(numbers) = all.by_group.get_mut(&known.group_number) {
            numbers.retain(|number| *number != known.number);
        }
        drop(all);
        self.changed_here();
        Ok(())
    }

    /// A document as it is in the store: an earlier change may have happened without our knowing.
    async fn stored<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, u64)>, RequestError> {
        let Some(document) = self.store.document(key).await? else { return Ok(None) };
        Ok(Some((decode(key, &document)?, document.version)))
    }

    async fn group(
        &self,
        namespace: &str,
        name: &str,
        partitions: u16,
        now_ms: u64,
    ) -> Result<GroupDocument, RequestError> {
        let key = format!("group/{namespace}/{name}");
        if let Some(document) = self.store.document(&key).await? {
            return Ok(decode(&key, &document)?);
        }
        let number = self.next_number("counter/groups").await?;
        let group =
            GroupDocument { number, partitions, keyed_partitions: 0, slots: None, created_ms: now_ms };
        self.create_document(&key, group).await
    }

    /// Writes a new document; if somebody was first, theirs counts.
    async fn create_document<T: Serialize + DeserializeOwned + Clone>(
        &self,
        key: &str,
        value: T,
    ) -> Result<T, RequestError> {
        for _ in 0..SWAPS_MAX {
            match self.store.swap_document(key, None, Some(encode(&value)?)).await {
                SwapOutcome::Applied(_) => return Ok(value),
                SwapOutcome::Conflict(Some(document)) => return Ok(decode(key, &document)?),
                SwapOutcome::Conflict(None) | SwapOutcome::Unknown(_) => {}
                SwapOutcome::Refused(error) => return Err(error.into()),
            }
        }
        Err(unavailable(format!("document {key} can't be written: its outcome stays unknown")))
    }

    async fn swap<T: Serialize>(
        &self,
        key: &str,
        expected: Option<u64>,
        value: Option<&T>,
    ) -> Result<(), RequestError> {
        let bytes = value.map(encode).transpose()?;
        for _ in 0..SWAPS_MAX {
            match self.store.swap_document(key, expected, bytes.clone()).await {
                SwapOutcome::Applied(_) => return Ok(()),
                // An unknown outcome that was a success after all.
                SwapOutcome::Conflict(Some(document)) if Some(&document.value) == bytes.as_ref() => {
                    return Ok(());
                }
                SwapOutcome::Conflict(None) if bytes.is_none() => return Ok(()),
                SwapOutcome::Conflict(_) => {
                    return Err(RequestError::Conflict(
                        "somebody else changed it at the same time: try again".into(),
                    ));
                }
                SwapOutcome::Unknown(_) => {}
                SwapOutcome::Refused(error) => return Err(error.into()),
            }
        }
        Err(unavailable(format!("document {key} can't be written: its outcome stays unknown")))
    }

    /// The next of a series of numbers that are never given twice.
    async fn next_number(&self, key: &str) -> Result<u32, RequestError> {
        for _ in 0..SWAPS_MAX {
            let document = self.store.document(key).await?;
            let given: Option<CounterDocument> =
                document.as_ref().map(|document| decode(key, document)).transpose()?;
            let last = given.as_ref().map_or(0, CounterDocument::last);
            let next = last.checked_add(1).ok_or_else(|| {
                RequestError::Conflict("all numbers for queues are used up in this store".into())
            })?;
            let expected = document.map(|document| document.version);
            match self.store.swap_document(key, expected, Some(encode(&CounterDocument::Given(next))?)).await
            {
                SwapOutcome::Applied(_) => return Ok(next),
                // If an unknown one happened, its number is never given to anybody.
                SwapOutcome::Conflict(_) | SwapOutcome::Unknown(_) => {}
                SwapOutcome::Refused(error) => return Err(error.into()),
            }
        }
        Err(unavailable("numbers for queues are fought for: try again"))
    }

    fn remember(&self, queue: QueueEntry) -> Arc<QueueEntry> {
        let queue = Arc::new(queue);
        self.known().insert(queue.clone());
        queue
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here can panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(
    namespace: &str,
    name: &str,
    queue: &QueueDocument,
    group: &GroupDocument,
    slots: Arc<SlotMap>,
) -> QueueEntry {
    QueueEntry {
        namespace: namespace.into(),
        name: name.into(),
        number: queue.number,
        group: queue.group.as_str().into(),
        group_number: group.number,
        partitions: group.partitions,
        slots,
        settings: queue.settings.clone(),
        paused: queue.paused,
        created_ms: queue.created_ms,
    }
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

fn decode<T: DeserializeOwned>(key: &str, document: &Document) -> Result<T, StoreError> {
    serde_json::from_slice(&document.value).map_err(|error| damaged(key, &error.to_string()))
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes, StoreError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
        StoreError::new(StoreErrorKind::Invalid, format!("a document can't be written: {error}"))
    })
}

fn damaged(key: &str, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, format!("document {key} can't be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_change_whose_outcome_stayed_unknown_is_not_in_the_way_of_the_next() {
        let store = Arc::new(MemoryStore::new());
        let catalog = Catalog::open(store.clone()).await.unwrap();
        let queue = catalog.create("default", "q", QueueSettings::default(), 1, 1).await.unwrap();
        // It happened, and nobody here was told.
        let key = "queue/default/q";
        let stored = store.document(key).await.unwrap().unwrap();
        let mut changed: QueueDocument = decode(key, &stored).unwrap();
        changed.settings.backlog_max = 7;
        let outcome = store.swap_document(key, Some(stored.version), Some(encode(&changed).unwrap())).await;
        assert!(matches!(outcome, SwapOutcome::Applied(_)));

        let paused = catalog.change(&queue, |document| document.paused = true).await.unwrap();
        assert!(paused.paused);
        assert_eq!(paused.settings.backlog_max, 7, "what is stored is what counts");
        catalog.delete(&queue).await.unwrap();
        assert!(store.document(key).await.unwrap().is_none());
    }
}
