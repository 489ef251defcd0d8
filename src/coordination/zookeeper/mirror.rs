//! Keeps a session's view up to date: one recursive watch; after each reconnection it is set again, and
//! then all is listed again.
//!
//! Events of that time are lost, and so is the watch: zookeeper-client 0.11.2 says that it sets
//! persistent watches again, but sends those of the other kinds only.
//!
//! If the session's own node is gone, somebody has wiped the tree: it is made anew, within the same
//! session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{AddWatchMode, EventType, PersistentWatcher, SessionState, WatchedEvent};

use super::errors::failed;
use super::link::Link;
use super::member::Own;
use super::read::{self, Tree};
use super::tree::{self, Node};
use crate::coordination::{CoordinationError, CoordinationErrorKind, View};

/// Changes within so much time of each other come as one.
const COALESCE: Duration = Duration::from_millis(10);

/// After a read that has failed.
const RETRY: Duration = Duration::from_millis(250);

/// Changed nodes that are read one by one; for more, all is listed again.
const CHANGED_MAX: usize = 20_000;

pub(super) struct Mirror {
    link: Arc<Link>,
    own: Arc<Own>,
    watcher: PersistentWatcher,
    tree: Tree,
    view: watch::Sender<Arc<View>>,
    /// The own node was missed by others of this session.
    missed: Arc<Notify>,
    /// By path, whether the last that happened to it is that it was deleted.
    changed: BTreeMap<String, bool>,
    list_again: bool,
}

impl Mirror {
    /// Sets the watch, then registers and lists: nothing is missed in between.
    pub async fn start(
        link: Arc<Link>,
        own: Arc<Own>,
        missed: Arc<Notify>,
    ) -> Result<Self, CoordinationError> {
        link.make_tree().await?;
        let watcher = watch_all(&link).await?;
        let registered = own.register(&link).await?;
        let tree = read::list(&link).await?;
        super::drain::forget_the_gone(&link, &tree, registered.ctime).await;
        let view = watch::Sender::new(Arc::new(tree.view()));
        Ok(Self { link, own, watcher, tree, view, missed, changed: BTreeMap::new(), list_again: false })
    }

    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Until the session is over, or left.
    pub async fn run(mut self, left: &CancellationToken) {
        let mut due: Option<Instant> = None;
        loop {
            let wait = due.unwrap_or_else(Instant::now);
            tokio::select! {
                // First: the watcher is not to be asked when its client is gone.
                biased;
                () = left.cancelled() => return,
                () = sleep_until(wait), if due.is_some() => due = self.catch_up().await,
                event = self.watcher.changed() => {
                    // After its last event the watcher is not to be asked again.
                    if !self.take(event) {
                        return;
                    }
                    due = due.or_else(|| Some(Instant::now() + COALESCE));
                }
                () = self.missed.notified() => {
                    self.list_again = true;
                    due = due.or_else(|| Some(Instant::now()));
                }
            }
        }
    }

    /// Whether there are more events to come.
    fn take(&mut self, event: WatchedEvent) -> bool {
        match event.event_type {
            EventType::Session if event.session_state == SessionState::SyncConnected => {
                self.list_again = true
            }
            EventType::Session => return event.session_state == SessionState::Disconnected,
            deleted if tree::node(&event.path) != Node::Other => {
                self.changed.insert(event.path, deleted == EventType::NodeDeleted);
                if self.changed.len() > CHANGED_MAX {
                    self.changed.clear();
                    self.list_again = true;
                }
            }
            _ => {}
        }
        true
    }

    /// Reads what has changed; if that fails, when to try again.
    async fn catch_up(&mut self) -> Option<Instant> {
        if let Err(error) = self.try_catch_up().await {
            if error.kind != CoordinationErrorKind::Unavailable {
                tracing::warn!(%error, "the view of the cluster is not up to date");
            }
            self.list_again = true;
            return Some(Instant::now() + RETRY);
        }
        None
    }

    async fn try_catch_up(&mut self) -> Result<(), CoordinationError> {
        let changed = std::mem::take(&mut self.changed);
        if self.list_again {
            // The old one, dropped after this, has nothing to tell that the list does not.
            self.watcher = watch_all(&self.link).await?;
            self.tree = read::list(&self.link).await?;
            self.list_again = false;
        } else {
            let (deleted, other): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, deleted)| *deleted);
            deleted.iter().for_each(|(path, _)| self.tree.remove(path));
            let paths: Vec<String> = other.into_iter().map(|(path, _)| path).collect();
            read::read_into(&self.link, &mut self.tree, &paths).await?;
        }
        let was_wiped = !self.tree.has_member(&self.own.id);
        read::show(&self.view, &self.tree);
        if was_wiped {
            tracing::warn!(worker = %self.own.id, "this worker's node in ZooKeeper is gone: registering again");
            // Its event brings it into the view.
            self.own.register(&self.link).await?;
        }
        Ok(())
    }
}

async fn watch_all(link: &Link) -> Result<PersistentWatcher, CoordinationError> {
    let watcher = link.call(|client| client.watch("/", AddWatchMode::PersistentRecursive)).await;
    watcher.map_err(|error| failed("watching the tree", error))
}
