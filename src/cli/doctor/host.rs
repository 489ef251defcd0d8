//! What the host gives: open files, space.

use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::Findings;
use crate::config::Loaded;

/// Files of a server that does little.
const FILES_BASE: u64 = 256;
/// Files of one attempt: three pipes, its folder, and some while it starts.
const FILES_OF_SLOT: u64 = 8;
/// Clients and peers that should find room as well.
const FILES_ADVISED: u64 = 4_096;
/// Less free space than so many times what is kept for running jobs is soon used up.
const FREE_TIMES: u64 = 8;

pub(super) fn look(loaded: &Loaded, findings: &mut Findings) {
    open_files(loaded, findings);
    data(loaded, findings);
}

fn open_files(loaded: &Loaded, findings: &mut Findings) {
    const CHECK: &str = "open files";
    let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return findings.warn(CHECK, "the limit can't be read", "look at it with `ulimit -n`");
    };
    let slots = loaded.config.worker_settings().slots as u64;
    let needed = FILES_BASE + slots * FILES_OF_SLOT;
    let found = format!("at most {soft}; {slots} slots need {needed}");
    let advice = format!("raise it: `ulimit -n {FILES_ADVISED}`, or LimitNOFILE= in the unit of systemd");
    match soft {
        RLIM_INFINITY => findings.ok(CHECK, "no limit"),
        few if few < needed => findings.fail(CHECK, found, advice),
        few if few < FILES_ADVISED => findings.warn(CHECK, found, advice),
        _ => findings.ok(CHECK, found),
    }
}

fn data(loaded: &Loaded, findings: &mut Findings) {
    const CHECK: &str = "data folder";
    let Ok(folder) = loaded.data_folder() else { return };
    // One that is not there yet is made: then its parent counts.
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let shown = folder.display();
    if access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_err() || !there.is_dir() {
        let found = format!("{shown}: this user may not write in {}", there.display());
        return findings.fail(CHECK, found, "give it to the user that qdo runs as, or set `data`");
    }
    let Ok(stat) = statvfs(there) else {
        return findings.warn(CHECK, format!("{shown}: free space can't be read"), "look at it with `df`");
    };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let kept = loaded.config.worker.free_bytes_min;
    let found = format!("{shown}: {} MiB are free", free >> 20);
    match free {
        little if little < kept => findings.fail(
            CHECK,
            format!("{found}, and {} are kept (worker.free_bytes_min): new jobs are refused", kept >> 20),
            "make room, or set `data` to a larger disk",
        ),
        little if little < kept.saturating_mul(FREE_TIMES) => findings.warn(
            CHECK,
            format!("{found}; below {} new jobs are refused", kept >> 20),
            "make room, or set `data` to a larger disk",
        ),
        _ => findings.ok(CHECK, found),
    }
}
