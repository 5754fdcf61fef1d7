//! `connectome inspect`: what a connectome contains, before anything is trained with it. `connectome convert`: the same as
//! plain tables. `connectome null`: what it is compared with.

use super::output;
use super::train::DEFAULT_PRESET;
use crate::config;
use crate::connectome::{Connectome, IMPORTERS, NULL_WIRINGS, load, summary, write_folder};
use crate::error::{Error, Result};
use crate::model::presets::preset;
use crate::store;
use std::path::PathBuf;

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
    /// Write a connectome as the plain tables that every command reads
    #[command(visible_alias = "import")]
    Convert(Convert),
    /// Write a null wiring of a connectome as a folder that every command reads
    Null(Null),
}

/// Which connectome.
#[derive(clap::Args)]
struct Source {
    /// column (the embedded statistical column) or a folder or file of measured data
    #[arg(value_name = "SRC", default_value = "column")]
    source: String,
    /// Treat pairs joined by fewer synapses as unconnected
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    min_synapses: u32,
    /// Add the statistically imputed connections of a measured folder (imputed_connections.csv)
    #[arg(long)]
    completed: bool,
}

/// Flags of `connectome inspect`.
#[derive(clap::Args)]
struct Inspect {
    #[command(flatten)]
    source: Source,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Flags of `connectome convert`.
#[derive(clap::Args)]
struct Convert {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    place: Place,
}

/// Flags of `connectome null`.
#[derive(clap::Args)]
struct Null {
    #[command(flatten)]
    source: Source,
    /// Null wiring; see the list below
    #[arg(long, value_name = "NAME")]
    wiring: String,
    /// Seed of the wiring
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    #[command(flatten)]
    place: Place,
}

/// Where a connectome is written, and how its summary is printed.
#[derive(clap::Args)]
struct Place {
    /// Folder to write neurons.csv, connections.csv and about.toml into, new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the summary of a connectome, of the one that it has written if it has.
///
/// # Errors
/// `Input` for a connectome that cannot be used; `Usage` for an unknown null wiring or a folder that is not empty; `Io` if
/// stdout or the folder refuses the result.
pub fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Inspect(args) => print(&load(&args.source.config()?)?, args.json),
        Action::Convert(args) => args.place.write(|| load(&args.source.config()?)),
        Action::Null(args) => args.place.write(|| load(&args.source.config()?)?.rewired(&args.wiring, args.seed)),
    }
}

impl Place {
    /// Writes the tables of the connectome that `make` gives and prints its summary; makes none for a folder that is not
    /// empty.
    fn write(&self, make: impl FnOnce() -> Result<Connectome>) -> Result<()> {
        if self.out.exists() && !store::is_empty_folder(&self.out) {
            let what = format!("--out {}: it is no empty folder", self.out.display());
            return Err(Error::usage(what, "name a new folder"));
        }
        let connectome = make()?;
        write_folder(&connectome, &self.out)?;
        print(&connectome, self.json)
    }
}

impl Source {
    fn config(&self) -> Result<config::Connectome> {
        let Self { source, min_synapses, completed } = self;
        let defaults = preset(DEFAULT_PRESET)?.connectome;
        Ok(config::Connectome {
            source: source.clone(),
            min_synapses: *min_synapses,
            completed: *completed,
            ..defaults
        })
    }
}

fn print(connectome: &Connectome, json: bool) -> Result<()> {
    let summary = summary(connectome);
    if json { output::json(&summary) } else { output::result(&summary.to_text()) }
}

/// Adds what only the tables know.
pub fn complete_help(command: clap::Command) -> clap::Command {
    let rows = super::train::list("Null wirings", NULL_WIRINGS.iter().map(|n| (n.name, n.doc)));
    let kept =
        "Each keeps the connections of every lamina block and their synapse counts, the neurons and their polarity.";
    let forms = super::train::list("Forms of a connectome", IMPORTERS.iter().map(|i| (i.name, i.doc)));
    command
        .after_help(format!(
            "`column` is the embedded column; a path is read by the first form that it has.\n\n{}\n\n\
             Where not every pair was looked at, a column out_known_pairs in the table of neurons (pairs that each is known \
             to join or not), or known_pairs (0 to 1) in an about.toml beside it, says how many were.\n\
             The lamina of a neuron without one follows from its type or its depth (mouse V1), and their number is told.",
            forms.trim_end()
        ))
        .mut_subcommand("null", |null| null.after_help(format!("{}\n\n{kept}", rows.trim_end())))
}
