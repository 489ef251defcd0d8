//! `qdo doctor`: is everything as a server needs it, and if not, what is to be done. Changes nothing.
//!
//! ```text
//! configuration ─▶ secrets, listening, handlers ─▶ host ─▶ store ─▶ ZooKeeper
//! ```
//!
//! A check that can't be made because an earlier one failed says nothing.

#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
mod cluster;
mod config;
mod host;
mod store;

use comfy_table::Cell;
use serde::Serialize;
use tokio::runtime::Builder;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::out::{Ink, Out, printable, say};
use crate::config::Sources;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// A server would not start, or would not do its work.
    Fail,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    outcome: Outcome,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All lines, in order.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.all.push(Finding { check, outcome: Outcome::Ok, found: found.into(), advice: None });
    }

    fn warn(&mut self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Outcome::Warn, found.into(), advice.into());
    }

    fn fail(&mut self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Outcome::Fail, found.into(), advice.into());
    }

    fn add(&mut self, check: &'static str, outcome: Outcome, found: String, advice: String) {
        let advice = Some(advice).filter(|advice| !advice.is_empty());
        self.all.push(Finding { check, outcome, found, advice });
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.all.iter().filter(|finding| finding.outcome == outcome).count()
    }
}

pub(super) fn run(global: &Global, out: &Out) -> Result<Exit, Failure> {
    let mut findings = Findings::default();
    let sources = Sources::of_process(global.config.clone());
    if let Some(loaded) = config::look(&sources, &mut findings) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        let is_cluster = super::store::place::is_cluster(&loaded, &sources);
        config::handlers(&loaded, &mut findings);
        host::look(&loaded, &mut findings);
        runtime.block_on(look_at_servers(&loaded, is_cluster, &mut findings))?;
    }
    out.value(&findings.all, |out| table(&findings, out))?;
    let (failed, warned) = (findings.count(Outcome::Fail), findings.count(Outcome::Warn));
    match (failed, warned) {
        (0, 0) => say("all is well"),
        (0, _) => say(&format!("{warned} warnings: it works, but somebody should look at them")),
        _ => {
            say(&format!("{failed} of {} checks failed", findings.all.len()));
            return Ok(Exit::Failed);
        }
    }
    Ok(Exit::Ok)
}

#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
async fn look_at_servers(
    loaded: &crate::config::Loaded,
    is_cluster: bool,
    findings: &mut Findings,
) -> Result<(), Failure> {
    if is_cluster {
        return cluster::look(loaded, findings).await;
    }
    store::embedded(loaded, findings);
    Ok(())
}

#[cfg(not(all(feature = "cassandra", feature = "zookeeper")))]
async fn look_at_servers(
    loaded: &crate::config::Loaded,
    is_cluster: bool,
    findings: &mut Findings,
) -> Result<(), Failure> {
    if is_cluster {
        findings.fail("store", "this build of qdo knows no clusters", "install one with all features");
        return Ok(());
    }
    store::embedded(loaded, findings);
    Ok(())
}

fn table(findings: &Findings, out: &Out) -> String {
    let rows = findings.all.iter().map(|finding| {
        let outcome = match finding.outcome {
            Outcome::Ok => out.cell("ok", Ink::Good),
            Outcome::Warn => out.cell("warn", Ink::Busy),
            Outcome::Fail => out.cell("fail", Ink::Bad),
        };
        let mut text = printable(&finding.found);
        if let Some(advice) = &finding.advice {
            text = format!("{text}\n→ {}", printable(advice));
        }
        vec![outcome, Cell::new(finding.check), Cell::new(text)]
    });
    out.table(&["", "CHECK", "FOUND"], rows)
}
