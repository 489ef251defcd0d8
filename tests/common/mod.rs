//! What the tests of a whole server share.
#![allow(dead_code, reason = "no test program uses all of it")]

pub mod embedded;
pub mod jobs;
pub mod processes;
pub mod proxy;
pub mod random;
pub mod server;
pub mod servers;

use std::time::Duration;

/// Bound of every wait: generous, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);
