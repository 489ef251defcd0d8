//! The file that says where a server is.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::Failure;

/// The file that says where the server is; removed when it ends.
pub(super) struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    /// Whoever waits for the file never sees half of it.
    pub fn write(path: &Path, url: &str) -> Result<Self, Failure> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".new");
        fs::write(&unfinished, format!("{url}\n"))
            .and_then(|()| fs::rename(&unfinished, path))
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // If it can't be removed it is stale, which its readers find out.
        let _ = fs::remove_file(&self.path);
    }
}
