//! The index. Values are part of a row's key, up to a length: Cassandra's keys end at 64 KiB, so of a
//! long value the key has its beginning and its SHA-256, and a column of its own has the whole.

use bytes::Bytes;
use futures_util::future::try_join;
use sha2::{Digest, Sha256};

use super::super::{IndexEntry, StoreError, paging};
use super::link::{Link, batches, rows};
use super::schema::bits;

/// Bytes of a value that is all in the key.
const VALUE_KEY_BYTES: usize = 1 << 10;
/// Rows of the first page.
const FIRST_PAGE_ROWS: usize = 256;

/// What of a value is in the key. A longer key is never a value's own bytes.
fn value_key(value: &[u8]) -> Vec<u8> {
    match value.get(..VALUE_KEY_BYTES) {
        Some(beginning) if value.len() > VALUE_KEY_BYTES => [beginning, &Sha256::digest(value)[..]].concat(),
        _ => value.to_vec(),
    }
}

pub(super) type EntryRow<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

pub(super) fn entry((term, key, value): EntryRow<'_>) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(term), Bytes::copy_from_slice(value.unwrap_or(key)))
}

impl Link {
    pub(super) async fn put_entries(&self, entries: &[IndexEntry]) -> Result<(), StoreError> {
        let statements = &self.connected.statements;
        let mut sorted: Vec<&IndexEntry> = entries.iter().collect();
        sorted.sort_by_key(|entry| (&entry.scope, entry.bucket));
        let (long, short): (Vec<_>, Vec<_>) =
            sorted.into_iter().partition(|entry| entry.value.len() > VALUE_KEY_BYTES);
        let bytes = |entry: &IndexEntry| entry.term.len() + entry.value.len() + VALUE_KEY_BYTES;
        let short = short.into_iter().map(|entry| {
            let row = (entry.scope.as_str(), bits(entry.bucket), entry.term.as_ref(), entry.value.as_ref());
            ((&entry.scope, entry.bucket), entry.term.len() + entry.value.len(), row)
        });
        let long = long.into_iter().map(|entry| {
            let key = value_key(&entry.value);
            let row =
                (entry.scope.as_str(), bits(entry.bucket), entry.term.as_ref(), key, entry.value.as_ref());
            ((&entry.scope, entry.bucket), bytes(entry), row)
        });
        let short = self.write_batches(&statements.insert_entry, batches(short));
        let long = self.write_batches(&statements.insert_long_entry, batches(long));
        try_join(short, long).await.map(|((), ())| ())
    }

    pub(super) async fn entries(
        &self,
        scope: &str,
        bucket: u64,
        term: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let statement = &self.connected.statements.entries;
        let mut pages = self.pages(statement, (scope, bits(bucket), term), limit.min(FIRST_PAGE_ROWS));
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(page) = pages.next().await? else { break };
            found.extend(rows::<EntryRow<'_>>("an entry", &page)?.into_iter().map(|row| entry(row).1));
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) async fn scan_entries(
        &self,
        scope: &str,
        bucket: u64,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let statement = &self.connected.statements.entries_after;
        let first = limit.saturating_add(1).min(FIRST_PAGE_ROWS);
        let mut pages = self.pages(statement, (scope, bits(bucket), after), first);
        let mut found: Vec<(Bytes, Bytes)> = Vec::new();
        // Until there are enough rows, and not all of one term: then it is seen where the page ends.
        while limit > 0 && (found.len() <= limit || found.first().map(term) == found.last().map(term)) {
            let Some(page) = pages.next().await? else { break };
            found.extend(rows::<EntryRow<'_>>("an entry", &page)?.into_iter().map(entry));
        }
        paging::whole_terms(found.into_iter().map(Ok), limit)
    }

    pub(super) async fn drop_bucket(&self, scope: &str, bucket: u64) -> Result<(), StoreError> {
        self.write(&self.connected.statements.drop_entries, (scope, bits(bucket))).await
    }
}

fn term((term, _): &(Bytes, Bytes)) -> &Bytes {
    term
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_have_keys_of_their_own() {
        let short = vec![1; VALUE_KEY_BYTES];
        assert_eq!(value_key(&short), short);
        let mut long = vec![1; 64 << 10];
        let key = value_key(&long);
        assert_eq!(key.len(), VALUE_KEY_BYTES + 32);
        long[60_000] = 2;
        assert_ne!(value_key(&long), key);
    }
}
