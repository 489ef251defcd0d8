//! Requests to workers to let go of their partitions.

use zookeeper_client::{CreateMode, Error};

use super::errors::failed;
use super::link::Link;
use super::read::Tree;
use super::tree::{DRAINED, drained_path};
use crate::coordination::check::DRAINED_MAX;
use crate::coordination::{CoordinationError, CoordinationErrorKind, WorkerId};

/// A worker that is gone for so long does not come back, ms: ids are never used twice.
const GONE_MS: i64 = 3_600_000;

pub(super) async fn drain(link: &Link, worker: &WorkerId, drained: bool) -> Result<(), CoordinationError> {
    let path = drained_path(worker);
    if !drained {
        return match link.call(|client| client.delete(&path, None)).await {
            Ok(()) | Err(Error::NoNode) => Ok(()),
            Err(error) => Err(failed(&format!("deleting {path}"), error)),
        };
    }
    let stat = link.call(|client| client.check_stat(DRAINED)).await;
    match stat.map_err(|error| failed("looking for room", error))? {
        None => link.make_tree().await?,
        Some(stat) if stat.num_children >= DRAINED_MAX as i32 => {
            let message = format!(
                "{DRAINED_MAX} workers are asked to let go of their partitions already: undrain some first"
            );
            return Err(CoordinationError::new(CoordinationErrorKind::Refused, message));
        }
        Some(_) => {}
    }
    link.make(&path, &link.options(CreateMode::Persistent)).await
}

/// Withdraws requests to workers that are gone for long. Whoever joins does it; if it fails, the next.
pub(super) async fn forget_the_gone(link: &Link, tree: &Tree, now_ms: i64) {
    for worker in tree.drained_and_gone(now_ms - GONE_MS) {
        if let Err(error) = drain(link, worker, false).await {
            tracing::debug!(%error, "a request to a worker that is gone stays for now");
            return;
        }
    }
}
