//! Requests: bounded in number, counted, measured, and their errors put into words.

use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::count::{Counters, add};
use super::super::{StoreError, StoreErrorKind};
use super::connect::{Connected, with_nodes};
use super::error;
use super::hedge::Hedge;

/// Bytes that a page of rows is meant to have.
const PAGE_BYTES: usize = 1 << 20;
/// Rows of one page.
const PAGE_ROWS_MAX: i32 = 1_000;
/// By how much a page may have more rows than the one before.
const PAGE_GROWTH: i32 = 8;
/// Bytes of a batch of rows in one CQL partition.
const BATCH_BYTES: usize = 128 << 10;
/// Rows of such a batch.
const BATCH_ROWS: usize = 256;
/// Requests that one call has under way at once.
const FAN_OUT: usize = 32;

/// The way to the cluster.
pub(super) struct Link {
    pub(super) connected: Connected,
    pub(super) counters: Counters,
    reads: Arc<Hedge>,
    writes: Arc<Hedge>,
    permits: Semaphore,
}

impl Link {
    pub(super) fn new(
        connected: Connected,
        reads: Arc<Hedge>,
        writes: Arc<Hedge>,
        concurrency: usize,
    ) -> Self {
        let permits = Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Self { connected, counters: Counters::default(), reads, writes, permits }
    }

    fn session(&self) -> &Session {
        &self.connected.session
    }

    fn failed(&self, error: &ExecutionError) -> StoreError {
        with_nodes(self.session(), &self.connected.datacenter, error::of_request(error))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let closed = |_| StoreError::new(StoreErrorKind::Unavailable, "the store is closed");
        self.permits.acquire().await.map_err(closed)
    }

    /// A write that may be repeated blindly. If it fails, its outcome is not known.
    pub(super) async fn write(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<(), StoreError> {
        let _permit = self.permit().await?;
        let begun = Instant::now();
        let done = self.session().execute_unpaged(statement, values).await;
        done.map_err(|error| self.failed(&error))?;
        self.writes.observe(begun.elapsed());
        add(&self.counters.transactions, 1);
        Ok(())
    }

    /// Writes rows of one CQL partition in one step.
    async fn write_rows<V: SerializeRow>(
        &self,
        statement: &PreparedStatement,
        mut rows: Vec<V>,
    ) -> Result<(), StoreError> {
        if rows.len() == 1 {
            return self.write(statement, rows.remove(0)).await;
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_is_idempotent(true);
        batch.set_execution_profile_handle(statement.get_execution_profile_handle().cloned());
        for _ in &rows {
            batch.append_statement(statement.clone());
        }
        let _permit = self.permit().await?;
        self.session().batch(&batch, rows).await.map_err(|error| self.failed(&error))?;
        add(&self.counters.transactions, 1);
        Ok(())
    }

    /// Several of those at once, each with rows of one CQL partition.
    pub(super) async fn write_batches<V: SerializeRow>(
        &self,
        statement: &PreparedStatement,
        batches: Vec<Vec<V>>,
    ) -> Result<(), StoreError> {
        let writes = stream::iter(batches).map(|rows| self.write_rows(statement, rows));
        writes.buffer_unordered(FAN_OUT).try_collect().await
    }

    /// A compare-and-set, made once.
    pub(super) async fn swap(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, StoreError> {
        let _permit = self.permit().await?;
        let done = self.session().execute_unpaged(statement, values).await;
        done.map_err(|error| self.failed(&error))
    }

    /// Rows of a read that has few of them.
    pub(super) async fn read(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryRowsResult, StoreError> {
        let _permit = self.permit().await?;
        let begun = Instant::now();
        let result = self.session().execute_unpaged(statement, values).await;
        let result = result.map_err(|error| self.failed(&error))?;
        self.reads.observe(begun.elapsed());
        result.into_rows_result().map_err(|error| error::unreadable("an answer", error))
    }

    /// Begins to read rows page by page; the first page has `rows` of them.
    pub(super) fn pages<V: SerializeRow>(
        &self,
        statement: &PreparedStatement,
        values: V,
        rows: usize,
    ) -> Pages<'_, V> {
        let rows = i32::try_from(rows).unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX);
        Pages { link: self, statement: statement.clone(), values, rows, state: Some(PagingState::start()) }
    }
}

/// A read, page by page. Pages have as many rows as make about [`PAGE_BYTES`], by those seen so far.
pub(super) struct Pages<'a, V> {
    link: &'a Link,
    statement: PreparedStatement,
    values: V,
    rows: i32,
    /// None after the last page.
    state: Option<PagingState>,
}

impl<V: SerializeRow> Pages<'_, V> {
    /// The next page, or none after the last one. A page may be empty.
    pub(super) async fn next(&mut self) -> Result<Option<QueryRowsResult>, StoreError> {
        let Some(state) = self.state.take() else { return Ok(None) };
        self.statement.set_page_size(self.rows);
        let _permit = self.link.permit().await?;
        let page = self.link.session().execute_single_page(&self.statement, &self.values, state).await;
        let (page, next) = page.map_err(|error| self.link.failed(&error))?;
        if let PagingStateResponse::HasMorePages { state } = next {
            self.state = Some(state);
        }
        let page = page.into_rows_result().map_err(|error| error::unreadable("a page", error))?;
        let row_bytes = page.rows_bytes_size() / page.rows_num().max(1);
        let fitting = i32::try_from(PAGE_BYTES / row_bytes.max(1)).unwrap_or(PAGE_ROWS_MAX);
        self.rows = fitting.clamp(1, PAGE_ROWS_MAX.min(self.rows.saturating_mul(PAGE_GROWTH)));
        Ok(Some(page))
    }
}

/// The rows of a result.
pub(super) fn rows<'a, R: DeserializeRow<'a, 'a>>(
    what: &str,
    result: &'a QueryRowsResult,
) -> Result<Vec<R>, StoreError> {
    let rows = result.rows::<R>().map_err(|error| error::unreadable(what, error))?;
    rows.collect::<Result<_, _>>().map_err(|error| error::unreadable(what, error))
}

/// The first row of a result.
pub(super) fn first_row<'a, R: DeserializeRow<'a, 'a>>(
    what: &str,
    result: &'a QueryRowsResult,
) -> Result<Option<R>, StoreError> {
    result.maybe_first_row::<R>().map_err(|error| error::unreadable(what, error))
}

/// Rows by CQL partition, in batches of bounded size.
pub(super) fn batches<K: PartialEq, T>(rows: impl IntoIterator<Item = (K, usize, T)>) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut open: Option<(K, usize)> = None;
    for (key, bytes, row) in rows {
        match (&mut open, batches.last_mut()) {
            (Some((last, filled)), Some(batch))
                if *last == key && *filled + bytes <= BATCH_BYTES && batch.len() < BATCH_ROWS =>
            {
                *filled += bytes;
                batch.push(row);
            }
            _ => {
                open = Some((key, bytes));
                batches.push(vec![row]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_one_partition_and_bounded() {
        let small = (0..600).map(|row| ("a", 10, row));
        let large = (600..603).map(|row| ("b", BATCH_BYTES, row));
        let sizes: Vec<usize> = batches(small.chain(large)).iter().map(Vec::len).collect();
        assert_eq!(sizes, [256, 256, 88, 1, 1, 1]);
    }
}
