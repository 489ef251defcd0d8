//! Removes whatever a handler left in its folder.
//!
//! A handler is not trusted to leave something handy: folders without permissions, links to
//! elsewhere, names swapped while we look, folders nested ten thousand deep. So no link is followed
//! (every step is relative to an open folder), and nothing recurses: a folder found inside another
//! is first moved up to the top, and is emptied there. At most four descriptors are open.

use std::ffi::{CStr, CString};
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A folder that somebody keeps filling is given up after so many rounds.
const ROUNDS_MAX: u32 = 100;

/// Removes a file or a folder with all that is in it. What is not there is removed already.
pub(in crate::runner) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("a folder without a name can't be removed"));
    };
    let name = CString::new(name.as_bytes())?;
    let parent = match std::fs::File::open(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => OwnedFd::from(opened?),
    };
    if remove_if_easy(&parent, &name)? {
        return Ok(());
    }
    let top = open_up(&parent, &name)?;
    for _ in 0..ROUNDS_MAX {
        empty(&top)?;
        if remove_if_easy(&parent, &name)? {
            return Ok(());
        }
    }
    Err(Errno::ENOTEMPTY.into())
}

/// Empties a folder. Something may be left if somebody is still writing there.
fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut full = Vec::new();
    for name in names(top)? {
        let name = name?;
        if !remove_if_easy(top, &name)? {
            full.push(name);
        }
    }
    let mut moved: u64 = 0;
    while let Some(name) = full.pop() {
        let folder = open_up(top, &name)?;
        for inner in names(&folder)? {
            let inner = inner?;
            if !remove_if_easy(&folder, &inner)? {
                full.push(move_up(&folder, &inner, top, &mut moved)?);
            }
        }
        remove_if_easy(top, &name)?;
    }
    Ok(())
}

/// Removes what is not a folder, or is an empty one; false if it is a folder with something in it.
fn remove_if_easy(parent: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder, not a link to one, and gives its owner all rights on it.
fn open_up(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let only_folder = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let place = openat(parent, name, OFlag::O_PATH | only_folder, Mode::empty())?;
    // `O_PATH` opens a folder without any right on it; its rights are reached by this link only.
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    std::fs::set_permissions(link, Permissions::from_mode(0o700))?;
    Ok(openat(&place, c".", OFlag::O_RDONLY | only_folder, Mode::empty())?)
}

fn names(folder: &OwnedFd) -> io::Result<impl Iterator<Item = io::Result<CString>>> {
    let dir = Dir::openat(folder, c".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(dir.into_iter().filter_map(|entry| match entry {
        Ok(entry) if [c".", c".."].contains(&entry.file_name()) => None,
        Ok(entry) => Some(Ok(entry.file_name().to_owned())),
        Err(error) => Some(Err(error.into())),
    }))
}

/// Moves a folder to the top under a new name, and says which.
fn move_up(folder: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<CString> {
    let mut is_opened_up = false;
    loop {
        let new_name = CString::new(format!(".moved-{moved}"))?;
        *moved += 1;
        match renameat(folder, name, top, new_name.as_c_str()) {
            // If there was an empty folder of that name, it is gone, which is as well.
            Ok(()) => return Ok(new_name),
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            // To move a folder is to write its `..`.
            Err(Errno::EACCES) if !is_opened_up => {
                open_up(folder, name)?;
                is_opened_up = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
