//! Logs: to stderr, as text or as JSON lines.

use std::io::IsTerminal as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

/// Why logs are not set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No such format.
    #[error("{0:?} is not a log format: use text or json")]
    Format(String),
    /// The filter can't be understood.
    #[error("the log filter {filter:?} is wrong: {reason}; write info, or qdo=debug,warn")]
    Filter {
        /// As it was given.
        filter: String,
        /// Why.
        reason: String,
    },
    /// It is done already, by us or by an embedder.
    #[error("logs are set up already")]
    Twice,
}

/// Sends logs to stderr. `filter` is as in `RUST_LOG`: `info`, `qdo=debug,warn`.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = filter_of(filter)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let set = match format {
        LogFormat::Text => logs.with_ansi(colours).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    set.map_err(|_| LogError::Twice)
}

/// Libraries whose lines are for their own people, unless the filter names them.
const QUIET: [&str; 2] = ["scylla", "zookeeper_client"];

fn filter_of(text: &str) -> Result<EnvFilter, LogError> {
    let quiet = QUIET.iter().filter(|name| !text.contains(*name)).map(|name| format!("{name}=warn"));
    // What is said last counts.
    let directives: Vec<String> = quiet.chain((!text.is_empty()).then(|| text.to_owned())).collect();
    EnvFilter::try_new(directives.join(","))
        .map_err(|error| LogError::Filter { filter: text.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_or_format_is_a_clear_error() {
        assert!(filter_of("info").is_ok() && filter_of("qdo=debug,warn").is_ok());
        let error = filter_of("qdo=louder").unwrap_err().to_string();
        assert!(error.contains("qdo=louder"), "{error}");
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("xml".parse::<LogFormat>(), Err(LogError::Format("xml".to_owned())));
    }
}
