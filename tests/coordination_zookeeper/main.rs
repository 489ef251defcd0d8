//! The coordinator on a real ZooKeeper ensemble of three.
//!
//! Cases share the ensemble: those that only use it run at once, each in a chroot of its own; those
//! that harm it run alone, and leave it whole.

#![cfg(feature = "zookeeper")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod cut;
mod load;
mod members;
mod tree;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::PATIENCE;
use common::proxy::Proxy;
use common::servers::{Servers, Wanted};
use qdo::coordination::conformance::{Ground, member, partition, seen};
use qdo::coordination::zookeeper::{ZooKeeperCoordinator, ZooKeeperOptions};
use qdo::coordination::{
    CoordinationError, CoordinationErrorKind, Coordinator, LockOutcome, Session, SessionState,
};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(6);

/// Whoever uses the ensemble has read access, whoever harms it write access.
static ENSEMBLE: RwLock<()> = RwLock::const_new(());

/// Of the servers, who refuse whoever shows none.
const USER: (&str, &str) = ("qdo", "open sesame");

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Wanted::zookeeper().three().auth().tls().start())
}

async fn shared() -> (&'static Servers, RwLockReadGuard<'static, ()>) {
    let guard = ENSEMBLE.read().await;
    (tokio::task::spawn_blocking(servers).await.unwrap(), guard)
}

async fn alone() -> (&'static Servers, RwLockWriteGuard<'static, ()>) {
    let guard = ENSEMBLE.write().await;
    (tokio::task::spawn_blocking(servers).await.unwrap(), guard)
}

/// A chroot that nobody has used.
fn chroot() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("/qdo/case-{}", NEXT.fetch_add(1, Relaxed))
}

fn options(servers: &str, chroot: &str) -> ZooKeeperOptions {
    let mut options = ZooKeeperOptions::new(format!("{servers}{chroot}"));
    options.session_timeout = TIMEOUT;
    options.auth = Some((USER.0.to_owned(), USER.1.to_owned()));
    options
}

fn coordinator(servers: &str, chroot: &str) -> Arc<dyn Coordinator> {
    Arc::new(ZooKeeperCoordinator::new(options(servers, chroot)).unwrap())
}

/// Joins, as often as it takes.
async fn join(coordinator: &Arc<dyn Coordinator>, id: &str) -> Arc<dyn Session> {
    until("joining", async || coordinator.join(member(id)).await).await
}

/// Repeats a call until it is answered.
async fn until<T>(what: &str, call: impl AsyncFn() -> Result<T, CoordinationError>) -> T {
    let repeated = async {
        loop {
            match call().await {
                Ok(value) => return value,
                Err(error) if error.kind == CoordinationErrorKind::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, repeated).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

async fn lock(session: &Arc<dyn Session>, index: u16) -> LockOutcome {
    until("locking", async || session.lock(&partition(index)).await).await
}

async fn state(session: &Arc<dyn Session>, wanted: SessionState) {
    let mut state = session.state();
    let waited = tokio::time::timeout(PATIENCE, state.wait_for(|state| *state == wanted)).await;
    assert!(waited.is_ok(), "never {wanted:?}, but {:?}", session.state().borrow());
}

/// Controls the servers, which takes its time.
async fn control<T: Send + 'static>(control: impl FnOnce(&Servers) -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(move || control(servers())).await.unwrap()
}

mod conformance {
    use super::*;

    /// The way that is cut leads to the first server, and falls silent.
    async fn ground() -> Ground {
        let (servers, guard) = shared().await;
        let chroot = chroot();
        let first = servers.zookeeper().split(',').next().unwrap();
        let proxy = Proxy::start(first).await;
        Ground {
            coordinator: coordinator(servers.zookeeper(), &chroot),
            cuttable: coordinator(&proxy.address(), &chroot),
            // The guard is kept as long as the case runs.
            cut: Box::new(move || {
                let _kept = &guard;
                proxy.silence();
            }),
        }
    }

    qdo::coordination_conformance!(ground());
}
