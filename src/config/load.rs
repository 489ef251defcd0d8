//! Putting the sources together.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::keys::{self, Known};
use super::source::{self, FileSource};
use super::{Config, ConfigError, Secret};

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that may be read for one configuration.
const FILES_MAX: usize = 64;
/// Files that may include one another in a row.
const INCLUDE_DEPTH_MAX: usize = 8;
/// What variables of settings begin with.
const ENV_PREFIX: &str = "QDO_";
/// `QDO_…` variables that are no settings: the client's, and what a handler finds in its
/// environment, so that `qdo` can be called inside one.
const NOT_SETTINGS: [&str; 14] = [
    "QDO_ADDRESS",
    "QDO_ATTEMPT",
    "QDO_CONFIG",
    "QDO_CONTENT_TYPE",
    "QDO_CONTROL",
    "QDO_DEADLINE",
    "QDO_EPOCH",
    "QDO_FAILURES",
    "QDO_JOB_ID",
    "QDO_KEY",
    "QDO_KIND",
    "QDO_MAX_ATTEMPTS",
    "QDO_NAMESPACE",
    "QDO_QUEUE",
];

/// Settings whose values are never shown. Each can be said by a file instead, named `…_file`.
const SECRETS: [&str; 4] = ["token", "cluster.secret", "cassandra.password", "zookeeper.password"];

/// So are the job's headers.
const HEADER_PREFIX: &str = "QDO_HEADER_";

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file; none for the defaults.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// What flags say: full names of settings and their values.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The given file or else the default one, if it is there; and the process's environment.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        // Names and values that are not UTF-8 can't be meant for qdo.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file: file.or_else(|| default_file().filter(|file| file.exists())), env, flags: Vec::new() }
    }

    /// Reads and checks all of it.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let schema = keys::schema();
        let mut files = Vec::new();
        if let Some(file) = &self.file {
            let mut reading =
                Reading { env: &self.env, schema: &schema, stack: Vec::new(), done: &mut files };
            reading.read(file, None)?;
        }
        self.put_together(&schema, files)
    }

    /// The same, with that text as if it were the file's.
    #[doc(hidden)]
    pub fn load_text(&self, text: &str) -> Result<Loaded, ConfigError> {
        let schema = keys::schema();
        let mut files = Vec::new();
        let mut reading = Reading { env: &self.env, schema: &schema, stack: Vec::new(), done: &mut files };
        reading.take(self.file.as_deref().unwrap_or(Path::new("qdo.toml")), text)?;
        self.put_together(&schema, files)
    }

    fn put_together(
        &self,
        schema: &serde_json::Value,
        files: Vec<(PathBuf, FileSource)>,
    ) -> Result<Loaded, ConfigError> {
        let mut places = BTreeMap::new();
        let mut builder = config::Config::builder();
        for (_, source) in &files {
            places.extend(source.places.clone());
            builder = builder.add_source(source.clone());
        }
        let (env, warnings) = self.env_settings(schema, &mut places)?;
        builder = builder.add_source(env);
        for (key, value) in &self.flags {
            let flag = key.rsplit('.').next().unwrap_or(key).replace('_', "-");
            places.insert((*key).to_owned(), format!("the command line (--{flag})"));
            builder = builder.set_override(*key, value.clone()).map_err(|error| other(&error))?;
        }
        let merged = builder.build().map_err(|error| other(&error))?;
        let mut merged: serde_json::Value = merged.try_deserialize().map_err(|error| other(&error))?;
        keys::coerce(&mut merged, schema);
        self.keep_one_of_each_secret(&mut merged);
        let config = decode(merged, &places)?;
        Ok(Loaded { config, files: files.into_iter().map(|(file, _)| file).collect(), warnings })
    }

    /// A secret and the file with it say the same thing: a variable for one overrides the other of a
    /// file.
    fn keep_one_of_each_secret(&self, merged: &mut serde_json::Value) {
        for key in SECRETS {
            let file = format!("{key}_file");
            let said = |key: &str| self.env.get(&env_name(key)).is_some_and(|value| !value.is_empty());
            let (in_text, in_file) = (said(key), said(&file));
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let settings = match section {
                "" => merged.as_object_mut(),
                section => merged.get_mut(section).and_then(serde_json::Value::as_object_mut),
            };
            if let Some(settings) = settings.filter(|_| in_text != in_file) {
                let other = if in_text { format!("{name}_file") } else { name.to_owned() };
                settings.remove(&other);
            }
        }
    }

    /// The variables that are settings, for the `config` crate.
    fn env_settings(
        &self,
        schema: &serde_json::Value,
        places: &mut BTreeMap<String, String>,
    ) -> Result<(config::Environment, Vec<String>), ConfigError> {
        let mut settings = config::Map::new();
        let mut warnings = Vec::new();
        for (name, value) in &self.env {
            let Some(rest) = name.strip_prefix(ENV_PREFIX).filter(|_| !value.is_empty()) else {
                continue;
            };
            if NOT_SETTINGS.contains(&name.as_str()) || name.starts_with(HEADER_PREFIX) {
                continue;
            }
            let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
            match env_key(&path, schema) {
                EnvKey::Setting => {
                    places.insert(path.join("."), format!("the environment ({name})"));
                    settings.insert(name.clone(), value.clone());
                }
                EnvKey::Unrelated(nearest) => warnings.extend(nearest.map(|nearest| {
                    format!("{name} is not a setting and is ignored: did you mean {}?", env_name(&nearest))
                })),
                EnvKey::Wrong(nearest) => {
                    return Err(ConfigError::UnknownKey {
                        place: format!("the environment ({name})"),
                        key: path.join("."),
                        nearest: nearest.map(|nearest| env_name(&nearest)),
                    });
                }
            }
        }
        let source = config::Environment::with_prefix("QDO").prefix_separator("_").separator("__");
        Ok((source.source(Some(settings)), warnings))
    }
}

enum EnvKey {
    Setting,
    /// Its first word is no setting: it may be somebody else's. The nearest setting.
    Unrelated(Option<String>),
    /// Meant as a setting, and there is no such. The nearest one.
    Wrong(Option<String>),
}

fn env_key(path: &[String], schema: &serde_json::Value) -> EnvKey {
    let mut section = schema;
    for (at, key) in path.iter().enumerate() {
        match keys::lookup(section, key) {
            Known::Yes(inner) => section = inner,
            Known::No(nearest) => {
                let nearest = nearest.map(|nearest| [&path[..at], &[nearest]].concat().join("."));
                return if at == 0 { EnvKey::Unrelated(nearest) } else { EnvKey::Wrong(nearest) };
            }
        }
    }
    match section.as_object() {
        None => EnvKey::Setting,
        Some(section) => EnvKey::Wrong(section.keys().next().map(|key| format!("{}.{key}", path.join(".")))),
    }
}

fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// A configuration, and what it was made of.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The files read, in the order in which they were applied.
    pub files: Vec<PathBuf>,
    /// What looks like a mistake, for people.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The token that callers must present, from `token` or `token_file`.
    pub fn token(&self) -> Result<Option<Secret>, ConfigError> {
        secret("token_file", self.config.token.as_ref(), self.config.token_file.as_deref())
    }

    /// What all workers of the cluster know, from `cluster.secret` or `cluster.secret_file`.
    pub fn cluster_secret(&self) -> Result<Option<Secret>, ConfigError> {
        let cluster = &self.config.cluster;
        secret("cluster.secret_file", cluster.secret.as_ref(), cluster.secret_file.as_deref())
    }

    /// The password for Cassandra.
    pub fn cassandra_password(&self) -> Result<Option<Secret>, ConfigError> {
        let cassandra = &self.config.cassandra;
        secret("cassandra.password_file", cassandra.password.as_ref(), cassandra.password_file.as_deref())
    }

    /// The password for ZooKeeper.
    pub fn zookeeper_password(&self) -> Result<Option<Secret>, ConfigError> {
        let zookeeper = &self.config.zookeeper;
        secret("zookeeper.password_file", zookeeper.password.as_ref(), zookeeper.password_file.as_deref())
    }

    /// The folder that everything is kept in.
    pub fn data_folder(&self) -> Result<PathBuf, ConfigError> {
        self.config.data.clone().or_else(default_data_folder).ok_or(ConfigError::NoDataFolder)
    }
}

/// The configuration that is read if none is named: `qdo.toml` in the platform's place for such.
pub fn default_file() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "qdo")?.config_dir().join("qdo.toml"))
}

/// The data folder if none is named, by the platform's conventions.
pub fn default_data_folder() -> Option<PathBuf> {
    Some(directories::ProjectDirs::from("", "", "qdo")?.data_local_dir().to_owned())
}

/// A secret, as it is said or from the file that is named.
fn secret(key: &str, said: Option<&Secret>, file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    let Some(file) = file else {
        return Ok(said.cloned());
    };
    let text = read_text(file)?;
    let secret = text.trim();
    if secret.is_empty() || secret.len() > 1_024 || !secret.chars().all(|c| c.is_ascii_graphic()) {
        return Err(ConfigError::Value {
            place: file.display().to_string(),
            key: key.to_owned(),
            message: "the file must hold one secret: 1 to 1024 printable ASCII characters without a space"
                .to_owned(),
        });
    }
    Ok(Some(Secret::from(secret.to_owned())))
}

fn read_text(file: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Read { file: file.to_owned(), source };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { file: file.to_owned(), max_bytes: FILE_BYTES_MAX });
    }
    Ok(text)
}

struct Reading<'a> {
    env: &'a BTreeMap<String, String>,
    schema: &'a serde_json::Value,
    /// Files that are being read, each included by the one before.
    stack: Vec<PathBuf>,
    /// Files read, includes before what includes them.
    done: &'a mut Vec<(PathBuf, FileSource)>,
}

impl Reading<'_> {
    fn read(&mut self, file: &Path, included_at: Option<&str>) -> Result<(), ConfigError> {
        if let Some(place) = included_at {
            let refuse = |message: String| Err(ConfigError::Include { place: place.to_owned(), message });
            if self.stack.iter().any(|open| open == file) {
                return refuse(format!("{} includes itself", file.display()));
            }
            if self.stack.len() >= INCLUDE_DEPTH_MAX {
                return refuse(format!("files include one another more than {INCLUDE_DEPTH_MAX} deep"));
            }
            if self.done.len() >= FILES_MAX {
                return refuse(format!("more than {FILES_MAX} files are included"));
            }
        }
        let text = read_text(file).map_err(|error| match included_at {
            None => error,
            Some(place) => ConfigError::Include { place: place.to_owned(), message: error.to_string() },
        })?;
        self.take(file, &text)
    }

    fn take(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        let source = source::parse(file, text, self.env, self.schema)?;
        self.stack.push(file.to_owned());
        for (include, place) in &source.includes {
            self.read(include, Some(place))?;
        }
        self.stack.pop();
        self.done.push((file.to_owned(), source));
        Ok(())
    }
}

/// From plain values to types, each complaint with the place where the value was said.
fn decode(merged: serde_json::Value, places: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let config: Config = serde_path_to_error::deserialize(merged).map_err(|error| {
        let key = error.path().to_string();
        // What is wrong with a secret is not said by showing it.
        let message = match SECRETS.contains(&key.as_str()) {
            true => "must be a text".to_owned(),
            false => error.into_inner().to_string(),
        };
        ConfigError::Value { place: place_of(&key, places), key, message }
    })?;
    match config.out_of_bounds() {
        None => Ok(config),
        Some((key, message)) => {
            Err(ConfigError::Value { place: place_of(key, places), key: key.to_owned(), message })
        }
    }
}

/// Where a setting, or the nearest section around it, was said.
fn place_of(key: &str, places: &BTreeMap<String, String>) -> String {
    let mut key = key;
    loop {
        if let Some(place) = places.get(key) {
            return place.clone();
        }
        match key.rfind(['.', '[']) {
            Some(at) => key = &key[..at],
            None => return "the configuration".to_owned(),
        }
    }
}

fn other(error: &config::ConfigError) -> ConfigError {
    ConfigError::Syntax { place: "the configuration".to_owned(), message: error.to_string() }
}
