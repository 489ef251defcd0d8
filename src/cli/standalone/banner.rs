//! What is said when the server is up.

use std::path::Path;

use super::super::out::{printable, say};
use crate::client::DEFAULT_ADDRESS;
use crate::config::Loaded;

pub(super) fn print(loaded: &Loaded, data: &Path, url: &str) {
    let files: Vec<String> = loaded.files.iter().rev().map(|file| file.display().to_string()).collect();
    let config = if files.is_empty() { "none, the defaults".to_owned() } else { files.join(", ") };
    let kinds: Vec<&str> = loaded.config.handlers.keys().map(String::as_str).collect();
    let handlers = match kinds.as_slice() {
        [] => "none: jobs wait until there is one, like --handle hello='echo \"hello $(cat)\"'".to_owned(),
        kinds => kinds.join(", "),
    };
    // Commands that need not say where the server is are shorter.
    let at = if url == DEFAULT_ADDRESS { String::new() } else { format!(" --address {url}") };
    let kind = kinds.first().copied().unwrap_or("hello");
    say(&format!(
        "qdo {version} answers at {url}
  data      {data}
  config    {config}
  handlers  {handlers}
try next, in another terminal:
  qdo job enqueue default --kind {kind} world --wait{at}
  qdo queue list{at}
Ctrl-C stops it gently",
        version = env!("CARGO_PKG_VERSION"),
        data = data.display(),
        handlers = printable(&handlers),
        kind = printable(kind),
    ));
}
