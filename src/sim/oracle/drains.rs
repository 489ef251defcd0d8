//! After the faults an owner takes over and gets everything done within a bound.

use super::super::app::App;
use super::Oracle;

/// True once the owner has nothing left to do and the last facts are acknowledged.
pub fn drained(oracle: &Oracle, app: &App, last_facts: &[u64]) -> bool {
    app.is_settled() && last_facts.iter().all(|fact| oracle.is_acknowledged(*fact))
}
