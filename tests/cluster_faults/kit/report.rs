//! The table that all tests write, row by row, past the test harness: it is wanted of good runs, too.

use std::io::{Write, stderr};
use std::sync::Once;

/// One line of the table.
pub struct Row<'a> {
    pub story: &'a str,
    pub jobs: usize,
    pub faults: usize,
    pub duplicates: usize,
    pub longest_pause_ms: u64,
    pub more: String,
}

impl Row<'_> {
    pub fn print(&self) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| {
            line("| what happened | jobs | faults | duplicates | longest pause of a partition | |");
            line("| --- | ---: | ---: | ---: | ---: | --- |");
        });
        let Self { story, jobs, faults, duplicates, longest_pause_ms, more } = self;
        line(&format!("| {story} | {jobs} | {faults} | {duplicates} | {longest_pause_ms} ms | {more} |"));
    }
}

/// Says something that is not captured.
pub fn line(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(stderr(), "{text}");
}
