//! Looking in: `qdo cluster`, `qdo partition`, `qdo assignment`.
//!
//! A worker is asked, which asks the others; or, with `--direct`, the store and ZooKeeper are read
//! without any. Both give the same views ([`crate::model::cluster`]).

mod partition;
mod plan;
mod show;
mod source;
mod watch;

use super::args::{AssignmentCommand, Global, LookArgs, PartitionCommand};
use super::exit::{Exit, Failure};
use super::out::{Out, say_warning};
use crate::model::cluster::PartitionView;
use crate::worker::{PartitionFilter, PlannedChange};
use source::Source;

/// Partitions that are listed at most.
const PARTITIONS_MAX: usize = 100_000;
/// Partitions of one page.
const PAGE: usize = crate::model::limits::PARTITIONS_PAGE_MAX;

/// `qdo cluster`.
pub(super) fn show(look: &LookArgs, global: &Global, out: &Out) -> Result<Exit, Failure> {
    source::run(global, look.direct, async |source| {
        watch::repeat(look.watch, out, async || {
            let cluster = source.cluster().await?;
            out.rendered(&cluster, |out| show::cluster(&cluster, out))
        })
        .await
    })
}

/// `qdo partition`.
pub(super) fn partition(command: PartitionCommand, global: &Global, out: &Out) -> Result<Exit, Failure> {
    match command {
        PartitionCommand::List { queue, look } => source::run(global, look.direct, async |source| {
            watch::repeat(look.watch, out, async || {
                let partitions = list(&source, global, queue.as_deref()).await?;
                out.rendered(&partitions, |out| partition::list(&partitions, out))
            })
            .await
        }),
        PartitionCommand::Show { partition, look } => source::run(global, look.direct, async |source| {
            watch::repeat(look.watch, out, async || {
                let view = source.partition(partition).await?;
                out.rendered(&view, |out| partition::show(&view, out))
            })
            .await
        }),
    }
}

/// `qdo assignment`.
pub(super) fn assignment(command: AssignmentCommand, global: &Global, out: &Out) -> Result<Exit, Failure> {
    let AssignmentCommand::Plan { join, leave, direct } = command;
    let change = match (join, leave) {
        (Some(name), _) => PlannedChange::Join(name),
        (None, Some(worker)) => PlannedChange::Leave(worker),
        (None, None) => return Err(Failure::usage("say --join NAME or --leave WORKER")),
    };
    source::run(global, direct, async |source| {
        let plan = source.plan(&change).await?;
        out.value(&plan, |out| plan::show(&plan, out))?;
        if !plan.without_owner.is_empty() {
            say_warning(&format!("{} partitions would have no owner", plan.without_owner.len()));
        }
        Ok(Exit::Ok)
    })
}

/// All pages; without a queue, of all namespaces.
async fn list(source: &Source, global: &Global, queue: Option<&str>) -> Result<Vec<PartitionView>, Failure> {
    let mut filter = PartitionFilter {
        namespace: queue.map(|_| global.namespace.clone()),
        queue: queue.map(str::to_owned),
        after: None,
        limit: PAGE,
    };
    let mut all = Vec::new();
    loop {
        let page = source.partitions(&filter).await?;
        all.extend(page.partitions);
        let after = page.cursor.as_deref().and_then(crate::worker::look::view::parse_partition);
        if after.is_none() || all.len() >= PARTITIONS_MAX {
            return Ok(all);
        }
        filter.after = after;
    }
}
