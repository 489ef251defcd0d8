//! What another worker sends: frames or a refusal, and never more held than one frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::worker::peer::{Decoder, FRAME_BYTES_MAX};

fuzz_target!(|chunks: Vec<Vec<u8>>| {
    let mut decoder = Decoder::default();
    for (number, chunk) in chunks.iter().enumerate() {
        if number == 1 {
            decoder.greeted();
        }
        decoder.feed(chunk);
        loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(refusal) => return assert!(!refusal.to_string().is_empty()),
            }
        }
        assert!(decoder.held() <= FRAME_BYTES_MAX + 4);
    }
});
