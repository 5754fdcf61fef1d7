//! `completions` and `man`: what a shell and a manual know of the commands, made from the same parser.

use super::{command, output};
use crate::error::{Error, Result};
use clap_complete::Shell;

/// Flags of `completions`.
#[derive(clap::Args)]
pub struct Completions {
    /// Shell, e.g. bash; put the output where it looks for completions
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Flags of `man`.
#[derive(clap::Args)]
pub struct Man {
    /// Command whose page is wanted, e.g. connectome null [default: the page of the program]; read it with `| man -l -`
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
}

/// Prints the completions.
///
/// # Errors
/// `Io` if stdout refuses them.
pub fn completions(args: &Completions) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command(), NAME, &mut text);
    output::result(&String::from_utf8_lossy(&text))
}

/// Prints the page in roff.
///
/// # Errors
/// `Usage` for a command that there is not; `Io` if stdout refuses the page.
pub fn man(args: &Man) -> Result<()> {
    let mut program = command();
    program.build();
    let page = args.command.iter().try_fold(program, |program, name| {
        program.find_subcommand(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
            Error::usage(format!("man: no command \"{name}\""), crate::config::one_of(name, &names))
        })
    })?;
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|e| Error::other(format!("the page cannot be written: {e}"), "use --help"))?;
    output::result(&String::from_utf8_lossy(&text))
}

/// Name of the program.
pub(super) const NAME: &str = "bionic-cpu";
