//! Reports to read and to print: one HTML file with its plots inside, and their numbers as CSV files beside it.
//!
//! The file needs no script and fetches nothing; it is XML as well as HTML, and the same input gives the same bytes. Its
//! size does not grow with a connectome or a network: wiring is summed up in blocks, weights in histograms. To add a plot:
//! a file with a function that appends it to a `page::Page`, and its call in `run.rs` or `study.rs`.

mod accuracy;
mod axes;
mod colour;
mod comparison;
mod curves;
mod differences;
mod filters;
mod heat;
mod learning;
mod lesions;
mod lines;
mod main_effects;
mod model_lesions;
mod models;
mod numbers;
mod page;
mod recall;
mod rows;
mod run;
mod scores;
mod study;
mod svg;
mod text;
mod tuning;
mod weights;
mod wiring;

use crate::error::{Error, Result};
use crate::eval::EvalSplit;
use crate::store;
use crate::study::RESULTS;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Largest page, bytes.
pub const MAX_BYTES: usize = 5_000_000;

/// How a report is made.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Images to score instead of those that the run was trained on.
    pub data: Option<&'a str>,
    /// Which of them.
    pub split: EvalSplit,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The page.
    pub path: PathBuf,
    /// Its size, bytes.
    pub bytes: usize,
    /// Every file, the page first.
    pub files: Vec<PathBuf>,
}

/// Every name that a CSV file of a report may have, so that nothing else is ever replaced.
const FILES: [&str; 22] = [
    "cell_types.csv",
    "confusion.csv",
    "connectome_density.csv",
    "differences.csv",
    "filters.csv",
    "hebbian_share.csv",
    "learning_curves.csv",
    "lesion_accuracy.csv",
    "lesion_recall.csv",
    "main_effects.csv",
    "model_accuracy.csv",
    "model_lesions.csv",
    "model_recall.csv",
    "per_class.csv",
    "preferred_class.csv",
    "reliability.csv",
    "scores.csv",
    "training_curves.csv",
    "tuning_spread.csv",
    "verdicts.csv",
    "weight_histograms.csv",
    "weights.csv",
];

/// Writes the report of the run or the study in `folder` to `out` (default: `report.html` in it), and the numbers of its
/// plots to the folder `<name of out>-csv` beside it. What an earlier report left there is replaced. A study is a folder
/// with results of several runs. `warn` is told what is missing and of damage that did no harm.
///
/// # Errors
/// `State` if `folder` holds neither a study nor a run that can be used, `Input` for results of a study that cannot be
/// read, `Io` if the files cannot be written; `Usage` if `out` does not end with `.html` or
/// `options.data` names images for a study; those of scoring if it does so for a run.
pub fn report(folder: &Path, out: Option<&Path>, options: &Options, warn: &mut dyn FnMut(&str)) -> Result<Written> {
    let path = out.map_or_else(|| folder.join("report.html"), Path::to_owned);
    if let Some(out) = out {
        store::refuse_other_kind(out, "html")?;
    }
    let name = path.file_stem().unwrap_or("report".as_ref()).to_string_lossy();
    let tables = format!("{name}-csv");
    let page = if folder.join(RESULTS).exists() {
        if options.data.is_some() {
            let what = format!("--data: {} is a study, whose runs are scored already", folder.display());
            return Err(Error::usage(what, "leave --data out, or report on one of its runs"));
        }
        study::page(folder, &tables, out.is_none(), warn)?
    } else {
        run::page(folder, &tables, options, warn)?
    };
    let (text, numbers) = page.finish();
    if text.len() > MAX_BYTES {
        let what = format!("{}: the page has {} bytes, at most {MAX_BYTES}", folder.display(), text.len());
        return Err(Error::other(what, "report on fewer models at a time"));
    }
    let files = numbers.iter().map(|n| Ok((n.file(), n.bytes()?))).collect::<Result<Vec<_>>>()?;
    let csv = path.with_file_name(tables);
    let ours = |name: &str| FILES.contains(&name);
    assert!(files.iter().all(|(name, _)| ours(name)), "every file of a report is in FILES");
    let remedy = "check permissions and free space, or name another file with --out";
    store::replace_folder(&csv, &files, ours).map_err(|e| e.with_remedy(remedy))?;
    store::replace(&path, text.as_bytes()).map_err(|e| e.with_remedy(remedy))?;
    let listed = files.iter().map(|(name, _)| csv.join(name));
    Ok(Written { bytes: text.len(), files: [path.clone()].into_iter().chain(listed).collect(), path })
}
