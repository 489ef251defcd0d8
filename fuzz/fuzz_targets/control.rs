//! What a program writes to its control file: no line is worth more than a complaint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::runner::complaints_about_control;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|&byte| byte == b'\n').count();
    assert!(complaints_about_control(bytes) <= lines);
});
