//! Names of all metrics: `qdo_`, then what, then the unit; counters end in `_total`.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// HTTP requests answered, by `method`, `route` and `status`.
pub const HTTP_REQUESTS_TOTAL: &str = "qdo_http_requests_total";
/// Seconds from a request's head to the head of its answer, by `route`.
pub const HTTP_REQUEST_SECONDS: &str = "qdo_http_request_seconds";
/// HTTP requests being worked on.
pub const HTTP_REQUESTS_IN_FLIGHT: &str = "qdo_http_requests_in_flight";
/// Jobs enqueued.
pub const JOBS_ENQUEUED_TOTAL: &str = "qdo_jobs_enqueued_total";
/// Attempts started.
pub const ATTEMPTS_STARTED_TOTAL: &str = "qdo_attempts_started_total";
/// Attempts ended, by `outcome`.
pub const ATTEMPTS_ENDED_TOTAL: &str = "qdo_attempts_ended_total";
/// Seconds that attempts ran, by `outcome`.
pub const ATTEMPT_SECONDS: &str = "qdo_attempt_seconds";
/// Attempts running.
pub const ATTEMPTS_RUNNING: &str = "qdo_attempts_running";
/// Commits that became durable.
pub const COMMITS_TOTAL: &str = "qdo_commits_total";
/// Bytes of rows of commits.
pub const COMMIT_BYTES_TOTAL: &str = "qdo_commit_bytes_total";
/// Calls of the store, of any kind.
pub const STORE_CALLS_TOTAL: &str = "qdo_store_calls_total";
/// Transactions or requests of the store that made something durable.
pub const STORE_TRANSACTIONS_TOTAL: &str = "qdo_store_transactions_total";
/// fsyncs known to the store.
pub const STORE_FSYNCS_TOTAL: &str = "qdo_store_fsyncs_total";
/// Whether the store was reached: 1, or 0 while it is waited for at the start.
pub const STORE_CONNECTED: &str = "qdo_store_connected";
/// Whether the coordinator answers: 1 in a session that is sure to be alive, else 0.
pub const COORDINATOR_CONNECTED: &str = "qdo_coordinator_connected";
/// Partitions owned by this worker.
pub const PARTITIONS_OWNED: &str = "qdo_partitions_owned";
/// Partitions that this worker should own, as things stand.
pub const PARTITIONS_WANTED: &str = "qdo_partitions_wanted";
/// Partitions handed over gently.
pub const PARTITIONS_HANDED_OVER_TOTAL: &str = "qdo_partitions_handed_over_total";
/// Partitions let go at once: their lock or session was gone.
pub const PARTITIONS_LET_GO_TOTAL: &str = "qdo_partitions_let_go_total";
/// This machine's clock minus the store's, seconds.
pub const CLOCK_OFFSET_SECONDS: &str = "qdo_clock_offset_seconds";

/// Tells the recorder what each is.
pub(super) fn describe() {
    describe_counter!(HTTP_REQUESTS_TOTAL, "HTTP requests answered");
    describe_histogram!(HTTP_REQUEST_SECONDS, Unit::Seconds, "time to the head of the answer");
    describe_gauge!(HTTP_REQUESTS_IN_FLIGHT, "HTTP requests being worked on");
    describe_counter!(JOBS_ENQUEUED_TOTAL, "jobs enqueued");
    describe_counter!(ATTEMPTS_STARTED_TOTAL, "attempts started");
    describe_counter!(ATTEMPTS_ENDED_TOTAL, "attempts ended");
    describe_histogram!(ATTEMPT_SECONDS, Unit::Seconds, "time that attempts ran");
    describe_gauge!(ATTEMPTS_RUNNING, "attempts running");
    describe_counter!(COMMITS_TOTAL, "commits that became durable");
    describe_counter!(COMMIT_BYTES_TOTAL, Unit::Bytes, "bytes of rows of commits");
    describe_counter!(STORE_CALLS_TOTAL, "calls of the store");
    describe_counter!(STORE_TRANSACTIONS_TOTAL, "transactions that made something durable");
    describe_counter!(STORE_FSYNCS_TOTAL, "fsyncs");
    describe_gauge!(STORE_CONNECTED, "0 while the store is waited for at the start");
    describe_gauge!(COORDINATOR_CONNECTED, "1 while the coordinator answers");
    describe_gauge!(PARTITIONS_OWNED, "partitions owned by this worker");
    describe_gauge!(PARTITIONS_WANTED, "partitions that this worker should own");
    describe_counter!(PARTITIONS_HANDED_OVER_TOTAL, "partitions handed over gently");
    describe_counter!(PARTITIONS_LET_GO_TOTAL, "partitions let go at once");
    describe_gauge!(CLOCK_OFFSET_SECONDS, Unit::Seconds, "this machine's clock minus the store's");
}
