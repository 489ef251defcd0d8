//! Opening: a session, the right data centre, a keyspace of this format, enough replicas.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileBuilder};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{PoolSize, execution_profile::ExecutionProfileHandle};
use scylla::cluster::Node;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::{Consistency, SerialConsistency};

use super::super::checks::invalid;
use super::super::{StoreError, StoreErrorKind};
use super::error;
use super::hedge::Hedge;
use super::keyspace;
use super::options::CassandraOptions;
use super::statements::{Profiles, Statements};
use super::tls;

/// How often idle connections are asked whether they live, so that a node that froze is noticed.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// How often nodes are listed anew; events tell of most changes at once.
const REFRESH: Duration = Duration::from_secs(20);

/// A session that has been found good.
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) keyspace: String,
    pub(super) datacenter: String,
    /// Copies of each row in the data centre.
    pub(super) replicas: u32,
    pub(super) request_timeout: Duration,
}

/// Connects, makes what is missing if it may, and checks what is there.
pub(super) async fn connect(
    options: &CassandraOptions,
    reads: Arc<Hedge>,
    writes: Arc<Hedge>,
) -> Result<Connected, StoreError> {
    options.check()?;
    let session = session(options).await?;
    let datacenter = datacenter(&session, options)?;
    let profiles = profiles(options, &datacenter, reads, writes);
    let replicas = keyspace::open(&session, options, &datacenter, &profiles.swap).await;
    let replicas = replicas.map_err(|error| with_nodes(&session, &datacenter, error))?;
    let statements = Statements::prepare(&session, &options.keyspace, &profiles).await;
    let statements = statements.map_err(|error| with_nodes(&session, &datacenter, error))?;
    let request_timeout = options.request_timeout;
    let keyspace = options.keyspace.clone();
    Ok(Connected { session, statements, keyspace, datacenter, replicas, request_timeout })
}

async fn session(options: &CassandraOptions) -> Result<Session, StoreError> {
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .connection_timeout(options.connect_timeout)
        .pool_size(PoolSize::PerHost(1.try_into().unwrap_or_else(|_| unreachable!("one is not zero"))))
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .cluster_metadata_refresh_interval(REFRESH)
        .schema_agreement_interval(Duration::from_millis(50))
        .default_execution_profile_handle(
            ExecutionProfile::builder()
                .consistency(Consistency::LocalQuorum)
                .request_timeout(Some(options.request_timeout))
                .build()
                .into_handle(),
        );
    if let (Some(user), Some(password)) = (&options.user, &options.password) {
        builder = builder.user(user, password);
    }
    if let Some(file) = &options.tls_ca {
        builder = builder.tls_context(Some(tls::client(file)?));
    }
    builder = match (&options.datacenter, &options.rack) {
        (Some(datacenter), Some(rack)) => {
            builder.prefer_datacenter_and_rack(datacenter.clone(), rack.clone())
        }
        (Some(datacenter), None) => builder.prefer_datacenter(datacenter.clone()),
        (None, _) => builder,
    };
    builder.build().await.map_err(|error| error::of_session(&error, &options.contact_points))
}

/// The data centre to use, which must be there.
fn datacenter(session: &Session, options: &CassandraOptions) -> Result<String, StoreError> {
    let state = session.get_cluster_state();
    let known: BTreeSet<&str> =
        state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    let list = known.iter().copied().collect::<Vec<_>>().join(", ");
    match (&options.datacenter, known.len()) {
        (Some(wanted), _) if known.contains(wanted.as_str()) => Ok(wanted.clone()),
        (Some(wanted), _) => Err(invalid(format!(
            "Cassandra has no data centre {wanted:?}; it has {list}: correct the name in the settings"
        ))),
        (None, 1) => Ok(list),
        (None, 0) => Err(invalid("Cassandra's nodes do not say which data centre they are in")),
        (None, _) => Err(invalid(format!(
            "Cassandra has several data centres ({list}): say in the settings which one is local"
        ))),
    }
}

/// The nodes of a data centre.
pub(super) fn nodes_of(session: &Session, datacenter: &str) -> Vec<Arc<Node>> {
    let state = session.get_cluster_state();
    let local = state.get_nodes_info().iter().filter(|node| node.datacenter.as_deref() == Some(datacenter));
    local.cloned().collect()
}

/// The error, and how many nodes can be reached, if that may be why.
pub(super) fn with_nodes(session: &Session, datacenter: &str, mut error: StoreError) -> StoreError {
    let nodes = nodes_of(session, datacenter);
    let reached = nodes.iter().filter(|node| node.is_connected()).count();
    if error.kind == StoreErrorKind::Unavailable && reached < nodes.len() {
        let count = nodes.len();
        error.message += &format!(" ({reached} of {count} nodes of data centre {datacenter} can be reached)");
    }
    error
}

fn profiles(options: &CassandraOptions, datacenter: &str, reads: Arc<Hedge>, writes: Arc<Hedge>) -> Profiles {
    let policy = |shuffles: bool| {
        let policy = DefaultPolicy::builder().token_aware(true).enable_shuffling_replicas(shuffles);
        let policy = match &options.rack {
            Some(rack) => policy.prefer_datacenter_and_rack(datacenter.to_owned(), rack.clone()),
            None => policy.prefer_datacenter(datacenter.to_owned()),
        };
        policy.permit_dc_failover(false).build()
    };
    let base = |shuffles: bool| -> ExecutionProfileBuilder {
        ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .request_timeout(Some(options.request_timeout))
            .load_balancing_policy(policy(shuffles))
    };
    let hedged = |hedge: Arc<Hedge>| -> ExecutionProfileHandle {
        base(true).speculative_execution_policy(Some(hedge)).build().into_handle()
    };
    // Compare-and-sets of one document go to one replica, or they get in each other's way.
    let swap = base(false).retry_policy(Arc::new(FallthroughRetryPolicy::new())).build().into_handle();
    Profiles { read: hedged(reads), write: hedged(writes), swap }
}
