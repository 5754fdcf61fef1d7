//! The folder of a study: which runs are done, and `results.csv`, which remembers them when their folders are gone.

use super::design::Design;
use super::plan::{Cell, Plan};
use super::results::{CellResult, MAX_NAME_BYTES, read_results, write_results};
use super::sources::{self, Fingerprints};
use super::table::Table;
use crate::config::{Config, Difference, listed};
use crate::error::{Error, Result};
use crate::input;
use crate::store::{Locked, make_folder, replace};
use crate::train::{
    configuration_fingerprint, deciding_differences, load_config, place_differences, to_json, with_absolute_sources,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// One row per finished run.
pub const RESULTS: &str = "results.csv";
/// One row per model.
pub const TABLE: &str = "table.csv";
/// One row per level of a factor.
const MAIN_EFFECTS: &str = "main_effects.csv";
/// What the study compares.
const ABOUT: &str = "study.json";
/// Longest description of a study, bytes.
const MAX_ABOUT_BYTES: u64 = 16 << 20;
/// Longest title, and longest scores of a run, bytes.
const MAX_TITLE_BYTES: usize = 64 << 10;
const MAX_RESULT_BYTES: u64 = 1 << 20;
/// Scores of a finished run, in its folder.
pub(super) const RESULT: &str = "result.json";
/// Held by who changes `study.json`.
const LOCK: &str = "study.lock";
/// Made early in every run folder.
const CONFIG: &str = "config.toml";

/// How far a run of a study is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Nothing is there.
    Missing,
    /// Begun, or trained and not yet scored.
    Begun,
    /// Trained and scored.
    Done(Box<CellResult>),
}

/// What a study compares, for whoever reads its folder later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// One line.
    pub title: String,
    /// Name of the model that the others are compared with.
    pub reference: String,
    /// Names of the models, in order.
    pub models: Vec<String>,
    /// Seeds of each model; none where an earlier version wrote them not.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Accuracies that somebody else has published, by model, fractions.
    pub published: BTreeMap<String, f64>,
    /// The factors that its models combine; none where they stand one by one.
    #[serde(default)]
    pub design: Design,
    /// Fingerprints of the images and connectomes on the disk that its runs are trained on.
    #[serde(default)]
    pub sources: BTreeMap<String, String>,
}

impl About {
    /// Whether the plan has a run of this model and seed.
    pub fn has(&self, model: &str, seed: u64) -> bool {
        self.models.iter().any(|m| m == model) && (self.seeds.is_empty() || self.seeds.contains(&seed))
    }
}

/// A study on disk.
pub struct Folder {
    path: PathBuf,
    /// Rows of `results.csv`, by model and seed.
    rows: Vec<CellResult>,
    /// What its runs were trained on.
    sources: Fingerprints,
}

impl Folder {
    /// The study in `path`, which may not be there yet.
    ///
    /// # Errors
    /// `Input` or `Io` for a `results.csv` that cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        let results = path.join(RESULTS);
        let rows = if results.exists() { read_results(&results)? } else { Vec::new() };
        let mut folder = Self { path: path.to_path_buf(), rows, sources: Fingerprints::new() };
        // Where it cannot be read, it is written anew.
        folder.sources = folder.about().map_or_else(|_| Fingerprints::new(), |about| about.sources);
        Ok(folder)
    }

    /// Refuses to put a study into a file or the folder of a run.
    ///
    /// # Errors
    /// `Usage` naming the path.
    pub fn refuse_other(path: &Path) -> Result<()> {
        let is_study = [RESULTS, ABOUT].iter().any(|name| path.join(name).exists());
        let is_run = !is_study && path.join(CONFIG).exists();
        if !is_run && (path.is_dir() || !path.exists()) {
            return Ok(());
        }
        let what = format!("--out {}: it is {}", path.display(), if is_run { "a run" } else { "no folder" });
        Err(Error::usage(what, "name a new folder or that of a study"))
    }

    /// Makes the folder `path` and keeps other studies out of it: they would train the same runs and replace each other's
    /// rows.
    ///
    /// # Errors
    /// `State` if another study is at work; `Io` if the folder cannot be made.
    pub fn hold(path: &Path) -> Result<Locked> {
        make_folder(path)?;
        Locked::take(path, "wait until that study ends; arrays of jobs take one run each with --index")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every row of `results.csv`, in its order.
    pub fn rows(&self) -> &[CellResult] {
        &self.rows
    }

    /// How far `cell` is: by its folder, or by a row of `results.csv` with its configuration.
    ///
    /// # Errors
    /// `State` if what is there was trained with another configuration or on other data or wiring, or is damaged.
    pub fn progress(&mut self, cell: &Cell) -> Result<Progress> {
        let run = self.path.join(cell.folder());
        let found = match configuration(&run)? {
            None => Progress::Missing,
            Some(was) => {
                let found = of_run(cell, &run, &was)?;
                self.refuse_moved(&run, &was, &cell.config)?;
                found
            }
        };
        let same = |r: &&CellResult| r.model == cell.model && r.run.seed == cell.seed;
        let Some(row) = self.rows.iter().find(same) else { return Ok(found) };
        if matches!(found, Progress::Done(_)) {
            return Ok(found);
        }
        if row.run.configuration != format!("{:016x}", configuration_fingerprint(&cell.config)?) {
            return Err(Error::state(
                self.path.join(RESULTS).display(),
                format!(
                    "the row of {}, seed {} is of another configuration than the plan gives",
                    row.model, row.run.seed
                ),
                OTHER_PLAN,
            ));
        }
        Ok(Progress::Done(Box::new(row.clone())))
    }

    /// Refuses a run on other images or wiring than the plan gives; what is the same in another place is the same.
    fn refuse_moved(&mut self, run: &Path, was: &Config, is: &Config) -> Result<()> {
        let is = with_absolute_sources(is.clone());
        let moved = place_differences(was, &is);
        if moved.is_empty() || sources::only_moved(&mut self.sources, was, &is)? {
            return Ok(());
        }
        Err(other_plan(run, &moved))
    }

    /// Keeps `results`: their rows replace those of the same model and seed in `results.csv`, the other rows stay.
    ///
    /// # Errors
    /// Those of [`write_results`].
    pub fn keep(&mut self, results: &[CellResult]) -> Result<()> {
        for result in results {
            let same = |r: &CellResult| r.model == result.model && r.run.seed == result.run.seed;
            match self.rows.iter_mut().find(|r| same(r)) {
                Some(row) => *row = result.clone(),
                None => self.rows.push(result.clone()),
            }
        }
        make_folder(&self.path)?;
        write_results(&self.path.join(RESULTS), &self.rows)
    }

    /// Looks at what `cells` are to be trained on, and writes what the study compares to `study.json`; of several plans in
    /// one folder the last one begun counts.
    ///
    /// # Errors
    /// `State` if images or wiring have changed since the study was begun; whatever is wrong with them; `Io` if writing
    /// fails.
    pub fn begin<'a>(&mut self, plan: &Plan, cells: impl Iterator<Item = &'a Cell>) -> Result<()> {
        let found = sources::of(cells)?;
        sources::refuse_changed(&self.sources, &found)?;
        make_folder(&self.path)?;
        // Jobs of an array begin at the same time.
        let lock = self.path.join(LOCK);
        let made = File::options().write(true).create(true).truncate(false).open(&lock);
        made.map_err(|e| Error::io(&lock, "making", &e))?;
        let _held = Locked::wait(&lock)?;
        if let Ok(about) = self.about() {
            self.sources.extend(about.sources);
        }
        sources::refuse_changed(&self.sources, &found)?;
        self.sources.extend(found);
        let about = About { sources: self.sources.clone(), ..plan.about() };
        replace(&self.path.join(ABOUT), to_json(&about)?.as_bytes())
    }

    /// The table of `results`; writes it to `table.csv`, and main effects to `main_effects.csv`.
    ///
    /// # Errors
    /// Those of [`Table::new`] and of writing.
    pub fn tabulate(&self, plan: &Plan, results: &[CellResult]) -> Result<Table> {
        let about = plan.about();
        let table = Table::new(results, &about.reference, &about.published, &about.design)?;
        table.write_csv(&self.path.join(TABLE))?;
        table.write_main_effects(&self.path.join(MAIN_EFFECTS))?;
        Ok(table)
    }

    /// What the study compares.
    ///
    /// # Errors
    /// `State` where that was not written yet or cannot be read.
    pub fn about(&self) -> Result<About> {
        read_about(&self.path.join(ABOUT))
    }
}

/// What a study compares, from its `study.json`.
///
/// # Errors
/// `State` for a file that is not there or that `bionic-cpu study` would not write.
pub fn read_about(path: &Path) -> Result<About> {
    let wrong = |what: &str| Error::state(path.display(), what, "run `bionic-cpu study PLAN --out` with this folder");
    if !path.exists() {
        return Err(wrong("no such file"));
    }
    let about: About =
        serde_json::from_slice(&input::read(path, MAX_ABOUT_BYTES)?).map_err(|e| wrong(&e.to_string()))?;
    let long = |name: &String| name.len() > MAX_NAME_BYTES;
    let one_long = about.models.iter().any(long) || about.published.keys().any(long) || long(&about.reference);
    if one_long || about.title.len() > MAX_TITLE_BYTES {
        return Err(wrong("a name or the title is too long"));
    }
    about.design.check().map_err(|what| wrong(&what))?;
    Ok(about)
}

const OTHER_PLAN: &str = "restore the plan and the flags that the study was begun with, or name another --out";

/// How far `cell` is by its folder in `study`, wherever its images and wiring lie.
pub(super) fn progress(cell: &Cell, study: &Path) -> Result<Progress> {
    let run = study.join(cell.folder());
    configuration(&run)?.map_or(Ok(Progress::Missing), |was| of_run(cell, &run, &was))
}

/// The configuration of the run in folder `run`, if there is one.
fn configuration(run: &Path) -> Result<Option<Config>> {
    if run.join(CONFIG).exists() { load_config(run).map(Some) } else { Ok(None) }
}

/// How far `cell` is by the run in folder `run`, which `was` begun so.
fn of_run(cell: &Cell, run: &Path, was: &Config) -> Result<Progress> {
    let differing = deciding_differences(was, &cell.config)?;
    if !differing.is_empty() {
        return Err(other_plan(run, &differing));
    }
    let path = run.join(RESULT);
    if !path.exists() {
        return Ok(Progress::Begun);
    }
    let text = input::read(&path, MAX_RESULT_BYTES).map_err(Error::into_state)?;
    // What it says can be had again.
    let Ok(result) = CellResult::from_json(&text) else { return Ok(Progress::Begun) };
    if (result.model.as_str(), result.run.seed) != (cell.model.as_str(), cell.seed) {
        let what = format!("is of model {}, seed {}", result.model, result.run.seed);
        return Err(Error::state(path.display(), what, "remove the file: the run is scored again"));
    }
    Ok(Progress::Done(Box::new(result)))
}

fn other_plan(run: &Path, differing: &[Difference]) -> Error {
    let what = format!("was trained with another configuration than the plan gives: {}", listed(differing));
    Error::state(run.display(), what, OTHER_PLAN)
}

/// Refuses results that are not to be compared: runs on different images, or seeds of one model on different connectomes.
/// Validation images held out of Training are others for each seed, so there the runs of a seed have the same.
///
/// # Errors
/// `State` naming the two runs.
pub fn check_alike(cells: &[Cell], results: &[CellResult]) -> Result<()> {
    let by_run: BTreeMap<(&str, u64), &CellResult> =
        results.iter().map(|r| ((r.model.as_str(), r.run.seed), r)).collect();
    // The first run with each data source, and with each model and connectome.
    let mut first: BTreeMap<(&str, &str, String), (&Cell, &str)> = BTreeMap::new();
    for cell in cells {
        let Some(result) = by_run.get(&(cell.model.as_str(), cell.seed)) else { continue };
        let run = &result.run;
        let held_out = if result.public.is_none() { cell.seed.to_string() } else { String::new() };
        let mut same = vec![(("data set", cell.config.data.source.as_str(), held_out), run.data.as_str())];
        if cell.config.connectome.null == "none" {
            let source = cell.config.connectome.source.as_str();
            same.push((("connectome", source, cell.model.clone()), run.connectome.as_str()));
        }
        for (key, fingerprint) in same {
            let kind = key.0;
            let (other, expected) = *first.entry(key).or_insert((cell, fingerprint));
            if expected != fingerprint {
                return Err(Error::state(
                    cell.folder(),
                    format!("was trained on another {kind} ({fingerprint}) than {} ({expected})", other.folder()),
                    "train all runs of a study on the same data: move away what does not belong to it",
                ));
            }
        }
    }
    Ok(())
}
