//! The keyspace and its tables: found, made, or missed with a sentence that says what to do.
//!
//! Tables are made through one node, the one with the least host id of those that are up: two nodes
//! that make the same table at once each give it an id of their own, and the cluster is stuck.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;

use super::super::checks::invalid;
use super::super::{StoreError, StoreErrorKind};
use super::connect::nodes_of;
use super::error;
use super::link::{first_row, rows};
use super::options::{CassandraOptions, Replication};
use super::schema::{FORMAT, TABLES, create_table};

/// Fewer copies than this, and one lost node loses the quorum.
const REPLICAS_ADVISED: u32 = 3;
/// How long the making of a table may take.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at the nodes.
const PAUSE: Duration = Duration::from_millis(100);

/// Checks the keyspace, making what is missing if that is allowed; the replicas in the data centre.
pub(super) async fn open(
    session: &Session,
    options: &CassandraOptions,
    datacenter: &str,
    swap: &ExecutionProfileHandle,
) -> Result<u32, StoreError> {
    let name = &options.keyspace;
    let mut replicas = replicas(session, name, datacenter).await?;
    let tables = if replicas.is_some() { tables(session, name).await? } else { Vec::new() };
    let has_settings = tables.iter().any(|table| table == "settings");
    let mut format = if has_settings { format(session, name).await? } else { None };
    if format.is_none() {
        if !options.create_schema {
            return Err(missing(name, replicas.is_some()));
        }
        create(session, options, datacenter, swap).await?;
        replicas = self::replicas(session, name, datacenter).await?;
        format = self::format(session, name).await?;
    }
    let (Some(replicas), Some(format)) = (replicas, format) else { return Err(missing(name, true)) };
    if format > FORMAT {
        return Err(StoreError::new(
            StoreErrorKind::NewerFormat,
            format!(
                "keyspace {name} is of format {format}, and this version of qdo knows {FORMAT}: install a newer one"
            ),
        ));
    }
    if replicas < REPLICAS_ADVISED {
        tracing::warn!(
            keyspace = name,
            datacenter,
            replicas,
            "with fewer than {REPLICAS_ADVISED} replicas the store stops when one node is down; a lost disk may lose jobs"
        );
    }
    Ok(replicas)
}

/// Part of what is said of a keyspace that is not there and may not be made.
pub(crate) const CREATION_OFF: &str = "creation is off";

fn missing(name: &str, is_there: bool) -> StoreError {
    let what = if is_there { "has no tables of qdo" } else { "does not exist" };
    invalid(format!(
        "keyspace {name} {what}, and {CREATION_OFF}: make it with qdo's schema, correct the name, or set create_schema = true"
    ))
}

/// The replicas of a keyspace in the data centre, if it is there. They must be able to make a quorum.
async fn replicas(session: &Session, name: &str, datacenter: &str) -> Result<Option<u32>, StoreError> {
    let select = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
    let result = session.query_unpaged(select, (name,)).await.map_err(|error| error::of_request(&error))?;
    let result = result.into_rows_result().map_err(|error| error::unreadable("a keyspace", error))?;
    let row = first_row::<(BTreeMap<String, String>,)>("a keyspace", &result)?;
    let Some((replication,)) = row else { return Ok(None) };
    let replicas = replicas_in(&replication, datacenter);
    enough(session, name, datacenter, replicas)?;
    Ok(Some(replicas))
}

async fn tables(session: &Session, name: &str) -> Result<Vec<String>, StoreError> {
    let select = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let result = session.query_unpaged(select, (name,)).await.map_err(|error| error::of_request(&error))?;
    let result = result.into_rows_result().map_err(|error| error::unreadable("a table", error))?;
    Ok(rows::<(String,)>("a table", &result)?.into_iter().map(|(table,)| table).collect())
}

/// The format that is written in the keyspace, if it is finished.
async fn format(session: &Session, name: &str) -> Result<Option<i64>, StoreError> {
    let select = format!("SELECT value FROM {name}.settings WHERE name = 'format'");
    let result = session.query_unpaged(select, ()).await.map_err(|error| match error {
        // One node had heard of the table, another has not yet.
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, message)) => {
            being_made(name, message)
        }
        other => error::of_request(&other),
    })?;
    let result = result.into_rows_result().map_err(|error| error::unreadable("a setting", error))?;
    Ok(first_row::<(i64,)>("a setting", &result)?.map(|(format,)| format))
}

async fn create(
    session: &Session,
    options: &CassandraOptions,
    datacenter: &str,
    swap: &ExecutionProfileHandle,
) -> Result<(), StoreError> {
    let name = &options.keyspace;
    let is_missing = replicas(session, name, datacenter).await?.is_none();
    let factors = match &options.replication {
        Replication::Factor(factor) => BTreeMap::from([(datacenter.to_owned(), *factor)]),
        Replication::Datacenters(factors) => factors.clone(),
    };
    if is_missing {
        await_nodes(session, &factors, options.connect_timeout).await?;
    }
    let nodes = nodes_of(session, datacenter);
    let maker = nodes.iter().filter(|node| node.is_connected()).min_by_key(|node| node.host_id);
    let Some(maker) = maker else {
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            format!("no node of data centre {datacenter} is up, and keyspace {name} has yet to be made"),
        ));
    };
    let is_scylla = maker.sharder().is_some();
    let at_maker = ExecutionProfile::builder()
        .consistency(Consistency::One)
        .request_timeout(Some(SCHEMA_TIMEOUT))
        .load_balancing_policy(SingleTargetLoadBalancingPolicy::new(
            NodeIdentifier::HostId(maker.host_id),
            None,
        ))
        .build()
        .into_handle();
    let make = async |cql: String| {
        let mut statement = Statement::new(cql);
        statement.set_execution_profile_handle(Some(at_maker.clone()));
        session.query_unpaged(statement, ()).await.map_err(|error| of_creation(&error, name))
    };
    if is_missing {
        let factors = factors.iter().map(|(name, factor)| format!(", {}: {factor}", quoted(name)));
        let factors: String = factors.collect();
        make(format!(
            "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {{'class': 'NetworkTopologyStrategy'{factors}}}"
        ))
        .await?;
    }
    for table in &TABLES {
        make(create_table(name, table, is_scylla)).await?;
    }
    // The driver waits for the nodes to agree on what this session has made, not on what it has found
    // made by another worker that starts at the same time.
    session.await_schema_agreement().await.map_err(|error| being_made(name, error))?;
    let mut finish = Statement::new(format!(
        "INSERT INTO {name}.settings (name, value) VALUES ('format', ?) IF NOT EXISTS"
    ));
    finish.set_execution_profile_handle(Some(swap.clone()));
    session.query_unpaged(finish, (FORMAT,)).await.map_err(|error| error::of_request(&error))?;
    Ok(())
}

/// Worth another try.
fn being_made(name: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!("not all nodes of Cassandra know the tables of keyspace {name} yet: {why}"),
    )
}

fn of_creation(error: &ExecutionError, name: &str) -> StoreError {
    let mut error = match error {
        // It does not say what it is that may not be done.
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, message)) => {
            StoreError::new(
                StoreErrorKind::Permission,
                format!(
                    "the user may not do it ({message}): grant CREATE, or make the schema as another user and set create_schema = false"
                ),
            )
        }
        other => error::of_request(other),
    };
    error.message = format!("keyspace {name} and its tables can't be made: {}", error.message);
    error
}

/// Waits until there are nodes for that many copies. A node of a cluster that has just been started
/// knows of the others only after a while.
async fn await_nodes(
    session: &Session,
    factors: &BTreeMap<String, u32>,
    patience: Duration,
) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        let wrong = factors.iter().find_map(|(datacenter, factor)| {
            fits(datacenter, *factor, nodes_of(session, datacenter).len()).err()
        });
        let Some(error) = wrong else { return Ok(()) };
        if begun.elapsed() >= patience {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
        // If it fails, what is known stays.
        let _ = session.refresh_metadata().await;
    }
}

/// A keyspace with more copies than nodes would be made, and never answer.
fn fits(datacenter: &str, factor: u32, nodes: usize) -> Result<(), StoreError> {
    if factor as usize > nodes {
        return Err(invalid(format!(
            "a replication factor of {factor} needs {factor} nodes in data centre {datacenter}, and it has {nodes}: add nodes, or set the factor to {}",
            nodes.max(1)
        )));
    }
    Ok(())
}

/// A string literal of CQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The copies of each row in a data centre.
fn replicas_in(replication: &BTreeMap<String, String>, datacenter: &str) -> u32 {
    let factor = replication.get(datacenter).or_else(|| replication.get("replication_factor"));
    // "3/1" has transient replicas, which do not count as copies.
    let full = factor.and_then(|factor| factor.split('/').next());
    full.and_then(|factor| factor.parse().ok()).unwrap_or(0)
}

/// Refuses a keyspace that can never answer at quorum.
fn enough(session: &Session, name: &str, datacenter: &str, replicas: u32) -> Result<(), StoreError> {
    let nodes = nodes_of(session, datacenter).len();
    if replicas == 0 {
        return Err(invalid(format!(
            "keyspace {name} has no replicas in data centre {datacenter}: alter its replication, or use another data centre"
        )));
    }
    let quorum = replicas / 2 + 1;
    if quorum as usize > nodes {
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            format!(
                "keyspace {name} has {replicas} replicas in data centre {datacenter}, of which {quorum} must answer, and the number of nodes there is {nodes}: add nodes, or alter its replication"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_those_of_the_data_centre() {
        let of = |entries: &[(&str, &str)]| {
            let owned = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            replicas_in(&owned, "dc1")
        };
        assert_eq!(of(&[("class", "NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "5")]), 3);
        assert_eq!(of(&[("class", "SimpleStrategy"), ("replication_factor", "2")]), 2);
        assert_eq!(of(&[("dc1", "3/1")]), 3);
        assert_eq!(of(&[("dc2", "3")]), 0);
    }
}
