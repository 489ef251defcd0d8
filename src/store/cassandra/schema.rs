//! The tables, and how keys are written in them.
//!
//! Keys are text where `cqlsh` should show them: a partition is `7/3`, an epoch its number and
//! incarnation in fixed widths, so that text is ordered as epochs are. What goes away together is
//! one CQL partition, so a drop is one tombstone, and nobody ever reads past dropped rows: journal,
//! blobs and summaries by segment, the index by bucket. Claims and progress are read from the
//! newest down, and go away from the oldest up.
//!
//! Blobs of a segment are spread over [`BLOB_SHARDS`] CQL partitions by their number: payloads may
//! be large, and a CQL partition should not be.

use super::super::{CommitKey, SegmentKey, StoreError, StoreErrorKind};
use crate::model::{Epoch, PartitionId};

/// The newest format of a keyspace that this version reads and writes.
pub(super) const FORMAT: i64 = 1;

/// CQL partitions of a segment's blobs.
pub(super) const BLOB_SHARDS: i32 = 16;

/// The tables: name, columns, options. `settings` is made last and says that the others are there.
pub(super) const TABLES: [(&str, &str, &str); 8] = [
    (
        "documents",
        "kind text, key text, version bigint, live boolean, value blob, writer bigint, PRIMARY KEY (kind, key)",
        "",
    ),
    (
        "claims",
        "partition text, epoch text, owner blob, PRIMARY KEY (partition, epoch)",
        " AND CLUSTERING ORDER BY (epoch DESC)",
    ),
    (
        "commits",
        "partition text, epoch text, segment bigint, number bigint, part int, parts int, hash blob, bytes blob, \
         PRIMARY KEY ((partition, epoch, segment), number, part)",
        "",
    ),
    (
        "blobs",
        "partition text, epoch text, segment bigint, shard int, blob bigint, chunk bigint, bytes blob, \
         PRIMARY KEY ((partition, epoch, segment, shard), blob, chunk)",
        "",
    ),
    (
        "summaries",
        "partition text, epoch text, segment bigint, as_of text, part int, parts int, hash blob, bytes blob, \
         PRIMARY KEY ((partition, epoch, segment), as_of, part)",
        "",
    ),
    (
        "progress",
        "partition text, epoch text, number bigint, part int, parts int, hash blob, bytes blob, \
         PRIMARY KEY (partition, epoch, number, part)",
        " AND CLUSTERING ORDER BY (epoch DESC, number DESC, part ASC)",
    ),
    (
        "index_entries",
        "scope text, bucket bigint, term blob, value_key blob, value blob, \
         PRIMARY KEY ((scope, bucket), term, value_key)",
        "",
    ),
    ("settings", "name text PRIMARY KEY, value bigint", ""),
];

/// The statement that makes a table. ScyllaDB repairs what it reads anyway, and knows no such option.
pub(super) fn create_table(keyspace: &str, table: &(&str, &str, &str), is_scylla: bool) -> String {
    let (name, columns, options) = table;
    let repair = if is_scylla { "" } else { " AND read_repair = 'BLOCKING'" };
    format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}) WITH comment = 'qdo'{repair}{options}")
}

pub(super) fn partition(partition: PartitionId) -> String {
    partition.to_string()
}

pub(super) fn epoch(epoch: Epoch) -> String {
    format!("{:010}-{:016x}", epoch.number, epoch.incarnation)
}

pub(super) fn as_of(key: CommitKey) -> String {
    format!("{}/{:013}", epoch(key.epoch), key.commit)
}

/// The CQL partition of a segment's commits and summaries.
pub(super) fn segment(key: SegmentKey) -> (String, String, i64) {
    (partition(key.partition), epoch(key.epoch), i64::from(key.segment))
}

/// A number of which only equality matters.
pub(super) fn bits(number: u64) -> i64 {
    number.cast_signed()
}

/// A number whose order matters, and whose limit is below 2^63.
pub(super) fn ordered(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn shard(blob: u64) -> i32 {
    (blob % BLOB_SHARDS as u64) as i32
}

/// The CQL partition of a document: up to its key's first slash, so that a list reads one.
pub(super) fn kind(key: &str) -> &str {
    key.find('/').map_or(key, |slash| &key[..=slash])
}

fn unreadable(what: &str, text: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Damaged,
        format!("{text:?} is not {what}: somebody else wrote into the keyspace, or the row is damaged"),
    )
}

/// The reverse of [`partition`].
pub(super) fn read_partition(text: &str) -> Result<PartitionId, StoreError> {
    let read = || {
        let (group, index) = text.split_once('/')?;
        Some(PartitionId { group: group.parse().ok()?, index: index.parse().ok()? })
    };
    read().ok_or_else(|| unreadable("a partition", text))
}

/// The reverse of [`epoch`].
pub(super) fn read_epoch(text: &str) -> Result<Epoch, StoreError> {
    let read = || {
        let (number, incarnation) = text.split_once('-')?;
        let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
        Some(Epoch { number: number.parse().ok()?, incarnation })
    };
    read().ok_or_else(|| unreadable("an epoch", text))
}

/// The reverse of [`as_of`].
pub(super) fn read_as_of(text: &str) -> Result<CommitKey, StoreError> {
    let (epoch, commit) = text.split_once('/').ok_or_else(|| unreadable("a commit", text))?;
    let commit = commit.parse().map_err(|_| unreadable("a commit", text))?;
    Ok(CommitKey { epoch: read_epoch(epoch)?, commit })
}

/// The reverse of [`segment`].
pub(super) fn read_segment(partition: &str, epoch: &str, segment: i64) -> Result<SegmentKey, StoreError> {
    let segment = u32::try_from(segment).map_err(|_| unreadable("a segment", &segment.to_string()))?;
    Ok(SegmentKey { partition: read_partition(partition)?, epoch: read_epoch(epoch)?, segment })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_ordered_as_text(a: (u32, u64, u32), b: (u32, u64, u32)) {
            let key = |(number, incarnation, commit): (u32, u64, u32)| CommitKey {
                epoch: Epoch { number, incarnation },
                commit: u64::from(commit),
            };
            let (a, b) = (key(a), key(b));
            prop_assert_eq!(as_of(a).cmp(&as_of(b)), a.cmp(&b));
            prop_assert_eq!(epoch(a.epoch).cmp(&epoch(b.epoch)), a.epoch.cmp(&b.epoch));
            prop_assert_eq!(read_as_of(&as_of(a)), Ok(a));
        }

        #[test]
        fn any_text_is_a_key_or_an_error(text: String) {
            let _ = (read_partition(&text), read_epoch(&text), read_as_of(&text));
        }
    }

    #[test]
    fn a_documents_kind_is_a_prefix_of_its_key_and_never_empty() {
        for (key, expected) in [("queue/a/b", "queue/"), ("queue", "queue"), ("/x", "/"), ("ä/1", "ä/")] {
            assert_eq!(kind(key), expected);
        }
    }

    #[test]
    fn the_page_about_servers_has_the_statements_that_make_the_tables() {
        let page = include_str!("../../../docs/servers.md");
        for table in &TABLES {
            let statement = format!("{};", create_table("qdo", table, false));
            assert!(page.contains(&statement), "docs/servers.md lacks: {statement}");
        }
        let last = format!("VALUES ('format', {FORMAT}) IF NOT EXISTS;");
        assert!(page.contains(&last), "docs/servers.md lacks: {last}");
    }
}
