//! What came out.

use comfy_table::Cell;
use serde::Serialize;
use serde_json::Value;

use super::super::exit::Failure;
use super::super::out::{Out, say};
use super::load::Taken;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    /// The server.
    address: String,
    /// Where its store was, if it was started here.
    folder: Option<String>,
    /// Processors that this process may use.
    processors: usize,
    /// Built with optimization.
    optimized: bool,
    measures: Vec<Measure>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(super) struct Measure {
    name: String,
    jobs: u64,
    seconds: f64,
    jobs_per_second: f64,
    /// Of calls or jobs, milliseconds.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    commits: u64,
    transactions: u64,
    fsyncs: u64,
    jobs_per_commit: Option<f64>,
}

impl Measure {
    pub fn new(name: &str, taken: &Taken, before: &Value, after: &Value) -> Self {
        let count = |name: &str| {
            let of = |counters: &Value| counters.get(name).and_then(Value::as_u64).unwrap_or(0);
            of(after).saturating_sub(of(before))
        };
        let seconds = taken.time.as_secs_f64();
        let ms = |quantile: f64| {
            (!taken.latency.is_empty()).then(|| taken.latency.value_at_quantile(quantile) as f64 / 1_000.0)
        };
        let commits = count("commits");
        Self {
            name: name.to_owned(),
            jobs: taken.jobs,
            seconds,
            jobs_per_second: if seconds > 0.0 { taken.jobs as f64 / seconds } else { 0.0 },
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            max_ms: ms(1.0),
            commits,
            transactions: count("transactions"),
            fsyncs: count("fsyncs"),
            jobs_per_commit: (commits > 0).then(|| taken.jobs as f64 / commits as f64),
        }
    }
}

impl Report {
    pub fn new(address: String, folder: Option<String>, measures: Vec<Measure>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            address,
            folder,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            optimized: !cfg!(debug_assertions),
            measures,
        }
    }

    pub fn print(&self, out: &Out) -> Result<(), Failure> {
        if !self.optimized {
            say("this qdo was built without optimization: scripts/bench builds one with it");
        }
        out.value(self, |out| {
            let headings = [
                "WHAT",
                "JOBS",
                "SECONDS",
                "JOBS/S",
                "P50",
                "P99",
                "MAX",
                "COMMITS",
                "FSYNCS",
                "JOBS/COMMIT",
            ];
            let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2} ms"));
            let rows = self.measures.iter().map(|measure| {
                vec![
                    Cell::new(&measure.name),
                    Cell::new(measure.jobs),
                    Cell::new(format!("{:.1}", measure.seconds)),
                    Cell::new(format!("{:.0}", measure.jobs_per_second)),
                    Cell::new(ms(measure.p50_ms)),
                    Cell::new(ms(measure.p99_ms)),
                    Cell::new(ms(measure.max_ms)),
                    Cell::new(measure.commits),
                    Cell::new(measure.fsyncs),
                    Cell::new(
                        measure.jobs_per_commit.map_or_else(|| "-".to_owned(), |jobs| format!("{jobs:.1}")),
                    ),
                ]
            });
            out.table(&headings, rows)
        })
    }
}
