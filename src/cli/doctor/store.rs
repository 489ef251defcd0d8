//! The store in a file.

use super::Findings;
use crate::cli::server::STORE_FILE;
use crate::config::Loaded;
use crate::store::StoreErrorKind;
use crate::store::sqlite::SqliteStore;

/// The file of a single server.
pub(super) fn embedded(loaded: &Loaded, findings: &mut Findings) {
    const CHECK: &str = "store";
    let has_token = loaded.config.token.is_some() || loaded.config.token_file.is_some();
    match crate::api::check_listen(loaded.config.listen, has_token, loaded.config.insecure) {
        Ok(()) => findings.ok("listening", format!("at {}", loaded.config.listen)),
        Err(error) => findings.fail("listening", error.to_string(), ""),
    }
    let Ok(folder) = loaded.data_folder() else { return };
    let file = folder.join(STORE_FILE);
    if !file.exists() {
        return findings.ok(CHECK, format!("{} is not there yet: a server makes it", file.display()));
    }
    match SqliteStore::open_read_only(&file) {
        Ok(_) => findings.ok(CHECK, format!("{} can be read", file.display())),
        Err(error) => {
            let advice = match error.kind {
                StoreErrorKind::NewerFormat => "install the newer version of qdo",
                StoreErrorKind::Damaged => "keep a copy of the folder, and look at it with `qdo store check`",
                StoreErrorKind::Permission => "run this as the user that the server runs as",
                _ => "",
            };
            findings.fail(CHECK, error.message, advice);
        }
    }
}
