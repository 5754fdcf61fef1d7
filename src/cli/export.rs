//! `export`: the best epoch of a run for other programs.

use super::output;
use crate::error::Result;
use crate::export::{EXPORTERS, export};
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;

/// Flags of `export`.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Format, one of the list below
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    to: String,
    /// File or folder to write; replaced at once if it is there [default: RUN/<name of RUN>.<FORMAT>]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Print one JSON object: format, path, epoch, arrays, values, bytes
    #[arg(long)]
    json: bool,
}

const ARRAYS: &str = "\
Arrays are called <position>.<layer>.<tensor>, as in the run: 0.conv.weight (C_out, C_in, K, K),
9.column.L4->L2/3 (N_post, N_pre), 10.dense.weight (N_post, N_pre); row-major, 32-bit floats, bit for bit those of the
best epoch. Projections of the column that follow a mask are sparse (CSR; row = postsynaptic neuron, column =
presynaptic neuron). Features are channels, rows, columns. The metadata hold the version, preset, epoch, seed, classes
in the order of the outputs, the preprocessing of the input, the identifiers of the cells behind the rows and columns of
each population of the column, fingerprints and the configuration.";

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(EXPORTERS.iter().map(|e| e.name))
}

/// The help text with the formats of the table.
pub fn complete_help(command: clap::Command) -> clap::Command {
    let rows: Vec<String> = EXPORTERS.iter().map(|e| format!("  {:11}  {}\n", e.name, e.doc)).collect();
    command.after_help(format!("Formats:\n{}\n{ARRAYS}", rows.concat()))
}

/// Writes the network and says where.
///
/// # Errors
/// Those of [`export`]; `Io` if stdout refuses the result.
pub fn run(args: &Args) -> Result<()> {
    let e = export(&args.run, &args.to, args.out.as_deref(), &mut output::warning)?;
    if args.json {
        return output::json(&e);
    }
    output::result(&format!(
        "{}: {} arrays, {} values of epoch {}, {} bytes",
        e.path.display(),
        e.arrays,
        e.values,
        e.epoch,
        e.bytes
    ))
}
