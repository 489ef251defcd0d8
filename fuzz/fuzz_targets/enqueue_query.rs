//! A raw payload with its options in the query.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use qdo::api::parse::parse_query;

/// Any time will do.
const NOW_MS: u64 = 1_800_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(query) = std::str::from_utf8(bytes) else { return };
    if let Err(wrong) = parse_query(query, "text/plain", Bytes::from_static(b"payload"), NOW_MS) {
        assert!(!wrong.message.is_empty());
    }
});
