//! Every setting, and what it is for.

/// A setting as it is explained.
pub(super) struct Entry {
    /// Its full name.
    pub key: &'static str,
    /// A value in TOML, for those that are not set by default.
    pub example: &'static str,
    /// What it is for.
    pub doc: &'static str,
}

const fn entry(key: &'static str, doc: &'static str) -> Entry {
    Entry { key, example: "", doc }
}

const fn unset(key: &'static str, example: &'static str, doc: &'static str) -> Entry {
    Entry { key, example, doc }
}

/// Every setting, in the order in which they are shown; those of one section follow one another.
pub(super) const ENTRIES: &[Entry] = &[
    entry("listen", "Where the HTTP API listens; port 0 lets the system choose one."),
    entry("insecure", "Allow listening beyond loopback without a token."),
    entry(
        "hosts",
        "Host names that callers may use for this server, with or without a port. Loopback names and the address that a request came in at are always taken; requests for other names are refused, against pages that make their own name point here.",
    ),
    unset(
        "token",
        "\"${QDO_TOKEN}\"",
        "What callers must present as `Authorization: Bearer …`. Better kept in `token_file`.",
    ),
    unset(
        "token_file",
        "\"/etc/qdo/token\"",
        "A file that holds the token. A relative path is meant from the folder of this file.",
    ),
    unset(
        "data",
        "\"/var/lib/qdo\"",
        "The folder that everything is kept in; by default the platform's place for such data, printed at start. A relative path is meant from the folder of this file.",
    ),
    entry(
        "log.filter",
        "What is logged to standard error: `error`, `warn`, `info`, `debug`, `trace`, or `target=level` pairs with commas.",
    ),
    entry("log.format", "`text` for people, `json` for one object a line."),
    unset("worker.slots", "8", "Attempts that run at once; four per core if not set."),
    entry("worker.auto_create", "Queues and the namespace come into being at first use."),
    unset(
        "worker.partitions",
        "8",
        "Partitions of a queue that is created without a number of its own; 1 with `qdo standalone` and 8 in a cluster if not set.",
    ),
    entry(
        "worker.window_jobs_max",
        "Jobs held in memory over all partitions (about 50 bytes each; every partition may have 32,768); what is beyond stays in the store.",
    ),
    entry("worker.requests_max", "Requests that may wait for one partition; more are answered 429."),
    entry("worker.bodies_bytes_max", "Bytes of payloads kept ready to be handed out."),
    entry(
        "worker.free_bytes_min",
        "While fewer bytes are free where the data is, new jobs are answered 503: the rest is for those that are there already. 0 is no such bound.",
    ),
    entry(
        "worker.stop_grace",
        "How long running attempts may go on when the server is stopped; what is not done by then is interrupted and runs again.",
    ),
    entry("queue_defaults.max_attempts", "Failed attempts until a job has failed for good."),
    entry(
        "queue_defaults.max_interruptions",
        "Interrupted attempts (their worker died) until a job has failed; counted apart from failures.",
    ),
    entry("queue_defaults.timeout", "Longest run of one attempt; `0s` is unlimited."),
    entry("queue_defaults.retention", "How long finished jobs can be looked at, at least."),
    entry(
        "queue_defaults.retention_count",
        "How many finished jobs of a partition are kept at least, if `retention` would keep more; 0 is no such bound.",
    ),
    entry(
        "queue_defaults.failed_retention",
        "How long failed jobs are kept; `0s` is until they are retried or cleared.",
    ),
    entry(
        "queue_defaults.backlog_max",
        "Jobs that may wait in a queue; more are refused with 429; 0 is no such bound.",
    ),
    entry(
        "queue_defaults.give_up_on",
        "Classes of errors after which a job is not tried again: `timeout`, `signal`, or a handler's own.",
    ),
    entry("queue_defaults.backoff.base", "Delay after the first failed attempt."),
    entry("queue_defaults.backoff.factor", "Factor from one delay to the next, 1 to 100."),
    entry("queue_defaults.backoff.cap", "Longest delay between attempts."),
    entry("queue_defaults.backoff.jitter", "Share of the delay that is left to chance, 0 to 1."),
    entry(
        "store.synchronous",
        "`full`: a job is acknowledged once the disk has it. `normal`: once the operating system has it, which is faster; a power cut may then take the last moments, `kill -9` may not.",
    ),
    unset(
        "cluster.name",
        "\"host-a\"",
        "What people call this worker; the host's name if not set. Two with the same name are warned of.",
    ),
    unset(
        "cluster.address",
        "\"http://host-a:7420\"",
        "Where the other workers reach it; made of `listen` if not set, with the host's name where that listens everywhere.",
    ),
    unset(
        "cluster.secret",
        "\"${QDO_SECRET}\"",
        "What all workers of the cluster know, at least 16 characters; without it a worker listens at loopback only, unless `insecure` is set. Better kept in `secret_file`.",
    ),
    unset("cluster.secret_file", "\"/etc/qdo/secret\"", "A file that holds the secret."),
    entry(
        "cluster.policy",
        "`automatic`: partitions are shared out evenly. `manual`: by the rules of `cluster.assign`. The same on all hosts.",
    ),
    entry(
        "cluster.assign",
        "Rules of the policy `manual`; the first that matches a partition says who may own it: `{ queues = \"default/mail*\", partitions = \"0-3\", workers = [\"host-a\", \"big-*\"] }`; without `partitions` it is all of them. The same on all hosts.",
    ),
    entry(
        "cluster.settle",
        "Workers must have been the same for so long before partitions move between them; those of a worker that died are taken at once. The same on all hosts.",
    ),
    entry(
        "cluster.lease",
        "After so long without a sign of life, attempts of a worker are taken for interrupted, and run again elsewhere.",
    ),
    entry("cluster.capacity", "This worker's share of partitions next to others' with their numbers."),
    entry("cluster.labels", "What this worker is, like `{ disk = \"fast\" }`; queues can ask for it."),
    entry(
        "cassandra.contact_points",
        "Some nodes of the store, `host` or `host:port`; the others are found through them.",
    ),
    entry("cassandra.keyspace", "The keyspace; one for each cluster of workers."),
    unset(
        "cassandra.datacenter",
        "\"dc1\"",
        "The data centre whose nodes are asked, and no others. Needed if there is more than one.",
    ),
    unset("cassandra.rack", "\"rack1\"", "The rack whose nodes are asked first."),
    unset("cassandra.user", "\"qdo\"", "Who logs in, if the store asks for it."),
    unset(
        "cassandra.password",
        "\"${CASSANDRA_PASSWORD}\"",
        "The password of `cassandra.user`. Better kept in `password_file`.",
    ),
    unset("cassandra.password_file", "\"/etc/qdo/cassandra\"", "A file that holds the password."),
    unset(
        "cassandra.tls_ca",
        "\"/etc/qdo/cassandra-ca.pem\"",
        "Certificates that nodes must be signed by, PEM; with it, connections use TLS.",
    ),
    entry(
        "cassandra.replication_factor",
        "Copies of each row in the data centre, for a keyspace that is made; 3 survives the loss of a node. A keyspace that is there keeps its own.",
    ),
    entry(
        "cassandra.create_schema",
        "Make the keyspace and its tables where they are missing. `false` for those who keep that right to themselves; the statements are in docs/servers.md.",
    ),
    entry("cassandra.connect_timeout", "How long a connection to a node may take."),
    entry(
        "cassandra.request_timeout",
        "How long an answer may take; after that it is not known what has happened, and is asked.",
    ),
    entry("cassandra.concurrency", "Requests to the store under way at once; more wait."),
    entry(
        "zookeeper.connect",
        "The servers of the ensemble, with a chroot for this cluster of workers: `host:2181,host:2181/qdo`.",
    ),
    entry(
        "zookeeper.session_timeout",
        "A worker that is silent for so long is taken for dead, and its partitions by others. The ensemble has its own bounds.",
    ),
    unset(
        "zookeeper.user",
        "\"qdo\"",
        "Who logs in, by the digest scheme; what is made is then for this user only.",
    ),
    unset(
        "zookeeper.password",
        "\"${ZOOKEEPER_PASSWORD}\"",
        "The password of `zookeeper.user`. Better kept in `password_file`.",
    ),
    unset("zookeeper.password_file", "\"/etc/qdo/zookeeper\"", "A file that holds the password."),
    unset(
        "zookeeper.tls_ca",
        "\"/etc/qdo/zookeeper-ca.pem\"",
        "Certificates that servers must be signed by, PEM; with it, connections use TLS.",
    ),
    unset(
        "zookeeper.tls_cert",
        "\"/etc/qdo/worker.pem\"",
        "This worker's own certificate, PEM, where servers ask for one.",
    ),
    unset("zookeeper.tls_key", "\"/etc/qdo/worker.key\"", "The key of `tls_cert`, PEM."),
    entry("zookeeper.create_chroot", "Make the chroot if it does not exist."),
];

/// Every setting of a handler, below `[handlers.<kind>]`.
pub(super) const HANDLER_ENTRIES: &[Entry] = &[
    unset(
        "exec",
        "[\"sh\", \"-c\", \"sha256sum\"]",
        "The program and its arguments; the payload is its standard input, its standard output the result, its standard error the log.",
    ),
    unset("env", "{ LANG = \"C.UTF-8\" }", "Variables that the program gets, besides `QDO_…`."),
    unset("pass_env", "[\"PATH\", \"HOME\"]", "Variables of the server that the program gets."),
    unset("grace", "\"10s\"", "Time between TERM and KILL when an attempt must end; 10s if not set."),
    unset(
        "result_bytes_max",
        "65536",
        "More than so many bytes on standard output is a failure; 1 MiB, the most, if not set.",
    ),
    unset("memory_bytes_max", "536870912", "Limit of each process's address space, bytes."),
    unset("cpu_time_max", "\"10m\"", "Limit of each process's time on a processor, in whole seconds."),
    unset("open_files_max", "256", "Limit of each process's open files."),
    unset("folder", "\"/srv/app\"", "Folder that the program starts in, instead of a clean one per attempt."),
];
