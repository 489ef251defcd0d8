//! Bodies of jobs near their hand-out: decoded commit rows, bounded by bytes over all partitions.
//!
//! Whoever writes a commit leaves its row here; what is no longer here is read from the store, once
//! for all who want it at the same time. The oldest go first.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::model::PartitionId;
use crate::model::row::{CommitRef, CommitRow};

type Key = (PartitionId, CommitRef);
type Cell = Arc<OnceCell<Arc<CommitRow>>>;

#[derive(Debug, Default)]
struct Kept {
    cells: HashMap<Key, (Cell, usize)>,
    order: VecDeque<Key>,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bodies {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

impl Bodies {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Keeps a row that is being written.
    pub fn keep(&self, partition: PartitionId, at: CommitRef, row: Arc<CommitRow>, bytes: usize) {
        // Commits of markers only have no bodies.
        if !row.jobs.is_empty() {
            self.insert((partition, at), Arc::new(OnceCell::new_with(Some(row))), bytes);
        }
    }

    /// The row, if it is here.
    pub fn find(&self, partition: PartitionId, at: CommitRef) -> Option<Arc<CommitRow>> {
        self.kept().cells.get(&(partition, at)).and_then(|(cell, _)| cell.get().cloned())
    }

    /// The row, read by `read` if it is not here. One reader serves all who ask meanwhile.
    pub async fn get_or_read<E, F>(
        &self,
        partition: PartitionId,
        at: CommitRef,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<CommitRow>, E>
    where
        F: Future<Output = Result<(CommitRow, usize), E>>,
    {
        let key = (partition, at);
        let found = self.kept().cells.get(&key).map(|(cell, _)| cell.clone());
        let cell = found.unwrap_or_default();
        self.insert(key, cell.clone(), 0);
        let row = cell
            .get_or_try_init(|| async {
                let (row, bytes) = read().await?;
                self.grow(key, bytes);
                Ok(Arc::new(row))
            })
            .await;
        if row.is_err() {
            self.forget_unread(key, &cell);
        }
        row.cloned()
    }

    fn insert(&self, key: Key, cell: Cell, bytes: usize) {
        let mut kept = self.kept();
        match kept.cells.get_mut(&key) {
            // Two asked at once: the first one's cell may be in use.
            Some((_, before)) => *before += bytes,
            None => {
                kept.cells.insert(key, (cell, bytes));
                kept.order.push_back(key);
            }
        }
        kept.bytes += bytes;
        self.shrink(&mut kept);
    }

    fn grow(&self, key: Key, bytes: usize) {
        let mut kept = self.kept();
        if let Some((_, before)) = kept.cells.get_mut(&key) {
            *before += bytes;
            kept.bytes += bytes;
            self.shrink(&mut kept);
        }
    }

    /// Nobody could read it. If another reader of the same cell could meanwhile, it stays.
    fn forget_unread(&self, key: Key, cell: &Cell) {
        let mut kept = self.kept();
        let is_unread = |(other, _): &(Cell, usize)| Arc::ptr_eq(other, cell) && !cell.initialized();
        if kept.cells.get(&key).is_some_and(is_unread) {
            kept.cells.remove(&key);
            if let Some(at) = kept.order.iter().rposition(|other| *other == key) {
                kept.order.remove(at);
            }
        }
    }

    fn shrink(&self, kept: &mut Kept) {
        // The newest stays, however large: somebody is about to use it.
        while kept.bytes > self.bytes_max && kept.order.len() > 1 {
            let Some(key) = kept.order.pop_front() else { return };
            if let Some((_, bytes)) = kept.cells.remove(&key) {
                kept.bytes -= bytes;
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here can panic half-way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::JobRow;

    const PARTITION: PartitionId = PartitionId { group: 1, index: 0 };

    fn at(commit: u64) -> CommitRef {
        CommitRef { epoch_number: 1, commit }
    }

    fn row() -> CommitRow {
        CommitRow { jobs: vec![JobRow::default()], ..CommitRow::default() }
    }

    #[tokio::test]
    async fn the_oldest_rows_go_and_are_read_again_once_for_all() {
        let bodies = Bodies::new(100);
        for commit in 0..5 {
            bodies.keep(PARTITION, at(commit), Arc::new(row()), 40);
        }
        assert!(bodies.find(PARTITION, at(0)).is_none());
        assert!(bodies.find(PARTITION, at(4)).is_some());
        let reads = std::sync::atomic::AtomicUsize::new(0);
        let read = || async {
            reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok::<_, ()>((row(), 40))
        };
        let (a, b) = tokio::join!(
            bodies.get_or_read(PARTITION, at(0), read),
            bodies.get_or_read(PARTITION, at(0), read)
        );
        assert!(a.is_ok() && b.is_ok());
        assert_eq!(reads.into_inner(), 1);
    }

    #[tokio::test]
    async fn reads_that_fail_for_long_leave_nothing_behind() {
        let bodies = Bodies::new(100);
        bodies.keep(PARTITION, at(0), Arc::new(row()), 40);
        for _ in 0..1_000 {
            let failed = bodies.get_or_read(PARTITION, at(1), || async { Err("away") }).await;
            assert_eq!(failed, Err("away"));
        }
        let kept = bodies.kept();
        assert_eq!((kept.order.len(), kept.cells.len()), (1, 1));
    }

    #[tokio::test]
    async fn bytes_are_counted_right_if_a_second_reader_gets_what_the_first_could_not() {
        let bodies = Bodies::new(100);
        let (failed, read) = tokio::join!(
            bodies.get_or_read(PARTITION, at(0), || async {
                tokio::task::yield_now().await;
                Err("away")
            }),
            bodies.get_or_read(PARTITION, at(0), || async { Ok::<_, &str>((row(), 40)) })
        );
        assert!(failed.is_err() && read.is_ok());
        let kept = bodies.kept();
        assert_eq!(kept.bytes, kept.cells.values().map(|(_, bytes)| bytes).sum::<usize>());
    }

    #[tokio::test]
    async fn a_failed_read_is_tried_again() {
        let bodies = Bodies::new(100);
        let failed = bodies.get_or_read(PARTITION, at(0), || async { Err("away") }).await;
        assert_eq!(failed, Err("away"));
        assert!(bodies.get_or_read(PARTITION, at(0), || async { Ok::<_, &str>((row(), 1)) }).await.is_ok());
    }
}
