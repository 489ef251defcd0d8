//! What a worker tells about itself: logs and metrics.
//!
//! Logs go to stderr, as text or as JSON. Metrics go through the `metrics` facade to one recorder,
//! which renders Prometheus' text format for whoever asks; all names are in [`names`].

mod logs;
mod metrics;
pub mod names;

pub use self::logs::{LogError, LogFormat, init_logs};
pub use self::metrics::{MetricsHandle, install_metrics};
