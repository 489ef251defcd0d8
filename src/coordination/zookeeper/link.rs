//! A client on the cluster's chroot whose every call is bounded.
//!
//! The client alone queues without a bound, and a call made while it is not connected waits for as
//! long as that lasts. So no call is begun then, so many run at once, and each for so long.

use std::future::Future;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error, SessionState, TlsOptions};

use super::errors::failed;
use super::options::{Target, ZooKeeperOptions, ZooKeeperTls};
use super::tree::{CATALOG, FOLDERS};
use crate::coordination::{CoordinationError, CoordinationErrorKind};

/// Calls under way at once.
const CALLS_MAX: usize = 256;

/// Bytes of a file with certificates.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Shortest time that a call is given.
const CALL_MIN: Duration = Duration::from_secs(1);

pub(super) struct Link {
    /// On the chroot.
    pub client: Client,
    /// On the root, to make the chroot.
    base: Client,
    chroot: String,
    create_chroot: bool,
    acls: Acls<'static>,
    calls: Semaphore,
    /// Of each call.
    bound: Duration,
}

impl Link {
    /// Begins a session. The chroot need not be there.
    pub async fn connect(options: &ZooKeeperOptions, target: &Target) -> Result<Self, CoordinationError> {
        let mut connector =
            Client::connector().with_session_timeout(options.session_timeout).with_fail_eagerly();
        if let Some((user, password)) = &options.auth {
            connector = connector.with_auth("digest", format!("{user}:{password}").as_bytes());
        }
        let servers = target.connect_string();
        // A server that is connected to and says nothing holds up one try, not the others.
        let bound = options.session_timeout + CALL_MIN;
        let connected = match &options.tls {
            None => timeout(bound, connector.connect(&servers)).await,
            Some(files) => {
                let connector = connector.with_tls(tls(files).await?);
                timeout(bound, connector.secure_connect(&servers)).await
            }
        };
        let base = match connected.unwrap_or(Err(Error::Timeout)) {
            Ok(base) => base,
            Err(error @ (Error::AuthFailed | Error::BadArguments(_))) => {
                return Err(failed("connecting", error));
            }
            Err(_) => return Err(unreachable(options, target).await),
        };
        let client = base.clone().chroot(target.chroot.clone()).map_err(|_| {
            let message = format!("the ZooKeeper path {} is not one", target.chroot);
            CoordinationError::new(CoordinationErrorKind::Invalid, message)
        })?;
        Ok(Self {
            bound: (client.session_timeout() / 2).max(CALL_MIN),
            client,
            base,
            chroot: target.chroot.clone(),
            create_chroot: options.create_chroot,
            acls: if options.auth.is_some() { Acls::creator_all() } else { Acls::anyone_all() },
            calls: Semaphore::new(CALLS_MAX),
        })
    }

    /// A call to the ensemble. An error that is not one of the ensemble's answers leaves open whether
    /// it has happened.
    pub async fn call<'a, T, E, F>(&'a self, begin: impl FnOnce(&'a Client) -> F) -> Result<T, Error>
    where
        E: Into<Error>,
        F: Future<Output = Result<T, E>> + 'a,
    {
        let bounded = timeout(self.bound, async {
            // It is never closed.
            let _permit = self.calls.acquire().await.map_err(|_| Error::ClientClosed)?;
            if self.client.state() == SessionState::Disconnected {
                return Err(Error::ConnectionLoss);
            }
            begin(&self.client).await.map_err(Into::into)
        });
        bounded.await.unwrap_or(Err(Error::Timeout))
    }

    pub fn options(&self, mode: CreateMode) -> CreateOptions<'static> {
        mode.with_acls(self.acls)
    }

    /// Whether a node with that owner is of this session.
    pub fn is_own(&self, ephemeral_owner: i64) -> bool {
        ephemeral_owner == self.client.session_id().0
    }

    /// Sees to it that the chroot is there, and what is in it for good.
    pub async fn make_tree(&self) -> Result<(), CoordinationError> {
        self.make_chroot().await?;
        let persistent = self.options(CreateMode::Persistent);
        for folder in FOLDERS {
            self.make(folder, &persistent).await?;
        }
        self.make(CATALOG, &persistent).await
    }

    async fn make_chroot(&self) -> Result<(), CoordinationError> {
        if self.chroot == "/" {
            return Ok(());
        }
        let what = format!("making {}", self.chroot);
        if self.create_chroot {
            let persistent = self.options(CreateMode::Persistent);
            return self
                .call(|_| self.base.mkdir(&self.chroot, &persistent))
                .await
                .map_err(|e| failed(&what, e));
        }
        match self.has_chroot().await? {
            true => Ok(()),
            false => Err(CoordinationError::new(
                CoordinationErrorKind::Refused,
                format!(
                    "the path {} does not exist in ZooKeeper, and it may not be made (create_chroot is off): \
                     make it with zkCli.sh create {0}, or correct the connect string",
                    self.chroot
                ),
            )),
        }
    }

    /// Whether the chroot exists.
    pub async fn has_chroot(&self) -> Result<bool, CoordinationError> {
        let seen = self.call(|_| self.base.check_stat(&self.chroot)).await;
        seen.map(|stat| stat.is_some())
            .map_err(|error| failed(&format!("looking for {}", self.chroot), error))
    }

    /// Makes a node without data, if it is not there.
    pub async fn make(&self, path: &str, options: &CreateOptions<'_>) -> Result<(), CoordinationError> {
        match self.call(|client| client.create(path, b"", options)).await {
            Ok(_) | Err(Error::NodeExists) => Ok(()),
            Err(error) => Err(failed(&format!("making {path}"), error)),
        }
    }
}

async fn tls(files: &ZooKeeperTls) -> Result<TlsOptions, CoordinationError> {
    let wrong = |path: &std::path::Path, why: String| {
        let message = format!("the file {} for TLS to ZooKeeper: {why}", path.display());
        CoordinationError::new(CoordinationErrorKind::Invalid, message)
    };
    let read = async |path: &std::path::Path| {
        let length = tokio::fs::metadata(path).await.map_err(|error| wrong(path, error.to_string()))?.len();
        if length > PEM_BYTES_MAX {
            return Err(wrong(path, format!("it has {length} bytes, which is too much for certificates")));
        }
        tokio::fs::read_to_string(path).await.map_err(|error| wrong(path, error.to_string()))
    };
    let ca = read(&files.ca_file).await?;
    let mut options =
        TlsOptions::new().with_pem_ca(&ca).map_err(|error| wrong(&files.ca_file, error.to_string()))?;
    if let Some((certificate_file, key_file)) = &files.identity_files {
        let (certificate, key) = (read(certificate_file).await?, read(key_file).await?);
        options = options
            .with_pem_identity(&certificate, &key)
            .map_err(|error| wrong(certificate_file, format!("with its key: {error}")))?;
    }
    Ok(options)
}

/// Why none of the servers greets.
async fn unreachable(options: &ZooKeeperOptions, target: &Target) -> CoordinationError {
    let tries = target.servers.iter().map(|server| super::health::reach(server));
    let tries = futures_util::future::join_all(tries).await;
    let reached = if options.tls.is_some() {
        "is there, but does not speak TLS with us: is that its TLS port, does the certificate hold its name, \
         is the CA right"
    } else {
        "is there, but does not greet: it may be starting, without a majority, full, or speak TLS only"
    };
    let each = target.servers.iter().zip(tries).map(|(server, reach)| match reach {
        Ok(_) => format!("{server} {reached}"),
        Err(why) => format!("{server}: {why}"),
    });
    let message = format!("no ZooKeeper server can be used: {}", each.collect::<Vec<_>>().join("; "));
    CoordinationError::new(CoordinationErrorKind::Unavailable, message)
}
