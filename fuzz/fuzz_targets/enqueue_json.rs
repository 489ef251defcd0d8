//! A job as a JSON object: it is parsed within bounds, or refused with a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::api::parse::parse_job;
use qdo::model::limits::PAYLOAD_BYTES_MAX;

/// Any time will do.
const NOW_MS: u64 = 1_800_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    match parse_job(bytes, NOW_MS) {
        Ok(job) => assert!(!job.kind.is_empty() && job.payload.len() <= PAYLOAD_BYTES_MAX),
        Err(wrong) => assert!(!wrong.message.is_empty()),
    }
});
