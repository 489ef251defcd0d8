//! The bounds on what is shown to others, the same in every backend.

use super::{CoordinationError, CoordinationErrorKind, Member, PartitionName, WorkerId};
use crate::model::{PartitionId, check};

/// Bytes of a member as JSON.
pub(crate) const MEMBER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a worker id.
const WORKER_ID_BYTES_MAX: usize = 256;

/// Workers on the list of those asked to let go.
pub(crate) const DRAINED_MAX: usize = 1_024;

fn invalid(message: String) -> CoordinationError {
    CoordinationError::new(CoordinationErrorKind::Invalid, message)
}

/// A worker id becomes the name of a node.
pub(crate) fn worker_id(id: &WorkerId) -> Result<(), CoordinationError> {
    let fits = (1..=WORKER_ID_BYTES_MAX).contains(&id.len());
    let plain = !id.starts_with('.') && id.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if fits && plain {
        return Ok(());
    }
    let shown: String = id.chars().take(64).collect();
    Err(invalid(format!(
        "worker id {shown:?}: it needs 1 to {WORKER_ID_BYTES_MAX} visible ASCII characters without a slash, \
         and not a dot first"
    )))
}

/// Group and namespace names become paths.
pub(crate) fn partition(partition: &PartitionName) -> Result<(), CoordinationError> {
    check::name("namespace", &partition.namespace).map_err(|wrong| invalid(wrong.to_string()))?;
    check::name("group", &partition.group).map_err(|wrong| invalid(wrong.to_string()))?;
    if partition.id.index > PartitionId::INDEX_MAX {
        return Err(invalid(format!(
            "partition {partition}: the highest index of a partition is {}",
            PartitionId::INDEX_MAX
        )));
    }
    Ok(())
}

/// The member as JSON.
pub(crate) fn member(member: &Member) -> Result<Vec<u8>, CoordinationError> {
    worker_id(&member.id)?;
    let json =
        serde_json::to_vec(member).map_err(|error| invalid(format!("member {}: {error}", member.id)))?;
    if json.len() > MEMBER_BYTES_MAX {
        return Err(invalid(format!(
            "member {} has {} bytes as JSON, at most {MEMBER_BYTES_MAX} are taken: it needs fewer or shorter \
             labels",
            member.id,
            json.len()
        )));
    }
    Ok(json)
}

/// The member as JSON, if it is the session's own.
pub(crate) fn own_member(shown: &Member, worker: &WorkerId) -> Result<Vec<u8>, CoordinationError> {
    if shown.id != *worker {
        return Err(invalid(format!("member {} is not of this session: that is {worker}'s", shown.id)));
    }
    member(shown)
}

/// Reads `group number/index`.
pub(crate) fn partition_id(text: &str) -> Option<PartitionId> {
    let (group, index) = text.split_once('/')?;
    Some(PartitionId { group: group.parse().ok()?, index: index.parse().ok()? })
}
