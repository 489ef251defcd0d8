//! Locks of partitions: one ephemeral node each.

use zookeeper_client::{CreateMode, Error};

use super::errors::failed;
use super::link::Link;
use super::member::{TRIES_MAX, replace};
use super::tree::{lock_data, read_lock};
use crate::coordination::{CoordinationError, CoordinationErrorKind, LockOutcome, WorkerId};
use crate::model::PartitionId;

/// Takes the lock. After a try whose outcome is not known, looks whether the node is this session's.
pub(super) async fn lock(
    link: &Link,
    path: &str,
    partition: PartitionId,
    worker: &WorkerId,
) -> Result<LockOutcome, CoordinationError> {
    let data = lock_data(partition, worker);
    let ephemeral = link.options(CreateMode::Ephemeral);
    for _ in 0..TRIES_MAX {
        let found = match link.call(|client| client.create(path, &data, &ephemeral)).await {
            Ok(_) => return Ok(LockOutcome::Locked),
            Err(Error::NoNode) => {
                make_folders(link, path).await?;
                continue;
            }
            Err(Error::NodeExists) => look(link, path, &data, worker).await,
            Err(error) => {
                let error = failed(&format!("locking {path}"), error);
                if error.kind != CoordinationErrorKind::Unavailable {
                    return Err(error);
                }
                // A server may be behind what was written through another one.
                _ = link.call(|client| client.sync(path)).await;
                return match look(link, path, &data, worker).await {
                    Ok(Some(outcome)) => Ok(outcome),
                    // It may still be on its way.
                    Ok(None) | Err(_) => Err(error),
                };
            }
        };
        match found {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => {}
            Err(error) => return Err(failed(&format!("looking at {path}"), error)),
        }
    }
    Err(failed(&format!("locking {path}"), Error::NodeExists))
}

/// Whose the lock is. Nobody's, if it is gone by now.
async fn look(link: &Link, path: &str, data: &[u8], worker: &WorkerId) -> Result<Option<LockOutcome>, Error> {
    let (found, stat) = match link.call(|client| client.get_data(path)).await {
        Ok(found) => found,
        Err(Error::NoNode) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_own = link.is_own(stat.ephemeral_owner);
    if is_own && found == data {
        return Ok(Some(LockOutcome::Locked));
    }
    let changed = if is_own {
        // The group was made anew: the same name, another number.
        link.call(|client| client.set_data(path, data, None)).await.map(|_| ())
    } else {
        let holder = read_lock(&found).map_or_else(|| "unknown".into(), |(_, holder)| holder);
        if holder != *worker {
            return Ok(Some(LockOutcome::Held(holder)));
        }
        // Of an earlier session of this process: nobody uses it any more.
        replace(link, path, data).await
    };
    match changed {
        Ok(()) => Ok(Some(LockOutcome::Locked)),
        Err(Error::NoNode | Error::NodeExists) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the lock up, if it is this session's.
pub(super) async fn unlock(link: &Link, path: &str) -> Result<(), CoordinationError> {
    let stat = link.call(|client| client.check_stat(path)).await;
    let stat = stat.map_err(|error| failed(&format!("looking at {path}"), error))?;
    if !stat.is_some_and(|stat| link.is_own(stat.ephemeral_owner)) {
        return Ok(());
    }
    match link.call(|client| client.delete(path, None)).await {
        Ok(()) | Err(Error::NoNode) => Ok(()),
        Err(error) => Err(failed(&format!("unlocking {path}"), error)),
    }
}

/// The namespace and the group. ZooKeeper removes them some time after they are empty, so they may be
/// gone again when the lock is made: the caller tries again.
async fn make_folders(link: &Link, path: &str) -> Result<(), CoordinationError> {
    let Some((group, _)) = path.rsplit_once('/') else { return Ok(()) };
    let Some((namespace, _)) = group.rsplit_once('/') else { return Ok(()) };
    // Mostly it is the group alone that is missing.
    for folder in [group, namespace] {
        let container = link.options(CreateMode::Container);
        match link.call(|client| client.create(folder, b"", &container)).await {
            Ok(_) | Err(Error::NodeExists) => return Ok(()),
            Err(Error::NoNode) => {}
            Err(error) => return Err(failed(&format!("making {folder}"), error)),
        }
    }
    link.make_tree().await
}
