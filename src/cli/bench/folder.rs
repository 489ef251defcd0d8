//! A new folder that is gone afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::exit::Failure;
use crate::client::random_token;

/// A folder that only we use; removed when dropped.
pub(super) struct NewFolder {
    path: PathBuf,
}

impl NewFolder {
    /// Makes one in `parent`, or else where the system keeps temporary files.
    pub fn make(parent: Option<&Path>) -> Result<Self, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("{}-bench", random_token()));
        fs::create_dir(&path).map_err(|error| {
            Failure::usage(format!("cannot make a folder in {}: {error}", parent.display()))
        })?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            super::super::out::say_warning(&format!("{} is left behind: {error}", self.path.display()));
        }
    }
}
