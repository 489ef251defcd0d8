//! One session with the ensemble, as the port has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use zookeeper_client::Error;

use super::beat::{Beat, boot_ms};
use super::drain::drain;
use super::errors::failed;
use super::link::Link;
use super::locks;
use super::member::Own;
use super::mirror::Mirror;
use super::tree::{CATALOG, lock_path};
use crate::coordination::{
    CoordinationError, CoordinationErrorKind, LockOutcome, Member, PartitionName, Session, SessionState,
    View, WorkerId, check,
};

/// Longest wait for the ensemble to confirm the end of a session.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// Bytes of the paths of one session's locks. A session's end is one transaction that names them all,
/// and servers die of one beyond twice this (`jute.maxbuffer`).
const LOCK_BYTES_MAX: usize = 1024 * 1024;

/// Of each path, beside its characters.
const PATH_OVERHEAD: usize = 4;

pub(super) struct ZooKeeperSession {
    /// None after the session was left.
    link: Mutex<Option<Arc<Link>>>,
    own: Arc<Own>,
    chroot_bytes: usize,
    timeout: Duration,
    view: watch::Receiver<Arc<View>>,
    state: watch::Receiver<SessionState>,
    locked: Mutex<Locked>,
    /// Dropped with the session: its tasks end, and with them the client.
    tasks: CancellationToken,
    _end: DropGuard,
}

/// What this session has locked, as far as it knows.
#[derive(Default)]
struct Locked {
    paths: BTreeMap<String, usize>,
    bytes: usize,
}

impl ZooKeeperSession {
    pub async fn begin(
        link: Link,
        member: &Member,
        json: Vec<u8>,
        chroot: &str,
    ) -> Result<Self, CoordinationError> {
        let link = Arc::new(link);
        let own = Arc::new(Own::new(member.id.clone(), json));
        let missed = Arc::new(Notify::new());
        let alive_ms = boot_ms();
        let mirror = Mirror::start(link.clone(), own.clone(), missed.clone()).await?;
        let beat = Beat::new(link.clone(), own.clone(), missed, alive_ms);
        let state = watch::Sender::new(SessionState::Sure);
        let tasks = CancellationToken::new();
        let session = Self {
            timeout: link.client.session_timeout(),
            link: Mutex::new(Some(link)),
            own,
            chroot_bytes: chroot.len(),
            view: mirror.view(),
            state: state.subscribe(),
            locked: Mutex::default(),
            tasks: tasks.clone(),
            _end: tasks.clone().drop_guard(),
        };
        let ended = tasks.clone();
        tokio::spawn(async move { ended.run_until_cancelled(mirror.run(&ended)).await });
        tokio::spawn(async move {
            tasks.run_until_cancelled(beat.run(state.clone())).await;
            state.send_replace(SessionState::Lost);
        });
        Ok(session)
    }

    fn link(&self) -> Result<Arc<Link>, CoordinationError> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_lost = *self.state.borrow() == SessionState::Lost;
        link.filter(|_| !is_lost).ok_or_else(|| {
            let message = format!("the ZooKeeper session of {} is over", self.own.id);
            CoordinationError::new(CoordinationErrorKind::SessionLost, message)
        })
    }

    fn locked(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_locked(&self, path: &str) -> Result<(), CoordinationError> {
        let mut locked = self.locked();
        if locked.paths.contains_key(path) {
            return Ok(());
        }
        let bytes = self.chroot_bytes + path.len() + PATH_OVERHEAD;
        if locked.bytes + bytes > LOCK_BYTES_MAX {
            return Err(CoordinationError::new(
                CoordinationErrorKind::Refused,
                format!(
                    "{} locks are all that this worker can have in ZooKeeper (their paths have {LOCK_BYTES_MAX} \
                     bytes in all): more workers, or shorter names of groups, make room for {path}",
                    locked.paths.len()
                ),
            ));
        }
        locked.bytes += bytes;
        locked.paths.insert(path.to_owned(), bytes);
        Ok(())
    }

    fn note_unlocked(&self, path: &str) {
        let mut locked = self.locked();
        if let Some(bytes) = locked.paths.remove(path) {
            locked.bytes -= bytes;
        }
    }
}

#[async_trait]
impl Session for ZooKeeperSession {
    fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn lock(&self, partition: &PartitionName) -> Result<LockOutcome, CoordinationError> {
        check::partition(partition)?;
        let path = lock_path(partition);
        let link = self.link()?;
        self.note_locked(&path)?;
        let outcome = locks::lock(&link, &path, partition.id, &self.own.id).await;
        // While it is not known whether there is a lock, it counts.
        let is_none = match &outcome {
            Ok(outcome) => *outcome != LockOutcome::Locked,
            Err(error) => error.kind != CoordinationErrorKind::Unavailable,
        };
        if is_none {
            self.note_unlocked(&path);
        }
        outcome
    }

    async fn unlock(&self, partition: &PartitionName) -> Result<(), CoordinationError> {
        check::partition(partition)?;
        let path = lock_path(partition);
        locks::unlock(&*self.link()?, &path).await?;
        self.note_unlocked(&path);
        Ok(())
    }

    async fn publish(&self, member: Member) -> Result<(), CoordinationError> {
        let json = check::own_member(&member, &self.own.id)?;
        self.own.publish(&*self.link()?, json).await
    }

    async fn raise_catalog(&self) -> Result<(), CoordinationError> {
        let link = self.link()?;
        let what = "raising the catalog's number";
        match link.call(|client| client.set_data(CATALOG, b"", None)).await {
            Ok(_) => Ok(()),
            // The number of its creation is as new as any.
            Err(Error::NoNode) => link.make_tree().await,
            Err(error) => Err(failed(what, error)),
        }
    }

    async fn drain(&self, worker: &WorkerId, drained: bool) -> Result<(), CoordinationError> {
        check::worker_id(worker)?;
        drain(&*self.link()?, worker, drained).await
    }

    async fn leave(&self) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.tasks.cancel();
        let Some(link) = link else { return };
        let mut states = link.client.state_watcher();
        // The last one that goes closes the session; calls under way have their bound.
        drop(link);
        let mut state = self.state.clone();
        let closed = async {
            while !(states.peek_state().is_terminated() || states.changed().await.is_terminated()) {}
            state.wait_for(|state| *state == SessionState::Lost).await
        };
        if timeout(LEAVE_MAX, closed).await.is_err() {
            tracing::warn!(worker = %self.own.id, "ZooKeeper has not confirmed the end of the session: it will run out");
        }
    }
}
