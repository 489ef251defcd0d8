//! Which settings there are: the keys of a configuration in which everything is set.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::{CassandraSection, ClusterSection, Config, HandlerSettings, Secret, ZooKeeperSection};
use crate::model::Span;

/// Stands for any key (of a handler, of a variable) in [`schema`].
pub(super) const ANY: &str = "*";

/// A configuration with every setting set, as JSON. Values are the defaults where there are some.
pub(super) fn schema() -> Value {
    let mut config = Config { token: secret(), ..Config::default() };
    config.token_file = Some(PathBuf::new());
    config.data = Some(PathBuf::new());
    config.worker.slots = Some(4);
    config.worker.partitions = Some(1);
    config.cluster = complete_cluster();
    config.cassandra = complete_cassandra();
    config.zookeeper = complete_zookeeper();
    config.handlers = BTreeMap::from([(ANY.to_owned(), complete_handler())]);
    serde_json::to_value(config).expect("a configuration is plain data with text keys")
}

fn secret() -> Option<Secret> {
    Some(Secret::from(String::new()))
}

fn complete_cluster() -> ClusterSection {
    ClusterSection {
        name: Some(String::new()),
        address: Some(String::new()),
        secret: secret(),
        secret_file: Some(PathBuf::new()),
        labels: BTreeMap::from([(ANY.to_owned(), String::new())]),
        ..ClusterSection::default()
    }
}

fn complete_cassandra() -> CassandraSection {
    CassandraSection {
        datacenter: Some(String::new()),
        rack: Some(String::new()),
        user: Some(String::new()),
        password: secret(),
        password_file: Some(PathBuf::new()),
        tls_ca: Some(PathBuf::new()),
        ..CassandraSection::default()
    }
}

fn complete_zookeeper() -> ZooKeeperSection {
    ZooKeeperSection {
        user: Some(String::new()),
        password: secret(),
        password_file: Some(PathBuf::new()),
        tls_ca: Some(PathBuf::new()),
        tls_cert: Some(PathBuf::new()),
        tls_key: Some(PathBuf::new()),
        ..ZooKeeperSection::default()
    }
}

fn complete_handler() -> HandlerSettings {
    HandlerSettings {
        exec: Some(Vec::new()),
        folder: Some(PathBuf::new()),
        env: BTreeMap::from([(ANY.to_owned(), String::new())]),
        pass_env: Vec::new(),
        grace: Some(Span::from_secs(10)),
        result_bytes_max: Some(0),
        memory_bytes_max: Some(0),
        cpu_time_max: Some(Span::from_secs(0)),
        open_files_max: Some(0),
    }
}

/// What a key leads to.
pub(super) enum Known<'a> {
    /// A setting, or a section if it is an object.
    Yes(&'a Value),
    /// Nothing; the nearest key of the same section, if one is near.
    No(Option<String>),
}

/// Looks a key up in a section of the schema.
pub(super) fn lookup<'a>(section: &'a Value, key: &str) -> Known<'a> {
    let Some(object) = section.as_object() else {
        return Known::No(None);
    };
    match object.get(key).filter(|_| key != ANY).or_else(|| object.get(ANY)) {
        Some(value) => Known::Yes(value),
        None => Known::No(nearest(key, object.keys().map(String::as_str))),
    }
}

/// The candidate that is most like a name, if it is alike at all.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let bounded: String = name.chars().take(64).collect();
    candidates
        .map(|candidate| (strsim::jaro_winkler(&bounded, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}

/// `parent.key`, the key in quotes if it needs them.
pub(super) fn join(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// Texts become numbers and truth values where the schema has such: variables are always texts.
pub(super) fn coerce(value: &mut Value, schema: &Value) {
    match (value, schema) {
        (Value::Object(object), section @ Value::Object(_)) => {
            for (key, value) in object {
                if let Known::Yes(inner) = lookup(section, key) {
                    coerce(value, inner);
                }
            }
        }
        (value @ Value::String(_), Value::Number(_) | Value::Bool(_)) => {
            let text = value.as_str().unwrap_or_default();
            if let Ok(parsed @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text) {
                *value = parsed;
            }
        }
        _ => {}
    }
}
