//! What each setting is for: `docs/configuration.md`, `etc/standalone.toml` and `etc/cluster.toml` are
//! made of this, and tests hold them and the types together.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;
use super::entries::{ENTRIES, HANDLER_ENTRIES};

fn default_of(key: &str) -> Value {
    let defaults = serde_json::to_value(Config::default()).expect("a configuration is plain data");
    key.split('.').fold(defaults, |value, part| value.get(part).cloned().unwrap_or(Value::Null))
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// Comment lines of at most so many characters.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > 100 {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

const STANDALONE_HEAD: &str = "\
# Settings of `qdo standalone`. Every value below is the default, so that an empty file does the same.
#
";

const CLUSTER_HEAD: &str = "\
# Settings of `qdo worker`, the same file on all hosts: what differs between them comes from their
# environment (QDO_CLUSTER__NAME, QDO_CLUSTER__ADDRESS) or from defaults. Every value below is the
# default; a cluster of more than one host needs `listen`, `cluster.secret_file`,
# `cassandra.contact_points` and `zookeeper.connect`.
#
";

const TOML_HEAD: &str = "\
# Texts may hold ${NAME} or ${NAME:-default}, replaced from the environment ($$ is a dollar sign).
# Other files can be read first, whose settings those of this file override:
# include = [\"handlers.toml\"]
# Every setting can be overridden by a variable: QDO_LISTEN, QDO_LOG__FILTER, QDO_WORKER__SLOTS.
# Check this file with `qdo config check --config FILE`.
";

/// `etc/standalone.toml`.
pub fn standalone_toml() -> String {
    toml(STANDALONE_HEAD, &["cluster", "cassandra", "zookeeper"])
}

/// `etc/cluster.toml`.
pub fn cluster_toml() -> String {
    toml(CLUSTER_HEAD, &["store"])
}

fn toml(head: &str, without: &[&str]) -> String {
    let mut out = format!("{head}{TOML_HEAD}");
    let mut section = "";
    for entry in ENTRIES {
        let (parent, name) = split(entry.key);
        if without.contains(&parent) {
            continue;
        }
        out.push('\n');
        if parent != section {
            let _ = writeln!(out, "[{parent}]");
            section = parent;
        }
        comment(&mut out, entry.doc);
        match default_of(entry.key) {
            Value::Null => {
                let _ = writeln!(out, "# {name} = {}", entry.example);
            }
            value => {
                let _ = writeln!(out, "{name} = {}", toml_value(&value));
            }
        }
    }
    out.push('\n');
    comment(&mut out, "A handler for each kind of job. A kind without one waits until there is one.");
    out.push_str("# [handlers.checksum]\n");
    for entry in HANDLER_ENTRIES {
        comment(&mut out, entry.doc);
        let _ = writeln!(out, "# {} = {}", entry.key, entry.example);
    }
    out
}

const MARKDOWN_HEAD: &str = "\
# Configuration

*Made from the code by `scripts/docs`; a test fails when it is out of date.*

`qdo standalone` needs no configuration, and `qdo worker` the same file on all hosts. To change something, write a TOML file and name it with
`--config FILE` or `QDO_CONFIG=FILE`; without either, `qdo.toml` in the platform's configuration
folder is read if it is there (`~/.config/qdo/qdo.toml` on Linux).

- **Order.** Defaults, then included files, then the file, then variables, then flags: the last word
  wins. `qdo config show` prints what comes out, with secrets as `***`; `qdo config check` says in one
  sentence what is wrong and where.
- **Variables.** Each setting can be given as `QDO_` and its name in capitals, with two underscores
  for a dot: `QDO_LISTEN`, `QDO_LOG__FILTER`, `QDO_QUEUE_DEFAULTS__MAX_ATTEMPTS`. Lists can't be given
  so, and kinds of handlers only if they are in lower case.
- **Expansion.** `${NAME}` and `${NAME:-default}` in any text are replaced from the environment; a
  variable that is not set and has no default is an error. `$$` is a dollar sign; `$` before anything
  but `{` or `$` stays as it is.
- **Includes.** `include = [\"handlers.toml\"]` reads other files first; paths are meant from the folder
  of the file that says so.
- **Lengths of time** are written `250ms`, `30s`, `5m`, `1h30m`, `3d`.
- A key that does not exist is refused, with the nearest one that does.

| setting | default | what it is for |
| --- | --- | --- |
";

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut out = String::from(MARKDOWN_HEAD);
    for entry in ENTRIES {
        let default = match default_of(entry.key) {
            Value::Null => "not set".to_owned(),
            value => format!("`{}`", toml_value(&value)),
        };
        let _ = writeln!(out, "| `{}` | {default} | {} |", entry.key, entry.doc);
    }
    out.push_str(HANDLERS_HEAD);
    for entry in HANDLER_ENTRIES {
        let _ = writeln!(out, "| `{}` | `{}` | {} |", entry.key, entry.example, entry.doc);
    }
    out
}

const HANDLERS_HEAD: &str = "
## Handlers

A table `[handlers.<kind>]` for each kind of job. A job of a kind that has none waits, and says so.
Exit code 0 is success, and what the program wrote to its standard output is the result.

```toml
[handlers.thumbnail]
exec = [\"sh\", \"-c\", \"convert - -resize 200x200 png:-\"]
grace = \"10s\"
```

| setting | example | what it is for |
| --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::keys::{self, ANY};
    use super::*;

    fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
        match value.as_object() {
            Some(section) if !section.contains_key(ANY) => {
                for (key, inner) in section {
                    leaves(inner, &keys::join(path, key), out);
                }
            }
            _ => {
                out.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn every_setting_is_explained_once() {
        let mut schema = keys::schema();
        let handler = schema["handlers"][ANY].take();
        schema.as_object_mut().expect("a section").remove("handlers");
        for (schema, entries) in [(schema, ENTRIES), (handler, HANDLER_ENTRIES)] {
            let mut settings = BTreeSet::new();
            leaves(&schema, "", &mut settings);
            let explained: Vec<String> = entries.iter().map(|entry| entry.key.to_owned()).collect();
            assert_eq!(settings, explained.iter().cloned().collect());
            assert_eq!(settings.len(), explained.len(), "one is explained twice");
        }
    }

    #[test]
    fn settings_without_a_default_have_an_example() {
        for entry in ENTRIES {
            assert_eq!(default_of(entry.key).is_null(), !entry.example.is_empty(), "{}", entry.key);
        }
    }
}
