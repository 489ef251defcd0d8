//! `qdo store copy`: all queues of one store into another.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;

use super::super::args::{CopyArgs, Global};
use super::super::exit::{Exit, Failure};
use super::super::out::{Out, printable, say, say_warning};
use super::super::progress;
use super::address::StoreAddress;
use super::place::file_of;
use super::runtime;
use crate::store::copy::{self, CopyError, CopyOptions, CopyReport};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{Store, StoreErrorKind};

pub(super) fn run(args: &CopyArgs, global: &Global, out: &Out) -> Result<Exit, Failure> {
    let StoreAddress::Sqlite(path) = &args.from else {
        return Err(Failure::usage(
            "--from: only a store in a file can be copied (sqlite:FILE); Cassandra has tools of its own for that",
        ));
    };
    let file = file_of(path);
    if !file.exists() {
        return Err(Failure::new(Exit::NotFound, format!("there is no store in {}", path.display())));
    }
    let file = file.canonicalize().unwrap_or(file);
    if args.take_back {
        return take_back(&file);
    }
    let target = Target::choose(args, global)?;
    if target.is_file(&file) {
        return Err(Failure::usage("--from and --to are the same file"));
    }
    runtime()?.block_on(async {
        let from = own(&file)?;
        let options = CopyOptions {
            keep: args.keep,
            anew: args.anew,
            ..CopyOptions::new(StoreAddress::Sqlite(file).to_string(), target.address.to_string())
        };
        let to = target.open().await?;
        copied(&from, &*to, &options, out).await
    })
}

/// Opens a file so that no server can start on it. Who runs on it is said by the refusal.
fn own(file: &Path) -> Result<SqliteStore, Failure> {
    SqliteStore::open(file, SqliteOptions::default()).map_err(|error| match error.kind {
        StoreErrorKind::Locked => Failure::new(
            Exit::Refused,
            format!("{}; stop it first, so that nothing changes while it is copied", error.message),
        ),
        _ => error.into(),
    })
}

async fn copied(
    from: &SqliteStore,
    to: &dyn Store,
    options: &CopyOptions,
    out: &Out,
) -> Result<Exit, Failure> {
    let bar: ProgressBar = progress::bar(Some(1));
    let begun = Instant::now();
    let mut before = None;
    let result = copy::copy(from, to, options, &mut |progress| {
        before.get_or_insert(progress.rows);
        bar.set_length(progress.rows_of.max(progress.rows));
        bar.set_position(progress.rows);
        bar.set_message(format!("{}: {} rows", printable(progress.group), progress.rows));
    })
    .await;
    bar.finish_and_clear();
    let report = result?;
    if out.is_json() {
        out.value(&report, |_| String::new())?;
    }
    tell(&report, options, begun.elapsed().as_secs_f64());
    Ok(Exit::Ok)
}

fn tell(report: &CopyReport, options: &CopyOptions, seconds: f64) {
    let CopyReport { queues, partitions, rows, bytes, .. } = report;
    let size = format!("{rows} rows, {:.1} MB", *bytes as f64 / 1e6);
    let to = printable(&options.to);
    if report.was_finished {
        say(&format!("all {queues} queues were copied to {to} before ({size}); nothing was left to do"));
    } else {
        let how = if report.resumed { "; an earlier run had begun it" } else { "" };
        say(&format!(
            "{queues} queues ({partitions} partitions, {size}) are copied to {to} in {seconds:.1} s{how}"
        ));
    }
    if report.groups_raised_by > 0 {
        say_warning(
            "JOB IDS HAVE CHANGED: the target had queues before, so the copied jobs' ids have another beginning there \
             (the first 7 characters; the rest has stayed); tokens of the last ten minutes are not known there",
        );
    }
    if !report.left.is_empty() {
        let left = report.left.iter().map(|key| printable(key).to_string()).collect::<Vec<_>>();
        say_warning(&format!("documents that belong to no queue stayed behind: {}", left.join(", ")));
    }
    say(match options.keep {
        true => "servers may go on using the source: jobs of both places run",
        false => "no server starts on the source any more (undo: qdo store copy --take-back --from …)",
    });
}

fn take_back(file: &Path) -> Result<Exit, Failure> {
    let from = own(file)?;
    match runtime()?.block_on(copy::take_back(&from))? {
        Some(to) => say(&format!(
            "servers may use {} again; its jobs run twice if those in {} run as well",
            file.display(),
            printable(&to)
        )),
        None => say(&format!("servers may use {}, and could before", file.display())),
    }
    Ok(Exit::Ok)
}

/// Where to.
struct Target {
    address: StoreAddress,
    #[cfg(feature = "cassandra")]
    cassandra: crate::config::Loaded,
}

impl Target {
    #[cfg(feature = "cassandra")]
    fn choose(args: &CopyArgs, global: &Global) -> Result<Self, Failure> {
        use super::super::session;
        use crate::config::Sources;

        let config = args.to_config.clone().or_else(|| global.config.clone());
        let cassandra = session::load(&Sources::of_process(config))?;
        let section = &cassandra.config.cassandra;
        let address = args.to.clone().unwrap_or_else(|| StoreAddress::Cassandra {
            contact_points: section.contact_points.clone(),
            keyspace: section.keyspace.clone(),
        });
        Ok(Self { address, cassandra })
    }

    #[cfg(not(feature = "cassandra"))]
    fn choose(args: &CopyArgs, _: &Global) -> Result<Self, Failure> {
        match &args.to {
            Some(address @ StoreAddress::Sqlite(_)) => Ok(Self { address: address.clone() }),
            _ => Err(Failure::usage("this build of qdo knows no Cassandra (feature \"cassandra\")")),
        }
    }

    fn is_file(&self, file: &Path) -> bool {
        match &self.address {
            StoreAddress::Sqlite(path) => file_of(path).canonicalize().is_ok_and(|path| path == file),
            StoreAddress::Cassandra { .. } => false,
        }
    }

    async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        match &self.address {
            StoreAddress::Sqlite(path) => {
                Ok(Arc::new(SqliteStore::open(&file_of(path), SqliteOptions::default())?))
            }
            #[cfg(feature = "cassandra")]
            StoreAddress::Cassandra { contact_points, keyspace } => {
                let password = self.cassandra.cassandra_password()?;
                let mut options = self.cassandra.config.cassandra.options(password.as_ref());
                options.contact_points.clone_from(contact_points);
                options.keyspace.clone_from(keyspace);
                Ok(Arc::new(crate::store::CassandraStore::open(options).await?))
            }
            #[cfg(not(feature = "cassandra"))]
            StoreAddress::Cassandra { .. } => {
                Err(Failure::usage("this build of qdo knows no Cassandra (feature \"cassandra\")"))
            }
        }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Store(error) => Self::from(error).about_to_go_on(),
            other => Self::new(Exit::Refused, other.to_string()),
        }
    }
}

impl Failure {
    /// Says that the same command goes on from here.
    fn about_to_go_on(self) -> Self {
        match self {
            Self::Said(exit, message) => {
                Self::Said(exit, format!("{message}; run the same command again, and the copy goes on"))
            }
            other @ Self::Pipe => other,
        }
    }
}
