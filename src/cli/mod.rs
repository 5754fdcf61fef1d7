//! The command line: one file per subcommand; flags, messages and exit codes, no arithmetic.
//!
//! stdout carries results, stderr everything else. `output.rs` writes the first, `progress.rs` the second while training.

mod connectome;
mod eval;
mod export;
mod info;
mod lesion;
mod output;
mod predict;
mod progress;
mod report;
mod shell;
mod signals;
mod study;
mod train;

use crate::error::{Error, Kind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::io::ErrorKind;
use std::process::ExitCode;

/// Train image classifiers wired like a measured piece of cortex, on the CPU
#[derive(Parser)]
#[command(name = shell::NAME, version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print nothing on stderr but errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network into a run folder
    Train(Box<train::Args>),
    /// Score a run: accuracy, macro F1, ROC-AUC, per class, confusion matrix
    Eval(eval::Args),
    /// Class probabilities for single images
    Predict(predict::Args),
    /// Silence neurons of a trained network, or of several, and score again; tuning of every neuron
    Lesion(lesion::Args),
    /// Write the trained network for other programs
    Export(export::Args),
    /// Write one HTML file about a run or a study, with plots, and their numbers as CSV
    Report(report::Args),
    /// Look at a connectome; convert it; write null wirings of it
    Connectome(connectome::Args),
    /// Many runs from one plan, resumable, with paired tests: ablations, seeds, null wirings
    Study(study::Args),
    /// Version, vector instructions and threads of this program
    Info(info::Args),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Print a manual page
    Man(shell::Man),
}

const EXIT_CODES: &str = "\
Results go to stdout, progress and messages to stderr.

Exit codes: 0 done, 1 other failure, 2 usage, 3 bad input data, 4 I/O failure, 5 run or weights unusable,
            75 stopped by SIGUSR1 with the state saved, 101 a bug, 130 / 143 interrupted with the state saved.";

/// Runs the program; returns its exit code.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| output::message(&bug(panic))));
    signals::outlive_file_size_limit();
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        // Help and version arrive here too, as code 0. A reader that closed the pipe early is no failure.
        Err(e) => {
            let refused = e.print().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe);
            return ExitCode::from(if e.use_stderr() { 2 } else { 4 * u8::from(refused) });
        }
    };
    if cli.quiet {
        output::be_quiet();
    }
    let outcome = match cli.command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Lesion(args) => lesion::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Connectome(args) => connectome::run(&args),
        Command::Study(args) => study::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            output::message(&failure(&e));
            ExitCode::from(e.exit_code())
        }
    }
}

/// The parser; what only the tables know is filled in once a subcommand is the one that was asked for.
fn command() -> clap::Command {
    Cli::command()
        .mut_subcommand("train", |c| c.defer(train::complete_help))
        .mut_subcommand("export", |c| c.defer(export::complete_help))
        .mut_subcommand("connectome", |c| c.defer(connectome::complete_help))
        .mut_subcommand("study", |c| c.defer(study::complete_help))
}

/// What stderr says about an error.
fn failure(e: &Error) -> String {
    match e.kind() {
        Kind::Stopped(_) => e.to_string(),
        _ => format!("error: {e}"),
    }
}

/// What stderr says about a panic: one line, and the backtrace where `RUST_BACKTRACE` asks for it.
/// The runtime then exits with code 101.
fn bug(panic: &std::panic::PanicHookInfo) -> String {
    let place = panic.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let what = text.unwrap_or("no message").replace('\n', " ");
    let version = env!("CARGO_PKG_VERSION");
    let line =
        format!("error: {what}{place}; this is a bug in bionic-cpu {version}, please report it with the command");
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("{line}\n{backtrace}"),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_option_is_explained() {
        fn walk(command: &clap::Command) {
            for arg in command.get_arguments() {
                let long = arg.get_long_help().or(arg.get_help());
                assert!(long.is_some(), "{} {} has no help", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&command());
    }

    #[test]
    fn a_stop_is_not_called_an_error() {
        assert_eq!(failure(&Error::stopped(130, "stopped", "resume")), "stopped\n  remedy: resume");
        assert!(failure(&Error::usage("x", "y")).starts_with("error: x\n"));
    }
}
