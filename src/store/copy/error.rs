//! Why a copy did not come to its end.

use super::super::StoreError;

/// Why a copy did not come to its end. All but [`CopyError::Store`] have written nothing, or no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// A store failed. The copy goes on from where it was when it is begun again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are queues of the same names.
    #[error(
        "the target has queues of the same names already: {names}; copy into another keyspace or file, or delete them there"
    )]
    QueuesExist {
        /// Some of them.
        names: String,
    },
    /// The target's catalogue was changed meanwhile in a way that excludes the copy's.
    #[error(
        "somebody has created {what} in the target while it was copied; delete it there, and run the same command again"
    )]
    CreatedMeanwhile {
        /// A queue or a group.
        what: String,
    },
    /// Another source's copy is not finished.
    #[error(
        "the target holds an unfinished copy of {from}: finish that one first, or give --anew to leave it there as it is, unseen"
    )]
    Unfinished {
        /// The other source.
        from: String,
    },
    /// The source is not what it was when the copy began.
    #[error(
        "the source was used after this copy of it began, so that what is copied already may be old: \
         begin again with --anew, best into an empty keyspace or file"
    )]
    Changed,
    /// The source went elsewhere.
    #[error(
        "the jobs of the source were copied to {to}, and would run twice; if those there are not to run, \
         take them back first with --take-back"
    )]
    Moved {
        /// Where to.
        to: String,
    },
    /// Numbers would not fit.
    #[error("the target has no {what} numbers left for the source's: copy into another keyspace or file")]
    NumbersUsedUp {
        /// Queues or groups.
        what: &'static str,
    },
    /// Somebody owns a partition that is being written.
    #[error(
        "a worker has claimed partition {partition} of the target while it was copied: is its number used by another program?"
    )]
    Claimed {
        /// The partition.
        partition: crate::model::PartitionId,
    },
}
