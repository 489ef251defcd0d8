//! Names of things that live as long as the data: partitions, epochs, jobs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number of a group, given once at its creation, unique in the cluster. 0 is never used.
pub type GroupNumber = u32;
/// Number of a queue, given once at its creation, unique in the cluster. 0 is never used.
pub type QueueNumber = u32;

/// One partition of one group: the unit of ownership, locking and ordering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The group's number.
    pub group: GroupNumber,
    /// 0 … partitions of the group − 1; at most [`PartitionId::INDEX_MAX`].
    pub index: u16,
}

impl PartitionId {
    /// The highest partition index that a job id has room for.
    pub const INDEX_MAX: u16 = (1 << 12) - 1;
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.index)
    }
}

/// A claim's order number, and the 64 random bits that were drawn for it.
///
/// Epochs are ordered by number, then incarnation (`docs/proof.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Highest number seen plus one; starts at 1; at most [`Epoch::NUMBER_MAX`].
    pub number: u32,
    /// Drawn anew for every claim.
    pub incarnation: u64,
}

impl Epoch {
    /// The highest epoch number that a job id has room for.
    pub const NUMBER_MAX: u32 = (1 << 28) - 1;
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.incarnation)
    }
}

/// A job's id, the same for life. It says where the job was first written:
/// group (32 bits), partition (12), epoch number (28), commit (40), place in the commit (16).
///
/// Written as 26 characters of Crockford's base32 (<https://www.crockford.com/base32.html>),
/// which sort as the ids do: within a partition, in the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl JobId {
    /// Length of the written form, characters.
    pub const TEXT_LEN: usize = 26;
    /// The highest commit number that an id has room for.
    pub const COMMIT_MAX: u64 = (1 << 40) - 1;

    /// Puts an id together.
    ///
    /// # Panics
    /// If a part is larger than its share of the bits.
    pub fn new(partition: PartitionId, epoch_number: u32, commit: u64, place: u16) -> Self {
        assert!(partition.index <= PartitionId::INDEX_MAX, "partition index too large for a job id");
        assert!(epoch_number <= Epoch::NUMBER_MAX, "epoch number too large for a job id");
        assert!(commit <= Self::COMMIT_MAX, "commit number too large for a job id");
        Self(
            u128::from(partition.group) << 96
                | u128::from(partition.index) << 84
                | u128::from(epoch_number) << 56
                | u128::from(commit) << 16
                | u128::from(place),
        )
    }

    /// The partition that the job was born in.
    pub fn partition(self) -> PartitionId {
        PartitionId { group: (self.0 >> 96) as u32, index: ((self.0 >> 84) & 0xFFF) as u16 }
    }

    /// Number of the epoch in whose journal the job was first written.
    pub fn epoch_number(self) -> u32 {
        ((self.0 >> 56) & 0x0FFF_FFFF) as u32
    }

    /// Number of the commit in that journal.
    pub fn commit(self) -> u64 {
        ((self.0 >> 16) & u128::from(Self::COMMIT_MAX)) as u64
    }

    /// Place among the jobs of that commit, from 0.
    pub fn place(self) -> u16 {
        self.0 as u16
    }

    /// The sixteen bytes, big-endian: they sort as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The reverse of [`JobId::to_bytes`]; `None` if it is not sixteen bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; Self::TEXT_LEN];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a job id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id is 26 characters of Crockford base32, like 00000018000005XHMS0020001G")]
pub struct InvalidJobId;

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        if text.len() != Self::TEXT_LEN {
            return Err(InvalidJobId);
        }
        let mut value: u128 = 0;
        for (position, byte) in text.bytes().enumerate() {
            let digit = match byte.to_ascii_uppercase() {
                b'O' => 0,
                b'I' | b'L' => 1,
                upper => ALPHABET.iter().position(|&a| a == upper).ok_or(InvalidJobId)?,
            };
            // 26 × 5 = 130 bits: the first character has room for three only.
            if position == 0 && digit > 7 {
                return Err(InvalidJobId);
            }
            value = value << 5 | digit as u128;
        }
        Ok(Self(value))
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_says_where_its_job_is(
            group in 1u32.., index in 0u16..=PartitionId::INDEX_MAX,
            epoch in 0u32..=Epoch::NUMBER_MAX, commit in 0u64..=JobId::COMMIT_MAX, place: u16,
        ) {
            let partition = PartitionId { group, index };
            let id = JobId::new(partition, epoch, commit, place);
            prop_assert_eq!(id.partition(), partition);
            prop_assert_eq!((id.epoch_number(), id.commit(), id.place()), (epoch, commit, place));
            prop_assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
            prop_assert_eq!(id.to_string().to_lowercase().parse::<JobId>(), Ok(id));
            prop_assert_eq!(JobId::from_slice(&id.to_bytes()), Some(id));
        }

        #[test]
        fn written_ids_sort_as_ids_do(a: u128, b: u128) {
            prop_assert_eq!(JobId(a).cmp(&JobId(b)), JobId(a).to_string().cmp(&JobId(b).to_string()));
        }

        #[test]
        fn any_text_is_an_id_or_a_clear_error(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<JobId>() {
                prop_assert_eq!(id.to_string().len(), JobId::TEXT_LEN);
            }
        }
    }
}
