//! What can be wrong with a configuration.

use std::path::PathBuf;

/// Where a setting was said: `file:line`, `the environment (QDO_LISTEN)`.
pub(super) type Place = String;

/// Why a configuration is refused. Every text is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("cannot read the configuration {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is larger than any configuration.
    #[error("{} is larger than {max_bytes} bytes, which no configuration should be", file.display())]
    TooLarge {
        /// Which.
        file: PathBuf,
        /// The bound.
        max_bytes: u64,
    },
    /// Not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// File and line.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// There is no such setting.
    #[error("{place}: there is no setting `{key}`{}", hint(nearest))]
    UnknownKey {
        /// Where it was said.
        place: Place,
        /// Its full name.
        key: String,
        /// The nearest that there is.
        nearest: Option<String>,
    },
    /// `${…}` could not be expanded.
    #[error("{place}: `{key}` {message}")]
    Expand {
        /// Where it was said.
        place: Place,
        /// The setting.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A value of the wrong type, or out of bounds.
    #[error("{place}: `{key}`: {message}")]
    Value {
        /// Where it was said.
        place: Place,
        /// The setting.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// Files that include each other, or too many.
    #[error("{place}: {message}")]
    Include {
        /// Where it was said.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// No folder for the data is known.
    #[error("there is no home folder to keep data in: say where with --data FOLDER")]
    NoDataFolder,
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!(": did you mean `{nearest}`?"))
}
