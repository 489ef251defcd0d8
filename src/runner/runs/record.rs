//! The record of a process group's leader: its line of `/proc/<pid>/stat`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
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
    /// Made for a child before it runs its program: it only makes system calls, and allocates nothing.
    pub(in crate::runner) unsafe fn write(&self) -> Result<(), Errno> {
        let mut line = [0u8; STAT_BYTES_MAX];
        // SAFETY: the paths end with NUL, the buffers are as long as said, the descriptors are open.
        unsafe {
            let stat =
                Errno::result(libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC))?;
            let line_bytes = Errno::result(libc::read(stat, line.as_mut_ptr().cast(), line.len()))?;
            libc::close(stat);
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
            let record = Errno::result(libc::open(self.path.as_ptr(), flags, 0o600))?;
            let written = Errno::result(libc::write(record, line.as_ptr().cast(), line_bytes as usize))?;
            libc::close(record);
            if written != line_bytes {
                return Err(Errno::ENOSPC);
            }
            if libc::getppid() != self.worker {
                return Err(Errno::ESRCH);
            }
        }
        Ok(())
    }
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
