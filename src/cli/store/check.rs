//! `qdo store check`: every partition read as a new owner would read it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::super::out::{Ink, Out, printable, say, say_warning};
use crate::store::{Durability, Store, StoreHealth};
use crate::worker::check::{PartitionReport, check};

pub(super) async fn run(store: Arc<dyn Store>, out: &Out) -> Result<Exit, Failure> {
    let health = store.health().await?;
    let reports = check(store).await?;
    let all = json!({ "store": health_value(&health), "partitions": reports.iter().map(value).collect::<Vec<_>>() });
    out.value(&all, |out| table(&reports, out))?;
    let up = health.nodes.iter().filter(|node| node.up).count();
    if up < health.nodes.len() {
        say_warning(&format!("{up} of {} nodes of the store can be reached", health.nodes.len()));
    }
    if health.durability < Durability::Power {
        say_warning(&health.durability_note);
    }
    let problems: usize = reports.iter().map(|report| report.problems.len()).sum();
    let jobs: u64 = reports.iter().map(|report| report.jobs).sum();
    let (partitions, backend) = (reports.len(), &health.backend);
    if problems == 0 {
        say(&format!("{backend}: {partitions} partitions with {jobs} jobs are whole"));
        return Ok(Exit::Ok);
    }
    let damaged = reports.iter().filter(|report| !report.problems.is_empty()).count();
    Err(Failure::failed(format!(
        "{backend}: {damaged} of {partitions} partitions have problems ({problems} in all); nothing was changed: keep a copy of the store before you do"
    )))
}

fn table(reports: &[PartitionReport], out: &Out) -> String {
    let headings = ["PARTITION", "CLAIMED BY", "SEGMENTS", "COMMITS", "JOBS", "BLOBS", "BYTES", "STATE"];
    let rows = reports.iter().map(|report| {
        let (state, ink) = match report.problems.len() {
            0 => ("whole".to_owned(), Ink::Good),
            count => (format!("{count} problems"), Ink::Bad),
        };
        let numbers = [report.segments as u64, report.commits, report.jobs, report.blobs, report.bytes];
        let mut row = vec![comfy_table::Cell::new(printable(&report.name.to_string()))];
        row.push(comfy_table::Cell::new(printable(&report.claimed_by)));
        row.extend(numbers.map(comfy_table::Cell::new));
        row.push(out.cell(state, ink));
        row
    });
    let mut text = out.table(&headings, rows);
    for report in reports {
        for problem in &report.problems {
            text += &format!("\n{}: {}", printable(&report.name.to_string()), printable(problem));
        }
    }
    text
}

fn value(report: &PartitionReport) -> Value {
    json!({
        "partition": report.name.to_string(),
        "id": report.name.id.to_string(),
        "claimed_by": report.claimed_by,
        "segments": report.segments,
        "commits": report.commits,
        "jobs": report.jobs,
        "blobs": report.blobs,
        "bytes": report.bytes,
        "problems": report.problems,
    })
}

fn health_value(health: &StoreHealth) -> Value {
    let nodes = health.nodes.iter().map(|node| {
        json!({
            "address": node.address,
            "datacenter": node.datacenter,
            "rack": node.rack,
            "version": node.version,
            "up": node.up,
        })
    });
    json!({
        "backend": health.backend,
        "durability": format!("{:?}", health.durability).to_lowercase(),
        "durability_note": health.durability_note,
        "replicas": health.replicas,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}
