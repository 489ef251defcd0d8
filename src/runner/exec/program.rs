//! Which file a program's name means, and why it can't be started: in a sentence that says what to do.

use std::env;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::environment::DEFAULT_PATH;
use super::launch::{NotLaunched, Step};

/// The file of a program: as it is if it has a slash, or else the first in the worker's `PATH`.
pub(in crate::runner) fn resolve(name: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path =
            std::path::absolute(name).map_err(|error| format!("program {name:?} can't be found: {error}"))?;
        return match check_program(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT) => {
                Err(format!("program {name:?} is not there; install it or correct its path"))
            }
            Err(Errno::EISDIR) => Err(format!("{name:?} is a folder; name the program in it")),
            Err(Errno::EACCES) => {
                Err(format!("program {name:?} is not executable for the worker; chmod +x it"))
            }
            Err(error) => Err(format!("program {name:?} can't be used: {error}")),
        };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut not_executable = None;
    for folder in env::split_paths(&path) {
        let candidate = std::path::absolute(folder.join(name)).unwrap_or_default();
        match check_program(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => not_executable = Some(candidate),
            Err(_) => {}
        }
    }
    Err(match not_executable {
        Some(file) => format!("program {file:?} is not executable for the worker; chmod +x it"),
        None => format!(
            "program {name:?} is not in the worker's PATH ({}); install it or give its full path",
            path.display()
        ),
    })
}

fn check_program(path: &Path) -> Result<(), Errno> {
    if path == Path::new("") {
        return Err(Errno::ENOENT);
    }
    access(path, AccessFlags::X_OK)?;
    if path.is_dir() { Err(Errno::EISDIR) } else { Ok(()) }
}

/// Why the system did not start a program that is there.
pub(super) fn not_started(program: &Path, folder: &Path, key: &str, failure: NotLaunched) -> String {
    let program = program.display();
    let why = failure.errno.desc();
    match (failure.step, failure.errno) {
        (Step::Folder, Errno::ENOENT | Errno::ENOTDIR) => {
            format!("folder {folder:?} is not there; make it ({key}.folder)")
        }
        (Step::Folder, _) => format!("folder {folder:?} can't be entered: {why} ({key}.folder)"),
        (Step::Record, _) => {
            format!(
                "the process can't be put on record: {why}; look at the worker's disk and its data folder"
            )
        }
        (Step::Limits, _) => format!("the limits of {program} can't be set: {why} ({key})"),
        (_, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => {
            format!("the system has no room for another process: {why}; raise its limit or lower slots")
        }
        (_, Errno::ENOENT) => {
            format!(
                "program {program} names an interpreter that is not there (its first line); install it ({key}.exec)"
            )
        }
        (_, Errno::ENOEXEC) => {
            format!(
                "program {program} is none that the system can run; a script begins with a line like #!/bin/sh ({key}.exec)"
            )
        }
        (_, Errno::EACCES | Errno::EPERM) => {
            format!(
                "program {program} may not be run by the worker: {why}; give it the right to ({key}.exec)"
            )
        }
        (_, Errno::E2BIG) => format!("arguments and environment of {program} are too long ({key})"),
        _ => format!("program {program} could not be started: {why} ({key}.exec)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_the_path() {
        assert!(resolve("sh").unwrap().ends_with("sh"));
        let error = resolve("no-such-program-of-mine").unwrap_err();
        assert!(error.contains("is not in the worker's PATH"), "{error}");
        assert!(resolve("/no/such/program").unwrap_err().contains("is not there"));
        assert!(resolve("/etc/passwd").unwrap_err().contains("is not executable"));
        assert!(resolve("/tmp").unwrap_err().contains("is a folder"));
        assert!(resolve("").is_err());
    }
}
