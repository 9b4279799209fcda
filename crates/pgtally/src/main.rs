//! The `pgtally` program. Parses, runs, and returns an exit code; see `cli.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgtally::cli::main()
}
