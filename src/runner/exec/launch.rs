//! Starts a process as posix_spawn does, with what posix_spawn can't: a record written before the
//! program runs, and limits.
//!
//! ```text
//! worker's thread:  clone(VM | VFORK) ········ suspended ········▶ goes on
//! child:                 └▶ group, pipes, folder, record, limits, signals ─▶ execve, or exit with the step that failed
//! ```
//!
//! A fork copies the page tables of the whole worker: at 1 GiB of memory that took 110 ms here, against
//! one to three for this. The price is that the child runs in the worker's memory until execve, so it
//! must do next to nothing: everything is prepared by [`Launch`], and [`Inside`] makes system calls only.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{self, c_char, c_int};
use nix::sched::{CloneFlags, clone};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use super::ExecSettings;
use crate::runner::runs::Recorder;

/// The child's stack. It calls no deeper than a system call's wrapper.
const STACK_BYTES: usize = 64 << 10;
/// Signals are numbered from 1 to this.
const SIGNAL_MAX: c_int = 64;

/// All that a new process needs, prepared.
pub(super) struct Launch {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    folder: CString,
    recorder: Recorder,
    limits: Limits,
}

/// A process that runs its program. Its status has not been taken.
pub(super) struct Launched {
    pub(super) pid: Pid,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What a child was at when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// Becoming a process with a group and pipes.
    Start,
    Folder,
    Record,
    Limits,
    Exec,
}

/// Why there is no process.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotLaunched {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

impl Launch {
    /// Puts together what the child needs. Fails if a text holds a NUL byte.
    pub(super) fn new(
        program: &Path,
        settings: &ExecSettings,
        environment: BTreeMap<OsString, OsString>,
        folder: &Path,
        record: &Path,
    ) -> io::Result<Self> {
        let variable = |(name, value): (OsString, OsString)| {
            let mut text = name.into_vec();
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            CString::new(text)
        };
        Ok(Self {
            program: CString::new(program.as_os_str().as_bytes())?,
            arguments: settings
                .command
                .iter()
                .map(|text| CString::new(text.as_str()))
                .collect::<Result<_, _>>()?,
            environment: environment.into_iter().map(variable).collect::<Result<_, _>>()?,
            folder: CString::new(folder.as_os_str().as_bytes())?,
            recorder: Recorder::new(record)?,
            limits: Limits::new(settings),
        })
    }

    /// Starts the process. Blocks its thread until the program runs.
    pub(super) fn start(&self) -> Result<Launched, NotLaunched> {
        let at_start = |errno| NotLaunched { step: Step::Start, errno };
        let (stdin_child, stdin) = pipe().map_err(at_start)?;
        let (stdout, stdout_child) = pipe().map_err(at_start)?;
        let (stderr, stderr_child) = pipe().map_err(at_start)?;
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        let inside = Inside {
            launch: self,
            pipes: [stdin_child.as_raw_fd(), stdout_child.as_raw_fd(), stderr_child.as_raw_fd()],
            arguments: &arguments,
            environment: &environment,
            step: AtomicU8::new(Step::Start as u8),
            errno: AtomicI32::new(0),
        };
        let pid = inside.enter_child().map_err(at_start)?;
        match inside.failure() {
            None => Ok(Launched { pid, stdin, stdout, stderr }),
            Some(failure) => {
                // It has exited already.
                let _ = waitpid(pid, None);
                Err(failure)
            }
        }
    }
}

/// A pipe that no other program inherits, with both ends above the standard three, so that none is
/// in the way of another when they are put in place.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((above_standard(read)?, above_standard(write)?))
}

fn above_standard(end: OwnedFd) -> Result<OwnedFd, Errno> {
    match end.as_raw_fd() {
        // The standard library's copies begin at 3.
        0..=2 => {
            end.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EBADF)))
        }
        _ => Ok(end),
    }
}

/// As execve wants them: ended by a null pointer.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// What the child sees. It shares our memory: how far it came is written here.
struct Inside<'a> {
    launch: &'a Launch,
    pipes: [c_int; 3],
    arguments: &'a [*const c_char],
    environment: &'a [*const c_char],
    step: AtomicU8,
    errno: AtomicI32,
}

impl Inside<'_> {
    fn enter_child(&self) -> Result<Pid, Errno> {
        let mut stack = vec![0u8; STACK_BYTES];
        // No handler of ours may run in the child.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
        // SAFETY: until the child has called execve or exited, this thread is suspended (VFORK), so
        // its stack, `stack`, and all that `self` refers to stay as they are. The child only makes
        // system calls: it takes no lock, allocates nothing and does not panic.
        let pid = unsafe { clone(Box::new(|| self.run()), &mut stack, flags, Some(libc::SIGCHLD)) };
        mask.thread_set_mask()?;
        pid
    }

    /// In the child.
    fn run(&self) -> isize {
        // SAFETY: this is the child.
        let Err(errno) = unsafe { self.become_program() };
        self.errno.store(errno as i32, Ordering::SeqCst);
        127
    }

    /// In the worker, once the child runs its program or has exited.
    fn failure(&self) -> Option<NotLaunched> {
        let errno = match self.errno.load(Ordering::SeqCst) {
            0 => return None,
            number => Errno::from_raw(number),
        };
        let steps = [Step::Start, Step::Folder, Step::Record, Step::Limits, Step::Exec];
        let step = steps.into_iter().find(|step| *step as u8 == self.step.load(Ordering::SeqCst));
        Some(NotLaunched { step: step.unwrap_or(Step::Start), errno })
    }

    /// Goes through the steps; returns only if one fails.
    ///
    /// # Safety
    /// Only in a child that shares our memory and whose signals are blocked.
    unsafe fn become_program(&self) -> Result<std::convert::Infallible, Errno> {
        let at = |step: Step| self.step.store(step as u8, Ordering::SeqCst);
        // SAFETY: the calls get descriptors that are open, texts that end with NUL, and arrays of
        // such texts that end with a null pointer.
        unsafe {
            check(libc::setpgid(0, 0))?;
            for (target, pipe) in self.pipes.iter().enumerate() {
                check(libc::dup2(*pipe, target as c_int))?;
            }
            at(Step::Folder);
            check(libc::chdir(self.launch.folder.as_ptr()))?;
            at(Step::Record);
            self.launch.recorder.write()?;
            at(Step::Limits);
            self.launch.limits.set()?;
            at(Step::Exec);
            // Whatever the worker itself was started with, or a library forgot. Kernels before 5.11
            // can't, and what we open ourselves is closed anyway.
            libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            reset_signals();
            libc::execve(self.launch.program.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr());
        }
        Err(Errno::last())
    }
}

fn check(result: c_int) -> Result<(), Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The program gets signals as if it had been started from a shell: our handlers gone, none blocked.
///
/// # Safety
/// Only in a child, which has signal handlers of its own.
unsafe fn reset_signals() {
    // SAFETY: the structs are valid when zeroed, and the calls keep no pointer to them. What fails
    // (KILL, STOP, numbers that libc keeps for itself) has no handler.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=SIGNAL_MAX {
            let mut now: libc::sigaction = std::mem::zeroed();
            let is_read = libc::sigaction(signal, ptr::null(), &mut now) == 0;
            // Rust's runtime ignores PIPE; what else is ignored was so before us, like HUP by nohup.
            if is_read && (now.sa_sigaction != libc::SIG_IGN || signal == libc::SIGPIPE) {
                libc::sigaction(signal, &default, ptr::null_mut());
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Limits of the resources of a program, and of each that it starts.
struct Limits {
    each: [Option<Limit>; 3],
}

struct Limit {
    resource: Resource,
    soft: u64,
    hard: u64,
}

impl Limits {
    fn new(settings: &ExecSettings) -> Self {
        let cpu_secs = settings.cpu_time_max.map(|time| time.ms / 1_000);
        Self {
            each: [
                settings.memory_bytes_max.map(|bytes| Limit::new(Resource::RLIMIT_AS, bytes, 0)),
                // XCPU at the limit, which can be caught, and KILL a second later.
                cpu_secs.map(|secs| Limit::new(Resource::RLIMIT_CPU, secs, 1)),
                settings.open_files_max.map(|files| Limit::new(Resource::RLIMIT_NOFILE, files, 0)),
            ],
        }
    }

    /// Makes system calls only.
    fn set(&self) -> Result<(), Errno> {
        self.each.iter().flatten().try_for_each(|limit| setrlimit(limit.resource, limit.soft, limit.hard))
    }
}

impl Limit {
    /// Within what the worker itself is allowed.
    fn new(resource: Resource, soft: u64, above: u64) -> Self {
        let (_, own) = getrlimit(resource).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
        let hard = soft.saturating_add(above).min(own);
        Self { resource, soft: soft.min(hard), hard }
    }
}
