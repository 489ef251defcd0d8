//! Exit codes, and what is said on failure.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::worker::RequestError;

/// How a command ended, as its exit code. `docs/cli.md` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed for a reason that has no code of its own.
    Failed = 1,
    /// A wrong flag, value or configuration; also what the server calls invalid.
    Usage = 2,
    /// There is no such job or queue, or not any more.
    NotFound = 3,
    /// Refused: it is not in a state for that, or the token is missing or wrong.
    Refused = 4,
    /// No server answers, or it can't take the request now.
    Unreachable = 5,
    /// Time was up before the job was final.
    TimedOut = 6,
    /// The job that was waited for failed.
    JobFailed = 7,
    /// The job that was waited for was cancelled.
    JobCancelled = 8,
    /// Ended by Ctrl-C.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The part of `--help` about exit codes.
pub(super) const EXIT_HELP: &str = "Exit codes:
  0    done
  1    failed for a reason that has no code of its own
  2    a wrong flag, value or configuration
  3    no such job or queue, or not any more
  4    refused: not in a state for that, or the token is missing or wrong
  5    no server answers, or it cannot take the request now
  6    time was up before the job was final
  7    the job that was waited for failed
  8    the job that was waited for was cancelled
  130  ended at once by a second Ctrl-C
  143  ended at once by a second SIGTERM";

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// With a sentence.
    Said(Exit, String),
    /// Nobody reads our output any more, which is no failure.
    Pipe,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Said(exit, message.into())
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The same, beginning with what it is about.
    pub fn about(self, what: &str) -> Self {
        match self {
            Self::Said(exit, message) if !message.contains(what) => {
                Self::Said(exit, format!("{what}: {message}"))
            }
            other => other,
        }
    }

    /// Says it, and gives the exit code.
    pub fn report(self) -> Exit {
        match self {
            Self::Said(exit, message) => {
                super::out::say_error(&message);
                exit
            }
            Self::Pipe => Exit::Ok,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Address(_) => Exit::Usage,
            ClientError::Unreachable { .. } | ClientError::Broken { .. } | ClientError::NoAnswer { .. } => {
                Exit::Unreachable
            }
            ClientError::Refused { status, .. } => match status {
                400 | 405 | 413 | 415 => Exit::Usage,
                404 | 410 => Exit::NotFound,
                401 | 403 | 409 => Exit::Refused,
                408 | 429 | 503 => Exit::Unreachable,
                _ => Exit::Failed,
            },
            ClientError::Unknown { .. } | ClientError::Strange { .. } => Exit::Failed,
        };
        let mut message = error.to_string();
        if error.status() == Some(401) {
            message.push_str(" (QDO_TOKEN, or --token-file FILE)");
        }
        Self::new(exit, message)
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let exit = match &error {
            RequestError::NotFound(_) | RequestError::Gone(_) => Exit::NotFound,
            RequestError::Conflict(_) => Exit::Refused,
            RequestError::Invalid { .. } => Exit::Usage,
            RequestError::Overloaded { .. } | RequestError::Moved(_) | RequestError::Unavailable { .. } => {
                Exit::Unreachable
            }
        };
        Self::new(exit, error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_every_code() {
        use Exit::*;
        for exit in [
            Ok,
            Failed,
            Usage,
            NotFound,
            Refused,
            Unreachable,
            TimedOut,
            JobFailed,
            JobCancelled,
            Interrupted,
            Terminated,
        ] {
            let start = format!("\n  {:<5}", exit as u8);
            assert!(EXIT_HELP.contains(&start), "{exit:?} is not explained");
        }
    }
}
