//! A length of time as text: what is read is written so that it is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::model::Span;

fuzz_target!(|text: &str| {
    if let Ok(span) = text.parse::<Span>() {
        assert_eq!(span.to_string().parse(), Ok(span));
    }
});
