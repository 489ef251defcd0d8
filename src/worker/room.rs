//! What is shared by all partitions of a worker and can run short: space for data, jobs in memory.
//!
//! Keeps INV-8. New jobs are refused while there is still space for the ends of those that run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use super::RequestError;

/// How long an answer about free space is good for.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// When to come back.
const RETRY: Duration = Duration::from_secs(10);
/// Jobs in memory that every partition may have: four segments.
const WINDOW_JOBS_MIN: usize = 4 * crate::model::limits::SEGMENT_JOBS_MAX as usize;

/// Free space of the file system that the data is on.
#[derive(Debug)]
pub(crate) struct Space {
    folder: Option<PathBuf>,
    bytes_min: u64,
    seen: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    /// Of a folder; without one, space is not looked at.
    pub fn new(folder: Option<PathBuf>, bytes_min: u64) -> Self {
        Self { folder: folder.filter(|_| bytes_min > 0), bytes_min, seen: Mutex::new(None) }
    }

    /// Refuses new jobs while space is low.
    pub fn check(&self) -> Result<(), RequestError> {
        let Some(free) = self.free_bytes().filter(|free| *free < self.bytes_min) else { return Ok(()) };
        Err(RequestError::Unavailable {
            message: format!(
                "only {} MiB are free where the data is, and {} are kept for jobs that are there already (worker.free_bytes_min)",
                free >> 20,
                self.bytes_min >> 20
            ),
            retry_after: RETRY,
        })
    }

    fn free_bytes(&self) -> Option<u64> {
        let folder = self.folder.as_ref()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *seen
            && at.elapsed() < GOOD_FOR
        {
            return Some(free);
        }
        // If it can't be told, the store will say when it is full.
        let stat = statvfs(folder).ok()?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        *seen = Some((Instant::now(), free));
        Some(free)
    }
}

/// The worker's budget of jobs in memory, in equal shares.
#[derive(Debug)]
pub(crate) struct Window {
    jobs_max: usize,
    partitions: AtomicUsize,
}

impl Window {
    pub fn new(jobs_max: usize) -> Self {
        Self { jobs_max, partitions: AtomicUsize::new(0) }
    }

    /// One more partition has a share.
    pub fn join(&self) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
    }

    /// A partition has its share no more.
    pub fn leave(&self) {
        self.partitions.fetch_sub(1, Ordering::Relaxed);
    }

    /// What each partition may have in memory now.
    pub fn share(&self) -> usize {
        (self.jobs_max / self.partitions.load(Ordering::Relaxed).max(1)).max(WINDOW_JOBS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_jobs_are_refused_while_space_is_low() {
        let folder = std::env::temp_dir();
        assert!(Space::new(Some(folder.clone()), 1).check().is_ok());
        assert!(Space::new(None, u64::MAX).check().is_ok());
        let refused = Space::new(Some(folder), u64::MAX).check();
        assert!(
            matches!(refused, Err(RequestError::Unavailable { retry_after, .. }) if !retry_after.is_zero())
        );
    }

    #[test]
    fn the_window_is_shared_by_the_partitions_that_are_there() {
        let window = Window::new(1_000_000);
        assert_eq!(window.share(), 1_000_000);
        for _ in 0..10 {
            window.join();
        }
        assert_eq!(window.share(), 100_000);
        for _ in 0..1_000 {
            window.join();
        }
        assert_eq!(window.share(), WINDOW_JOBS_MIN);
        for _ in 0..1_009 {
            window.leave();
        }
        assert_eq!(window.share(), 1_000_000);
    }
}
