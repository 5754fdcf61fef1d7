//! The command line: one file per subcommand; flags, messages and exit codes, no arithmetic.

use std::process::ExitCode;

/// Runs the program; returns its exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
