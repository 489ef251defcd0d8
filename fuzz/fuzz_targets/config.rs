//! A configuration: it is good, or refused in one line that begins with the file's name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qdo::config::Sources;

fuzz_target!(|text: &str| {
    // Included files are another input.
    if text.contains("include") {
        return;
    }
    if let Err(refusal) = Sources::default().load_text(text) {
        let refusal = refusal.to_string();
        assert!(refusal.starts_with("qdo.toml:") && !refusal.contains('\n'), "{refusal}");
    }
});
