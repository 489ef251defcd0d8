//! The disk: what is written, what is durable, and what a cut leaves. No SQLite in here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that are written whole or not at all.
const SECTOR_BYTES: u64 = 512;
/// Bytes of a page of a system's cache.
const PAGE_BYTES: u64 = 4_096;
/// Locks on shared memory.
pub(super) const SHM_LOCKS: usize = 8;
/// Levels of a lock on a file, as SQLite numbers them.
pub(super) const SHARED: i32 = 1;
pub(super) const RESERVED: i32 = 2;
pub(super) const PENDING: i32 = 3;
pub(super) const EXCLUSIVE: i32 = 4;

pub(super) type FileId = u64;
pub(super) type HandleId = u64;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskError {
    /// There is no power, or the handle is from before a cut.
    Off,
    Missing,
    Full,
    SyncFailed,
    Busy,
}

/// A change of a file that is not durable yet.
#[derive(Clone, Debug)]
struct Change {
    /// When it was made, among all changes of the disk.
    time: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Write { at: u64, bytes: Vec<u8> },
    Length(u64),
}

#[derive(Default)]
struct File {
    data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Who holds the file locked, how.
    locks: BTreeMap<HandleId, i32>,
    memory: Option<Arc<super::vfs::SharedMemory>>,
    mapped: BTreeSet<HandleId>,
    memory_locks: [MemoryLock; SHM_LOCKS],
}

#[derive(Default)]
struct MemoryLock {
    shared: BTreeSet<HandleId>,
    exclusive: Option<HandleId>,
}

/// How much of what is not durable survives a cut.
#[derive(Clone, Copy, Debug)]
enum Survival {
    Nothing,
    All,
    Parts(u64),
    Until(u64),
}

/// The disk.
pub(super) struct Disk {
    random: u64,
    on: bool,
    /// Handles of another boot are dead.
    boot: u64,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    files: BTreeMap<FileId, File>,
    /// Ids and times given so far.
    ids: u64,
    cut_after: Option<u64>,
    syncs: u64,
    failing_syncs: u64,
    bytes_max: Option<u64>,
}

fn apply(data: &mut Vec<u8>, what: &What) {
    match what {
        What::Length(length) => data.resize(*length as usize, 0),
        What::Write { at, bytes } => {
            let (start, end) = (*at as usize, *at as usize + bytes.len());
            if data.len() < end {
                data.resize(end, 0);
            }
            data[start..end].copy_from_slice(bytes);
        }
    }
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: seed,
            on: true,
            boot: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            files: BTreeMap::new(),
            ids: 0,
            cut_after: None,
            syncs: 0,
            failing_syncs: 0,
            bytes_max: None,
        }
    }

    /// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(super) fn cut_after(&mut self, changes: u64) {
        self.cut_after = Some(changes);
    }

    pub(super) fn fail_syncs(&mut self, count: u64) {
        self.failing_syncs = count;
    }

    pub(super) fn limit(&mut self, bytes_max: Option<u64>) {
        self.bytes_max = bytes_max;
    }

    /// Cuts the power: what survives is decided now.
    pub(super) fn cut(&mut self) {
        if !self.on {
            return;
        }
        self.on = false;
        self.boot += 1;
        self.cut_after = None;
        let survival = match self.random() % 5 {
            0 => Survival::Nothing,
            1 => Survival::All,
            2 => Survival::Parts(SECTOR_BYTES),
            3 => Survival::Parts(PAGE_BYTES),
            _ => self.some_time(),
        };
        let changed: BTreeSet<String> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in changed {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::All => true,
                Survival::Parts(_) | Survival::Until(_) => self.random().is_multiple_of(2),
            };
            if survives {
                match self.names.get(&name) {
                    Some(&file) => self.durable_names.insert(name, file),
                    None => self.durable_names.remove(&name),
                };
            }
        }
        let mut files = std::mem::take(&mut self.files);
        files.retain(|id, _| self.durable_names.values().any(|named| named == id));
        for (id, file) in files {
            let data = self.survive(file, survival);
            self.files.insert(id, File { durable: data.clone(), data, ..File::default() });
        }
        self.names = self.durable_names.clone();
    }

    /// All changes until a random one of those that are not durable.
    fn some_time(&mut self) -> Survival {
        let mut times: Vec<u64> =
            self.files.values().flat_map(|file| file.pending.iter().map(|change| change.time)).collect();
        if times.is_empty() {
            return Survival::Nothing;
        }
        times.sort_unstable();
        let last = self.random() as usize % times.len();
        Survival::Until(times[last])
    }

    fn survive(&mut self, file: File, survival: Survival) -> Vec<u8> {
        let mut data = file.durable;
        for change in &file.pending {
            match survival {
                Survival::Nothing => {}
                Survival::All => apply(&mut data, &change.what),
                Survival::Until(time) if change.time < time => apply(&mut data, &change.what),
                // The last one is torn.
                Survival::Until(time) if change.time == time => {
                    self.apply_parts(&mut data, &change.what, SECTOR_BYTES)
                }
                Survival::Until(_) => {}
                Survival::Parts(bytes) => self.apply_parts(&mut data, &change.what, bytes),
            }
        }
        data
    }

    /// Makes a random choice of the parts of a change.
    fn apply_parts(&mut self, data: &mut Vec<u8>, what: &What, part_bytes: u64) {
        let What::Write { at, bytes } = what else {
            if self.random().is_multiple_of(2) {
                apply(data, what);
            }
            return;
        };
        let end = at + bytes.len() as u64;
        let mut start = *at;
        while start < end {
            let next = ((start / part_bytes + 1) * part_bytes).min(end);
            if self.random().is_multiple_of(2) {
                let part = bytes[(start - at) as usize..(next - at) as usize].to_vec();
                apply(data, &What::Write { at: start, bytes: part });
            }
            start = next;
        }
    }

    pub(super) fn restart(&mut self) {
        self.on = true;
    }

    /// Whether this change is the one in whose middle the power is cut.
    fn is_last(&mut self) -> bool {
        match &mut self.cut_after {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn cut_now(&mut self) -> DiskError {
        self.cut();
        DiskError::Off
    }

    fn powered(&self) -> Result<(), DiskError> {
        if self.on { Ok(()) } else { Err(DiskError::Off) }
    }

    fn file(&mut self, id: FileId) -> Result<&mut File, DiskError> {
        self.files.get_mut(&id).ok_or(DiskError::Missing)
    }

    /// The file of that name; made if it is wanted. Whether it is new.
    pub(super) fn open(&mut self, name: &str, create: bool) -> Result<(FileId, bool), DiskError> {
        self.powered()?;
        if let Some(&id) = self.names.get(name) {
            return Ok((id, false));
        }
        if !create {
            return Err(DiskError::Missing);
        }
        let last = self.is_last();
        let id = self.next_id();
        self.names.insert(name.to_owned(), id);
        self.files.insert(id, File::default());
        if last { Err(self.cut_now()) } else { Ok((id, true)) }
    }

    pub(super) fn exists(&self, name: &str) -> Result<bool, DiskError> {
        self.powered()?;
        Ok(self.names.contains_key(name))
    }

    pub(super) fn delete(&mut self, name: &str, sync: bool) -> Result<(), DiskError> {
        self.powered()?;
        let last = self.is_last();
        let there = self.names.remove(name).is_some();
        if last {
            return Err(self.cut_now());
        }
        if sync {
            self.sync_names();
        }
        if there { Ok(()) } else { Err(DiskError::Missing) }
    }

    /// Makes all names durable.
    pub(super) fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
    }

    /// Fills the buffer; how many bytes there were.
    pub(super) fn read(&mut self, id: FileId, at: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let data = &self.file(id)?.data;
        let start = data.len().min(at as usize);
        let end = data.len().min(start + buffer.len());
        buffer[..end - start].copy_from_slice(&data[start..end]);
        Ok(end - start)
    }

    pub(super) fn write(&mut self, id: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let growth = (at + bytes.len() as u64).saturating_sub(self.length(id)?);
        let used: u64 =
            self.names.values().filter_map(|id| self.files.get(id)).map(|f| f.data.len() as u64).sum();
        if growth > 0 && self.bytes_max.is_some_and(|max| used + growth > max) {
            return Err(DiskError::Full);
        }
        self.change(id, What::Write { at, bytes: bytes.to_vec() })
    }

    pub(super) fn truncate(&mut self, id: FileId, length: u64) -> Result<(), DiskError> {
        self.change(id, What::Length(length))
    }

    fn change(&mut self, id: FileId, what: What) -> Result<(), DiskError> {
        let last = self.is_last();
        let time = self.next_id();
        let file = self.file(id)?;
        apply(&mut file.data, &what);
        file.pending.push(Change { time, what });
        if last { Err(self.cut_now()) } else { Ok(()) }
    }

    pub(super) fn sync(&mut self, id: FileId) -> Result<(), DiskError> {
        if self.is_last() {
            return Err(self.cut_now());
        }
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Err(DiskError::SyncFailed);
        }
        let file = self.file(id)?;
        for change in std::mem::take(&mut file.pending) {
            apply(&mut file.durable, &change.what);
        }
        self.syncs += 1;
        Ok(())
    }

    pub(super) fn length(&mut self, id: FileId) -> Result<u64, DiskError> {
        Ok(self.file(id)?.data.len() as u64)
    }

    /// Raises a handle's lock on a file.
    pub(super) fn lock(&mut self, id: FileId, handle: HandleId, level: i32) -> Result<(), DiskError> {
        let locks = &mut self.file(id)?.locks;
        let own = locks.get(&handle).copied().unwrap_or(0);
        let others =
            locks.iter().filter(|(other, _)| **other != handle).map(|(_, &level)| level).max().unwrap_or(0);
        if own >= level {
            return Ok(());
        }
        let granted = match level {
            SHARED if others < PENDING => SHARED,
            RESERVED if others < RESERVED => RESERVED,
            PENDING | EXCLUSIVE if others < SHARED => EXCLUSIVE,
            // Nobody new comes in while it waits for the others to leave.
            PENDING | EXCLUSIVE if others < RESERVED => PENDING,
            _ => return Err(DiskError::Busy),
        };
        locks.insert(handle, granted);
        if granted >= level { Ok(()) } else { Err(DiskError::Busy) }
    }

    pub(super) fn unlock(&mut self, id: FileId, handle: HandleId, level: i32) -> Result<(), DiskError> {
        let locks = &mut self.file(id)?.locks;
        if level == 0 {
            locks.remove(&handle);
        } else {
            locks.insert(handle, level);
        }
        Ok(())
    }

    pub(super) fn is_reserved(&mut self, id: FileId) -> Result<bool, DiskError> {
        Ok(self.file(id)?.locks.values().any(|&level| level >= RESERVED))
    }

    /// The memory that all handles of a file share; made by the first.
    pub(super) fn map_memory(
        &mut self,
        id: FileId,
        handle: HandleId,
    ) -> Result<Arc<super::vfs::SharedMemory>, DiskError> {
        let file = self.file(id)?;
        file.mapped.insert(handle);
        Ok(file.memory.get_or_insert_default().clone())
    }

    pub(super) fn unmap_memory(&mut self, id: FileId, handle: HandleId) -> Result<(), DiskError> {
        let file = self.file(id)?;
        file.mapped.remove(&handle);
        for lock in &mut file.memory_locks {
            lock.shared.remove(&handle);
            lock.exclusive = lock.exclusive.filter(|&holder| holder != handle);
        }
        if file.mapped.is_empty() {
            file.memory = None;
        }
        Ok(())
    }

    pub(super) fn lock_memory(
        &mut self,
        id: FileId,
        handle: HandleId,
        slots: std::ops::Range<usize>,
        exclusive: bool,
    ) -> Result<(), DiskError> {
        let locks = &mut self.file(id)?.memory_locks[slots];
        let is_free = |lock: &MemoryLock| {
            lock.exclusive.is_none_or(|holder| holder == handle)
                && (!exclusive || lock.shared.iter().all(|&holder| holder == handle))
        };
        if !locks.iter().all(is_free) {
            return Err(DiskError::Busy);
        }
        for lock in locks {
            if exclusive {
                lock.exclusive = Some(handle);
            } else {
                lock.shared.insert(handle);
            }
        }
        Ok(())
    }

    pub(super) fn unlock_memory(
        &mut self,
        id: FileId,
        handle: HandleId,
        slots: std::ops::Range<usize>,
    ) -> Result<(), DiskError> {
        for lock in &mut self.file(id)?.memory_locks[slots] {
            lock.shared.remove(&handle);
            lock.exclusive = lock.exclusive.filter(|&holder| holder != handle);
        }
        Ok(())
    }
}
