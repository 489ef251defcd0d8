//! Every statement that is used, prepared once. None of them says `SELECT *`: columns that a newer
//! version adds must not move others.
//!
//! Rows are written with timestamp 1 and deleted with 2, so a deletion outlives every write, however
//! late that lands, and no clock decides anything. Documents alone go without: they are written by
//! compare-and-set, which brings its own.

use futures_util::future::try_join_all;
use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::super::StoreError;
use super::error;

/// How statements are executed.
pub(super) struct Profiles {
    pub(super) read: ExecutionProfileHandle,
    pub(super) write: ExecutionProfileHandle,
    pub(super) swap: ExecutionProfileHandle,
}

#[derive(Clone, Copy)]
enum How {
    Read,
    Write,
    /// A compare-and-set: never repeated blindly.
    Swap,
    /// A read that takes its place among the compare-and-sets.
    SerialRead,
}

macro_rules! statements {
    ($($name:ident: $how:ident $cql:literal)*) => {
        /// The statements, by name.
        pub(super) struct Statements {
            $(pub(super) $name: PreparedStatement,)*
        }

        impl Statements {
            /// Prepares all of them.
            pub(super) async fn prepare(
                session: &Session,
                keyspace: &str,
                profiles: &Profiles,
            ) -> Result<Self, StoreError> {
                let all = [$((How::$how, $cql),)*];
                let prepared = all.map(|(how, cql)| prepare(session, keyspace, profiles, how, cql));
                let mut prepared = try_join_all(prepared).await?.into_iter();
                let mut next = || prepared.next().unwrap_or_else(|| unreachable!("one for each"));
                Ok(Self { $($name: next(),)* })
            }
        }
    };
}

statements! {
    swap_new: Swap "INSERT INTO $.documents (kind, key, version, live, value, writer) VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS"
    swap: Swap "UPDATE $.documents SET version = ?, live = ?, value = ?, writer = ? WHERE kind = ? AND key = ? IF version = ?"
    document_serial: SerialRead "SELECT version, live, value, writer FROM $.documents WHERE kind = ? AND key = ?"
    document: Read "SELECT version, live, value, writer FROM $.documents WHERE kind = ? AND key = ?"
    documents: Read "SELECT key, version, live, value FROM $.documents WHERE kind = ? AND key >= ?"
    kinds: Read "SELECT DISTINCT kind FROM $.documents"

    insert_claim: Write "INSERT INTO $.claims (partition, epoch, owner) VALUES (?, ?, ?) USING TIMESTAMP 1"
    claims: Read "SELECT epoch, owner FROM $.claims WHERE partition = ?"
    claims_below: Read "SELECT epoch, owner FROM $.claims WHERE partition = ? AND epoch < ?"
    highest_claim: Read "SELECT epoch, owner FROM $.claims WHERE partition = ? LIMIT 1"
    drop_claims: Write "DELETE FROM $.claims USING TIMESTAMP 2 WHERE partition = ? AND epoch < ?"

    insert_commit: Write "INSERT INTO $.commits (partition, epoch, segment, number, part, parts, hash, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1"
    commits: Read "SELECT number, part, parts, hash, bytes FROM $.commits WHERE partition = ? AND epoch = ? AND segment = ? AND number >= ?"
    commit: Read "SELECT part, parts, hash, bytes FROM $.commits WHERE partition = ? AND epoch = ? AND segment = ? AND number = ?"
    drop_commits: Write "DELETE FROM $.commits USING TIMESTAMP 2 WHERE partition = ? AND epoch = ? AND segment = ?"

    insert_blob: Write "INSERT INTO $.blobs (partition, epoch, segment, shard, blob, chunk, bytes) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1"
    blob: Read "SELECT bytes FROM $.blobs WHERE partition = ? AND epoch = ? AND segment = ? AND shard = ? AND blob = ? AND chunk = ?"
    drop_blobs: Write "DELETE FROM $.blobs USING TIMESTAMP 2 WHERE partition = ? AND epoch = ? AND segment = ? AND shard = ?"

    insert_summary: Write "INSERT INTO $.summaries (partition, epoch, segment, as_of, part, parts, hash, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1"
    summary: Read "SELECT part, parts, hash, bytes FROM $.summaries WHERE partition = ? AND epoch = ? AND segment = ? AND as_of = ?"
    drop_summaries: Write "DELETE FROM $.summaries USING TIMESTAMP 2 WHERE partition = ? AND epoch = ? AND segment = ?"
    drop_summaries_before: Write "DELETE FROM $.summaries USING TIMESTAMP 2 WHERE partition = ? AND epoch = ? AND segment = ? AND as_of < ?"

    insert_progress: Write "INSERT INTO $.progress (partition, epoch, number, part, parts, hash, bytes) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP 1"
    progress: Read "SELECT number, part, parts, hash, bytes FROM $.progress WHERE partition = ? AND epoch = ?"
    progress_row: Read "SELECT part, parts, hash, bytes FROM $.progress WHERE partition = ? AND epoch = ? AND number = ?"
    drop_progress: Write "DELETE FROM $.progress USING TIMESTAMP 2 WHERE partition = ? AND epoch < ?"
    drop_progress_of: Write "DELETE FROM $.progress USING TIMESTAMP 2 WHERE partition = ? AND epoch = ? AND number < ?"

    insert_entry: Write "INSERT INTO $.index_entries (scope, bucket, term, value_key) VALUES (?, ?, ?, ?) USING TIMESTAMP 1"
    insert_long_entry: Write "INSERT INTO $.index_entries (scope, bucket, term, value_key, value) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP 1"
    entries: Read "SELECT term, value_key, value FROM $.index_entries WHERE scope = ? AND bucket = ? AND term = ?"
    entries_after: Read "SELECT term, value_key, value FROM $.index_entries WHERE scope = ? AND bucket = ? AND term > ?"
    drop_entries: Write "DELETE FROM $.index_entries USING TIMESTAMP 2 WHERE scope = ? AND bucket = ?"

    clock: Read "SELECT toUnixTimestamp(now()) FROM system.local"
}

async fn prepare(
    session: &Session,
    keyspace: &str,
    profiles: &Profiles,
    how: How,
    cql: &str,
) -> Result<PreparedStatement, StoreError> {
    let prepared = session.prepare(cql.replace('$', keyspace)).await;
    let mut prepared = prepared.map_err(|error| error::of_prepare(&error))?;
    let profile = match how {
        How::Read => &profiles.read,
        How::Write => &profiles.write,
        How::Swap | How::SerialRead => &profiles.swap,
    };
    prepared.set_execution_profile_handle(Some(profile.clone()));
    prepared.set_is_idempotent(!matches!(how, How::Swap));
    if matches!(how, How::SerialRead) {
        prepared.set_consistency(Consistency::LocalSerial);
    }
    Ok(prepared)
}
