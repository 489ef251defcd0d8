//! A job's id as text: what is read is written alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::model::JobId;

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<JobId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(JobId::from_slice(&id.to_bytes()), Some(id));
    }
});
