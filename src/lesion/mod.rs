//! Lesions: what a trained network loses when neurons fall silent, beside what random neurons cost; and what each neuron
//! responds to.
//!
//! - **Silence.** An excitatory neuron's output, its first response in the recurrent step included, is 0 for every target:
//!   later laminae, its own lamina, interneurons, read-out. Its own input is as it was, and its lamina's LayerNorm goes on
//!   counting it, as when the release of transmitter is blocked and the cell lives on. Interneurons (inhibition =
//!   `interneurons`) send 0 as well. With `graded` inhibition inhibitory cells are no units: their synapses are taken out of
//!   the doses n_i of the neurons that they inhibit, over the lamina's maximum as it was. Nothing is trained again.
//! - **Without effect** are cells that the network does not have: those of unsure type, inhibitory ones that reach no neuron
//!   of the network or where it has no inhibition, those of laminae that are left out.
//! - **Controls** are as many random neurons of each polarity, and of each polarity and lamina, out of all that the network
//!   has (`controls.rs`).
//! - **Several runs** are several networks of one kind: means over them (`across.rs`).
//! - **Tables.** `lesions.csv` and `tuning.csv` in the run's folder, replaced whole. The first keeps rows of other lesions of
//!   the same weights: those of the same selector, split and data are replaced, those of other weights go, and those on
//!   images that changed. It is written while the work goes on, and neurons whose scores it has are not scored again: a
//!   call that was cut short goes on from there.

mod across;
mod bench;
mod controls;
mod request;
mod row;
mod selection;
mod subject;
mod text;
mod tuning;
mod tuning_table;

pub use across::{Across, OverRuns, across, lesions};
pub use controls::{Controls, Effect, Match, effects};
pub use request::{Request, What};
pub use row::{Kind, Lesion, read_lesions};
pub use selection::{Each, Selection, Target, ids};
pub use tuning::Tuning;
pub use tuning_table::read_tuning;

use crate::error::{Error, Result};
use crate::eval::{Images, images};
use crate::kernels::threads;
use crate::store;
use crate::table::Form;
use crate::train::load_best;
use bench::{Bench, scorings, silence};
use controls::Pool;
use request::jobs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use subject::{Role, Subject};
use xxhash_rust::xxh3::Xxh3Default;

/// Draws of controls for each lesion of several neurons, where nothing else is asked for.
pub const REPEATS: usize = 40;
/// Time between two saves of the table of lesions, where nothing else is asked for.
pub const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Name of the table of lesions in a run's folder.
pub const LESIONS: &str = "lesions.csv";
/// Name of the table of tuning in a run's folder.
pub const TUNING: &str = "tuning.csv";

/// What to do about a table that cannot be read.
const REMEDY: &str = "move the file away: `bionic-cpu lesion RUN` makes it anew";
/// How the two tables are read.
const FORM: Form = Form { max_bytes: 256 << 20, no_columns: REMEDY, bad_row: REMEDY };

/// How far the work is: scorings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Done.
    pub done: usize,
    /// To do in all.
    pub total: usize,
}

/// Neurons that the network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Excitatory units.
    pub excitatory: usize,
    /// Inhibitory cells: units, or counted in the doses of graded inhibition.
    pub inhibitory: usize,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Epoch of the weights, from 1.
    pub epoch: usize,
    /// `public`, `private` or `test`.
    pub split: String,
    /// Images scored.
    pub images: usize,
    /// In what controls are like the neurons that they stand for.
    pub matched: Vec<Match>,
    /// Seed of the draws.
    pub seed: u64,
    /// Neurons that the controls are drawn from.
    pub population: Census,
    /// The network as it was trained.
    pub intact: Lesion,
    /// The lesions, in the order asked for.
    pub lesions: Vec<Effect>,
    /// Every row, the intact network first, then each lesion and draw.
    #[serde(skip)]
    pub rows: Vec<Lesion>,
    /// Fingerprint of the images scored and their labels.
    #[serde(skip)]
    pub scored: u64,
    /// Scorings that the table of an earlier call had.
    pub taken_up: usize,
    /// The tables that were written.
    pub files: [PathBuf; 2],
}

/// Silences neurons in the best epoch of `run`, scores it, and writes the tables. `observer` is told of each scoring, `warn`
/// of damage that did no harm and of rows that are left out.
///
/// # Errors
/// `Usage` for a run without a column or a selection that cannot be met; `State` and `Input` as
/// [`evaluate`](crate::eval::evaluate), `Input` for a table of an earlier call that cannot be read; `Io` if a table cannot be
/// written.
pub fn lesion(
    run: &Path,
    request: &Request,
    observer: &mut (dyn FnMut(Step) + Send),
    warn: &mut dyn FnMut(&str),
) -> Result<Report> {
    let trained = load_best(run, warn)?;
    let epoch = trained.epoch;
    let files = [run.join(LESIONS), run.join(TUNING)];
    // Before the work, so that it is not in vain; and so is the check that they can be written.
    let before = earlier(&files[0])?;
    let data = request.data.clone().unwrap_or_else(|| trained.config.data.source.clone());
    let found = images(&trained, request.data.as_deref(), request.split)?;
    let dataset = format!("{:016x}", found.dataset.fingerprint());
    let pool = threads::pool(request.threads)?;
    let (tuned, mut left_out, report) = pool.run(|| {
        let subject = Subject::new(trained, &found)?;
        let jobs = jobs(&subject, request)?;
        files.iter().try_for_each(|file| store::check_replaceable(file))?;
        let mut bench = Bench::new(&subject, found.name, [data, dataset], request.seed);
        bench.take_up(before);
        let pool = |&matched: &Match| Pool::new(&subject.connectome, &subject.roles, matched);
        let pools: Vec<Pool> = request.matched.iter().map(pool).collect();
        let total = jobs.iter().map(|job| scorings(&bench, &pools, job)).sum();
        let (mut rows, mut left_out, mut saved) = (vec![bench.intact()], 0, Instant::now());
        for job in &jobs {
            let selector = Some(job.target.selector.as_str());
            silence(&bench, &pools, job, &mut |row| {
                rows.push(row);
                observer(Step { done: rows.len() - 1, total });
                if saved.elapsed() >= request.save_every {
                    left_out += save(run, &rows, selector)?;
                    saved = Instant::now();
                }
                Ok(())
            })?;
        }
        let report = Report {
            epoch,
            split: found.name.to_owned(),
            images: subject.labels.len(),
            scored: fingerprint(&found),
            matched: request.matched.clone(),
            seed: request.seed,
            population: census(&subject),
            intact: rows[0].clone(),
            lesions: effects(&rows),
            taken_up: rows.iter().filter(|row| bench.was_known(row)).count(),
            files: files.clone(),
            rows,
        };
        Ok::<_, Error>((tuning::tuning(&subject), left_out, report))
    })?;
    let about = [report.split.clone(), report.images.to_string(), report.intact.weights.clone()];
    tuning_table::write(&files[1], &tuned, &about)?;
    left_out += save(run, &report.rows, None)?;
    if left_out > 0 {
        warn(&format!("{}: {left_out} rows of other weights or images are left out", files[0].display()));
    }
    Ok(report)
}

/// Of the images and labels to score.
fn fingerprint(images: &Images) -> u64 {
    let mut hasher = Xxh3Default::new();
    for i in images.parts.iter().flatten().copied() {
        hasher.update(images.dataset.image(i));
        hasher.update(&[images.dataset.labels[i]]);
    }
    hasher.digest()
}

fn census(subject: &Subject) -> Census {
    let there = subject.roles.iter().zip(&subject.connectome.neurons).filter(|(role, _)| **role != Role::Absent);
    let signs: Vec<f32> = there.map(|(_, n)| n.polarity.sign()).collect();
    let excitatory = signs.iter().filter(|s| **s > 0.0).count();
    Census { excitatory, inhibitory: signs.len() - excitatory }
}

/// Rows of earlier calls.
fn earlier(path: &Path) -> Result<Vec<Lesion>> {
    if path.exists() { read_lesions(path) } else { Ok(Vec::new()) }
}

/// Writes the rows of earlier calls that stay, then the `new` ones, the intact network first; returns how many are left
/// out: those of other weights, and of other images in the same place. Of the lesion `in_work` each row replaces that draw
/// alone.
fn save(run: &Path, new: &[Lesion], in_work: Option<&str>) -> Result<usize> {
    // Other calls on the same run add rows to the same table.
    let _held = store::Locked::wait(run)?;
    let path = run.join(LESIONS);
    let (mut kept, intact) = (earlier(&path)?, &new[0]);
    let before = kept.len();
    let otherwise = kept.iter().any(|row| row.kind == Kind::Intact && row.is_of(intact) && row.contradicts(intact));
    kept.retain(|row| !(row.contradicts(intact) || otherwise && row.is_of(intact)));
    let left_out = before - kept.len();
    let draw = |row: &Lesion| (row.kind, row.matched, row.repeat);
    let mut draws: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    new.iter().for_each(|row| draws.entry(&row.selector).or_default().push(draw(row)));
    let replaced = |row: &Lesion| {
        let of = draws.get(row.selector.as_str()).filter(|_| row.is_of(intact));
        of.is_some_and(|of| in_work != Some(row.selector.as_str()) || of.contains(&draw(row)))
    };
    kept.retain(|row| !replaced(row));
    kept.extend_from_slice(new);
    row::write(&path, &kept)?;
    Ok(left_out)
}

#[cfg(test)]
mod tests;
