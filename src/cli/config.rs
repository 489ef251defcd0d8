//! `qdo config`.

use super::args::{ConfigCommand, Global, ReferenceFormat};
use super::exit::{Exit, Failure};
use super::out::{Out, say};
use super::session;
use crate::config::Sources;

pub(super) fn run(command: &ConfigCommand, global: &Global, out: &Out) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check => check(global),
        ConfigCommand::Show => show(global, out),
        ConfigCommand::Reference { format } => {
            out.raw(
                match format {
                    ReferenceFormat::Toml => crate::config::reference_toml(),
                    ReferenceFormat::ClusterToml => crate::config::reference_cluster_toml(),
                    ReferenceFormat::Markdown => crate::config::reference_markdown(),
                }
                .as_bytes(),
            )?;
            Ok(Exit::Ok)
        }
    }
}

fn check(global: &Global) -> Result<Exit, Failure> {
    let loaded = session::load(&Sources::of_process(global.config.clone()))?;
    loaded.token()?;
    loaded.cluster_secret()?;
    loaded.cassandra_password()?;
    loaded.zookeeper_password()?;
    loaded.data_folder()?;
    super::standalone::check(&loaded)?;
    match loaded.files.as_slice() {
        [] => say("no configuration file: the defaults are good"),
        files => files.iter().for_each(|file| say(&format!("{} is good", file.display()))),
    }
    Ok(Exit::Ok)
}

fn show(global: &Global, out: &Out) -> Result<Exit, Failure> {
    let loaded = session::load(&Sources::of_process(global.config.clone()))?;
    let mut config = loaded.config.clone();
    config.data = Some(loaded.data_folder()?);
    if out.is_json() {
        out.value(&config, |_| String::new())?;
        return Ok(Exit::Ok);
    }
    for file in &loaded.files {
        out.line(&format!("# from {}", file.display()))?;
    }
    let text = toml::to_string(&config)
        .map_err(|error| Failure::failed(format!("the configuration cannot be written as TOML: {error}")))?;
    out.line(&text)?;
    Ok(Exit::Ok)
}
