//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::exit::EXIT_HELP;
use super::out::{Color, Format};
use super::store::address::StoreAddress;
use crate::model::{JobId, JobState, PartitionId, Span};

const EXAMPLES: &str = "\
Start a server that runs jobs of the kind `hello`, with nothing installed:
  qdo standalone --handle hello='echo \"hello $(cat)\"'

Enqueue a job and wait for its result:
  qdo job enqueue default --kind hello world --wait

Look at queues and failed jobs:
  qdo queue list
  qdo job list default --state failed";

/// A job queue in one binary and one file.
#[derive(Debug, Parser)]
#[command(name = "qdo", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = format!("Examples:\n{EXAMPLES}\n\n{EXIT_HELP}"))]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
pub(super) struct Global {
    /// The server's address, like http://127.0.0.1:7420; by default the configuration's `listen`
    #[arg(long, global = true, env = "QDO_ADDRESS", value_name = "URL", help_heading = "Everywhere")]
    pub address: Option<String>,
    /// The namespace of queues and jobs
    #[arg(
        long,
        short,
        global = true,
        env = "QDO_NAMESPACE",
        default_value = "default",
        value_name = "NAME",
        help_heading = "Everywhere"
    )]
    pub namespace: String,
    /// A file with the token that the server asks for; QDO_TOKEN holds the token itself
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub token_file: Option<PathBuf>,
    /// The configuration file
    #[arg(long, short, global = true, env = "QDO_CONFIG", value_name = "FILE", help_heading = "Everywhere")]
    pub config: Option<PathBuf>,
    /// What data looks like
    #[arg(long, short, global = true, value_enum, default_value_t, help_heading = "Everywhere")]
    pub output: Format,
    /// When there is colour; NO_COLOR is heeded
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Everywhere"
    )]
    pub color: Color,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start a server: one process, one file, all of qdo
    Standalone(StandaloneArgs),
    /// Start one of many workers that share queues, on Cassandra and ZooKeeper
    #[cfg(all(feature = "cassandra", feature = "zookeeper"))]
    Worker(WorkerArgs),
    /// Look at queues, create, pause and delete them
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Enqueue jobs, look at them, wait for them
    #[command(subcommand)]
    Job(JobCommand),
    /// Look at the workers of a cluster, its store, and where workers meet
    #[command(after_help = "\
Examples:
  qdo cluster
  qdo cluster --watch
  qdo cluster --direct --config /etc/qdo/qdo.toml

LOAD is the share of a worker's slots that are taken, JOBS/S what was started in its partitions in
the last minute. With --direct no worker is needed.")]
    Cluster(LookArgs),
    /// Look at partitions: owner, epoch, lag, jobs and rates
    #[command(subcommand)]
    Partition(PartitionCommand),
    /// Think through which worker would own what
    #[command(subcommand)]
    Assignment(AssignmentCommand),
    /// Check configuration, store, ZooKeeper and host, and say what to do
    #[command(after_help = "\
Examples:
  qdo doctor
  qdo doctor --config /etc/qdo/qdo.toml

Changes nothing, and can be run beside servers. The exit code is 1 if anything fails; warnings are
none.")]
    Doctor,
    /// Back up, copy, check or dump everything
    #[command(subcommand)]
    Store(StoreCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure this machine, or a server: jobs per second, latency, commits and fsyncs
    Bench(BenchArgs),
    /// Simulate owners of a partition with every fault there is, and check what must hold
    Sim(crate::sim::command::SimArgs),
    /// Print a script that completes commands in your shell
    #[command(
        after_help = "Example:\n  qdo completions bash > ~/.local/share/bash-completion/completions/qdo"
    )]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  qdo standalone
  qdo standalone --handle hello='echo \"hello $(cat)\"'
  qdo standalone --data ./data --listen 127.0.0.1:0 --address-file ./address
  qdo standalone --config etc/standalone.toml

The first Ctrl-C or SIGTERM lets running attempts end (worker.stop_grace), the second ends at once.
Nothing is lost either way: what was interrupted runs again.")]
pub(super) struct StandaloneArgs {
    /// Where the HTTP API listens; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The folder that everything is kept in
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Run jobs of a kind with a shell command: payload on its standard input, result from its
    /// standard output; may be repeated
    #[arg(long, value_name = "KIND=COMMAND", value_parser = name_and_value)]
    pub handle: Vec<(String, String)>,
    /// Write the server's address into this file once it answers
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,
}

#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  qdo worker -c etc/cluster.toml
  QDO_CLUSTER__NAME=host-a qdo worker -c etc/cluster.toml

The same file goes to all hosts; name and address come from the host, the environment or flags.
It waits for a store or an ensemble that is away. The first Ctrl-C or SIGTERM hands its partitions
over and lets running attempts end (worker.stop_grace), the second ends at once. Nothing is lost
either way.")]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct WorkerArgs {
    /// What people call this worker; the host's name if it is not set anywhere
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where the HTTP API listens; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The folder that attempts run in
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Write the worker's address into this file once it answers
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<WorkerCommand>,
}

/// What can be done about a worker that runs.
#[cfg(all(feature = "cassandra", feature = "zookeeper"))]
#[derive(Debug, Subcommand)]
pub(super) enum WorkerCommand {
    /// Have a worker give its partitions away and take none, before maintenance; any worker can be asked
    #[command(after_help = "Example:\n  qdo worker drain host-a --wait && ssh host-a sudo reboot")]
    Drain {
        /// Its id, or a name that only it has (`qdo cluster`)
        worker: String,
        /// Wait until it owns none and runs nothing, at most so long; the exit code is 6 if time was up
        #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
        wait: Option<Span>,
    },
    /// Let a drained worker take partitions again
    Undrain {
        /// Its id, or a name that only it has (`qdo cluster`)
        worker: String,
    },
}

/// How a cluster is looked at.
#[derive(Args, Clone, Debug)]
pub(super) struct LookArgs {
    /// Look again every so many seconds (2 if not said), until Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub watch: Option<u64>,
    /// Ask no worker: read the store and ZooKeeper of the configuration
    #[arg(long)]
    pub direct: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum PartitionCommand {
    /// Partitions of a queue, or of all queues of all namespaces
    #[command(
        after_help = "Examples:\n  qdo partition list\n  qdo partition list emails --watch\n  qdo partition list --direct"
    )]
    List {
        /// Name of the queue
        queue: Option<String>,
        #[command(flatten)]
        look: LookArgs,
    },
    /// One partition
    Show {
        /// The partition, like 3/0
        #[arg(value_parser = partition)]
        partition: PartitionId,
        #[command(flatten)]
        look: LookArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AssignmentCommand {
    /// What would move if a worker joined or left; changes nothing
    #[command(
        after_help = "Examples:\n  qdo assignment plan --join host-d\n  qdo assignment plan --leave host-a -o json"
    )]
    Plan {
        /// Name of a worker that would join, otherwise like the others
        #[arg(long, value_name = "NAME", required_unless_present = "leave")]
        join: Option<String>,
        /// Id or name of a worker that would leave
        #[arg(long, value_name = "WORKER", conflicts_with = "join")]
        leave: Option<String>,
        /// Ask no worker: read the store and ZooKeeper of the configuration
        #[arg(long)]
        direct: bool,
    },
}

fn partition(text: &str) -> Result<PartitionId, String> {
    crate::worker::look::view::parse_partition(text)
        .ok_or_else(|| "a partition is two numbers, like 3/0 (`qdo partition list`)".to_owned())
}

#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// All queues with their jobs per state
    List,
    /// One queue with its settings
    Show {
        /// Name of the queue
        queue: String,
    },
    /// Create a queue with settings of its own (without, queues come into being at first use)
    #[command(
        after_help = "Example:\n  qdo queue create emails --max-attempts 10 --timeout 30s --retention 7d"
    )]
    Create {
        /// Name of the queue
        queue: String,
        /// Partitions; can be added later, never taken away
        #[arg(long, value_name = "NUMBER")]
        partitions: Option<u16>,
        #[command(flatten)]
        settings: SettingArgs,
    },
    /// Change settings of a queue; what is not named stays
    #[command(
        after_help = "Examples:\n  qdo queue set emails --timeout 1m\n  qdo queue set emails --partitions 16"
    )]
    Set {
        /// Name of the queue
        queue: String,
        /// Partitions, more than it has: jobs of one key stay in the partition that they have been in
        #[arg(long, value_name = "NUMBER")]
        partitions: Option<u16>,
        #[command(flatten)]
        settings: SettingArgs,
    },
    /// Wait until a queue has no open jobs; the exit code is 7 if failed ones are left
    Wait {
        /// Name of the queue
        queue: String,
        /// Longest wait; without it, for ever
        #[arg(long, value_name = "TIME")]
        timeout: Option<Span>,
    },
    /// Start no more attempts
    Pause {
        /// Name of the queue
        queue: String,
        /// Also end running attempts; their jobs wait again
        #[arg(long)]
        interrupt: bool,
    },
    /// Start attempts again
    Resume {
        /// Name of the queue
        queue: String,
    },
    /// Delete a queue; one with jobs only with --force or --move-to
    Delete {
        /// Name of the queue
        queue: String,
        /// With all its jobs
        #[arg(long, conflicts_with = "move_to")]
        force: bool,
        /// Move open and failed jobs to that queue first
        #[arg(long, value_name = "QUEUE")]
        move_to: Option<String>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Settings of a queue.
#[derive(Args, Debug)]
pub(super) struct SettingArgs {
    /// Failed attempts until a job has failed
    #[arg(long, value_name = "NUMBER")]
    pub max_attempts: Option<u32>,
    /// Interrupted attempts (their worker died) until a job has failed
    #[arg(long, value_name = "NUMBER")]
    pub max_interruptions: Option<u32>,
    /// Longest run of one attempt, like 30s; 0s is unlimited
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// How long finished jobs can be looked at, like 3d
    #[arg(long, value_name = "TIME")]
    pub retention: Option<Span>,
    /// How many finished jobs of a partition are kept; 0 is no such bound
    #[arg(long, value_name = "NUMBER")]
    pub retention_count: Option<u64>,
    /// How long failed jobs are kept; 0s is until they are retried or cleared
    #[arg(long, value_name = "TIME")]
    pub failed_retention: Option<Span>,
    /// Jobs that may wait; 0 is no such bound
    #[arg(long, value_name = "NUMBER")]
    pub backlog_max: Option<u64>,
    /// A class of errors after which a job is not tried again, like timeout; may be repeated
    #[arg(long, value_name = "CLASS")]
    pub give_up_on: Vec<String>,
    /// Delay after the first failed attempt
    #[arg(long, value_name = "TIME")]
    pub backoff_base: Option<Span>,
    /// Factor from one delay to the next, 1 to 100
    #[arg(long, value_name = "NUMBER")]
    pub backoff_factor: Option<f64>,
    /// Longest delay
    #[arg(long, value_name = "TIME")]
    pub backoff_cap: Option<Span>,
    /// Share of the delay that is left to chance, 0 to 1
    #[arg(long, value_name = "NUMBER")]
    pub backoff_jitter: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Enqueue one job, or many with --ndjson
    Enqueue(Box<EnqueueArgs>),
    /// All about a job
    Show {
        /// Id of the job
        id: JobId,
    },
    /// Jobs of a queue
    #[command(after_help = "Example:\n  qdo job list emails --state failed --newest-first --limit 20")]
    List(ListArgs),
    /// Wait until jobs are final; the exit code says how (the last of them, if several)
    Wait {
        /// Ids of the jobs
        #[arg(required = true)]
        ids: Vec<JobId>,
        /// Longest wait; without it, for ever
        #[arg(long, value_name = "TIME")]
        timeout: Option<Span>,
    },
    /// What a job's attempt printed
    Output {
        /// Id of the job
        id: JobId,
        /// Which attempt; the latest if not said
        #[arg(long, value_name = "NUMBER")]
        attempt: Option<u32>,
        /// Go on until the attempt ends
        #[arg(long, short)]
        follow: bool,
    },
    /// What happened to a job, and when
    History {
        /// Id of the job
        id: JobId,
    },
    /// End jobs, also running ones
    Cancel {
        /// Ids of the jobs
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Try failed or cancelled jobs again
    #[command(
        after_help = "Examples:\n  qdo job retry 00000018000005XHMS0020001G\n  qdo job retry --all-failed emails"
    )]
    Retry {
        /// Ids of the jobs
        #[arg(required_unless_present = "all_failed")]
        ids: Vec<JobId>,
        /// All failed jobs of a queue
        #[arg(long, value_name = "QUEUE", conflicts_with = "ids")]
        all_failed: Option<String>,
    },
    /// A scheduled job is due now
    RunNow {
        /// Ids of the jobs
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Put an open job into another lane
    Priority {
        /// Id of the job
        id: JobId,
        /// 9 is first, 1 is last
        #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
        priority: u8,
    },
    /// Cancel jobs that are open, and forget them
    Delete {
        /// Ids of the jobs
        #[arg(required = true)]
        ids: Vec<JobId>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  qdo job enqueue emails --kind send '{\"to\": \"ann@example.org\"}'
  qdo job enqueue images --kind thumbnail @photo.jpg --wait > thumbnail.png
  tar c src | qdo job enqueue backups --kind store - --priority 9
  qdo job enqueue reports --kind report --run-at 2026-12-24T18:00:00Z --tag christmas
  qdo job enqueue emails --ndjson jobs.ndjson
  find photos -name '*.jpg' | qdo job enqueue images --kind thumbnail --lines -

With --wait the result goes to standard output, and the exit code is 0 if the job succeeded,
7 if it failed, 8 if it was cancelled, 6 if the time was up.")]
pub(super) struct EnqueueArgs {
    /// The queue; it comes into being if it does not exist
    pub queue: String,
    /// The payload itself, @FILE, or - for standard input; nothing is no payload
    #[arg(conflicts_with_all = ["ndjson", "lines"])]
    pub payload: Option<String>,
    /// Which handler runs it
    #[arg(long, short, value_name = "KIND", required_unless_present = "ndjson")]
    pub kind: Option<String>,
    /// Many jobs: a file (or - for standard input) with a JSON object a line, as in the HTTP API
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wait", "lines"])]
    pub ndjson: Option<String>,
    /// Many jobs: a file (or - for standard input) of which each line is a payload
    #[arg(long, value_name = "FILE", conflicts_with = "wait")]
    pub lines: Option<String>,
    /// Wait until the job is final, at most so long, and print its result
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "3650d")]
    pub wait: Option<Span>,
    /// What the payload is; if not said, JSON, text or bytes by looking at it
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Jobs of one key go to one partition
    #[arg(long)]
    pub key: Option<String>,
    /// 9 is first, 1 is last, 5 is usual
    #[arg(long, short, value_name = "LANE", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub priority: Option<u8>,
    /// How long it waits at least, like 5m
    #[arg(long, value_name = "TIME", conflicts_with = "run_at")]
    pub delay: Option<Span>,
    /// When it is due, like 2026-12-24T18:00:00Z; a past time means now
    #[arg(long, value_name = "WHEN")]
    pub run_at: Option<jiff::Timestamp>,
    /// Not to be started after, like 2026-12-24T18:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub deadline: Option<jiff::Timestamp>,
    /// Longest run of one attempt, like 30s
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Failed attempts until the job has failed
    #[arg(long, value_name = "NUMBER")]
    pub max_attempts: Option<u32>,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Header for the handler; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub headers: Vec<(String, String)>,
    /// Idempotency token: enqueueing twice with one is enqueueing once. One is made if not given;
    /// with many jobs each one's token is this, a dash and the line's number
    #[arg(long)]
    pub token: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// The queue
    pub queue: String,
    /// Only jobs in that state
    #[arg(long, value_parser = parse_state)]
    pub state: Option<JobState>,
    /// Only jobs of that kind
    #[arg(long)]
    pub kind: Option<String>,
    /// Newest first instead of oldest first
    #[arg(long)]
    pub newest_first: bool,
    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    pub limit: usize,
    /// Where an earlier list ended
    #[arg(long)]
    pub cursor: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy the store consistently into a new file: through the server if one runs on it, else directly
    #[command(after_help = "Example:\n  qdo store backup /backup/qdo-$(date +%F).sqlite")]
    Backup {
        /// The new file
        to: PathBuf,
        /// The data folder, if no server runs and the configuration names another
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
    },
    /// Print every row of the store as a line of JSON; works beside running servers
    #[command(after_help = "\
Examples:
  qdo store dump > rows.ndjson
  qdo store dump --store cassandra:10.0.0.1,10.0.0.2/qdo | grep '\"table\":\"claims\"'")]
    Dump {
        #[command(flatten)]
        place: StorePlace,
    },
    /// Read every partition as a new owner would, and say what is missing or damaged; changes nothing
    #[command(after_help = "\
Examples:
  qdo store check
  qdo store check --config /etc/qdo/qdo.toml
  qdo store check --store cassandra:10.0.0.1,10.0.0.2/qdo -o json")]
    Check {
        #[command(flatten)]
        place: StorePlace,
    },
    /// Copy all queues with all their jobs into another store: from one server's file to a cluster
    #[command(after_help = COPY_HELP)]
    Copy(CopyArgs),
}

const COPY_HELP: &str = "\
Examples:
  qdo store copy --from sqlite:/var/lib/qdo --to cassandra:10.0.0.1,10.0.0.2/qdo
  qdo store copy --from sqlite:/var/lib/qdo --to-config /etc/qdo/cluster.toml
  qdo store copy --from sqlite:old.sqlite --to sqlite:new.sqlite

Stop the server first; let it end its running jobs (SIGTERM, not kill). All comes along: jobs that
wait, are scheduled or have failed, with bodies, headers, keys, attempts and history, and finished
ones that are still kept. Nothing runs in the target before its queue is there as a whole. The copy
may be killed at any time: run it again, and it goes on from where it was; no job is lost or there twice.

Job ids stay as they are if the target has had no queues yet. In a target that has, all of them get
another beginning, and this is said in the end; an enqueue of the last minutes that is repeated with
its token then makes a second job. Queues whose names the target has are refused before
anything is written.

From the beginning of the copy no server starts on the source any more, since jobs would run twice.
For a rehearsal give --keep; --take-back undoes it. Workers that run on the target already see a
copied queue once any queue is created or changed there, or they are restarted.";

/// What to copy.
#[derive(Args, Debug)]
pub(super) struct CopyArgs {
    /// The source, on which no server may run: sqlite:FILE, or the data folder in place of the file
    #[arg(long, value_name = "STORE")]
    pub from: StoreAddress,
    /// The target: cassandra:HOST[:PORT][,HOST…]/KEYSPACE, or sqlite:FILE
    #[arg(long, value_name = "STORE", required_unless_present_any = ["to_config", "take_back"])]
    pub to: Option<StoreAddress>,
    /// A cluster's configuration, for passwords, TLS and the rest of its section [cassandra]
    #[arg(long, value_name = "FILE")]
    pub to_config: Option<PathBuf>,
    /// Let servers go on using the source: for a rehearsal, since jobs of both places run
    #[arg(long)]
    pub keep: bool,
    /// Begin anew where the target holds an unfinished copy that this cannot go on with
    #[arg(long)]
    pub anew: bool,
    /// Copy nothing; let servers use the source again that was copied from
    #[arg(long, conflicts_with_all = ["to", "to_config", "keep", "anew"])]
    pub take_back: bool,
}

/// Which store; by default the configured one.
#[derive(Args, Debug)]
pub(super) struct StorePlace {
    /// The data folder of a single server
    #[arg(long, value_name = "FOLDER", conflicts_with = "store")]
    pub data: Option<PathBuf>,
    /// Another store than the configured one: cassandra:HOST[,HOST]/KEYSPACE, or sqlite:FOLDER
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  qdo bench
  qdo bench --quick -o json
  qdo bench --folder /var/lib/qdo --seconds 10
  qdo bench --address http://127.0.0.1:7420 --kind noop

Without --address a server is started in this process, on a new folder that is removed afterwards;
its only handler does nothing. Every step is as durable as in earnest: the numbers depend on the
disk below the folder. With --address, jobs of the kind must have a handler there, or else running
them is not measured; what was enqueued is deleted afterwards.")]
pub(super) struct BenchArgs {
    /// How long each measurement takes
    #[arg(long, default_value_t = 5, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// One second each: to see that it works
    #[arg(long, conflicts_with = "seconds")]
    pub quick: bool,
    /// Jobs that the server runs at once
    #[arg(long, default_value_t = 256, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub slots: u32,
    /// Where the server's new folder is made
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Kind of the jobs that are run by a server that is there already
    #[arg(long, default_value = "noop")]
    pub kind: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with the configuration, or that it is good
    Check,
    /// Print the configuration as it applies, secrets as ***
    Show,
    /// Print the sample configuration, or the page about it.
    #[command(hide = true)]
    Reference {
        /// Which
        #[arg(value_enum)]
        format: ReferenceFormat,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ReferenceFormat {
    Toml,
    ClusterToml,
    Markdown,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn parse_state(text: &str) -> Result<JobState, String> {
    JobState::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
        let names: Vec<&str> = JobState::ALL.iter().map(|state| state.name()).collect();
        format!("a state is one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
