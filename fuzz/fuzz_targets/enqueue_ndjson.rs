//! Many jobs, one a line: all are parsed, or the bad line is named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::api::parse::parse_ndjson;
use qdo::model::limits::BATCH_JOBS_MAX;

/// Any time will do.
const NOW_MS: u64 = 1_800_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    match parse_ndjson(bytes, NOW_MS) {
        Ok(jobs) => assert!(jobs.len() <= BATCH_JOBS_MAX),
        Err(wrong) => assert!(!wrong.message.is_empty()),
    }
});
