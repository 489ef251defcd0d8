//! What `/proc` says.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Processes that have that path anywhere in their environment, but for these, with their commands.
pub fn with_path_in_environment(path: &Path, but: &[i32]) -> Vec<(i32, String)> {
    let wanted = path.as_os_str().as_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == std::process::id() as i32 || but.contains(&pid) {
            continue;
        }
        // It may end while we look.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.windows(wanted.len()).any(|window| window == wanted) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

/// A line of `/proc/PID/status` in KiB.
pub fn status_kib(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Processor time that a process has used, in clock ticks.
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
