//! `predict`: class probabilities of single images.

use super::output;
use crate::error::Result;
use crate::eval::{Prediction, predict};
use crate::kernels::threads;
use crate::train::load_best;
use serde::Serialize;
use std::path::PathBuf;

/// Flags of `predict`.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// PNG or JPEG files, or Kaggle's unlabelled test.csv
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Worker threads; 0 = one per core; the result does not depend on it
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: u16,
    /// Print one JSON object: {"predictions": [{file, expression, probabilities}]}
    #[arg(long)]
    json: bool,
}

/// The JSON answer.
#[derive(Serialize)]
struct Answer {
    predictions: Vec<Prediction>,
}

/// Prints the probabilities, image by image in the order given.
///
/// # Errors
/// Those of [`load_best`] and [`predict`]; `Other` if the threads are refused, `Io` if stdout refuses the result.
pub fn run(args: &Args) -> Result<()> {
    threads::pool(usize::from(args.threads))?.run(|| {
        let mut trained = load_best(&args.run, &mut output::warning)?;
        let predictions = predict(&mut trained, &args.images)?;
        if args.json { output::json(&Answer { predictions }) } else { output::result(&table(&predictions)) }
    })
}

/// A table with one row per image and one column per class, separated by tabs.
fn table(predictions: &[Prediction]) -> String {
    let mut lines = Vec::with_capacity(predictions.len() + 1);
    if let Some(first) = predictions.first() {
        let classes: Vec<String> = first.probabilities.iter().map(|(class, _)| class.to_string()).collect();
        lines.push(format!("file\texpression\t{}", classes.join("\t")));
    }
    for p in predictions {
        let values: Vec<String> = p.probabilities.iter().map(|(_, p)| format!("{p:.4}")).collect();
        lines.push(format!("{}\t{}\t{}", p.file, p.expression, values.join("\t")));
    }
    lines.join("\n")
}
