//! Settings of a handler.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::Span;

/// What runs the jobs of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandlerSettings {
    /// The program and its arguments.
    pub exec: Vec<String>,
    /// Variables that the program gets.
    pub env: BTreeMap<String, String>,
    /// Variables that are passed on.
    pub pass_env: Vec<String>,
    /// Time between TERM and KILL.
    pub grace: Span,
    /// Memory limit, bytes.
    pub memory: Option<u64>,
    /// CPU time limit.
    pub cpu: Option<Span>,
    /// Open files.
    pub files: Option<u64>,
    /// Working folder.
    pub folder: Option<PathBuf>,
}

impl HandlerSettings {
    /// One with everything set, so that its keys can be listed. `any` stands for any name.
    pub(super) fn complete(any: &str) -> Self {
        Self {
            exec: Vec::new(),
            env: BTreeMap::from([(any.to_owned(), String::new())]),
            pass_env: Vec::new(),
            grace: Span::from_secs(5),
            memory: Some(0),
            cpu: Some(Span::from_secs(0)),
            files: Some(0),
            folder: Some(PathBuf::new()),
        }
    }
}
