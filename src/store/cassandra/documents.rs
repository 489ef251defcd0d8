//! Documents, by compare-and-set.
//!
//! A document that is deleted leaves its row as a grave, so versions of a key go on rising and a
//! compare-and-set can tell every state from every other. Each write bears a random mark, so that
//! after an answer that was lost its writer finds out by a serial read whether it was written. It is
//! known to have been if its mark is there; known not to have been if its version has another's; and
//! while the version is the one before, the same write may be sent again: of the two only one can
//! happen. Only if others have written since, it stays unknown.

use bytes::Bytes;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::super::count::add;
use super::super::{Document, StoreError, StoreErrorKind, SwapOutcome};
use super::error;
use super::link::{Link, first_row, rows};
use super::schema::{bits, kind};

/// How often a compare-and-set is sent before the caller hears that its outcome is not known.
const TRIES_MAX: usize = 4;
/// Rows of the first page of a list.
const FIRST_PAGE_ROWS: usize = 64;

/// A row of the table.
#[derive(Debug)]
struct Stored {
    version: i64,
    is_live: bool,
    value: Bytes,
    writer: i64,
}

impl Stored {
    fn document(&self) -> Option<Document> {
        self.is_live.then(|| Document { version: self.version.cast_unsigned(), value: self.value.clone() })
    }
}

impl Link {
    async fn stored(&self, statement: &PreparedStatement, key: &str) -> Result<Option<Stored>, StoreError> {
        let result = self.read(statement, (kind(key), key)).await?;
        let row = first_row::<(i64, bool, &[u8], i64)>("a document", &result)?;
        Ok(row.map(|(version, is_live, value, writer)| Stored {
            version,
            is_live,
            value: Bytes::copy_from_slice(value),
            writer,
        }))
    }

    pub(super) async fn document(&self, key: &str) -> Result<Option<Document>, StoreError> {
        let stored = self.stored(&self.connected.statements.document, key).await?;
        Ok(stored.and_then(|stored| stored.document()))
    }

    pub(super) async fn documents(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let kinds = match prefix.contains('/') {
            true => vec![kind(prefix).to_owned()],
            false => self.kinds(prefix).await?,
        };
        let mut page = Vec::new();
        for kind in kinds {
            page.extend(self.documents_of(&kind, prefix, after, limit).await?);
        }
        // Kinds are not in the order of their keys: "queue-x/" is before "queue/", and "queue" too.
        page.sort_by(|(a, _), (b, _)| a.cmp(b));
        page.truncate(limit);
        Ok(page)
    }

    /// Kinds whose keys may begin with a prefix that has no slash. There are few.
    async fn kinds(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut kinds = Vec::new();
        let mut pages = self.pages(&self.connected.statements.kinds, (), FIRST_PAGE_ROWS);
        while let Some(page) = pages.next().await? {
            let names = rows::<(String,)>("a document's kind", &page)?.into_iter().map(|(kind,)| kind);
            kinds.extend(names.filter(|kind| kind.starts_with(prefix)));
        }
        Ok(kinds)
    }

    async fn documents_of(
        &self,
        kind: &str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<(String, Document)>, StoreError> {
        let mut found = Vec::new();
        let from = prefix.max(after);
        let statement = &self.connected.statements.documents;
        let mut pages = self.pages(statement, (kind, from), limit.saturating_add(1).min(FIRST_PAGE_ROWS));
        while let Some(page) = pages.next().await? {
            for (key, version, is_live, value) in rows::<(String, i64, bool, &[u8])>("a document", &page)? {
                if found.len() == limit || !key.starts_with(prefix) {
                    return Ok(found);
                }
                if is_live && (key.as_str() > after || after.is_empty()) {
                    let value = Bytes::copy_from_slice(value);
                    found.push((key, Document { version: version.cast_unsigned(), value }));
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn swap_document(
        &self,
        key: &str,
        expected: Option<u64>,
        value: Option<Bytes>,
    ) -> SwapOutcome {
        let writer = match getrandom::u64() {
            Ok(mark) => bits(mark),
            Err(error) => {
                let message = format!("the system gives no random numbers ({error})");
                return SwapOutcome::Refused(StoreError::new(StoreErrorKind::Unavailable, message));
            }
        };
        let is_live = value.is_some();
        let value = value.unwrap_or_default();
        // The version that the row must have: of a grave too, which is found only when looked for.
        let mut base = expected.map(bits);
        let mut unknown: Option<StoreError> = None;
        for _ in 0..TRIES_MAX {
            match self.swap_once(key, base, is_live, &value, writer).await {
                Ok(true) => {
                    add(&self.counters.transactions, 1);
                    return SwapOutcome::Applied(next(base).cast_unsigned());
                }
                Ok(false) => {}
                Err(error) => unknown = Some(error),
            }
            let there = match self.stored(&self.connected.statements.document_serial, key).await {
                Ok(there) => there,
                // Not even what is there can be said; without an unknown write, that is all.
                Err(error) => return SwapOutcome::Unknown(unknown.unwrap_or(error)),
            };
            if let Some(own) = there.as_ref().filter(|there| there.writer == writer) {
                add(&self.counters.transactions, 1);
                return SwapOutcome::Applied(own.version.cast_unsigned());
            }
            let version = there.as_ref().map(|there| there.version);
            if let Some(error) = unknown.take_if(|_| version > Some(next(base))) {
                return SwapOutcome::Unknown(error);
            }
            let document = there.and_then(|there| there.document());
            if document.as_ref().map(|document| document.version) != expected {
                return SwapOutcome::Conflict(document);
            }
            if version != base {
                // Another write is at the version that ours would have had: ours has not happened.
                unknown = None;
                base = version;
            }
        }
        let busy =
            || StoreError::new(StoreErrorKind::Unavailable, format!("{key:?} is being written by others"));
        match unknown {
            Some(error) => SwapOutcome::Unknown(error),
            None => SwapOutcome::Refused(busy()),
        }
    }

    /// Whether the row was written.
    async fn swap_once(
        &self,
        key: &str,
        base: Option<i64>,
        is_live: bool,
        value: &Bytes,
        writer: i64,
    ) -> Result<bool, StoreError> {
        let statements = &self.connected.statements;
        let (kind, value) = (kind(key), value.as_ref());
        match base {
            None => self.applied(&statements.swap_new, (kind, key, next(None), is_live, value, writer)).await,
            Some(version) => {
                let values = (next(base), is_live, value, writer, kind, key, version);
                self.applied(&statements.swap, values).await
            }
        }
    }

    async fn applied(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<bool, StoreError> {
        let result = self.swap(statement, values).await?;
        let result = result.into_rows_result().map_err(|error| error::unreadable("an outcome", error))?;
        let row = first_row::<scylla::value::Row>("an outcome", &result)?;
        let applied = row.and_then(|row| row.columns.first().cloned().flatten()?.as_boolean());
        applied.ok_or_else(|| error::unreadable("an outcome", "it does not say whether it was applied"))
    }
}

/// The version after that one.
fn next(base: Option<i64>) -> i64 {
    base.unwrap_or(0).wrapping_add(1)
}
