//! Idempotency tokens: a repeated enqueue answers the first one's id.
//!
//! Remembered by count and age, in memory here and, packed per commit, in the index, from where a
//! successor reads them. Keeps INV-3 for producers that repeat an enqueue whose answer was lost.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::model::limits::{TOKEN_AGE_MS_MAX, TOKENS_MAX};
use crate::model::{JobId, QueueNumber};

/// Sixteen bytes of SHA-256 over queue and token.
pub type TokenHash = [u8; 16];

/// The hash under which a token is remembered.
pub fn token_hash(queue: QueueNumber, token: &str) -> TokenHash {
    let digest = Sha256::new().chain_update(queue.to_be_bytes()).chain_update(token.as_bytes()).finalize();
    let mut hash = [0u8; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

/// Length of an index bucket, ms: what is remembered lies in at most two of them.
pub const BUCKET_MS: u64 = TOKEN_AGE_MS_MAX;

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    jobs: HashMap<TokenHash, (JobId, u64)>,
    /// By time; a token may be in it twice, and then the later counts.
    order: VecDeque<(u64, TokenHash)>,
}

impl Tokens {
    pub fn find(&self, hash: &TokenHash) -> Option<JobId> {
        self.jobs.get(hash).map(|(job, _)| *job)
    }

    pub fn remember(&mut self, hash: TokenHash, job: JobId, now_ms: u64) {
        self.jobs.insert(hash, (job, now_ms));
        self.order.push_back((now_ms, hash));
        self.forget_old(now_ms);
    }

    pub fn forget_old(&mut self, now_ms: u64) {
        while let Some(&(time_ms, hash)) = self.order.front() {
            if time_ms.saturating_add(TOKEN_AGE_MS_MAX) > now_ms && self.order.len() <= TOKENS_MAX {
                break;
            }
            self.order.pop_front();
            if self.jobs.get(&hash).is_some_and(|(_, at_ms)| *at_ms == time_ms) {
                self.jobs.remove(&hash);
            }
        }
        if self.order.is_empty() {
            // An idle partition keeps no room for what it does not remember.
            *self = Self::default();
        }
    }

    /// When the last of them is forgotten, Unix ms.
    pub fn last_forgotten_ms(&self) -> Option<u64> {
        self.order.back().map(|(time_ms, _)| time_ms.saturating_add(TOKEN_AGE_MS_MAX))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PartitionId;

    #[test]
    fn tokens_are_remembered_by_age_and_count() {
        let job = |commit| JobId::new(PartitionId { group: 1, index: 0 }, 1, commit, 0);
        let mut tokens = Tokens::default();
        tokens.remember(token_hash(1, "a"), job(1), 1_000);
        assert_eq!(tokens.find(&token_hash(1, "a")), Some(job(1)));
        assert_eq!(tokens.find(&token_hash(2, "a")), None, "a token is one queue's");
        tokens.forget_old(1_000 + TOKEN_AGE_MS_MAX);
        assert_eq!(tokens.find(&token_hash(1, "a")), None);
        for n in 0..TOKENS_MAX as u64 + 10 {
            tokens.remember(token_hash(1, &n.to_string()), job(n), 2_000);
        }
        assert_eq!(tokens.len(), TOKENS_MAX);
    }
}
