//! What each setting is for: `docs/configuration.md` and `etc/standalone.toml` are made of this, and
//! tests hold them and the types together.

use std::fmt::Write as _;

use serde_json::Value;

use super::Config;

/// A setting as it is explained.
struct Entry {
    /// Its full name.
    key: &'static str,
    /// A value in TOML, for those that are not set by default.
    example: &'static str,
    /// What it is for.
    doc: &'static str,
}

const fn entry(key: &'static str, doc: &'static str) -> Entry {
    Entry { key, example: "", doc }
}

const fn unset(key: &'static str, example: &'static str, doc: &'static str) -> Entry {
    Entry { key, example, doc }
}

/// Every setting, in the order in which they are shown; those of one section follow one another.
const ENTRIES: &[Entry] = &[
    entry("listen", "Where the HTTP API listens; port 0 lets the system choose one."),
    entry("insecure", "Allow listening beyond loopback without a token."),
    entry(
        "hosts",
        "Host names that callers may use for this server, with or without a port. Loopback names and the address that a request came in at are always taken; requests for other names are refused, against pages that make their own name point here.",
    ),
    unset(
        "token",
        "\"${QDO_TOKEN}\"",
        "What callers must present as `Authorization: Bearer …`. Better kept in `token_file`.",
    ),
    unset(
        "token_file",
        "\"/etc/qdo/token\"",
        "A file that holds the token. A relative path is meant from the folder of this file.",
    ),
    unset(
        "data",
        "\"/var/lib/qdo\"",
        "The folder that everything is kept in; by default the platform's place for such data, printed at start. A relative path is meant from the folder of this file.",
    ),
    entry(
        "log.filter",
        "What is logged to standard error: `error`, `warn`, `info`, `debug`, `trace`, or `target=level` pairs with commas.",
    ),
    entry("log.format", "`text` for people, `json` for one object a line."),
    unset("worker.slots", "8", "Attempts that run at once; four per core if not set."),
    entry("worker.auto_create", "Queues and the namespace come into being at first use."),
    entry("worker.partitions", "Partitions of a queue that is created without a number of its own."),
    entry(
        "worker.window_jobs_max",
        "Jobs held in memory over all partitions (about 50 bytes each; every partition may have 32,768); what is beyond stays in the store.",
    ),
    entry("worker.requests_max", "Requests that may wait for one partition; more are answered 429."),
    entry("worker.bodies_bytes_max", "Bytes of payloads kept ready to be handed out."),
    entry(
        "worker.free_bytes_min",
        "While fewer bytes are free where the data is, new jobs are answered 503: the rest is for those that are there already. 0 is no such bound.",
    ),
    entry(
        "worker.stop_grace",
        "How long running attempts may go on when the server is stopped; what is not done by then is interrupted and runs again.",
    ),
    entry("queue_defaults.max_attempts", "Failed attempts until a job has failed for good."),
    entry(
        "queue_defaults.max_interruptions",
        "Interrupted attempts (their worker died) until a job has failed; counted apart from failures.",
    ),
    entry("queue_defaults.timeout", "Longest run of one attempt; `0s` is unlimited."),
    entry("queue_defaults.retention", "How long finished jobs can be looked at, at least."),
    entry(
        "queue_defaults.retention_count",
        "How many finished jobs of a partition are kept at least, if `retention` would keep more; 0 is no such bound.",
    ),
    entry(
        "queue_defaults.failed_retention",
        "How long failed jobs are kept; `0s` is until they are retried or cleared.",
    ),
    entry(
        "queue_defaults.backlog_max",
        "Jobs that may wait in a queue; more are refused with 429; 0 is no such bound.",
    ),
    entry(
        "queue_defaults.give_up_on",
        "Classes of errors after which a job is not tried again: `timeout`, `signal`, or a handler's own.",
    ),
    entry("queue_defaults.backoff.base", "Delay after the first failed attempt."),
    entry("queue_defaults.backoff.factor", "Factor from one delay to the next, 1 to 100."),
    entry("queue_defaults.backoff.cap", "Longest delay between attempts."),
    entry("queue_defaults.backoff.jitter", "Share of the delay that is left to chance, 0 to 1."),
    entry(
        "store.synchronous",
        "`full`: a job is acknowledged once the disk has it. `normal`: once the operating system has it, which is faster; a power cut may then take the last moments, `kill -9` may not.",
    ),
];

/// Every setting of a handler, below `[handlers.<kind>]`.
const HANDLER_ENTRIES: &[Entry] = &[
    unset(
        "exec",
        "[\"sh\", \"-c\", \"sha256sum\"]",
        "The program and its arguments; the payload is its standard input, its standard output the result, its standard error the log.",
    ),
    unset("env", "{ LANG = \"C.UTF-8\" }", "Variables that the program gets, besides `QDO_…`."),
    unset("pass_env", "[\"PATH\", \"HOME\"]", "Variables of the server that the program gets."),
    unset("grace", "\"10s\"", "Time between TERM and KILL when an attempt must end; 10s if not set."),
    unset(
        "result_bytes_max",
        "65536",
        "More than so many bytes on standard output is a failure; 1 MiB, the most, if not set.",
    ),
    unset("memory_bytes_max", "536870912", "Limit of each process's address space, bytes."),
    unset("cpu_time_max", "\"10m\"", "Limit of each process's time on a processor, in whole seconds."),
    unset("open_files_max", "256", "Limit of each process's open files."),
    unset("folder", "\"/srv/app\"", "Folder that the program starts in, instead of a clean one per attempt."),
];

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

const TOML_HEAD: &str = "\
# Settings of `qdo standalone`. Every value below is the default, so that an empty file does the same.
#
# Texts may hold ${NAME} or ${NAME:-default}, replaced from the environment ($$ is a dollar sign).
# Other files can be read first, whose settings those of this file override:
# include = [\"handlers.toml\"]
# Every setting can be overridden by a variable: QDO_LISTEN, QDO_LOG__FILTER, QDO_WORKER__SLOTS.
# Check this file with `qdo config check --config FILE`.
";

/// `etc/standalone.toml`.
pub fn toml() -> String {
    let mut out = String::from(TOML_HEAD);
    let mut section = "";
    for entry in ENTRIES {
        let (parent, name) = split(entry.key);
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

`qdo standalone` needs no configuration. To change something, write a TOML file and name it with
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
