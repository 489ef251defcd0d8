//! Partitions, for people.

use comfy_table::Cell;

use super::show::{per_second, since};
use crate::cli::out::{Ink, Out, brief, printable};
use crate::cli::queue::age;
use crate::model::JobState;
use crate::model::cluster::PartitionView;
use crate::model::view::Counts;

pub(super) fn list(partitions: &[PartitionView], out: &Out) -> String {
    let headings = [
        "PARTITION",
        "GROUP",
        "OWNER",
        "EPOCH",
        "LAG",
        "WAITING",
        "SCHEDULED",
        "RUNNING",
        "FAILED",
        "STARTS/S",
        "ENDS/S",
        "FOR",
        "STATE",
    ];
    let rows = partitions.iter().map(|view| {
        let count = |of: fn(&Counts) -> u64| {
            Cell::new(view.counts.as_ref().map_or("-".to_owned(), |counts| of(counts).to_string()))
        };
        let rate = |of: fn(&crate::model::view::Rates) -> u64| {
            Cell::new(view.last_minute.as_ref().map_or("-".to_owned(), |rates| per_second(of(rates))))
        };
        let (text, ink) = state(view);
        vec![
            Cell::new(&view.partition),
            Cell::new(printable(&format!("{}/{}", view.namespace, view.group))),
            Cell::new(owner(view)),
            // Its number orders it; the rest only tells it apart.
            Cell::new(view.epoch.as_deref().and_then(|epoch| epoch.split('-').next()).unwrap_or("-")),
            Cell::new(age(view.oldest_waiting_seconds)),
            count(|counts| counts.waiting),
            count(|counts| counts.scheduled),
            count(|counts| counts.running),
            count(|counts| counts.failed),
            rate(|rates| rates.started),
            rate(|rates| rates.succeeded + rates.failed),
            Cell::new(view.since.map_or("-".to_owned(), since)),
            out.cell(text, ink),
        ]
    });
    out.table(&headings, rows)
}

fn owner(view: &PartitionView) -> String {
    printable(view.owner_name.as_deref().or(view.owner.as_deref()).unwrap_or("-"))
}

fn state(view: &PartitionView) -> (String, Ink) {
    match (&view.trouble, view.counted_at) {
        (Some(trouble), _) => (brief(trouble, 60), Ink::Bad),
        (None, Some(at)) => (format!("counted {} ago", since(at)), Ink::Faint),
        (None, None) if view.jobs_since.is_some() => ("never counted".to_owned(), Ink::Faint),
        (None, None) if view.slots_to_move > 0 => {
            (format!("open, {} slots to move", view.slots_to_move), Ink::Busy)
        }
        (None, None) => ("open".to_owned(), Ink::Good),
    }
}

/// Slots that are with it, and how many of them are to go.
fn slots(view: &PartitionView) -> String {
    match view.slots_to_move {
        0 => view.slots.to_string(),
        moving => format!("{}, {moving} of them wait to go to partitions that were added", view.slots),
    }
}

pub(super) fn show(view: &PartitionView, out: &Out) -> String {
    let mut facts = vec![
        ("partition", view.partition.clone()),
        ("group", printable(&format!("{}/{}", view.namespace, view.group))),
        ("queues", printable(&view.queues.join(", "))),
        ("owner", owner(view)),
        ("worker", printable(view.owner.as_deref().unwrap_or_default())),
        ("slots", slots(view)),
        ("epoch", view.epoch.clone().unwrap_or_default()),
        ("since", view.since.map(|at| format!("{at} ({} ago)", since(at))).unwrap_or_default()),
    ];
    match &view.counts {
        Some(counts) => {
            let numbers = [
                counts.waiting,
                counts.scheduled,
                counts.blocked,
                counts.running,
                counts.succeeded,
                counts.failed,
                counts.cancelled,
            ];
            facts.extend(
                JobState::ALL.iter().zip(numbers).map(|(state, count)| (state.name(), count.to_string())),
            );
        }
        None => facts.push(("jobs", "not known: only its owner counts them".to_owned())),
    }
    match (view.jobs_since, view.counted_at) {
        (Some(jobs), Some(at)) => facts.push((
            "counted",
            format!(
                "{at} ({} ago), and {jobs} jobs were enqueued since; what became of them knows the owner",
                since(at)
            ),
        )),
        (Some(jobs), None) => facts.push((
            "counted",
            format!("never yet; {jobs} jobs were enqueued, and what became of them knows the owner"),
        )),
        (None, _) => {
            facts.push(("lag", age(view.oldest_waiting_seconds)));
            if let Some(rates) = view.last_minute {
                facts.push((
                    "last minute",
                    format!(
                        "{} enqueued, {} started, {} succeeded, {} attempts failed",
                        rates.enqueued, rates.started, rates.succeeded, rates.failed
                    ),
                ));
            }
        }
    }
    facts.push((
        "trouble",
        view.trouble.as_deref().map(|text| out.paint(&printable(text), Ink::Bad)).unwrap_or_default(),
    ));
    out.facts(&facts)
}
