//! A plan, for people.

use std::collections::HashMap;

use comfy_table::Cell;

use crate::cli::out::{Out, printable};
use crate::model::cluster::PlanView;

/// Moves that are listed; all of them are in `-o json`.
const MOVES_MAX: usize = 50;

pub(super) fn show(plan: &PlanView, out: &Out) -> String {
    let names: HashMap<&str, &str> =
        plan.workers.iter().map(|share| (share.id.as_str(), share.name.as_str())).collect();
    let shares = plan.workers.iter().map(|share| {
        let cells = [printable(&share.name), share.before.to_string(), share.after.to_string()];
        cells.map(Cell::new).to_vec()
    });
    let mut text = out.table(&["WORKER", "NOW", "THEN"], shares);
    let moves = plan.moves.len();
    text.push_str(&format!("\n\n{moves} of {} partitions would move", plan.partitions));
    if moves == 0 {
        return text;
    }
    text.push_str("\n\n");
    let named = |worker: &Option<String>| {
        let name = worker.as_deref().map(|id| names.get(id).copied().unwrap_or(id));
        Cell::new(printable(name.unwrap_or("-")))
    };
    let rows = plan.moves.iter().take(MOVES_MAX).map(|moved| {
        vec![
            Cell::new(&moved.partition),
            Cell::new(printable(&format!("{}/{}", moved.namespace, moved.group))),
            named(&moved.from),
            named(&moved.to),
        ]
    });
    text.push_str(&out.table(&["PARTITION", "GROUP", "FROM", "TO"], rows));
    if moves > MOVES_MAX {
        text.push_str(&format!("\nand {} more (-o json has all)", moves - MOVES_MAX));
    }
    text
}
