//! Which handler runs which kind of job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ExecHandler, ExecSettings, Handler, RunsFolder};
use crate::model::Span;
use crate::model::limits::NAME_BYTES_MAX;

/// `[handlers.<kind>]` of the config file. Exactly one way to run must be given: `exec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandlerSettings {
    /// A process per attempt: the program and its arguments.
    pub exec: Option<Vec<String>>,
    /// Where the program starts, instead of the attempt's clean folder.
    pub folder: Option<PathBuf>,
    /// Further variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Variables of the worker's own environment that it gets.
    pub pass_env: Vec<String>,
    /// From TERM to KILL, when the attempt must end; 10 seconds if not given.
    pub grace: Option<Span>,
    /// More than so many bytes on stdout is a failure; 1 MiB, the most, if not given.
    pub result_bytes_max: Option<usize>,
    /// Address space of each process, bytes.
    pub memory_bytes_max: Option<u64>,
    /// Processor time of each process, in whole seconds.
    pub cpu_time_max: Option<Span>,
    /// Open files of each process.
    pub open_files_max: Option<u64>,
}

/// Why handlers can't be made from the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct HandlerError {
    /// The key of the config file, like `handlers.thumbnail.exec`.
    pub key: String,
    /// What is wrong with it and what to do.
    pub problem: String,
}

/// Handlers by kind. Cheap to clone.
#[derive(Clone, Default)]
pub struct Handlers {
    by_kind: BTreeMap<Arc<str>, Arc<dyn Handler>>,
}

impl Handlers {
    /// The handlers of a config file.
    pub fn from_settings(
        settings: &BTreeMap<String, HandlerSettings>,
        runs: &RunsFolder,
    ) -> Result<Self, HandlerError> {
        let mut handlers = Self::default();
        for (kind, settings) in settings {
            let exec = settings.to_exec(kind)?;
            handlers.insert(kind.as_str(), Arc::new(ExecHandler::new(exec, runs.clone())));
        }
        Ok(handlers)
    }

    /// Jobs of that kind are run by that handler; an earlier one is replaced.
    pub fn insert(&mut self, kind: impl Into<Arc<str>>, handler: Arc<dyn Handler>) {
        self.by_kind.insert(kind.into(), handler);
    }

    /// The handler for jobs of that kind.
    pub fn get(&self, kind: &str) -> Option<Arc<dyn Handler>> {
        self.by_kind.get(kind).cloned()
    }

    /// The kinds that have a handler, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_kind.keys()
    }
}

impl HandlerSettings {
    /// Checks the settings, so that what is wrong is said at start and not at the first job.
    pub fn check(&self, kind: &str) -> Result<(), HandlerError> {
        self.to_exec(kind).map(|_| ())
    }

    /// The file of its program, if that is there and can be run.
    pub fn program(&self, kind: &str) -> Result<PathBuf, HandlerError> {
        let command = self.to_exec(kind)?.command;
        let resolved = crate::runner::exec::program::resolve(command.first().map_or("", String::as_str));
        resolved.map_err(|problem| HandlerError {
            key: format!("handlers.{}.exec", kind.escape_debug()),
            problem,
        })
    }

    fn to_exec(&self, kind: &str) -> Result<ExecSettings, HandlerError> {
        let error = |field: &str, problem: String| HandlerError {
            key: format!("handlers.{}{field}", kind.escape_debug()),
            problem,
        };
        if kind.is_empty() || kind.len() > NAME_BYTES_MAX || kind.chars().any(char::is_control) {
            return Err(error("", format!("a kind is a name of 1 to {NAME_BYTES_MAX} bytes")));
        }
        let Some(command) = &self.exec else {
            return Err(error(
                "",
                "does not say how to run; set exec = [\"program\", \"argument\"]".to_owned(),
            ));
        };
        let defaults = ExecSettings::default();
        let settings = ExecSettings {
            command: command.clone(),
            folder: self.folder.clone(),
            env: self.env.clone(),
            pass_env: self.pass_env.clone(),
            grace: self.grace.unwrap_or(defaults.grace),
            result_bytes_max: self.result_bytes_max.unwrap_or(defaults.result_bytes_max),
            memory_bytes_max: self.memory_bytes_max,
            cpu_time_max: self.cpu_time_max,
            open_files_max: self.open_files_max,
        };
        match settings.check() {
            Ok(()) => Ok(settings),
            Err((field, problem)) => Err(error(&format!(".{field}"), problem)),
        }
    }
}
