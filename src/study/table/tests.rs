//! Tables of worked examples.

use super::*;
use crate::rng::Rng;
use crate::study::design::Axis;
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
    Table::new(cells, "full", &published, &Design::default()).unwrap()
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
        ("noise", "no difference shown (p = 1.000 after Holm)"),
        ("new", "too few seeds to tell (2 of at least 3)"),
    ];
    assert_eq!(verdicts, expected);
    let d = |i: usize| table.rows[i].differences.as_ref().unwrap();
    // Two models are in the family, the third has too few seeds.
    let raw = d(1).test_accuracy.comparison.t_test.unwrap().p;
    assert_eq!(d(1).test_accuracy.holm_p, Some(2.0 * raw));
    assert_eq!(d(1).test_accuracy.comparison.permutation_p, Some(0.0625));
    assert_eq!((d(3).test_accuracy.holm_p, d(3).test_accuracy.detectable), (None, None));
    // Of two tests the first is held to half the level.
    let sd = d(2).test_accuracy.comparison.difference.sd.unwrap();
    assert_eq!(d(2).test_accuracy.detectable, detectable(5, LEVEL / 2.0).map(|d| d * sd));
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
        let error = Table::new(cells, "full", &BTreeMap::new(), &Design::default()).unwrap_err();
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
    let detectable = |i: usize| found.rows[i].differences.as_ref().unwrap().test_accuracy.detectable;
    assert_eq!((detectable(1), detectable(2)), (None, None), "without spread nothing is told of what could be found");
}

#[test]
fn text_and_markdown_show_each_model_with_its_figures() {
    let found = table(&study());
    let (text, markdown) = (found.to_text(), found.to_markdown());
    for text in [&text, &markdown] {
        for part in [
            "60.90 ± 0.48",
            "-0.99 [-1.08, -0.90]",
            "0.0625",
            "59.77",
            "-1.01",
            "no difference shown",
            "5 pairs",
            "0.15",
        ] {
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
    assert_eq!(number(1, "difference_test_accuracy_high"), d.test_accuracy.comparison.difference.interval.unwrap()[1]);
    assert_eq!(number(1, "difference_macro_f1_holm_p"), d.macro_f1.holm_p.unwrap());
    assert_eq!(number(1, "difference_macro_f1_detectable"), d.macro_f1.detectable.unwrap());
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

/// Two factors of two levels, by the names of their models.
fn design(models: &[(&str, [usize; 2])]) -> Design {
    let axis = |name: &str, levels: [&str; 2]| Axis { name: name.into(), levels: levels.map(String::from).to_vec() };
    Design {
        factors: vec![axis("noise", ["noisy", "silent"]), axis("inhibition", ["graded", "none"])],
        models: models.iter().map(|(name, levels)| ((*name).to_owned(), levels.to_vec())).collect(),
    }
}

const CROSSED: [(&str, [usize; 2]); 4] =
    [("full", [0, 0]), ("silent", [1, 0]), ("none", [0, 1]), ("silent+none", [1, 1])];

#[test]
fn main_effects_are_means_over_the_levels_of_the_other_factors() {
    let accuracies: [[f64; 5]; 4] = [
        FULL,
        [0.612, 0.601, 0.613, 0.609, 0.610],
        [0.580, 0.579, 0.590, 0.577, 0.588],
        [0.600, 0.603, 0.611, 0.595, 0.606],
    ];
    let mut cells: Vec<CellResult> =
        CROSSED.iter().zip(&accuracies).flat_map(|((name, _), accuracies)| cells(name, accuracies)).collect();
    let crossed = design(&CROSSED);
    let found = Table::new(&cells, "full", &BTreeMap::new(), &crossed).unwrap();
    let [noise, inhibition] = found.main_effects.as_slice() else { panic!("{:?}", found.main_effects) };
    assert_eq!((noise.name().as_str(), noise.against.as_str(), noise.pairs_of_models), ("noise: silent", "noisy", 2));
    assert_eq!(inhibition.name(), "inhibition: none");
    let mean = |a: usize, b: usize| (0..5).map(|i| 0.5 * (accuracies[a][i] + accuracies[b][i])).collect::<Vec<f64>>();
    for (effect, ours, theirs) in [(noise, mean(1, 3), mean(0, 2)), (inhibition, mean(2, 3), mean(0, 1))] {
        let expected = compare(&ours, &theirs).unwrap();
        let d = &effect.differences.test_accuracy;
        assert!((d.comparison.difference.mean - expected.difference.mean).abs() < 1e-12, "{effect:?}");
        assert!((d.comparison.t_test.unwrap().p / expected.t_test.unwrap().p - 1.0).abs() < 1e-6, "{effect:?}");
        // A family of their own, of two: the smaller p counts twice.
        let raw = [noise, inhibition].map(|e| e.differences.test_accuracy.comparison.t_test.unwrap().p);
        let p = d.comparison.t_test.unwrap().p;
        assert_eq!(d.holm_p, Some(if p <= raw[0].min(raw[1]) { 2.0 * p } else { p }), "{raw:?}");
        assert_eq!(d.detectable, detectable(5, LEVEL / 2.0).map(|size| size * d.comparison.difference.sd.unwrap()));
    }
    assert_eq!(inhibition.verdict, "1.61 points below graded (p = 0.002 after Holm)");
    let [text, markdown] = [found.to_text(), found.to_markdown()];
    assert!(
        text.contains("main effects of the factors")
            && text.contains("noise: silent")
            && markdown.contains("| inhibition: none |")
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("main_effects.csv");
    found.write_main_effects(&path).unwrap();
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let at = reader.headers().unwrap().iter().position(|h| h == "difference_test_accuracy_mean").unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.unwrap()).collect();
    assert_eq!((&rows[0][0], &rows[0][1], rows.len()), ("noise", "silent", 2));
    assert_eq!(rows[1][at].parse(), Ok(inhibition.differences.test_accuracy.comparison.difference.mean));

    // A seed counts where all four have it.
    cells.retain(|c| c.model != "silent+none" || c.run.seed != 2);
    let fewer = Table::new(&cells, "full", &BTreeMap::new(), &crossed).unwrap();
    assert!(fewer.main_effects.iter().all(|e| e.differences.test_accuracy.comparison.difference.n == 4));
}

#[test]
fn without_two_pairs_of_models_there_is_no_main_effect() {
    let cells: Vec<CellResult> = ["full", "silent", "none"].iter().flat_map(|name| cells(name, &FULL)).collect();
    let of = |design: &Design| Table::new(&cells, "full", &BTreeMap::new(), design).unwrap();
    // One at a time; a model without results; none that are combinations.
    for design in [design(&CROSSED[..3]), design(&CROSSED), Design::default()] {
        let found = of(&design);
        assert!(found.main_effects.is_empty() && !found.to_text().contains("main effects"), "{design:?}");
        let folder = tempfile::tempdir().unwrap();
        found.write_main_effects(&folder.path().join("main_effects.csv")).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
