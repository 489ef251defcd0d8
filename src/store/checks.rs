//! What every backend refuses before it tries: calls that make no sense, and rows over the limits.
//!
//! The same limits in all backends, the narrowest decides: a mutation of a Cassandra-compatible
//! store stays under 1 MiB.

use super::{Append, BlobChunk, Claim, IndexEntry, StoreError, StoreErrorKind};
use crate::model::limits::{CHUNK_BYTES_MAX, COMMIT_BYTES_MAX};
use crate::model::{Epoch, JobId};

/// Bytes of a document, a summary or a progress row.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a document's key or an entry's scope.
const NAME_BYTES_MAX: usize = 1 << 10;
/// Bytes of a claim's owner.
const OWNER_BYTES_MAX: usize = 1 << 10;
/// Bytes of an entry's term.
const TERM_BYTES_MAX: usize = 4 << 10;
/// Bytes of an entry's value.
const ENTRY_VALUE_BYTES_MAX: usize = 64 << 10;

/// A call that makes no sense.
pub(super) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

/// Other bytes under a key that is written already.
pub(super) fn other_bytes(what: impl std::fmt::Display) -> StoreError {
    invalid(format!("{what} is written already with other bytes, and a row never changes"))
}

fn at_most(what: &str, bytes: usize, max: usize) -> Result<(), StoreError> {
    if bytes > max {
        return Err(invalid(format!("{what} of {bytes} bytes is over the limit of {max}")));
    }
    Ok(())
}

fn named(what: &str, name: &str) -> Result<(), StoreError> {
    if name.is_empty() || name.contains('\0') {
        return Err(invalid(format!("{what} must not be empty, nor hold a zero character")));
    }
    at_most(what, name.len(), NAME_BYTES_MAX)
}

pub(super) fn document(key: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
    named("a document's key", key)?;
    at_most("a document", value.map_or(0, <[u8]>::len), VALUE_BYTES_MAX)
}

pub(super) fn claim(claim: &Claim) -> Result<(), StoreError> {
    if claim.epoch.number > Epoch::NUMBER_MAX {
        return Err(invalid(format!(
            "epoch {} is over the highest number {}",
            claim.epoch,
            Epoch::NUMBER_MAX
        )));
    }
    at_most("a claim's owner", claim.owner.len(), OWNER_BYTES_MAX)
}

pub(super) fn commit(number: u64) -> Result<(), StoreError> {
    if number > JobId::COMMIT_MAX {
        return Err(invalid(format!("commit {number} is over the highest number {}", JobId::COMMIT_MAX)));
    }
    Ok(())
}

pub(super) fn append(append: &Append) -> Result<(), StoreError> {
    commit(append.commit)?;
    at_most("a commit's row", append.row.len(), COMMIT_BYTES_MAX)?;
    blobs(&append.blobs)?;
    entries(&append.entries)
}

pub(super) fn blobs(chunks: &[BlobChunk]) -> Result<(), StoreError> {
    chunks.iter().try_for_each(|chunk| at_most("a blob's chunk", chunk.bytes.len(), CHUNK_BYTES_MAX))
}

pub(super) fn value(what: &str, commit_number: u64, value: &[u8]) -> Result<(), StoreError> {
    commit(commit_number)?;
    at_most(what, value.len(), VALUE_BYTES_MAX)
}

pub(super) fn entries(entries: &[IndexEntry]) -> Result<(), StoreError> {
    for entry in entries {
        named("an index entry's scope", &entry.scope)?;
        if entry.term.is_empty() {
            return Err(invalid("an index entry's term must not be empty"));
        }
        at_most("an index entry's term", entry.term.len(), TERM_BYTES_MAX)?;
        at_most("an index entry's value", entry.value.len(), ENTRY_VALUE_BYTES_MAX)?;
    }
    Ok(())
}
