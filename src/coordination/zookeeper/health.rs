//! How an ensemble is.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zookeeper_client::Error;

use super::beat::boot_ms;
use super::errors::failed;
use super::link::Link;
use super::options::{Target, ZooKeeperOptions};
use super::tree::WORKERS;
use crate::coordination::{CoordinationError, Health, ServerHealth};

/// Longest wait for one server.
const SERVER_MAX: Duration = Duration::from_secs(2);

/// Bytes of a server's answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

pub(super) async fn health(options: &ZooKeeperOptions, target: &Target) -> Result<Health, CoordinationError> {
    let link = Link::connect(options, target).await?;
    let began_ms = boot_ms();
    // A transaction that changes nothing is agreed upon and written like any other.
    let written = link.call(async |client| {
        let mut writer = client.new_multi_writer();
        writer.add_check_version(WORKERS, -1)?;
        writer.commit().await.map_err(Error::from)
    });
    match written.await {
        Ok(_) | Err(Error::NoNode) => {}
        Err(error) => return Err(failed("writing", error)),
    }
    let write = Duration::from_millis(boot_ms().saturating_sub(began_ms));
    let servers = target.servers.iter().map(|server| async move {
        let role = if options.tls.is_some() { reach(server).await.map(|_| None) } else { role(server).await };
        let (role, error) = role.map_or_else(|error| (None, Some(error)), |role| (role, None));
        ServerHealth { address: server.clone(), role, error }
    });
    Ok(Health { kind: "zookeeper", servers: futures_util::future::join_all(servers).await, write })
}

/// Connects to a server.
pub(super) async fn reach(server: &str) -> Result<TcpStream, String> {
    let connected = timeout(SERVER_MAX, TcpStream::connect(server)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| error.to_string())
}

/// What a server says that it is, to the one command that servers answer by default.
async fn role(server: &str) -> Result<Option<String>, String> {
    let mut stream = reach(server).await?;
    let mut answer = String::new();
    let asked = async {
        stream.write_all(b"srvr").await?;
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await
    };
    let asked = timeout(SERVER_MAX, asked).await;
    asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| error.to_string())?;
    if answer.contains("not currently serving requests") {
        return Err("it has no majority to work with".to_owned());
    }
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    Ok(mode.map(|mode| mode.trim().chars().take(16).collect()))
}
