//! The `qdo` binary.

fn main() {}
