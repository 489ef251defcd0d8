//! For tests: a disk in memory whose power can be cut, under SQLite.
//!
//! ```text
//!  SQLite ──▶ VFS (vfs.rs) ──▶ what is written ──sync──▶ what is durable
//!                                    │ cut                    │
//!                                    └──── random parts ──────┴──▶ what is there after a restart
//! ```
//!
//! A write, a new length, a new or deleted name is durable only after the sync that covers it. A cut
//! keeps what is durable, and of the rest nothing, all, the first so many changes, or a random
//! choice of sectors (512 bytes) or pages (4,096 bytes). Everything follows from the seed and the
//! order of calls. Handles that were open fail from then on, also after a restart.
//!
//! What it believes of disks, as SQLite does by default: a synced byte stays, and a write that is
//! torn leaves the bytes around it alone (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod disk;
mod vfs;

use disk::Disk;

#[cfg(test)]
mod tests;

/// A disk whose power can be cut. For tests.
///
/// Its VFS stays registered, and its memory in use, until the process ends: SQLite gives no sign
/// when it no longer needs them.
pub struct PowerCutDisk {
    name: String,
    disk: Arc<Mutex<Disk>>,
}

impl PowerCutDisk {
    /// An empty disk, switched on.
    pub fn new(seed: u64) -> Self {
        let disk = Arc::new(Mutex::new(Disk::new(seed)));
        let name = vfs::register(disk.clone());
        Self { name, disk }
    }

    /// Name of its VFS, for [`super::SqliteOptions::vfs`].
    pub fn vfs(&self) -> Option<String> {
        Some(self.name.clone())
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.lock().cut();
    }

    /// Cuts the power in the middle of the change (write, sync, new length, new or deleted name)
    /// that comes after `changes` others.
    pub fn cut_after(&self, changes: u64) {
        self.lock().cut_after(changes);
    }

    /// Whether there is power.
    pub fn is_on(&self) -> bool {
        self.lock().is_on()
    }

    /// Switches it on again, with what has survived.
    pub fn restart(&self) {
        self.lock().restart();
    }

    /// Syncs of files that succeeded.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs()
    }

    /// The next so many syncs fail; what they were to make durable may still get lost.
    pub fn fail_syncs(&self, count: u64) {
        self.lock().fail_syncs(count);
    }

    /// How many bytes all files together may have; none: as many as they like.
    pub fn limit(&self, bytes_max: Option<u64>) {
        self.lock().limit(bytes_max);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
