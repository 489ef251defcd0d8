//! The session's own node among the workers.

use std::sync::{Mutex, PoisonError};

use zookeeper_client::{CreateMode, Error, Stat};

use super::errors::failed;
use super::link::Link;
use super::tree::worker_path;
use crate::coordination::{CoordinationError, WorkerId};

/// How often a step is repeated because others changed the same nodes meanwhile.
pub(super) const TRIES_MAX: usize = 5;

/// The member, as it is to be shown.
pub(super) struct Own {
    pub id: WorkerId,
    pub path: String,
    json: Mutex<Vec<u8>>,
}

impl Own {
    pub fn new(id: WorkerId, json: Vec<u8>) -> Self {
        Self { path: worker_path(&id), id, json: Mutex::new(json) }
    }

    fn json(&self) -> Vec<u8> {
        self.json.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows a changed member. If that fails, it is shown when the node is next made.
    pub async fn publish(&self, link: &Link, json: Vec<u8>) -> Result<(), CoordinationError> {
        *self.json.lock().unwrap_or_else(PoisonError::into_inner) = json.clone();
        match link.call(|client| client.set_data(&self.path, &json, None)).await {
            Ok(_) => Ok(()),
            Err(Error::NoNode) => self.register(link).await.map(|_| ()),
            Err(error) => Err(failed("changing the registration", error)),
        }
    }

    /// Makes the node, and what it is in.
    pub async fn register(&self, link: &Link) -> Result<Stat, CoordinationError> {
        let what = "registering this worker";
        let mut last = Error::NodeExists;
        for _ in 0..TRIES_MAX {
            let json = self.json();
            let ephemeral = link.options(CreateMode::Ephemeral);
            match link.call(|client| client.create(&self.path, &json, &ephemeral)).await {
                Ok((stat, _)) => return Ok(stat),
                Err(Error::NoNode) => link.make_tree().await?,
                Err(Error::NodeExists) => match self.take_over(link, &json).await {
                    Ok(stat) => return Ok(stat),
                    Err(error @ (Error::NoNode | Error::NodeExists)) => last = error,
                    Err(error) => return Err(failed(what, error)),
                },
                Err(error) => return Err(failed(what, error)),
            }
        }
        Err(failed(what, last))
    }

    /// The node is there: from a try whose answer was lost, or of an earlier session of this process,
    /// which nobody uses any more.
    async fn take_over(&self, link: &Link, json: &[u8]) -> Result<Stat, Error> {
        let stat = link.call(|client| client.check_stat(&self.path)).await?.ok_or(Error::NoNode)?;
        if !link.is_own(stat.ephemeral_owner) {
            replace(link, &self.path, json).await?;
        }
        link.call(|client| client.set_data(&self.path, json, None)).await
    }
}

/// Replaces a node of an earlier session by one of this one, in one step.
pub(super) async fn replace(link: &Link, path: &str, data: &[u8]) -> Result<(), Error> {
    let ephemeral = link.options(CreateMode::Ephemeral);
    let replaced = link.call(async |client| {
        let mut writer = client.new_multi_writer();
        writer.add_delete(path, None)?;
        writer.add_create(path, data, &ephemeral)?;
        writer.commit().await.map_err(Error::from)
    });
    replaced.await.map(|_| ())
}
