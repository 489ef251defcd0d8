//! Bounds on everything that comes from outside or grows. Each is named in the error that it causes.

/// Bytes of a payload.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Payloads above this are kept in chunks beside the journal.
pub const PAYLOAD_INLINE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a result.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// Results above this are kept in chunks beside the journal.
pub const RESULT_INLINE_BYTES_MAX: usize = 4 << 10;
/// Bytes of one chunk of a blob.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Bytes of one commit's row.
pub const COMMIT_BYTES_MAX: usize = 1 << 20;
/// Jobs of one commit.
pub const COMMIT_JOBS_MAX: usize = 2_048;
/// Jobs of one segment.
pub const SEGMENT_JOBS_MAX: u32 = 8_192;
/// Bytes of one segment's rows.
pub const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// Jobs of one enqueue request.
pub const BATCH_JOBS_MAX: usize = 10_000;
/// Bytes of one enqueue request.
pub const BATCH_BYTES_MAX: usize = 32 << 20;
/// Bytes of a namespace, group, queue or kind name.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a key, token, unique key or client id.
pub const KEY_BYTES_MAX: usize = 512;
/// Tags of a job.
pub const TAGS_MAX: usize = 16;
/// Bytes of a tag.
pub const TAG_BYTES_MAX: usize = 128;
/// Headers of a job.
pub const HEADERS_MAX: usize = 32;
/// Bytes of all headers of a job.
pub const HEADERS_BYTES_MAX: usize = 8 << 10;
/// Characters of an error text.
pub const ERROR_TEXT_CHARS_MAX: usize = 10_000;
/// Error classes that a queue's settings name.
pub const GIVE_UP_CLASSES_MAX: usize = 32;
/// Characters of an error class.
pub const ERROR_CLASS_CHARS_MAX: usize = 128;
/// Latest time that is taken, Unix ms: the end of the year 9999.
pub const TIME_MS_MAX: u64 = 253_402_300_799_000;
/// Longest delay or duration, ms: ten years.
pub const DURATION_MS_MAX: u64 = 3_653 * 86_400_000;
/// Markers that a job takes along when it is written again.
pub const HISTORY_KEPT_MAX: usize = 20;
/// Bytes of what a job takes along of its history when it is written again.
pub const HISTORY_BYTES_MAX: usize = 64 << 10;
/// Kinds that one partition meets while it has one owner.
pub const KINDS_MAX: usize = 10_000;
/// Queues that share one partition.
pub const PARTITION_QUEUES_MAX: usize = 100_000;
/// Items of one page of a list.
pub const PAGE_MAX: usize = 1_000;
/// Idempotency tokens remembered per partition.
pub const TOKENS_MAX: usize = 256 * 1024;
/// How long an idempotency token is remembered, ms.
pub const TOKEN_AGE_MS_MAX: u64 = 600_000;
/// Queues of one namespace that are listed in one page.
pub const QUEUES_PAGE_MAX: usize = 1_000;
/// Partitions in one page of a list.
pub const PARTITIONS_PAGE_MAX: usize = 1_000;
/// Failed attempts that may be asked for.
pub const ATTEMPTS_MAX: u32 = 1_000_000;
/// Highest factor of a back-off.
pub const BACKOFF_FACTOR_MAX: f64 = 100.0;
/// Bytes of a content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Objects and lists inside each other in JSON that is taken. Below the depth that readers allow.
pub const JSON_DEPTH_MAX: usize = 100;
/// Longest wait of one request for a job's end, ms.
pub const WAIT_MS_MAX: u64 = 300_000;
