//! The `bionic-cpu` program: parses the command line and exits with the code of the outcome.

fn main() -> std::process::ExitCode {
    bionic_cpu::cli::main()
}
