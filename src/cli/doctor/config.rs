//! The configuration, and what it names on this host.

use super::Findings;
use crate::config::{Loaded, Sources};

/// Reads it. None if nothing more can be said.
pub(super) fn look(sources: &Sources, findings: &mut Findings) -> Option<Loaded> {
    const CHECK: &str = "configuration";
    let loaded = match sources.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            findings.fail(CHECK, error.to_string(), "");
            return None;
        }
    };
    for warning in &loaded.warnings {
        findings.warn(CHECK, warning.clone(), "");
    }
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    match files.as_slice() {
        [] => findings.ok(CHECK, "no file: the defaults"),
        files => findings.ok(CHECK, files.join(", ")),
    }
    let secrets = [
        loaded.token().map(drop),
        loaded.cluster_secret().map(drop),
        loaded.cassandra_password().map(drop),
        loaded.zookeeper_password().map(drop),
    ];
    let mut is_whole = true;
    for error in secrets.into_iter().filter_map(Result::err) {
        findings.fail("secrets", error.to_string(), "");
        is_whole = false;
    }
    if let Err(error) = loaded.data_folder() {
        findings.fail(CHECK, error.to_string(), "");
        is_whole = false;
    }
    is_whole.then_some(loaded)
}

/// Whether each handler's program is there.
pub(super) fn handlers(loaded: &Loaded, findings: &mut Findings) {
    const CHECK: &str = "handlers";
    let handlers = &loaded.config.handlers;
    if handlers.is_empty() {
        findings.warn(
            CHECK,
            "there are none: this server takes jobs and runs none",
            "add a section [handlers.KIND], unless other workers run them",
        );
        return;
    }
    let mut good = Vec::new();
    for (kind, handler) in handlers {
        match handler.program(kind) {
            Ok(program) => good.push(format!("{kind} ({})", program.display())),
            Err(error) => findings.fail(CHECK, error.to_string(), ""),
        }
        if let Some(folder) = handler.folder.as_ref().filter(|folder| !folder.is_dir()) {
            let found = format!("handlers.{kind}.folder: {} is no folder", folder.display());
            findings.fail(CHECK, found, "make it, or correct its path");
        }
    }
    if !good.is_empty() {
        findings.ok(CHECK, good.join(", "));
    }
}
