//! One file: parsed, checked for unknown keys, its variables expanded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::keys::{self, Known};

/// Settings that are paths: relative ones are meant from the folder of the file.
const PATHS: [&str; 9] = [
    "data",
    "token_file",
    "cluster.secret_file",
    "cassandra.password_file",
    "cassandra.tls_ca",
    "zookeeper.password_file",
    "zookeeper.tls_ca",
    "zookeeper.tls_cert",
    "zookeeper.tls_key",
];
/// The one key that is not a setting.
pub(super) const INCLUDE: &str = "include";

/// One parsed file.
#[derive(Clone, Debug)]
pub(super) struct FileSource {
    /// Its settings.
    pub settings: config::Map<String, Value>,
    /// Files that it includes, and where it says so.
    pub includes: Vec<(PathBuf, String)>,
    /// Where each setting was said.
    pub places: BTreeMap<String, String>,
}

impl config::Source for FileSource {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Value>, config::ConfigError> {
        Ok(self.settings.clone())
    }
}

/// Parses a file's text.
pub(super) fn parse(
    file: &Path,
    text: &str,
    env: &BTreeMap<String, String>,
    schema: &serde_json::Value,
) -> Result<FileSource, ConfigError> {
    let mut reader = Reader { file, text, env, places: BTreeMap::new(), includes: Vec::new() };
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        place: reader.place(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    })?;
    let settings = reader.table(table.get_ref(), "", Some(schema))?;
    Ok(FileSource { settings, includes: reader.includes, places: reader.places })
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    env: &'a BTreeMap<String, String>,
    places: BTreeMap<String, String>,
    includes: Vec<(PathBuf, String)>,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> String {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        format!("{}:{line}", self.file.display())
    }

    fn table(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        schema: Option<&serde_json::Value>,
    ) -> Result<config::Map<String, Value>, ConfigError> {
        let mut out = config::Map::new();
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let full = keys::join(path, name);
            let place = self.place(key.span().start);
            if path.is_empty() && name == INCLUDE {
                self.include(value, &place)?;
                continue;
            }
            let inner = match schema.map(|section| keys::lookup(section, name)) {
                Some(Known::Yes(inner)) => Some(inner),
                Some(Known::No(nearest)) => {
                    let nearest = nearest.map(|nearest| keys::join(path, &nearest));
                    return Err(ConfigError::UnknownKey { place, key: full, nearest });
                }
                None => None,
            };
            self.places.insert(full.clone(), place);
            out.insert(name.to_owned(), self.value(value, &full, inner)?);
        }
        Ok(out)
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: &str,
        schema: Option<&serde_json::Value>,
    ) -> Result<Value, ConfigError> {
        let kind = match value.get_ref() {
            DeValue::String(text) => {
                let mut text = self.expand(text, path, value.span().start)?;
                if PATHS.contains(&path) && !text.is_empty() {
                    text = self.beside(&text).to_string_lossy().into_owned();
                }
                ValueKind::String(text)
            }
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                ValueKind::I64(parsed.map_err(|_| ConfigError::Value {
                    place: self.place(value.span().start),
                    key: path.to_owned(),
                    message: "the number does not fit into 64 bits".to_owned(),
                })?)
            }
            DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => ValueKind::Boolean(*truth),
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(items) => {
                let items = items.iter().enumerate();
                let values = items.map(|(at, item)| self.value(item, &format!("{path}[{at}]"), None));
                ValueKind::Array(values.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => {
                // A table where a plain value belongs is a type error, found later.
                let section = schema.filter(|schema| schema.is_object());
                ValueKind::Table(self.table(table, path, section)?)
            }
        };
        Ok(Value::new(None, kind))
    }

    fn expand(&self, text: &str, path: &str, offset: usize) -> Result<String, ConfigError> {
        super::expand::expand(text, self.env).map_err(|message| ConfigError::Expand {
            place: self.place(offset),
            key: path.to_owned(),
            message,
        })
    }

    fn include(&mut self, value: &Spanned<DeValue<'_>>, place: &str) -> Result<(), ConfigError> {
        let wrong = || ConfigError::Include {
            place: place.to_owned(),
            message: "`include` is a list of files, like [\"handlers.toml\"]".to_owned(),
        };
        for item in value.get_ref().as_array().ok_or_else(wrong)?.iter() {
            let text = item.get_ref().as_str().ok_or_else(wrong)?;
            let text = self.expand(text, INCLUDE, item.span().start)?;
            self.includes.push((self.beside(&text), place.to_owned()));
        }
        Ok(())
    }

    /// A path as meant by this file.
    fn beside(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}
