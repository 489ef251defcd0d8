//! Every row of a store, table by table. Not as of one moment: rows come and go meanwhile.
//!
//! A table is read in the order of Cassandra's tokens, so what has one key up to the table's CQL
//! partition is together and in order, and keys follow each other as they may.

use bytes::Bytes;
use scylla::deserialize::row::DeserializeRow;
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::super::{Claim, Document, IndexEntry, StoreError, StoreErrorKind, StoredRow};
use super::error;
use super::index::{EntryRow, entry};
use super::journal::part;
use super::link::{Link, Pages, rows};
use super::parts::Part;
use super::schema::{read_as_of, read_epoch, read_partition, read_segment};

/// Rows of the first page of each table; then as many as make a page.
const FIRST_PAGE_ROWS: usize = 8;

/// Takes a row, and says whether to go on.
type Visit<'a> = dyn FnMut(StoredRow) -> bool + Send + 'a;
/// Whether to go on.
type GoesOn = Result<bool, StoreError>;

/// What a commit or summary is found by: of its partition, epoch and segment, and its own.
type InSegment<T> = (String, String, i64, T);

impl Link {
    pub(super) async fn dump(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let _ = self.dump_documents(visit).await?
            && self.dump_claims(visit).await?
            && self.dump_commits(visit).await?
            && self.dump_blobs(visit).await?
            && self.dump_summaries(visit).await?
            && self.dump_progress(visit).await?
            && self.dump_entries(visit).await?;
        Ok(())
    }

    /// All rows of a select that names no key.
    async fn scan(&self, select: &str) -> Result<Pages<'_, ()>, StoreError> {
        let connected = &self.connected;
        let prepared = connected.session.prepare(select.replace('$', &connected.keyspace)).await;
        let mut statement = prepared.map_err(|error| error::of_prepare(&error))?;
        // As every other read.
        statement.set_execution_profile_handle(
            connected.statements.document.get_execution_profile_handle().cloned(),
        );
        statement.set_is_idempotent(true);
        Ok(self.pages(&statement, (), FIRST_PAGE_ROWS))
    }

    /// Shows the rows of a table that has each value in one row.
    async fn dump_rows(
        &self,
        select: &str,
        read: impl Fn(&QueryRowsResult) -> Result<Vec<StoredRow>, StoreError>,
        visit: &mut Visit<'_>,
    ) -> GoesOn {
        let mut pages = self.scan(select).await?;
        while let Some(page) = pages.next().await? {
            for row in read(&page)? {
                if !visit(row) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Shows the values of a table that has them in parts. `again` finds the parts of one by its key.
    async fn dump_values<K: SerializeRow + PartialEq + std::fmt::Debug>(
        &self,
        what: &str,
        select: &str,
        again: &PreparedStatement,
        read: impl Fn(&QueryRowsResult) -> Result<Vec<(K, Part)>, StoreError>,
        show: impl Fn(&K, Bytes) -> Result<StoredRow, StoreError>,
        visit: &mut Visit<'_>,
    ) -> GoesOn {
        let mut pages = self.scan(select).await?;
        let mut open: Option<(K, Vec<Part>)> = None;
        loop {
            let page = pages.next().await?;
            let read = page.as_ref().map(&read).transpose()?.unwrap_or_default();
            // A value is complete when the next one begins, or when there is no more.
            for next in read.into_iter().map(Some).chain(page.is_none().then_some(None)) {
                match (&mut open, next) {
                    (Some((key, parts)), Some((next, part))) if *key == next => parts.push(part),
                    (done, next) => {
                        let next = next.map(|(key, part)| (key, vec![part]));
                        let Some((key, parts)) = std::mem::replace(done, next) else { continue };
                        let row = match self.whole(what, parts, again, &key).await {
                            Ok(None) => continue,
                            Ok(Some(value)) => show(&key, value)?,
                            Err(error) if error.kind == StoreErrorKind::Damaged => {
                                StoredRow::Damaged(format!("{error}: {key:?}"))
                            }
                            Err(error) => return Err(error),
                        };
                        if !visit(row) {
                            return Ok(false);
                        }
                    }
                }
            }
            if page.is_none() {
                return Ok(true);
            }
        }
    }

    async fn dump_documents(&self, visit: &mut Visit<'_>) -> GoesOn {
        let read = |page: &QueryRowsResult| {
            let rows = rows::<(String, i64, bool, &[u8])>("a document", page)?;
            let live = rows.into_iter().filter(|(_, _, is_live, _)| *is_live);
            let row = |(key, version, _, value): (String, i64, bool, &[u8])| {
                let value = Bytes::copy_from_slice(value);
                StoredRow::Document(key, Document { version: version.cast_unsigned(), value })
            };
            Ok(live.map(row).collect())
        };
        self.dump_rows("SELECT key, version, live, value FROM $.documents", read, visit).await
    }

    async fn dump_claims(&self, visit: &mut Visit<'_>) -> GoesOn {
        let select = "SELECT partition, epoch, owner FROM $.claims";
        self.dump_rows(select, |page| each(page, "a claim", claim), visit).await
    }

    async fn dump_commits(&self, visit: &mut Visit<'_>) -> GoesOn {
        let select = "SELECT partition, epoch, segment, number, part, parts, hash, bytes FROM $.commits";
        type Row<'a> = (String, String, i64, i64, i32, i32, &'a [u8], &'a [u8]);
        let read = |page: &QueryRowsResult| {
            let rows = rows::<Row<'_>>("a commit", page)?.into_iter();
            Ok(rows
                .map(|(partition, epoch, segment, number, at, parts, hash, bytes)| {
                    ((partition, epoch, segment, number), part((at, parts, hash, bytes)))
                })
                .collect())
        };
        let show = |(partition, epoch, segment, number): &InSegment<i64>, row| {
            let segment = read_segment(partition, epoch, *segment)?;
            Ok(StoredRow::Commit(segment, number.cast_unsigned(), row))
        };
        let again = &self.connected.statements.commit;
        self.dump_values("a commit", select, again, read, show, visit).await
    }

    async fn dump_blobs(&self, visit: &mut Visit<'_>) -> GoesOn {
        let select = "SELECT partition, epoch, segment, blob, chunk, bytes FROM $.blobs";
        self.dump_rows(select, |page| each(page, "a blob", blob), visit).await
    }

    async fn dump_summaries(&self, visit: &mut Visit<'_>) -> GoesOn {
        let select = "SELECT partition, epoch, segment, as_of, part, parts, hash, bytes FROM $.summaries";
        type Row<'a> = (String, String, i64, String, i32, i32, &'a [u8], &'a [u8]);
        let read = |page: &QueryRowsResult| {
            let rows = rows::<Row<'_>>("a summary", page)?.into_iter();
            Ok(rows
                .map(|(partition, epoch, segment, as_of, at, parts, hash, bytes)| {
                    ((partition, epoch, segment, as_of), part((at, parts, hash, bytes)))
                })
                .collect())
        };
        let show = |(partition, epoch, segment, as_of): &InSegment<String>, row| {
            let segment = read_segment(partition, epoch, *segment)?;
            Ok(StoredRow::Summary(segment, read_as_of(as_of)?, row))
        };
        let again = &self.connected.statements.summary;
        self.dump_values("a summary", select, again, read, show, visit).await
    }

    async fn dump_progress(&self, visit: &mut Visit<'_>) -> GoesOn {
        let select = "SELECT partition, epoch, number, part, parts, hash, bytes FROM $.progress";
        type Row<'a> = (String, String, i64, i32, i32, &'a [u8], &'a [u8]);
        let read = |page: &QueryRowsResult| {
            let rows = rows::<Row<'_>>("progress", page)?.into_iter();
            Ok(rows
                .map(|(partition, epoch, number, at, parts, hash, bytes)| {
                    ((partition, epoch, number), part((at, parts, hash, bytes)))
                })
                .collect())
        };
        let show = |(partition, epoch, number): &(String, String, i64), row| {
            let as_of = super::super::CommitKey { epoch: read_epoch(epoch)?, commit: number.cast_unsigned() };
            Ok(StoredRow::Progress(read_partition(partition)?, as_of, row))
        };
        let again = &self.connected.statements.progress_row;
        self.dump_values("progress", select, again, read, show, visit).await
    }

    async fn dump_entries(&self, visit: &mut Visit<'_>) -> GoesOn {
        let select = "SELECT scope, bucket, term, value_key, value FROM $.index_entries";
        self.dump_rows(select, |page| each(page, "an entry", index_entry), visit).await
    }
}

/// The rows of a page, each turned into what is shown.
fn each<'a, R: DeserializeRow<'a, 'a>>(
    page: &'a QueryRowsResult,
    what: &str,
    show: impl Fn(R) -> Result<StoredRow, StoreError>,
) -> Result<Vec<StoredRow>, StoreError> {
    rows::<R>(what, page)?.into_iter().map(show).collect()
}

fn claim((partition, epoch, owner): (&str, &str, &[u8])) -> Result<StoredRow, StoreError> {
    let claim = Claim { epoch: read_epoch(epoch)?, owner: Bytes::copy_from_slice(owner) };
    Ok(StoredRow::Claim(read_partition(partition)?, claim))
}

fn blob(row: (&str, &str, i64, i64, i64, &[u8])) -> Result<StoredRow, StoreError> {
    let (partition, epoch, segment, blob, chunk, bytes) = row;
    let segment = read_segment(partition, epoch, segment)?;
    let chunk = u32::try_from(chunk).map_err(|error| error::unreadable("a chunk's number", error))?;
    Ok(StoredRow::Blob(segment, blob.cast_unsigned(), chunk, Bytes::copy_from_slice(bytes)))
}

fn index_entry(row: (String, i64, &[u8], &[u8], Option<&[u8]>)) -> Result<StoredRow, StoreError> {
    let (scope, bucket, term, key, value) = row;
    let (term, value) = entry((term, key, value) as EntryRow<'_>);
    Ok(StoredRow::Entry(IndexEntry { scope, bucket: bucket.cast_unsigned(), term, value }))
}
