//! The record of a process group's leader: its line of `/proc/<pid>/stat`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

/// A line of `/proc/<pid>/stat` is shorter.
const STAT_BYTES_MAX: usize = 1024;

/// Writes the record of the process that it is called in.
pub(in crate::runner) struct Recorder {
    path: CString,
    worker: libc::pid_t,
}

impl Recorder {
    /// To be made by the worker, before it forks.
    pub(in crate::runner) fn new(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| io::Error::other("a path holds a NUL byte"))?;
        // SAFETY: getpid has no preconditions.
        Ok(Self { path, worker: unsafe { libc::getpid() } })
    }

    /// Writes it, and fails if the worker has died: then nobody would look for the record in time.
    ///
    /// # Safety
    /// Made for the child between fork and exec: it only makes system calls, and allocates nothing.
    pub(in crate::runner) unsafe fn write(&self) -> io::Result<()> {
        let mut line = [0u8; STAT_BYTES_MAX];
        // SAFETY: the paths end with NUL, the buffers are as long as said, the descriptors are open.
        unsafe {
            let stat = check(libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC))?;
            let line_bytes = libc::read(stat, line.as_mut_ptr().cast(), line.len());
            libc::close(stat);
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
            let record = check(libc::open(self.path.as_ptr(), flags, 0o600))?;
            let written = libc::write(record, line.as_ptr().cast(), line_bytes.max(0) as usize);
            let error = io::Error::last_os_error();
            libc::close(record);
            if written < 0 {
                return Err(error);
            }
            if line_bytes <= 0 || written != line_bytes {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            if libc::getppid() != self.worker {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
        }
        Ok(())
    }
}

fn check(descriptor: libc::c_int) -> io::Result<libc::c_int> {
    if descriptor < 0 { Err(io::Error::last_os_error()) } else { Ok(descriptor) }
}

/// What counts of a process, see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    pub(super) pid: i32,
    pub(super) group: i32,
    /// It has ended, but nobody has taken its status.
    pub(super) is_zombie: bool,
    /// Clock ticks from the boot to its start: with the pid, unique within a boot.
    pub(super) start_ticks: u64,
}

impl ProcessStat {
    /// Reads a line; `None` if it is not one.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        // The name is in parentheses, and may hold anything: spaces, parentheses, broken UTF-8.
        let name_start = line.iter().position(|&byte| byte == b'(')?;
        let name_end = line.iter().rposition(|&byte| byte == b')')?;
        let pid = std::str::from_utf8(&line[..name_start]).ok()?.trim().parse().ok()?;
        let fields: Vec<&str> =
            std::str::from_utf8(line.get(name_end + 1..)?).ok()?.split_ascii_whitespace().collect();
        let is_zombie = matches!(*fields.first()?, "Z" | "X" | "x");
        let group = fields.get(2)?.parse().ok()?;
        let start_ticks = fields.get(19)?.parse().ok()?;
        // Signals to group 0, 1 or below would hit others than a program's own group.
        (pid > 1 && group >= 0).then_some(Self { pid, group, is_zombie, start_ticks })
    }
}
