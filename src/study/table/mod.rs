//! The table of a study: one row per model, with its difference to a reference model on the same seeds.

mod columns;
mod layout;
mod main_effects;
mod text;
mod verdict;

pub use main_effects::MainEffect;
pub use text::{detectable_note, thousands};

use super::design::Design;
use super::results::{CellResult, SplitScores};
use crate::error::{Error, Result};
use crate::statistics::{Comparison, Description, LEVEL, MIN_PAIRS, compare, describe, detectable, holm, mean};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Results of one model by seed.
type Cells<'a> = BTreeMap<u64, &'a CellResult>;

/// Means over seeds of every model and differences to the reference, as `table.csv` and `--json` have them.
///
/// The verdict rests on the paired t-test of the accuracy on `test`, corrected by Holm's procedure over all models that
/// have at least [`MIN_PAIRS`] pairs, one family per measure; main effects are families of their own. The exact Wilcoxon and permutation tests are shown beside
/// it: with five seeds their p cannot fall below 0.0625, whatever the differences.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Name of the model that the others are compared with.
    pub reference: String,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The reference first, then the models in the order of their first result.
    pub rows: Vec<Row>,
    /// What each level of a factor does beside the first one, where the models combine factors.
    pub main_effects: Vec<MainEffect>,
}

/// One model.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the model.
    pub model: String,
    /// Seeds of its results, ascending.
    pub seeds: Vec<u64>,
    /// Images of `test`.
    pub test_images: usize,
    /// Scores on `test`: PublicTest + PrivateTest, or PrivateTest alone where validation images were held out.
    pub test: Measures,
    /// Scores on PublicTest, if any result has them.
    pub public: Option<Measures>,
    /// Scores on PrivateTest, if any result has them.
    pub private: Option<Measures>,
    /// Mean number of trained parameters.
    pub parameters: f64,
    /// Mean number of synapses that carry a weight.
    pub synapses: f64,
    /// Mean number of epochs trained.
    pub epochs: f64,
    /// Mean wall time, seconds.
    pub seconds: f64,
    /// Accuracy on `test` that somebody else has published for this model, a fraction.
    pub published: Option<f64>,
    /// The same less that of the reference.
    pub published_difference: Option<f64>,
    /// Differences to the reference; `None` for the reference itself, where they have no seed in common, and where they
    /// were scored on different numbers of images.
    pub differences: Option<Differences>,
    /// What the difference in accuracy on `test` is worth, in words.
    pub verdict: String,
}

/// Scores of a model on one split, over its seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Measures {
    /// Accuracy, a fraction.
    pub accuracy: Description,
    /// Macro F1.
    pub macro_f1: Description,
    /// Area under the ROC curve, over the results that have it.
    pub roc_auc: Option<Description>,
    /// Recall by class, in the order of the table's classes.
    pub recall: Vec<Description>,
}

/// Differences of a model to the reference, or of a level to the first one, paired by seed.
#[derive(Clone, Debug, Serialize)]
pub struct Differences {
    /// In accuracy on `test`.
    pub test_accuracy: Difference,
    /// In accuracy on PrivateTest, where both have it.
    pub private_accuracy: Option<Difference>,
    /// In macro F1 on `test`.
    pub macro_f1: Difference,
}

/// A paired comparison and its place in the family of its measure.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The comparison by itself.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// p of the t-test after Holm's correction over all rows, or over all main effects; `None` outside of the family: fewer than [`MIN_PAIRS`]
    /// pairs or no t-test.
    pub holm_p: Option<f64>,
    /// True difference that four of five studies with as many seeds would show after that correction, were it the only
    /// one in the family, going by the spread of these differences; `None` without spread and outside of the family.
    pub detectable: Option<f64>,
}

impl Table {
    /// The table of `cells`, in any order, against the model `reference`, which may have no results yet. `published` has
    /// accuracies on `test` by model, as fractions; `design` the factors that models combine.
    ///
    /// # Errors
    /// `Input` for results that cannot stand in one table: a model twice with one seed, other classes, or one model with
    /// several numbers of images.
    pub fn new(
        cells: &[CellResult],
        reference: &str,
        published: &BTreeMap<String, f64>,
        design: &Design,
    ) -> Result<Self> {
        check(cells)?;
        let mut models: Vec<(&str, Cells)> = Vec::new();
        let mut places = BTreeMap::new();
        for cell in cells {
            let place = *places.entry(cell.model.as_str()).or_insert(models.len());
            if place == models.len() {
                models.push((&cell.model, Cells::new()));
            }
            models[place].1.insert(cell.run.seed, cell);
        }
        models.sort_by_key(|(model, _)| *model != reference);
        let theirs = models.first().filter(|(model, _)| *model == reference).map_or(Cells::new(), |(_, c)| c.clone());
        let mut rows: Vec<Row> = models
            .iter()
            .filter_map(|(model, ours)| {
                let differences = if *model == reference { None } else { differences(&pairs(ours, &theirs)) };
                row(model, ours, differences)
            })
            .collect();
        for row in &mut rows {
            row.published = published.get(&row.model).copied();
            row.published_difference = published
                .get(reference)
                .filter(|_| row.model != reference)
                .and_then(|theirs| row.published.map(|ours| ours - theirs));
        }
        let mut table = Self {
            reference: reference.to_owned(),
            classes: cells.first().map_or(Vec::new(), |c| c.classes().map(str::to_owned).collect()),
            rows,
            main_effects: main_effects::main_effects(design, &models),
        };
        correct(table.rows.iter_mut().filter_map(|row| row.differences.as_mut()).collect());
        correct(table.main_effects.iter_mut().map(|effect| &mut effect.differences).collect());
        table.main_effects.iter_mut().for_each(MainEffect::judge);
        for row in &mut table.rows {
            let difference = row.differences.as_ref().map(|d| &d.test_accuracy);
            row.verdict = if row.model == reference {
                "the reference".to_owned()
            } else if theirs.values().next().is_some_and(|c| c.test.images != row.test_images) {
                format!("scored on {} images: not comparable with {reference}", row.test_images)
            } else {
                verdict::verdict(difference, reference, verdict::Unit::Points)
            };
        }
        Ok(table)
    }
}

/// Fills in Holm's correction for the family of each measure, and what the family can tell.
fn correct(mut all: Vec<&mut Differences>) {
    let measures: [fn(&mut Differences) -> Option<&mut Difference>; 3] =
        [|d| Some(&mut d.test_accuracy), |d| d.private_accuracy.as_mut(), |d| Some(&mut d.macro_f1)];
    for measure in measures {
        let of_measure = all.iter_mut().filter_map(|d| measure(d));
        let mut family: Vec<&mut Difference> = of_measure.filter(|d| d.raw_p().is_some()).collect();
        let raw: Vec<f64> = family.iter().filter_map(|d| d.raw_p()).collect();
        // What Holm asks of the least p.
        let level = LEVEL / family.len() as f64;
        let mut by_pairs = BTreeMap::new();
        for (difference, p) in family.iter_mut().zip(holm(&raw)) {
            let Description { n, sd, .. } = difference.comparison.difference;
            let in_deviations = *by_pairs.entry(n).or_insert_with(|| detectable(n, level));
            difference.holm_p = Some(p);
            difference.detectable = in_deviations.zip(sd.filter(|sd| *sd > 0.0)).map(|(d, sd)| d * sd);
        }
    }
}

impl Difference {
    /// p of the t-test, if it belongs into the family.
    fn raw_p(&self) -> Option<f64> {
        self.comparison.t_test.map(|t| t.p).filter(|_| self.comparison.difference.n >= MIN_PAIRS)
    }
}

/// Refuses results that cannot stand in one table.
fn check(cells: &[CellResult]) -> Result<()> {
    let (mut seen, mut images) = (BTreeSet::new(), BTreeMap::new());
    for cell in cells {
        let place = format!("`{}` with seed {}", cell.model, cell.run.seed);
        let remedy = "keep results of different data sets in different studies";
        if !seen.insert((&cell.model, cell.run.seed)) {
            return Err(Error::input(place, "has two results", "keep one of them"));
        }
        if !cell.classes().eq(cells[0].classes()) {
            return Err(Error::input(place, format!("was scored on other classes than `{}`", cells[0].model), remedy));
        }
        let images = *images.entry(&cell.model).or_insert(cell.test.images);
        if cell.test.images != images {
            let what = format!("was scored on {} images, with another seed on {images}", cell.test.images);
            return Err(Error::input(place, what, remedy));
        }
    }
    Ok(())
}

/// The row of a model, without what comes from the rest of the table; `None` without results.
fn row(model: &str, cells: &Cells, differences: Option<Differences>) -> Option<Row> {
    let mean = |f: fn(&CellResult) -> f64| cells.values().map(|c| f(c)).sum::<f64>() / cells.len() as f64;
    Some(Row {
        model: model.to_owned(),
        seeds: cells.keys().copied().collect(),
        test_images: cells.values().next()?.test.images,
        test: measures(cells, |c| Some(&c.test))?,
        public: measures(cells, |c| c.public.as_ref()),
        private: measures(cells, |c| c.private.as_ref()),
        parameters: mean(|c| c.run.parameters as f64),
        synapses: mean(|c| c.run.synapses as f64),
        epochs: mean(|c| c.run.epochs as f64),
        seconds: mean(|c| c.run.seconds),
        published: None,
        published_difference: None,
        differences,
        verdict: String::new(),
    })
}

/// Scores on one split over the results that have it; `None` if none has.
fn measures(cells: &Cells, split: impl Fn(&CellResult) -> Option<&SplitScores>) -> Option<Measures> {
    let scores: Vec<&SplitScores> = cells.values().filter_map(|c| split(c)).collect();
    let over = |f: &dyn Fn(&SplitScores) -> f64| describe(&scores.iter().map(|s| f(s)).collect::<Vec<f64>>());
    let classes = scores.first()?.recall.len();
    Some(Measures {
        accuracy: over(&|s| s.accuracy)?,
        macro_f1: over(&|s| s.macro_f1)?,
        roc_auc: describe(&scores.iter().filter_map(|s| s.roc_auc).collect::<Vec<f64>>()),
        recall: (0..classes).filter_map(|class| over(&|s| s.recall[class].recall)).collect(),
    })
}

/// Results of `ours` and of `theirs` on the seeds of both.
fn pairs<'a>(ours: &Cells<'a>, theirs: &Cells<'a>) -> Vec<[Vec<&'a CellResult>; 2]> {
    ours.iter().filter_map(|(seed, a)| theirs.get(seed).map(|b| [vec![*a], vec![*b]])).collect()
}

/// Differences of the means of two sides, seed by seed; a seed counts whose results, side by side, are of as many images.
/// `None` without any.
fn differences(seeds: &[[Vec<&CellResult>; 2]]) -> Option<Differences> {
    let same = |[a, b]: &&[Vec<&CellResult>; 2]| a.iter().zip(b).all(|(a, b)| a.test.images == b.test.images);
    let seeds: Vec<&[Vec<&CellResult>; 2]> = seeds.iter().filter(same).collect();
    let over = |f: &dyn Fn(&CellResult) -> Option<f64>| {
        let side = |cells: &Vec<&CellResult>| mean(&cells.iter().map(|c| f(c)).collect::<Option<Vec<f64>>>()?);
        let (a, b): (Vec<f64>, Vec<f64>) = seeds.iter().filter_map(|[a, b]| side(a).zip(side(b))).unzip();
        compare(&a, &b).map(|comparison| Difference { comparison, holm_p: None, detectable: None })
    };
    Some(Differences {
        test_accuracy: over(&|c| Some(c.test.accuracy))?,
        private_accuracy: over(&|c| c.private.as_ref().map(|s| s.accuracy)),
        macro_f1: over(&|c| Some(c.test.macro_f1))?,
    })
}

#[cfg(test)]
mod tests;
