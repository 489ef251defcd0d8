//! Values in several rows, because a mutation stays well under 1 MiB, and whole all the same.
//!
//! A value is cut into parts of at most [`PART_BYTES_MAX`]. Part 0 holds the number of parts and,
//! if there are several, their SHA-256; it is first sent when all others are durable. So whoever
//! sees part 0 finds the others, at the latest by a read that begins after that; parts without a
//! part 0 are a value that is still being written, or never will be, and count as absent.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes of one part.
pub(super) const PART_BYTES_MAX: usize = 512 << 10;

/// A part, as its row holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) part: i32,
    /// How many there are, in part 0; 0 in the others.
    pub(super) parts: i32,
    /// Of the whole value, in part 0 of several; else empty.
    pub(super) hash: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

/// What parts make.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Whole(Bytes),
    /// There is no part 0.
    Absent,
    /// Parts that part 0 counts are not here.
    Missing,
    /// The bytes are not those that were written.
    Damaged,
}

/// The parts of a value, the last first: the order in which they are written.
pub(super) fn split(value: &[u8]) -> Vec<(i32, i32, Vec<u8>, &[u8])> {
    if value.len() <= PART_BYTES_MAX {
        return vec![(0, 1, Vec::new(), value)];
    }
    let count = value.len().div_ceil(PART_BYTES_MAX) as i32;
    let numbered = (0..count).zip(value.chunks(PART_BYTES_MAX));
    let row = |(part, bytes)| match part {
        0 => (0, count, Sha256::digest(value).to_vec(), bytes),
        _ => (part, 0, Vec::new(), bytes),
    };
    let mut rows: Vec<_> = numbered.map(row).collect();
    rows.reverse();
    rows
}

/// Puts parts together, which are in their order.
pub(super) fn join(mut rows: Vec<Part>) -> Joined {
    let Some(Part { part: 0, parts: count, .. }) = rows.first() else { return Joined::Absent };
    let count = usize::try_from(*count).unwrap_or(0);
    if count == 1 {
        return Joined::Whole(Bytes::from(std::mem::take(&mut rows[0].bytes)));
    }
    if count == 0 {
        return Joined::Damaged;
    }
    rows.truncate(count);
    let gapless = rows.iter().zip(0..).all(|(row, part)| row.part == part);
    if rows.len() < count || !gapless {
        return Joined::Missing;
    }
    let value = rows.iter().flat_map(|row| row.bytes.iter().copied()).collect::<Vec<u8>>();
    match Sha256::digest(&value)[..] == rows[0].hash {
        true => Joined::Whole(Bytes::from(value)),
        false => Joined::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(value: &[u8]) -> Vec<Part> {
        let mut rows: Vec<Part> = split(value)
            .into_iter()
            .map(|(part, parts, hash, bytes)| Part { part, parts, hash, bytes: bytes.to_vec() })
            .collect();
        rows.reverse();
        rows
    }

    fn value(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_value_comes_back_from_its_parts() {
        for length in [0, 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 2 * PART_BYTES_MAX, 5 * PART_BYTES_MAX / 2] {
            let value = value(length);
            let rows = rows(&value);
            assert_eq!(rows.len(), length.div_ceil(PART_BYTES_MAX).max(1));
            assert!(rows.iter().all(|row| row.bytes.len() <= PART_BYTES_MAX));
            assert!(join(rows) == Joined::Whole(Bytes::from(value)), "{length} bytes");
        }
    }

    #[test]
    fn a_value_is_seen_whole_or_not_at_all() {
        let all = rows(&value(3 * PART_BYTES_MAX));
        assert_eq!(join(Vec::new()), Joined::Absent);
        assert_eq!(join(all[1..].to_vec()), Joined::Absent);
        assert_eq!(join(all[..2].to_vec()), Joined::Missing);
        assert_eq!(join(vec![all[0].clone(), all[2].clone()]), Joined::Missing);
        let mut spoilt = all.clone();
        spoilt[1].bytes[7] ^= 1;
        assert_eq!(join(spoilt), Joined::Damaged);
        let mut senseless = all;
        senseless[0].parts = -1;
        assert_eq!(join(senseless), Joined::Damaged);
    }

    #[test]
    fn part_zero_is_written_last() {
        let value = value(2 * PART_BYTES_MAX);
        assert_eq!(split(&value).last().map(|row| row.0), Some(0));
    }
}
