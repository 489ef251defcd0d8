//! The tables, and how keys are written in them.
//!
//! Tables are kept in the order of their keys (`WITHOUT ROWID`), which are the port's. An epoch is
//! twelve bytes, number then incarnation, big-endian: bytes are compared as epochs are, also for
//! incarnations from 2^63 on, for which SQLite's integers have no room. Numbers that are only looked
//! up (buckets, blobs) keep their 64 bits as a signed integer.
//!
//! Each value has its CRC-32 beside it: SQLite notices damage in the pages that say what is where,
//! but not in the bytes of a row.
//!
//! `auto_vacuum=INCREMENTAL` is part of the format, since it can't be changed later: pages of
//! dropped segments are used again, and the end of the file is given back when much of it is free.

use rusqlite::Connection;

use super::super::{CommitKey, SegmentKey};
use crate::model::{Epoch, PartitionId};

/// `PRAGMA application_id` of a store: "qdo1".
pub(super) const APPLICATION_ID: i32 = 0x7164_6F31;
/// `PRAGMA user_version`: the newest format that this version reads and writes.
pub(super) const FORMAT: i32 = 1;

/// Each table, and the columns of its key.
pub(super) const TABLES: [(&str, &str); 8] = [
    ("settings", "name"),
    ("documents", "key"),
    ("claims", "grp, part, epoch"),
    ("commits", "grp, part, epoch, segment, number"),
    ("blobs", "grp, part, epoch, segment, blob, chunk"),
    ("summaries", "grp, part, epoch, segment, as_of"),
    ("progress", "grp, part, epoch, number"),
    ("entries", "scope, bucket, term, value"),
];

const CREATE: &str = "
CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE documents (
    key TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL,
    sum INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE claims (
    grp INTEGER NOT NULL, part INTEGER NOT NULL, epoch BLOB NOT NULL, owner BLOB NOT NULL,
    PRIMARY KEY (grp, part, epoch)
) WITHOUT ROWID, STRICT;
CREATE TABLE commits (
    grp INTEGER NOT NULL, part INTEGER NOT NULL, epoch BLOB NOT NULL, segment INTEGER NOT NULL,
    number INTEGER NOT NULL, row BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (grp, part, epoch, segment, number)
) WITHOUT ROWID, STRICT;
CREATE TABLE blobs (
    grp INTEGER NOT NULL, part INTEGER NOT NULL, epoch BLOB NOT NULL, segment INTEGER NOT NULL,
    blob INTEGER NOT NULL, chunk INTEGER NOT NULL, bytes BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (grp, part, epoch, segment, blob, chunk)
) WITHOUT ROWID, STRICT;
CREATE TABLE summaries (
    grp INTEGER NOT NULL, part INTEGER NOT NULL, epoch BLOB NOT NULL, segment INTEGER NOT NULL,
    as_of BLOB NOT NULL, summary BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (grp, part, epoch, segment, as_of)
) WITHOUT ROWID, STRICT;
CREATE TABLE progress (
    grp INTEGER NOT NULL, part INTEGER NOT NULL, epoch BLOB NOT NULL, number INTEGER NOT NULL,
    progress BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (grp, part, epoch, number)
) WITHOUT ROWID, STRICT;
CREATE TABLE entries (
    scope TEXT NOT NULL, bucket INTEGER NOT NULL, term BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (scope, bucket, term, value)
) WITHOUT ROWID, STRICT;
INSERT INTO settings (name, value) VALUES ('document_version', 0);
";

/// Writes the tables into an empty file, in one transaction.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;")?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {CREATE} PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {FORMAT}; COMMIT;"
    ))
}

/// An epoch as the tables hold it.
pub(super) fn epoch(epoch: Epoch) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&epoch.number.to_be_bytes());
    bytes[4..].copy_from_slice(&epoch.incarnation.to_be_bytes());
    bytes
}

/// The reverse of [`epoch`].
pub(super) fn read_epoch(bytes: [u8; 12]) -> Epoch {
    let [n0, n1, n2, n3, rest @ ..] = bytes;
    Epoch { number: u32::from_be_bytes([n0, n1, n2, n3]), incarnation: u64::from_be_bytes(rest) }
}

/// A commit of any epoch as the tables hold it: in their order.
pub(super) fn as_of(key: CommitKey) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..12].copy_from_slice(&epoch(key.epoch));
    bytes[12..].copy_from_slice(&key.commit.to_be_bytes());
    bytes
}

/// A number of which only equality matters.
pub(super) fn bits(number: u64) -> i64 {
    number.cast_signed()
}

/// A number whose order matters. Rows above SQLite's highest integer are refused, so a search from
/// there on finds as little as one from the highest.
pub(super) fn ordered(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What is kept beside a value, so that damage is noticed.
pub(super) fn sum(value: &[u8]) -> u32 {
    crc32fast::hash(value)
}

/// The first columns of a partition's rows.
pub(super) fn partition(partition: PartitionId) -> (u32, u16) {
    (partition.group, partition.index)
}

/// The first columns of a segment's rows.
pub(super) fn segment(key: SegmentKey) -> (u32, u16, [u8; 12], u32) {
    (key.partition.group, key.partition.index, epoch(key.epoch), key.segment)
}
