//! A cluster, for people.

use comfy_table::Cell;
use jiff::Timestamp;

use crate::cli::out::{Ink, Out, printable};
use crate::model::Span;
use crate::model::cluster::{ClusterView, CoordinatorView, StoreView, WorkerView};

/// Names of things that are listed in one line.
const LISTED_MAX: usize = 8;

pub(super) fn cluster(cluster: &ClusterView, out: &Out) -> String {
    let headings =
        ["WORKER", "ADDRESS", "VERSION", "PARTITIONS", "RUNNING", "LOAD", "JOBS/S", "FOR", "STATE"];
    let rows = cluster.workers.iter().map(|worker| {
        let (state, ink) = state(worker, cluster);
        vec![
            Cell::new(printable(&worker.name)),
            Cell::new(printable(worker.address.as_deref().unwrap_or("-"))),
            Cell::new(printable(&worker.version)),
            Cell::new(worker.partitions),
            Cell::new(worker.running.map_or("-".to_owned(), |running| format!("{running}/{}", worker.slots))),
            Cell::new(worker.load().map_or("-".to_owned(), |load| format!("{:.0}%", load * 100.0))),
            Cell::new(worker.last_minute.map_or("-".to_owned(), |rates| per_second(rates.started))),
            Cell::new(since(worker.since)),
            out.cell(state, ink),
        ]
    });
    let mut text = out.table(&headings, rows);
    text.push_str("\n\n");
    text.push_str(&facts(cluster, out));
    text
}

fn state(worker: &WorkerView, cluster: &ClusterView) -> (String, Ink) {
    if cluster.missing.contains(&worker.id) {
        return ("does not answer".to_owned(), Ink::Bad);
    }
    if let Some(trouble) = &worker.trouble {
        return (format!("in trouble: {}", crate::cli::out::brief(trouble, 80)), Ink::Bad);
    }
    if worker.draining {
        return match worker.partitions {
            0 => ("drained".to_owned(), Ink::Busy),
            _ => ("draining".to_owned(), Ink::Busy),
        };
    }
    if !worker.settings_differ.is_empty() {
        return (format!("has other settings: {}", listed(&worker.settings_differ)), Ink::Busy);
    }
    if !worker.cannot_serve.is_empty() {
        return (format!("cannot serve {}", listed(&worker.cannot_serve)), Ink::Bad);
    }
    match worker.running {
        Some(_) => ("works".to_owned(), Ink::Good),
        None => ("registered".to_owned(), Ink::Faint),
    }
}

fn facts(cluster: &ClusterView, out: &Out) -> String {
    let mut partitions = cluster.partitions.to_string();
    if cluster.partitions_without_owner > 0 {
        let without = format!("{} without an owner", cluster.partitions_without_owner);
        partitions = format!("{partitions}, {}", out.paint(&without, Ink::Bad));
    }
    let seen_by = match &cluster.answered_by {
        None => "nobody: read from the store and ZooKeeper. What runs and how much is known to workers only"
            .to_owned(),
        Some(id) if cluster.sure || cluster.coordinator.is_none() => printable(id),
        Some(id) => {
            let unsure = "which is not sure of the others, and starts nothing until it is";
            format!("{}, {}", printable(id), out.paint(unsure, Ink::Bad))
        }
    };
    let mut facts = vec![("partitions", partitions), ("store", store(&cluster.store, out))];
    if let Some(view) = &cluster.coordinator {
        facts.push(("meeting", coordinator(view, out)));
    }
    facts.push(("seen by", seen_by));
    if !cluster.missing.is_empty() {
        facts.push(("missing", out.paint(&printable(&listed(&cluster.missing)), Ink::Bad)));
    }
    out.facts(&facts)
}

fn store(store: &StoreView, out: &Out) -> String {
    if let Some(error) = &store.error {
        return out.paint(&printable(error), Ink::Bad);
    }
    let mut text = printable(store.backend.as_deref().unwrap_or("unknown"));
    let up = store.nodes.iter().filter(|node| node.up).count();
    if !store.nodes.is_empty() {
        let nodes = format!("{up} of {} nodes up", store.nodes.len());
        text.push_str(", ");
        text.push_str(&if up < store.nodes.len() { out.paint(&nodes, Ink::Bad) } else { nodes });
    }
    if let Some(replicas) = store.replicas {
        text.push_str(&format!(", {replicas} copies of each row"));
    }
    for node in store.nodes.iter().filter(|node| !node.up).take(LISTED_MAX) {
        text.push_str(&format!("\n{} is down", printable(&node.address)));
    }
    if let Some(durability) = &store.durability {
        text.push('\n');
        text.push_str(&printable(durability));
    }
    text
}

fn coordinator(view: &CoordinatorView, out: &Out) -> String {
    let session = view.session.as_deref().map(|session| match session {
        "sure" => ", session sure".to_owned(),
        other => out.paint(&format!(", session {other}"), Ink::Bad),
    });
    let session = session.unwrap_or_default();
    if let Some(error) = &view.error {
        return format!("{}{session}", out.paint(&printable(error), Ink::Bad));
    }
    let mut text = view.kind.clone().unwrap_or_default();
    if !view.servers.is_empty() {
        let up = view.servers.iter().filter(|server| server.error.is_none()).count();
        let servers = format!(", {up} of {} servers", view.servers.len());
        text.push_str(&if up < view.servers.len() { out.paint(&servers, Ink::Bad) } else { servers });
    }
    if let Some(seconds) = view.write_seconds {
        text.push_str(&format!(", a write takes {:.0} ms", seconds * 1_000.0));
    }
    text.push_str(&session);
    for server in view.servers.iter().take(LISTED_MAX) {
        let what = match (&server.error, &server.role) {
            (Some(error), _) => out.paint(&printable(error), Ink::Bad),
            (None, role) => printable(role.as_deref().unwrap_or("answers")),
        };
        text.push_str(&format!("\n{}  {what}", printable(&server.address)));
    }
    text
}

/// The first of them.
pub(super) fn listed(items: &[String]) -> String {
    let shown = items.iter().take(LISTED_MAX).map(|item| printable(item)).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What happened in a minute, by the second.
pub(super) fn per_second(in_a_minute: u64) -> String {
    match in_a_minute {
        0 => "0".to_owned(),
        few if few < 600 => format!("{:.2}", few as f64 / 60.0),
        many => format!("{:.0}", many as f64 / 60.0),
    }
}

/// How long ago, to the second.
pub(super) fn since(time: Timestamp) -> String {
    let ms = Timestamp::now().as_millisecond().saturating_sub(time.as_millisecond());
    let seconds = u64::try_from(ms).unwrap_or(0) / 1_000;
    Span::from_secs(seconds).to_string()
}
