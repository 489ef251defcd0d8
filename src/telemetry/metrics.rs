//! The recorder behind the `metrics` facade, one per process.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::names;

/// Upper bounds of the buckets of all `…_seconds`, from a commit to a long job.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0];
/// How often samples are put into their buckets if nobody asks for the metrics.
const UPKEEP: Duration = Duration::from_secs(10);

static INSTALLED: OnceLock<MetricsHandle> = OnceLock::new();

/// Renders the metrics of this process.
#[derive(Clone)]
pub struct MetricsHandle {
    prometheus: PrometheusHandle,
}

impl MetricsHandle {
    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }
}

/// Installs the recorder, once per process; later calls answer the same handle.
///
/// If an embedder has its own recorder, that one stays, and the handle renders nothing.
pub fn install_metrics() -> MetricsHandle {
    INSTALLED.get_or_init(install).clone()
}

fn install() -> MetricsHandle {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new();
    let builder = builder.set_buckets_for_metric(seconds, &SECONDS).expect("the buckets are not empty");
    let recorder = builder.build_recorder();
    let prometheus = recorder.handle();
    match metrics::set_global_recorder(recorder) {
        Ok(()) => {
            names::describe();
            keep_up(prometheus.clone());
        }
        Err(_) => tracing::debug!("another recorder of metrics is installed, so it gets them"),
    }
    MetricsHandle { prometheus }
}

/// Samples pile up until they are put into their buckets, so that is done also when nobody asks.
fn keep_up(prometheus: PrometheusHandle) {
    let thread = std::thread::Builder::new().name("qdo-metrics".to_owned());
    let spawned = thread.spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            prometheus.run_upkeep();
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for metrics: samples pile up until somebody asks for them");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_and_installing_twice_is_once() {
        let (first, second) = (install_metrics(), install_metrics());
        // Names of this test alone: others count in the same process.
        metrics::counter!("qdo_tried_total").increment(3);
        metrics::histogram!("qdo_tried_seconds").record(0.003);
        for text in [first.render(), second.render()] {
            assert!(text.contains("qdo_tried_total 3"), "{text}");
            assert!(text.contains("qdo_tried_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        }
    }
}
