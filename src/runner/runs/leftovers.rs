//! Ends what killed workers left behind.
//!
//! A pid says nothing by itself: it is used again. A process group is on record as its leader's pid
//! and start time, and is ended only if
//! - the leader is there with that start time; or
//! - no process has the leader's pid, and the member carries that attempt's control file in its
//!   environment. (While a group has members, its number is given to no new process.)

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::record::ProcessStat;
use super::remove::remove_tree;

/// A child between fork and exec still holds its dead worker's lock for so long, at most.
const LOCK_WAIT: Duration = Duration::from_millis(500);
/// So long is waited for killed processes to be gone.
const GONE_WAIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const ENVIRONMENT_BYTES_MAX: u64 = 4 << 20;
const RECORD_BYTES_MAX: u64 = 4 << 10;

/// What was found of killed workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Process groups that were ended.
    pub groups_ended: usize,
    /// Process groups that were told to end and are still there: stuck in the kernel, as a rule.
    pub groups_stuck: usize,
    /// Workers that live and share the folder; theirs was not touched.
    pub workers_alive: usize,
}

/// A process group on record.
struct Group {
    leader: ProcessStat,
    control: PathBuf,
    seen: bool,
}

/// Ends the groups of all dead workers but `own`, and removes their folders.
pub(super) fn end(root: &Path, own: &Path) -> io::Result<Leftovers> {
    let mut found = Leftovers::default();
    let mut dead = Vec::new();
    let mut groups = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let path = entry.path();
        if path == own || !entry.file_type()?.is_dir() || !is_incarnation(&entry.file_name()) {
            continue;
        }
        let Some(lock) = lock_of_dead(&path)? else {
            found.workers_alive += 1;
            continue;
        };
        if std::fs::read_to_string(path.join("boot")).ok() == Some(super::boot_id()?) {
            groups.append(&mut records(&path)?);
        }
        dead.push((path, lock));
    }
    end_groups(&mut groups, &mut found)?;
    for (path, _lock) in dead {
        remove_tree(&path)?;
    }
    Ok(found)
}

fn is_incarnation(name: &OsStr) -> bool {
    name.len() == 16 && name.as_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// The lock of a worker's folder, or none if that worker lives.
fn lock_of_dead(path: &Path) -> io::Result<Option<File>> {
    let options = || File::options().create(true).truncate(false).write(true).open(path.join("lock"));
    let lock = options()?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn records(path: &Path) -> io::Result<Vec<Group>> {
    let mut groups = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let record = entry?.path();
        if record.extension() != Some(OsStr::new("process")) {
            continue;
        }
        // One that can't be read was being written: its process never came to run a program.
        if let Some(leader) =
            read_bounded(&record, RECORD_BYTES_MAX).and_then(|line| ProcessStat::parse(&line))
        {
            groups.push(Group { leader, control: record.with_extension("control"), seen: false });
        }
    }
    Ok(groups)
}

fn read_bounded(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Stops and kills in rounds, until none of the groups has a member.
fn end_groups(groups: &mut [Group], found: &mut Leftovers) -> io::Result<()> {
    let deadline = Instant::now() + GONE_WAIT;
    while !groups.is_empty() {
        let running = running_processes()?;
        let mut left = 0;
        for group in groups.iter_mut() {
            if !group.is_there(&running) {
                continue;
            }
            group.seen = true;
            left += 1;
            let number = Pid::from_raw(group.leader.pid);
            for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
                // It may have ended since we looked; whether it has is seen in the next round.
                let _ = killpg(number, signal);
            }
        }
        if left == 0 || Instant::now() >= deadline {
            found.groups_stuck = left;
            found.groups_ended = groups.iter().filter(|group| group.seen).count() - left;
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Group {
    fn is_there(&self, running: &HashMap<i32, ProcessStat>) -> bool {
        let number = self.leader.pid;
        let mut members = running.values().filter(|process| process.group == number && !process.is_zombie);
        match running.get(&number) {
            Some(leader) if leader.start_ticks != self.leader.start_ticks => false,
            Some(leader) => leader.group == number && members.next().is_some(),
            None => members.any(|member| self.is_in_environment(member.pid)),
        }
    }

    fn is_in_environment(&self, pid: i32) -> bool {
        let mut wanted = b"QDO_CONTROL=".to_vec();
        wanted.extend_from_slice(self.control.as_os_str().as_bytes());
        read_bounded(Path::new(&format!("/proc/{pid}/environ")), ENVIRONMENT_BYTES_MAX)
            .is_some_and(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == wanted))
    }
}

/// All processes by pid, zombies too.
fn running_processes() -> io::Result<HashMap<i32, ProcessStat>> {
    let mut running = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        if !entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // It may end while we look.
        if let Some(process) =
            std::fs::read(entry.path().join("stat")).ok().and_then(|line| ProcessStat::parse(&line))
        {
            running.insert(process.pid, process);
        }
    }
    Ok(running)
}
