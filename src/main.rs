//! The `qdo` binary.

fn main() -> std::process::ExitCode {
    qdo::cli::main()
}
