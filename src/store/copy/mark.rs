//! The source's mark: where its jobs went, so that they do not run at both places.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{Document, Store, StoreError, StoreErrorKind, SwapOutcome};
use super::CopyError;
use super::plan::damaged;

/// The document of the source.
const KEY: &str = "copy/to";
/// Tries of writing it.
const TRIES_MAX: usize = 8;

/// Where the jobs of a store went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The copy's, as in its plan.
    pub id: String,
    /// The target, for people.
    pub to: String,
    /// Workers may go on using the store.
    pub keep: bool,
    /// All of it is there.
    pub finished: bool,
}

/// The mark of a store, and its document's version.
pub(super) async fn read(store: &dyn Store) -> Result<Option<(Mark, u64)>, StoreError> {
    let Some(Document { version, value }) = store.document(KEY).await? else { return Ok(None) };
    let mark = serde_json::from_slice(&value).map_err(|error| damaged(KEY, &error))?;
    Ok(Some((mark, version)))
}

/// Writes the mark, or removes it.
pub(super) async fn write(store: &dyn Store, mark: Option<&Mark>) -> Result<(), StoreError> {
    let value = mark.map(|mark| serde_json::to_vec(mark).map(Bytes::from)).transpose();
    let value = value.map_err(|error| damaged(KEY, &error))?;
    let mut failed = None;
    for _ in 0..TRIES_MAX {
        let there = store.document(KEY).await?;
        if there.as_ref().map(|document| &document.value) == value.as_ref() {
            return Ok(());
        }
        match store.swap_document(KEY, there.map(|document| document.version), value.clone()).await {
            SwapOutcome::Applied(_) => return Ok(()),
            SwapOutcome::Refused(error) => return Err(error),
            SwapOutcome::Unknown(error) => failed = Some(error),
            SwapOutcome::Conflict(_) => {}
        }
    }
    let stays = || StoreError::new(StoreErrorKind::Unavailable, format!("document {KEY} can't be written"));
    Err(failed.unwrap_or_else(stays))
}

/// Notes that all of it is there.
pub(super) async fn finished(store: &dyn Store, id: &str) -> Result<(), CopyError> {
    if let Some((mark, _)) = read(store).await?.filter(|(mark, _)| mark.id == id) {
        write(store, Some(&Mark { finished: true, ..mark })).await?;
    }
    Ok(())
}

/// Refuses a store whose jobs went elsewhere. For whoever is about to run them.
pub async fn refuse_moved(store: &dyn Store) -> Result<(), StoreError> {
    match read(store).await? {
        Some((Mark { to, keep: false, finished, .. }, _)) => {
            let how = if finished { "were copied" } else { "are being copied" };
            Err(StoreError::new(
                StoreErrorKind::Moved,
                format!(
                    "the jobs of this store {how} to {to} and would run twice; \
                     if they are not to run there, take them back with \"qdo store copy --take-back --from …\""
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Lets workers use a store again. Where its jobs had gone to, if they had.
pub async fn take_back(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let Some((mark, _)) = read(store).await? else { return Ok(None) };
    write(store, None).await?;
    Ok(Some(mark.to).filter(|_| !mark.keep))
}
