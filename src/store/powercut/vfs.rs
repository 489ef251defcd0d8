//! SQLite's way to the disk: a VFS (<https://www.sqlite.org/vfs.html>).
//!
//! Each open file is a [`Handle`] behind SQLite's `sqlite3_file`. Shared memory is plain memory of
//! this process, which is all that the connections of one process need.
#![expect(non_snake_case, reason = "the names are SQLite's")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::ffi;

use super::disk::{Disk, DiskError, FileId, HandleId};

/// Longest name of a file.
const NAME_BYTES_MAX: c_int = 1_024;
/// 1970 in SQLite's time, ms since noon of 24 November 4714 BC.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

/// Memory shared by the handles of a file; regions stay where they are until the last is gone.
#[derive(Default)]
pub(super) struct SharedMemory {
    regions: Mutex<Vec<Box<[AtomicU64]>>>,
}

impl SharedMemory {
    /// The region's address; made, and those before it, if wanted.
    fn region(&self, number: usize, bytes: usize, extend: bool) -> *mut c_void {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        while extend && regions.len() <= number {
            regions.push((0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect());
        }
        regions.get(number).map_or(std::ptr::null_mut(), |region| region.as_ptr().cast_mut().cast())
    }
}

/// SQLite's view of an open file.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

struct Handle {
    disk: Arc<Mutex<Disk>>,
    file: FileId,
    id: HandleId,
    boot: u64,
    /// Its name must be synced with it.
    name_is_new: bool,
    /// Deleted when it is closed.
    delete: Option<String>,
    memory: Option<Arc<SharedMemory>>,
}

impl Handle {
    /// The disk, if there is power and has been since the file was opened.
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, DiskError> {
        let disk = lock(&self.disk);
        if disk.is_on() && disk.boot() == self.boot { Ok(disk) } else { Err(DiskError::Off) }
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the disk known to SQLite; the name of its VFS.
pub(super) fn register(disk: Arc<Mutex<Disk>>) -> String {
    static DISKS: AtomicU64 = AtomicU64::new(0);
    let name = format!("powercut-{}", DISKS.fetch_add(1, Ordering::Relaxed));
    let c_name = CString::new(name.clone()).expect("digits and letters");
    let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<OpenFile>() as c_int,
        mxPathname: NAME_BYTES_MAX,
        pNext: std::ptr::null_mut(),
        zName: c_name.into_raw(),
        pAppData: Box::into_raw(Box::new(disk)).cast(),
        xOpen: Some(xOpen),
        xDelete: Some(xDelete),
        xAccess: Some(xAccess),
        xFullPathname: Some(xFullPathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(xRandomness),
        xSleep: Some(xSleep),
        xCurrentTime: None,
        xGetLastError: Some(xGetLastError),
        xCurrentTimeInt64: Some(xCurrentTimeInt64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: the structure, its name and its data are never freed.
    let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    assert_eq!(code, ffi::SQLITE_OK, "the VFS is registered");
    name
}

/// The disk behind a VFS.
///
/// # Safety
/// `vfs` was made by [`register`].
unsafe fn disk_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Arc<Mutex<Disk>> {
    // SAFETY: set by `register`, never freed.
    unsafe { &*(*vfs).pAppData.cast() }
}

/// The handle behind a file.
///
/// # Safety
/// `file` was opened by [`xOpen`] and is not closed; SQLite uses a file in one thread at a time.
unsafe fn handle_of<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: set by `xOpen`, freed by `xClose`.
    unsafe { &mut *(*file.cast::<OpenFile>()).handle }
}

/// # Safety
/// `name` is null or a string of SQLite's.
unsafe fn name_of(name: *const c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: as promised by the caller.
    Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// SQLite's code: `failed` if there is no better one.
fn code(result: Result<(), DiskError>, failed: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(DiskError::Busy) => ffi::SQLITE_BUSY,
        Err(DiskError::Full) => ffi::SQLITE_FULL,
        Err(DiskError::Off | DiskError::Missing | DiskError::SyncFailed) => failed,
    }
}

unsafe extern "C" fn xOpen(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes what it got from `register`, and a file of `szOsFile` bytes.
    let (disk, name) = unsafe {
        (*file).pMethods = std::ptr::null();
        (disk_of(vfs), name_of(name))
    };
    let mut locked = lock(disk);
    let id = locked.next_id();
    let name = name.unwrap_or_else(|| format!("temporary-{id}"));
    let opened = match locked.open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0) {
        Ok(opened) => opened,
        Err(_) => return ffi::SQLITE_CANTOPEN,
    };
    let journals = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL;
    let handle = Handle {
        disk: disk.clone(),
        file: opened.0,
        id,
        boot: locked.boot(),
        name_is_new: opened.1 && flags & journals != 0,
        delete: (flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).then_some(name),
        memory: None,
    };
    // SAFETY: as above; `out_flags` may be null.
    unsafe {
        let open = file.cast::<OpenFile>();
        (*open).handle = Box::into_raw(Box::new(handle));
        (*open).base.pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn xDelete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: SQLite passes what it got from `register`.
    let (disk, name) = unsafe { (disk_of(vfs), name_of(name)) };
    match lock(disk).delete(&name.unwrap_or_default(), sync != 0) {
        Err(DiskError::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        deleted => code(deleted, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn xAccess(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes what it got from `register`.
    let (disk, name) = unsafe { (disk_of(vfs), name_of(name)) };
    let exists = lock(disk).exists(&name.unwrap_or_default());
    // SAFETY: SQLite passes a place for the answer.
    let told = exists.map(|exists| unsafe { *out = exists.into() });
    code(told, ffi::SQLITE_IOERR_ACCESS)
}

unsafe extern "C" fn xFullPathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    out_bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite passes a string, and a buffer of `out_bytes`.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > out_bytes as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        out.copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn xRandomness(vfs: *mut ffi::sqlite3_vfs, count: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite passes a buffer of `count` bytes.
    let (disk, out) =
        unsafe { (disk_of(vfs), std::slice::from_raw_parts_mut(out.cast::<u8>(), count as usize)) };
    let mut disk = lock(disk);
    out.fill_with(|| disk.random() as u8);
    count
}

unsafe extern "C" fn xSleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(microseconds.unsigned_abs().into()));
    microseconds
}

unsafe extern "C" fn xGetLastError(_vfs: *mut ffi::sqlite3_vfs, _bytes: c_int, _out: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn xCurrentTimeInt64(_vfs: *mut ffi::sqlite3_vfs, out: *mut ffi::sqlite3_int64) -> c_int {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64);
    // SAFETY: SQLite passes a place for the answer.
    unsafe { *out = UNIX_EPOCH_JULIAN_MS + now };
    ffi::SQLITE_OK
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(xClose),
    xRead: Some(xRead),
    xWrite: Some(xWrite),
    xTruncate: Some(xTruncate),
    xSync: Some(xSync),
    xFileSize: Some(xFileSize),
    xLock: Some(xLock),
    xUnlock: Some(xUnlock),
    xCheckReservedLock: Some(xCheckReservedLock),
    xFileControl: Some(xFileControl),
    xSectorSize: Some(xSectorSize),
    xDeviceCharacteristics: Some(xDeviceCharacteristics),
    xShmMap: Some(xShmMap),
    xShmLock: Some(xShmLock),
    xShmBarrier: Some(xShmBarrier),
    xShmUnmap: Some(xShmUnmap),
    xFetch: None,
    xUnfetch: None,
};

// SAFETY of all methods below: SQLite passes a file that `xOpen` opened, and buffers and places for
// answers of the sizes that it says.

unsafe extern "C" fn xClose(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: see above; SQLite uses the file no more.
    let handle = unsafe { Box::from_raw((*file.cast::<OpenFile>()).handle) };
    if let Ok(mut disk) = handle.disk() {
        // A file that is gone has no locks either.
        let _ = disk.unlock(handle.file, handle.id, 0);
        let _ = disk.unmap_memory(handle.file, handle.id);
        if let Some(name) = &handle.delete {
            let _ = disk.delete(name, false);
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn xRead(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: see above.
    let (handle, buffer) =
        unsafe { (handle_of(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), bytes as usize)) };
    match handle.disk().and_then(|mut disk| disk.read(handle.file, at as u64, buffer)) {
        Ok(read) if read == buffer.len() => ffi::SQLITE_OK,
        Ok(read) => {
            buffer[read..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(error) => code(Err(error), ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn xWrite(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: see above.
    let (handle, bytes) =
        unsafe { (handle_of(file), std::slice::from_raw_parts(buffer.cast::<u8>(), bytes as usize)) };
    let written = handle.disk().and_then(|mut disk| disk.write(handle.file, at as u64, bytes));
    code(written, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn xTruncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let cut = handle.disk().and_then(|mut disk| disk.truncate(handle.file, length as u64));
    code(cut, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn xSync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let synced = handle.disk().and_then(|mut disk| {
        disk.sync(handle.file)?;
        // As SQLite's own VFS does: a journal's folder is synced with it the first time.
        if handle.name_is_new {
            disk.sync_names();
        }
        Ok(())
    });
    if synced.is_ok() {
        handle.name_is_new = false;
    }
    code(synced, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn xFileSize(file: *mut ffi::sqlite3_file, out: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let length = handle.disk().and_then(|mut disk| disk.length(handle.file));
    // SAFETY: see above.
    code(length.map(|length| unsafe { *out = length as i64 }), ffi::SQLITE_IOERR_FSTAT)
}

unsafe extern "C" fn xLock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let locked = handle.disk().and_then(|mut disk| disk.lock(handle.file, handle.id, level));
    code(locked, ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn xUnlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    // Without power there is nothing left to unlock.
    if let Ok(mut disk) = handle.disk() {
        let _ = disk.unlock(handle.file, handle.id, level);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn xCheckReservedLock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let reserved = handle.disk().and_then(|mut disk| disk.is_reserved(handle.file));
    // SAFETY: see above.
    code(reserved.map(|reserved| unsafe { *out = reserved.into() }), ffi::SQLITE_IOERR_CHECKRESERVEDLOCK)
}

unsafe extern "C" fn xFileControl(_file: *mut ffi::sqlite3_file, _op: c_int, _arg: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn xSectorSize(_file: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn xDeviceCharacteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn xShmMap(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let memory = match handle.disk().and_then(|mut disk| disk.map_memory(handle.file, handle.id)) {
        Ok(memory) => memory,
        Err(_) => return ffi::SQLITE_IOERR_SHMMAP,
    };
    // SAFETY: see above.
    unsafe { *out = memory.region(region as usize, bytes as usize, extend != 0) };
    handle.memory = Some(memory);
    ffi::SQLITE_OK
}

unsafe extern "C" fn xShmLock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    let slots: Range<usize> = offset as usize..(offset + count) as usize;
    let locked = handle.disk().and_then(|mut disk| {
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            disk.unlock_memory(handle.file, handle.id, slots)
        } else {
            disk.lock_memory(handle.file, handle.id, slots, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0)
        }
    });
    code(locked, ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn xShmBarrier(_file: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn xShmUnmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle_of(file) };
    if let Ok(mut disk) = handle.disk() {
        let _ = disk.unmap_memory(handle.file, handle.id);
    }
    handle.memory = None;
    ffi::SQLITE_OK
}
