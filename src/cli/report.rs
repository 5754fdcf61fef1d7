//! `report`: one HTML file about a run or a study, to read and to print.

use super::eval::Split;
use super::output;
use crate::error::Result;
use crate::report::{Options, report};
use std::path::PathBuf;

/// Flags of `report`.
#[derive(clap::Args)]
#[command(after_help = WRITES)]
pub struct Args {
    /// Run folder, or the folder of a study
    #[arg(value_name = "RUN|DIR")]
    folder: PathBuf,
    /// File to write; replaced if it is there [default: report.html in the folder]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Images: demo (drawn faces), a Kaggle CSV (also .gz) or a folder train|test/<class>/*.png|jpg
    /// [default: what RUN was trained on; not for a study]
    #[arg(long, value_name = "SRC")]
    data: Option<String>,
    /// Which of them to score; test = public + private (7,178 images of FER-2013)
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Worker threads; 0 = one per core; the report does not depend on it
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: u16,
    /// Print one JSON object: path, bytes, files
    #[arg(long)]
    json: bool,
}

const WRITES: &str = "\
The page holds its plots as SVG; it needs no script and fetches nothing. The numbers of every plot are CSV files in the
folder <name of FILE>-csv beside it.

A run: configuration, scores, confusion matrix, bars by class, reliability, training curves, connectome, weights before
and after, filters, and lesions and tuning where `bionic-cpu lesion` has been there. A study: accuracy of every model and
seed, differences to the reference with intervals, tests and verdicts, recall, learning curves.

Where the images that a run was trained on are gone, the page says so and has no scores; everything else is there.";

/// Writes the report and says where.
///
/// # Errors
/// Those of [`report`]; `Io` if stdout refuses the result.
pub fn run(args: &Args) -> Result<()> {
    let (data, threads) = (args.data.as_deref(), usize::from(args.threads));
    let options = Options { data, split: args.split.into(), threads };
    let written = report(&args.folder, args.out.as_deref(), &options, &mut output::warning)?;
    if args.json {
        return output::json(&written);
    }
    let tables = written.files.len() - 1;
    output::result(&format!("{}: {} bytes, {tables} CSV files beside it", written.path.display(), written.bytes))
}
