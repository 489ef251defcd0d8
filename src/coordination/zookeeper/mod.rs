//! The coordinator of a cluster: an Apache ZooKeeper ensemble, 3.6 or later.
//!
//! One chroot is one cluster. Everything in it is ephemeral or can be made anew: wipe it, and workers
//! register again within their sessions; lose the ensemble's disks, and they join it anew.
//!
//! ```text
//! options ─▶ link (a bounded client) ─▶ session ─┬─ member, locks, drain   write
//!                                                ├─ mirror ─▶ view         reads what changes
//!                                                └─ beat ─▶ state          asks a majority
//! ```
//!
//! An ensemble that replaces an expired session without a word (ClickHouse Keeper does) is not supported.

use std::sync::Arc;

use async_trait::async_trait;

use super::{CoordinationError, Coordinator, Health, Member, Session, View, check};

mod beat;
mod drain;
mod errors;
mod health;
mod link;
mod locks;
mod member;
mod mirror;
mod options;
mod read;
mod session;
mod tree;

pub use options::{ZooKeeperOptions, ZooKeeperTls};

use link::Link;
use options::Target;
use session::ZooKeeperSession;

/// A ZooKeeper ensemble. Holds no connection itself: each session has one, and so has each look.
#[derive(Clone, Debug)]
pub struct ZooKeeperCoordinator {
    options: Arc<ZooKeeperOptions>,
    target: Arc<Target>,
}

impl ZooKeeperCoordinator {
    /// Checks the options; connects to nothing yet.
    pub fn new(options: ZooKeeperOptions) -> Result<Self, CoordinationError> {
        let target = Arc::new(options::check(&options)?);
        Ok(Self { options: Arc::new(options), target })
    }
}

impl ZooKeeperCoordinator {
    /// Whether the cluster's chroot exists.
    pub async fn has_chroot(&self) -> Result<bool, CoordinationError> {
        Link::connect(&self.options, &self.target).await?.has_chroot().await
    }
}

#[async_trait]
impl Coordinator for ZooKeeperCoordinator {
    async fn join(&self, member: Member) -> Result<Arc<dyn Session>, CoordinationError> {
        let json = check::member(&member)?;
        let link = Link::connect(&self.options, &self.target).await?;
        Ok(Arc::new(ZooKeeperSession::begin(link, &member, json, &self.target.chroot).await?))
    }

    async fn look(&self) -> Result<View, CoordinationError> {
        let link = Link::connect(&self.options, &self.target).await?;
        Ok(read::list(&link).await?.view())
    }

    async fn health(&self) -> Result<Health, CoordinationError> {
        health::health(&self.options, &self.target).await
    }
}
