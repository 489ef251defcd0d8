//! Who a worker is, and which store it is on.

use std::sync::Arc;

use bytes::Bytes;

use crate::coordination::WorkerId;
use crate::store::{Store, StoreError, StoreErrorKind, SwapOutcome};

/// Bytes of a worker's name.
const NAME_BYTES_MAX: usize = 128;
/// The document with the store's identity: 32 hex digits in JSON, drawn by whoever came first.
const IDENTITY_KEY: &str = "cluster/identity";
/// Tries of writing it while the outcome stays unknown.
const TRIES_MAX: usize = 8;

/// Why a name is not one for a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown:?} is no name for a worker: use 1 to {NAME_BYTES_MAX} visible ASCII characters without / and :, beginning with a letter or digit"
)]
pub struct InvalidName {
    shown: String,
}

/// A name becomes part of the worker's id.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if fits && plain && name.as_bytes()[0].is_ascii_alphanumeric() {
        return Ok(());
    }
    Err(InvalidName { shown: name.chars().take(40).collect() })
}

/// An id for this process: `name:pid:16 hex digits`. The digits are drawn, so that it is another one
/// even in containers with equal names and numbers.
pub fn new_worker_id(name: &str) -> Result<WorkerId, getrandom::Error> {
    let drawn = getrandom::u64()?;
    Ok(Arc::from(format!("{name}:{}:{drawn:016x}", std::process::id())))
}

/// What tells this store from every other.
pub(super) async fn store_identity(store: &dyn Store) -> Result<String, StoreError> {
    for _ in 0..TRIES_MAX {
        if let Some(document) = store.document(IDENTITY_KEY).await? {
            return serde_json::from_slice(&document.value).map_err(|error| {
                StoreError::new(
                    StoreErrorKind::Damaged,
                    format!("document {IDENTITY_KEY} can't be read: {error}"),
                )
            });
        }
        let unavailable = |error| {
            StoreError::new(StoreErrorKind::Unavailable, format!("the system gives no random bits: {error}"))
        };
        let (high, low) = (getrandom::u64().map_err(unavailable)?, getrandom::u64().map_err(unavailable)?);
        let value = Bytes::from(format!("\"{high:016x}{low:016x}\""));
        // Whatever came of it, the next look shows what counts.
        if let SwapOutcome::Refused(error) = store.swap_document(IDENTITY_KEY, None, Some(value)).await {
            return Err(error);
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Unavailable,
        format!("document {IDENTITY_KEY} can't be written: its outcome stays unknown"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_store_has_one_identity_and_another_store_another() {
        let (one, other) = (MemoryStore::new(), MemoryStore::new());
        let identity = store_identity(&one).await.unwrap();
        assert_eq!(identity.len(), 32);
        assert_eq!(store_identity(&one).await.unwrap(), identity);
        assert_ne!(store_identity(&other).await.unwrap(), identity);
    }

    #[test]
    fn an_id_is_another_one_each_time_and_begins_with_the_name() {
        let (one, other) = (new_worker_id("web-1").unwrap(), new_worker_id("web-1").unwrap());
        assert!(one.starts_with("web-1:") && one != other);
        for wrong in ["", "a/b", "a:b", "a b", "ü", ".a", &"x".repeat(129)] {
            assert!(check_name(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(check_name("web-1.example.org"), Ok(()));
    }
}
