//! Copying the queues of one store into another, row by row.
//!
//! ```text
//! nothing ──marked, numbers reserved──▶ copying ──┬─ per group: rows of each partition, then its
//!                                        ▲  │     │  documents: from then on workers see it
//!                                        └──┘◀────┘
//!                                 killed, run again          all groups ──▶ finished
//! ```
//!
//! A partition's rows are never changed, and what is true is what they say, read in order. So a copy of
//! all of them is the partition: to whoever claims it next in the target, the copy is a predecessor that
//! has crashed. States, attempts, history, bodies and finished jobs come along, nothing is decided anew,
//! and writing a row twice changes nothing.
//!
//! - **Nothing runs while it is copied**: the source is owned by this process (its lock), and a group's
//!   documents, without which no worker knows of it, are the last that is written of it.
//! - **Resumable**: the target holds a plan (`plan`) with the place up to which rows are durable.
//!   Whoever comes next goes on from there; a few rows are written again.
//! - **Numbers** of groups and queues are given once in a store, and job ids begin with the group's. In a
//!   target that has given none of the source's numbers yet, all stay as they are, and so do the ids.
//!   Else all are raised by the same amount (`renumber`).
//! - **Not twice**: the source gets a mark (`mark`) with which no worker starts on it any more, unless
//!   that is not wanted.
//! - **Bounded**: a page of rows being written, and one being read (`PAGE_ROWS`, `PAGE_BYTES`),
//!   besides the catalogue.

mod catalog;
mod error;
mod mark;
mod plan;
mod renumber;
mod write;

use std::time::Duration;

use serde::Serialize;

use super::sqlite::SqliteStore;
use super::stored::{RowPage, Table};
use super::{Store, StoreError};
use crate::model::PartitionId;
use catalog::{Group, SourceCatalog, TargetCatalog};
use plan::{At, Planned};
use renumber::Renumber;
use write::Writer;

pub use error::CopyError;
pub use mark::{refuse_moved, take_back};

/// Rows of a page.
const PAGE_ROWS: usize = 1_024;
/// Bytes of a page's values, about.
const PAGE_BYTES: usize = 4 << 20;
/// How long a target that is away is tried again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to copy, and how.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// The source, for people.
    pub from: String,
    /// The target, for people; a source is only marked as moved to one target at a time.
    pub to: String,
    /// Workers may go on using the source.
    pub keep: bool,
    /// Begin anew if the target holds an unfinished copy that this can't go on with.
    pub anew: bool,
    /// Rows of a page.
    pub page_rows: usize,
    /// Bytes of a page's values, about; one row at least is read.
    pub page_bytes: usize,
    /// How long a target that is away is tried again.
    pub patience: Duration,
}

impl CopyOptions {
    /// The usual bounds.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            keep: false,
            anew: false,
            page_rows: PAGE_ROWS,
            page_bytes: PAGE_BYTES,
            patience: PATIENCE,
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct CopyProgress<'a> {
    /// Namespace and name of the group that is being copied.
    pub group: &'a str,
    /// Rows that are durable in the target.
    pub rows: u64,
    /// Rows of the source.
    pub rows_of: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyReport {
    /// Queues that are in the target now.
    pub queues: u64,
    /// Partitions of theirs.
    pub partitions: u64,
    /// Rows, those of earlier runs included.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// An earlier run had begun it.
    pub resumed: bool,
    /// It was finished before; nothing was done.
    pub was_finished: bool,
    /// What the numbers of groups, and with them the beginnings of job ids, are raised by; 0 if all ids
    /// have stayed.
    pub groups_raised_by: u32,
    /// Documents of the source that are no queue's, and stay behind.
    pub left: Vec<String>,
}

/// Copies all queues of `from` into `to`. May be dropped at any time, and begun again.
pub async fn copy(
    from: &SqliteStore,
    to: &dyn Store,
    options: &CopyOptions,
    progress: &mut (dyn FnMut(CopyProgress<'_>) + Send),
) -> Result<CopyReport, CopyError> {
    let source = SourceCatalog::read(from).await?;
    let target = TargetCatalog::read(to).await?;
    let rows_of = from.count_rows().await?;
    let planned = plan::find_or_make(from, to, &source, &target, options).await?;
    let resumed = planned.resumed;
    let was_finished = planned.plan.is_finished();
    let plan = match was_finished {
        true => planned.plan,
        false => {
            let mut copy =
                Copy { from, writer: Writer::new(to, options.patience), options, planned, rows_of, progress };
            copy.groups(&source, target).await?;
            copy.planned.plan
        }
    };
    Ok(CopyReport {
        queues: source.groups.values().map(|group| group.queues.len() as u64).sum(),
        partitions: source.groups.values().map(|group| u64::from(group.document.partitions)).sum(),
        rows: plan.rows,
        bytes: plan.bytes,
        resumed,
        was_finished,
        groups_raised_by: plan.groups.raised_by,
        left: source.left,
    })
}

struct Copy<'a> {
    from: &'a SqliteStore,
    writer: Writer<'a>,
    options: &'a CopyOptions,
    planned: Planned,
    rows_of: u64,
    progress: &'a mut (dyn FnMut(CopyProgress<'_>) + Send),
}

impl Copy<'_> {
    async fn groups(&mut self, source: &SourceCatalog, target: TargetCatalog) -> Result<(), CopyError> {
        let numbers = self.planned.plan.renumber();
        for (name, group) in &source.groups {
            let at = self.planned.plan.at.clone();
            let (first, done) = match &at {
                Some(at) if at.group == *name => (at.partition, at.published),
                Some(at) => (0, at.group > *name),
                None => (0, false),
            };
            if done {
                continue;
            }
            for index in first..group.document.partitions {
                let at = at.as_ref().filter(|at| at.group == *name && at.partition == index);
                self.partition(name, group, index, at, &numbers).await?;
            }
            target.publish(&self.writer, name, group, &numbers).await?;
            let last = group.document.partitions.saturating_sub(1);
            self.note(At { group: name.clone(), partition: last, published: true, ..At::default() }, 0, 0)
                .await?;
        }
        self.planned.plan.finish();
        self.planned.store(&self.writer).await?;
        mark::finished(self.from, &self.planned.plan.id).await
    }

    /// Copies a partition, from where an earlier run has come to.
    async fn partition(
        &mut self,
        name: &str,
        group: &Group,
        index: u16,
        at: Option<&At>,
        numbers: &Renumber,
    ) -> Result<(), CopyError> {
        let id = PartitionId { group: group.document.number, index };
        let begun = at.and_then(|at| at.table);
        for table in Table::ALL.into_iter().filter(|table| begun.is_none_or(|begun| *table >= begun)) {
            let after = at.filter(|_| begun == Some(table)).and_then(|at| at.after.clone());
            let mut page = self.read(id, table, after).await?;
            loop {
                let (rows, bytes) = (page.rows.len() as u64, page.bytes as u64);
                let next = page.next.clone();
                let renumbered =
                    page.rows.into_iter().map(|row| numbers.row(row)).collect::<Result<_, _>>()?;
                let more = async {
                    match &next {
                        Some(cursor) => self.read(id, table, Some(cursor.clone())).await.map(Some),
                        None => Ok(None),
                    }
                };
                // The next page is read while this one is written.
                let (written, more) = futures_util::future::join(self.writer.rows(renumbered), more).await;
                written?;
                let more = more?;
                // A table that is at its end is noted as the beginning of the next.
                let place = match (&next, table.next()) {
                    (Some(_), _) => (Some(table), next),
                    (None, Some(following)) => (Some(following), None),
                    (None, None) => (None, None),
                };
                let done = place.0.is_none();
                let at = At {
                    group: name.to_owned(),
                    partition: if done { index + 1 } else { index },
                    table: place.0,
                    after: place.1,
                    published: false,
                };
                if rows > 0 || done {
                    self.note(at, rows, bytes).await?;
                }
                match more {
                    Some(following) => page = following,
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        id: PartitionId,
        table: Table,
        after: Option<String>,
    ) -> Result<RowPage, StoreError> {
        self.from.rows(id, table, after, self.options.page_rows, self.options.page_bytes).await
    }

    /// Makes it durable that everything before `at` is.
    async fn note(&mut self, at: At, rows: u64, bytes: u64) -> Result<(), CopyError> {
        let plan = &mut self.planned.plan;
        plan.rows += rows;
        plan.bytes += bytes;
        (self.progress)(CopyProgress { group: &at.group, rows: plan.rows, rows_of: self.rows_of });
        plan.at = Some(at);
        self.planned.store(&self.writer).await
    }
}
