//! Reports to read and to print: one HTML file with its plots inside, and their numbers as CSV files beside it.
//!
//! The file needs no script and fetches nothing; it is XML as well as HTML, and the same input gives the same bytes. Its
//! size does not grow with a connectome or a network: wiring is summed up in blocks, weights in histograms. To add a plot:
//! a file with a function that appends a section to a [`page::Page`], and its call in `run.rs`.

mod axes;
mod colour;
mod curves;
mod filters;
mod heat;
mod lines;
mod numbers;
mod page;
mod run;
mod scores;
mod svg;
mod text;
mod weights;
mod wiring;

use crate::error::{Error, Result};
use crate::eval::EvalSplit;
use crate::store;
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
const FILES: [&str; 11] = [
    "cell_types.csv",
    "confusion.csv",
    "connectome_density.csv",
    "filters.csv",
    "hebbian_share.csv",
    "per_class.csv",
    "reliability.csv",
    "scores.csv",
    "training_curves.csv",
    "weight_histograms.csv",
    "weights.csv",
];

/// Writes the report of the run in `folder` to `out` (default: `report.html` in it), and the numbers of its plots to the
/// folder `<name of out>-csv` beside it. What an earlier report left there is replaced. `warn` is told what is missing and
/// of damage that did no harm.
///
/// # Errors
/// `State` if `folder` holds no run that can be used, `Io` if the files cannot be written; those of scoring if
/// `options.data` names images.
pub fn report(folder: &Path, out: Option<&Path>, options: &Options, warn: &mut dyn FnMut(&str)) -> Result<Written> {
    let path = out.map_or_else(|| folder.join("report.html"), Path::to_owned);
    let name = path.file_stem().unwrap_or("report".as_ref()).to_string_lossy();
    let beside = format!("{name}-csv");
    let page = run::page(folder, &beside, options, warn)?;
    let (text, numbers) = page.finish();
    assert!(text.len() <= MAX_BYTES, "a page has at most {MAX_BYTES} bytes, this one {}", text.len());
    let files = numbers.iter().map(|n| Ok((n.file(), n.bytes()?))).collect::<Result<Vec<_>>>()?;
    let csv = path.with_file_name(beside);
    let ours = |name: &str| FILES.contains(&name);
    assert!(files.iter().all(|(name, _)| ours(name)), "every file of a report is in FILES");
    let remedy = "check permissions and free space, or name another file with --out";
    store::replace_folder(&csv, &files, ours).map_err(|e| Error::into_io(e).with_remedy(remedy))?;
    store::replace(&path, text.as_bytes()).map_err(|e| Error::into_io(e).with_remedy(remedy))?;
    let listed = files.iter().map(|(name, _)| csv.join(name));
    Ok(Written { bytes: text.len(), files: [path.clone()].into_iter().chain(listed).collect(), path })
}
