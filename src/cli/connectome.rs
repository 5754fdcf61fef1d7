//! `connectome inspect`: what a connectome contains, before anything is trained with it.

use super::output;
use super::train::DEFAULT_PRESET;
use crate::connectome::{load, summary};
use crate::error::Result;
use crate::model::presets::preset;

/// Flags of `connectome`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Neurons by type and lamina, synapses, density by pair of laminae, fan-in and fan-out
    Inspect(Inspect),
}

/// Flags of `connectome inspect`.
#[derive(clap::Args)]
struct Inspect {
    /// column (the embedded statistical column) or a folder or file of measured data
    #[arg(value_name = "SRC", default_value = "column")]
    source: String,
    /// Treat pairs joined by fewer synapses as unconnected
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    min_synapses: u32,
    /// Add the statistically imputed connections of a measured folder (imputed_connections.csv)
    #[arg(long)]
    completed: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the summary.
///
/// # Errors
/// `Input` for a connectome that cannot be used; `Io` if stdout refuses the result.
pub fn run(args: &Args) -> Result<()> {
    let Action::Inspect(args) = &args.action;
    let mut config = preset(DEFAULT_PRESET)?.connectome;
    config.source.clone_from(&args.source);
    config.min_synapses = args.min_synapses;
    config.completed = args.completed;
    let summary = summary(&load(&config)?);
    if args.json { output::json(&summary) } else { output::result(&summary.to_text()) }
}
