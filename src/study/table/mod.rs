//! The table of a study: one row per model, with its difference to a reference model on the same seeds.

mod columns;
mod layout;
mod text;
mod verdict;

pub use text::thousands;

use super::results::{CellResult, SplitScores};
use super::statistics::{Comparison, Description, compare, describe, holm};
use crate::error::{Error, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Fewest pairs that are tested: with two, the t distribution has one degree of freedom and the 95 % interval is 12.7
/// standard errors wide on either side.
pub const MIN_PAIRS: usize = 3;
/// Below this p (after Holm's correction) a difference is told, otherwise it is within the noise.
pub const LEVEL: f64 = 0.05;

/// Results of one model by seed.
type Cells<'a> = BTreeMap<u64, &'a CellResult>;

/// Means over seeds of every model and differences to the reference, as `table.csv` and `--json` have them.
///
/// The verdict rests on the paired t-test of the accuracy on `test`, corrected by Holm's procedure over all models that
/// have at least [`MIN_PAIRS`] pairs, one family per measure. The exact Wilcoxon and permutation tests are shown beside
/// it: with five seeds their p cannot fall below 0.0625, whatever the differences.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Name of the model that the others are compared with.
    pub reference: String,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The reference first, then the models in the order of their first result.
    pub rows: Vec<Row>,
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

/// Differences of a model to the reference, paired by seed.
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
    /// p of the t-test after Holm's correction over the table; `None` outside of the family: fewer than [`MIN_PAIRS`]
    /// pairs or no t-test.
    pub holm_p: Option<f64>,
}

impl Table {
    /// The table of `cells`, in any order, against the model `reference`, which may have no results yet. `published` has
    /// accuracies on `test` by model, as fractions.
    ///
    /// # Errors
    /// `Input` for results that cannot stand in one table: a model twice with one seed, other classes, or one model with
    /// several numbers of images.
    pub fn new(cells: &[CellResult], reference: &str, published: &BTreeMap<String, f64>) -> Result<Self> {
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
                let differences = if *model == reference { None } else { differences(ours, &theirs) };
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
        };
        table.correct(|d| Some(&mut d.test_accuracy));
        table.correct(|d| d.private_accuracy.as_mut());
        table.correct(|d| Some(&mut d.macro_f1));
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

    /// Fills in Holm's correction for the family of one measure.
    fn correct(&mut self, measure: impl Fn(&mut Differences) -> Option<&mut Difference>) {
        let all = self.rows.iter_mut().filter_map(|row| row.differences.as_mut().and_then(&measure));
        let mut family: Vec<&mut Difference> = all.filter(|d| d.raw_p().is_some()).collect();
        let raw: Vec<f64> = family.iter().filter_map(|d| d.raw_p()).collect();
        for (difference, p) in family.iter_mut().zip(holm(&raw)) {
            difference.holm_p = Some(p);
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

/// Differences of `ours` to `theirs` on the seeds of both; `None` without any, or if they saw different images.
fn differences(ours: &Cells, theirs: &Cells) -> Option<Differences> {
    let pairs: Vec<(&CellResult, &CellResult)> = ours
        .iter()
        .filter_map(|(seed, a)| theirs.get(seed).map(|b| (*a, *b)))
        .filter(|(a, b)| a.test.images == b.test.images)
        .collect();
    let over = |f: &dyn Fn(&CellResult) -> Option<f64>| {
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().filter_map(|(a, b)| f(a).zip(f(b))).unzip();
        compare(&a, &b).map(|comparison| Difference { comparison, holm_p: None })
    };
    Some(Differences {
        test_accuracy: over(&|c| Some(c.test.accuracy))?,
        private_accuracy: over(&|c| c.private.as_ref().map(|s| s.accuracy)),
        macro_f1: over(&|c| Some(c.test.macro_f1))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::study::results::random_cell;

    /// Results of `model` whose accuracy on `test` is `accuracies` for the seeds 1, 2, ...
    fn cells(model: &str, accuracies: &[f64]) -> Vec<CellResult> {
        let mut rng = Rng::stream(7, model, &[]);
        let with_accuracy = |(i, accuracy): (usize, &f64)| {
            let mut cell = random_cell(model, i as u64 + 1, &mut rng);
            cell.test.accuracy = *accuracy;
            cell.private.as_mut().unwrap().accuracy = accuracy + 0.01 + 0.001 * (i % 2) as f64;
            cell
        };
        accuracies.iter().enumerate().map(with_accuracy).collect()
    }

    const FULL: [f64; 5] = [0.610, 0.602, 0.615, 0.607, 0.611];

    /// The reference, one clearly below, one like it, and one with two seeds.
    fn study() -> Vec<CellResult> {
        [
            cells("masks", &[0.600, 0.5925, 0.604, 0.597, 0.602]),
            cells("full", &FULL),
            cells("noise", &[0.612, 0.601, 0.613, 0.609, 0.610]),
            cells("new", &[0.5, 0.5]),
        ]
        .concat()
    }

    fn table(cells: &[CellResult]) -> Table {
        let published = BTreeMap::from([("full".to_owned(), 0.5977), ("masks".to_owned(), 0.5876)]);
        Table::new(cells, "full", &published).unwrap()
    }

    fn json(table: &Table) -> String {
        serde_json::to_string(table).unwrap()
    }

    #[test]
    fn rows_say_what_the_differences_are_worth() {
        let table = table(&study());
        let verdicts: Vec<(&str, &str)> = table.rows.iter().map(|r| (r.model.as_str(), r.verdict.as_str())).collect();
        let expected = [
            ("full", "the reference"),
            ("masks", "0.99 points below full (p < 0.001 after Holm)"),
            ("noise", "within noise (p = 1.000 after Holm)"),
            ("new", "too few seeds to tell (2 of at least 3)"),
        ];
        assert_eq!(verdicts, expected);
        let d = |i: usize| table.rows[i].differences.as_ref().unwrap();
        // Two models are in the family, the third has too few seeds.
        let raw = d(1).test_accuracy.comparison.t_test.unwrap().p;
        assert_eq!(d(1).test_accuracy.holm_p, Some(2.0 * raw));
        assert_eq!(d(1).test_accuracy.comparison.permutation_p, Some(0.0625));
        assert_eq!(d(3).test_accuracy.holm_p, None);
        assert!(d(3).test_accuracy.comparison.t_test.is_some());
        assert!(d(1).private_accuracy.is_some() && d(1).macro_f1.holm_p.is_some());
        assert!((table.rows[1].published_difference.unwrap() + 0.0101).abs() < 1e-12);
        assert_eq!((table.rows[0].published, table.rows[2].published), (Some(0.5977), None));
        assert_eq!(table.rows[0].published_difference, None);
    }

    #[test]
    fn each_figure_is_that_of_its_score() {
        let mut cells = study();
        cells.iter_mut().zip(1..).for_each(|(c, i)| (c.run.parameters, c.run.synapses) = (100 * i, i));
        let found = table(&cells);
        for row in &found.rows {
            let ours: Vec<&CellResult> = cells.iter().filter(|c| c.model == row.model).collect();
            let over = |f: &dyn Fn(&CellResult) -> f64| ours.iter().map(|c| f(c)).collect::<Vec<f64>>();
            let mean = |f: &dyn Fn(&CellResult) -> f64| over(f).iter().sum::<f64>() / ours.len() as f64;
            assert_eq!((row.parameters, row.epochs), (100.0 * row.synapses, mean(&|c| c.run.epochs as f64)));
            assert_eq!((row.synapses, row.seconds), (mean(&|c| c.run.synapses as f64), mean(&|c| c.run.seconds)));
            type Of = fn(&CellResult) -> &SplitScores;
            let splits: [(&Measures, Of); 3] = [
                (&row.test, |c| &c.test),
                (row.public.as_ref().unwrap(), |c| c.public.as_ref().unwrap()),
                (row.private.as_ref().unwrap(), |c| c.private.as_ref().unwrap()),
            ];
            for (measures, split) in splits {
                assert_eq!(Some(measures.accuracy), describe(&over(&|c| split(c).accuracy)));
                assert_eq!(Some(measures.macro_f1), describe(&over(&|c| split(c).macro_f1)));
                assert_eq!(measures.roc_auc, describe(&over(&|c| split(c).roc_auc.unwrap())));
                for class in 0..3 {
                    assert_eq!(Some(measures.recall[class]), describe(&over(&|c| split(c).recall[class].recall)));
                }
            }
            let Some(d) = &row.differences else { continue };
            let pairs: Vec<(&CellResult, &CellResult)> = ours
                .iter()
                .map(|a| (*a, cells.iter().find(|b| b.model == "full" && b.run.seed == a.run.seed).unwrap()))
                .collect();
            let against = |f: &dyn Fn(&CellResult) -> f64| {
                let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(a, b)| (f(a), f(b))).unzip();
                compare(&a, &b)
            };
            assert_eq!(Some(&d.test_accuracy.comparison), against(&|c| c.test.accuracy).as_ref());
            assert_eq!(Some(&d.macro_f1.comparison), against(&|c| c.test.macro_f1).as_ref());
            let private = d.private_accuracy.as_ref().map(|d| d.comparison.clone());
            assert_eq!(private, against(&|c| c.private.as_ref().unwrap().accuracy));
        }
    }

    #[test]
    fn pairs_are_those_of_equal_seed_in_any_order_of_rows() {
        let mut cells = study();
        let expected = json(&table(&cells));
        let mut rng = Rng::stream(1, "order", &[]);
        for _ in 0..20 {
            // The order of the models is that of their first results: keep it.
            let first: Vec<CellResult> = ["masks", "full", "noise", "new"]
                .iter()
                .map(|m| cells.iter().find(|c| c.model == *m).unwrap().clone())
                .collect();
            let mut rest: Vec<CellResult> = cells.iter().filter(|c| !first.contains(c)).cloned().collect();
            rng.shuffle(&mut rest);
            cells = [first, rest].concat();
            assert_eq!(json(&table(&cells)), expected);
        }
        // Paired by another seed the same numbers say something else.
        for cell in cells.iter_mut().filter(|c| c.model == "masks") {
            cell.run.seed = cell.run.seed % 5 + 1;
        }
        let other = table(&cells);
        let expected = table(&study());
        let p = |t: &Table| t.rows[1].differences.as_ref().unwrap().test_accuracy.comparison.t_test.unwrap().p;
        assert!(p(&other) > 5.0 * p(&expected), "{} {}", p(&other), p(&expected));
        assert!((other.rows[1].test.accuracy.mean - expected.rows[1].test.accuracy.mean).abs() < 1e-15);
    }

    #[test]
    fn seeds_that_only_one_of_two_has_are_left_out_of_the_difference() {
        let mut cells = study();
        let expected = table(&cells);
        let mut rng = Rng::stream(1, "more", &[]);
        cells.push(random_cell("full", 77, &mut rng));
        cells.push(random_cell("masks", 78, &mut rng));
        let found = table(&cells);
        let of = |t: &Table| serde_json::to_string(&t.rows[1].differences).unwrap();
        assert_eq!(of(&found), of(&expected));
        assert_eq!((found.rows[1].seeds.len(), found.rows[1].test.accuracy.n), (6, 6));
    }

    #[test]
    fn a_study_that_has_begun_has_a_table() {
        assert!(table(&[]).rows.is_empty());
        assert_eq!(table(&[]).to_text(), "no results yet\n");
        let found = table(&cells("masks", &[0.6, 0.61]));
        assert_eq!(found.rows[0].verdict, "no seed in common with full");
        let one = table(&[cells("full", &FULL[..1]), cells("masks", &[0.6])].concat());
        assert_eq!(one.rows[1].verdict, "too few seeds to tell (1 of at least 3)");
        for table in [found, one] {
            for text in [table.to_text(), table.to_markdown(), format!("{table:?}")] {
                assert!(text.contains("masks") && !text.contains("NaN") && !text.contains("inf"), "{text}");
            }
        }
    }

    #[test]
    fn models_without_private_scores_stand_beside_the_others() {
        let mut cells = study();
        for cell in cells.iter_mut().filter(|c| c.model == "noise") {
            (cell.public, cell.private) = (None, None);
        }
        let found = table(&cells);
        assert!(found.rows[2].private.is_none());
        assert!(found.rows[2].differences.as_ref().unwrap().private_accuracy.is_none());
        // Alone in the family of PrivateTest, p stays as it is.
        let private = found.rows[1].differences.as_ref().unwrap().private_accuracy.as_ref().unwrap();
        assert_eq!(private.holm_p, Some(private.comparison.t_test.unwrap().p));
    }

    #[test]
    fn other_images_are_not_compared_and_other_classes_are_refused() {
        let mut cells = study();
        for cell in cells.iter_mut().filter(|c| c.model == "noise") {
            cell.test.images = 27;
        }
        let found = table(&cells);
        assert!(found.rows[2].differences.is_none());
        assert_eq!(found.rows[2].verdict, "scored on 27 images: not comparable with full");
        let refused = |cells: &[CellResult], what: &str| {
            let error = Table::new(cells, "full", &BTreeMap::new()).unwrap_err();
            assert!(error.exit_code() == 3 && error.to_string().contains(what), "{error}");
        };
        cells[0].test.images = 26;
        refused(&cells, "`masks` with seed 2: was scored on 48 images, with another seed on 26");
        let mut cells = study();
        cells[7].test.recall[0].class = "down".into();
        refused(&cells, "`full` with seed 3: was scored on other classes than `masks`");
        let cells = [study(), study()].concat();
        refused(&cells, "`masks` with seed 1: has two results");
    }

    #[test]
    fn equal_differences_are_told_without_a_test() {
        let shifted: Vec<f64> = FULL.iter().map(|a| a - 0.0201).collect();
        let found = table(&[cells("full", &FULL), cells("a", &FULL), cells("b", &shifted)].concat());
        assert_eq!(found.rows[1].verdict, "equal to full with every seed");
        assert_eq!(found.rows[2].verdict, "2.01 points below full with every seed; no spread, no test");
    }

    #[test]
    fn text_and_markdown_show_each_model_with_its_figures() {
        let found = table(&study());
        let (text, markdown) = (found.to_text(), found.to_markdown());
        for text in [&text, &markdown] {
            for part in ["60.90 ± 0.48", "-0.99 [-1.08, -0.90]", "0.0625", "59.77", "-1.01", "within noise", "5 pairs"]
            {
                assert!(text.contains(part), "no {part}:\n{text}");
            }
        }
        assert!(text.contains("[60.30, 61.50]") && text.contains("up, \"down\""), "{text}");
        let lines = markdown.lines().take(6).map(|line| line.matches('|').count());
        assert_eq!(lines.collect::<BTreeSet<usize>>().len(), 1, "{markdown}");
    }

    #[test]
    fn the_csv_has_every_figure_to_the_bit() {
        let found = table(&study());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        found.write_csv(&path).unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let header = reader.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
        assert_eq!(rows.len(), 4);
        let field = |row: usize, name: &str| &rows[row][header.iter().position(|h| h == name).unwrap()];
        let number = |row: usize, name: &str| field(row, name).parse::<f64>().unwrap();
        let [full, masks] = [&found.rows[0], &found.rows[1]];
        assert_eq!(number(0, "test_accuracy_mean").to_bits(), full.test.accuracy.mean.to_bits());
        assert_eq!(number(1, "private_recall_right_sd"), masks.private.as_ref().unwrap().recall[1].sd.unwrap());
        let d = &masks.differences.as_ref().unwrap();
        assert_eq!(
            number(1, "difference_test_accuracy_high"),
            d.test_accuracy.comparison.difference.interval.unwrap()[1]
        );
        assert_eq!(number(1, "difference_macro_f1_holm_p"), d.macro_f1.holm_p.unwrap());
        let rank_test = d.test_accuracy.comparison.wilcoxon.unwrap();
        assert_eq!(number(1, "difference_test_accuracy_wilcoxon_p"), rank_test.p);
        assert_eq!(number(1, "difference_test_accuracy_permutation_p"), 0.0625);
        assert_eq!(number(1, "difference_private_accuracy_effect"), {
            d.private_accuracy.as_ref().unwrap().comparison.effect.unwrap()
        });
        assert_eq!((field(0, "difference_test_accuracy_p"), field(3, "difference_test_accuracy_holm_p")), ("", ""));
        assert_eq!((field(1, "published"), field(2, "published")), ("0.5876", ""));
        assert_eq!(field(1, "verdict"), masks.verdict);
    }
}
