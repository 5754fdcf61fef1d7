//! The report of a study: its models beside each other, and what their differences are worth.

use super::numbers::Numbers;
use super::page::{Cell, Page};
use super::text::{count, fixed, interval, or_none, percent, signed};
use super::{accuracy, comparison, differences, learning, main_effects, model_lesions, models, recall};
use crate::error::Result;
use crate::statistics::{Description, LEVEL};
use crate::study::{CellResult, Design, Folder, RESULTS, Row, TABLE, Table, detectable_note};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most models in a plot, most rows of a table.
pub(super) const MODELS: usize = 60;
pub(super) const ROWS: usize = 500;

/// What counts as near the reference, percentage points of accuracy: enlarged where other models are far away.
pub(super) const NEAR: f64 = 3.0;
/// How far away they are then.
const FAR: f64 = 8.0;

/// What the study in folder `dir` compares.
struct Study {
    title: String,
    cells: Vec<CellResult>,
    published: BTreeMap<String, f64>,
    reference: String,
    /// Fingerprints of the images and connectomes that it was trained on.
    sources: BTreeMap<String, String>,
    table: Table,
}

impl Study {
    /// Where the folder does not say what is compared, `warn` is told, and the model `full`, else the first, is the
    /// reference.
    fn open(dir: &Path, warn: &mut dyn FnMut(&str)) -> Result<Self> {
        let folder = Folder::open(dir)?;
        let mut cells = folder.rows().to_vec();
        let name = dir.canonicalize().ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned()));
        let (title, reference, published, sources, design) = match folder.about() {
            Ok(about) => {
                cells.retain(|c| about.has(&c.model, c.run.seed));
                (about.title, about.reference, about.published, about.sources, about.design)
            }
            Err(e) => {
                let full = cells.iter().find(|c| c.model == "full").or(cells.first());
                let reference = full.map_or_else(|| "full".to_owned(), |c| c.model.clone());
                warn(&format!("{e}\n  so far: differences to model {reference}, no published figures"));
                let title = format!("Study {}", name.unwrap_or_default());
                (title, reference, BTreeMap::new(), BTreeMap::new(), Design::default())
            }
        };
        let table = Table::new(&cells, &reference, &published, &design)?;
        Ok(Self { title, cells, published, reference, sources, table })
    }
}

/// The page about the study in folder `dir`; links lead to its runs where `beside` says that the page lies in it.
///
/// # Errors
/// Those of reading its results.
pub(super) fn page(dir: &Path, folder: &str, beside: bool, warn: &mut dyn FnMut(&str)) -> Result<Page> {
    let study = Study::open(dir, warn)?;
    let Study { table, cells, reference, .. } = &study;
    let lead = format!(
        "{} models, {} runs; differences are to model {reference}, paired by seed.",
        table.rows.len(),
        count(cells.len())
    );
    let mut page = Page::new(&study.title, &lead, folder);
    page.section("Study");
    header(&mut page, dir, &study);
    if table.rows.is_empty() {
        page.warning("No run is finished yet.");
        return Ok(page);
    }
    models::append(&mut page, dir, table, cells, &study.sources);
    page.section("Accuracy of every model");
    accuracy::append(&mut page, table, cells);
    scores(&mut page, table);
    page.section(&format!("Differences to {reference}"));
    differences::append(&mut page, table);
    tests(&mut page, table);
    main_effects::append(&mut page, table, ROWS);
    page.section("Recall by class");
    recall::append(&mut page, table);
    page.section("Learning curves");
    learning::append(&mut page, dir, table, cells, warn);
    model_lesions::append(&mut page, dir, table, cells, warn);
    page.section("Runs");
    runs(&mut page, dir, cells, beside);
    Ok(page)
}

/// Folder of a run in a study; `None` for a name that is no folder's.
pub(super) fn run_folder(dir: &Path, cell: &CellResult) -> Option<PathBuf> {
    let name = format!("{}-s{}", cell.model, cell.run.seed);
    (!name.contains(['/', '\\'])).then(|| dir.join(name))
}

/// Those of `rows` whose accuracy is near that of the reference; none where it is not worth a plot of its own.
pub(super) fn near<'a>(table: &Table, rows: &[&'a Row]) -> Vec<&'a Row> {
    let Some(reference) = table.rows.iter().find(|r| r.model == table.reference) else { return Vec::new() };
    let gap = |r: &Row| 100.0 * (r.test.accuracy.mean - reference.test.accuracy.mean).abs();
    let near: Vec<&Row> = rows.iter().filter(|r| gap(r) <= NEAR).copied().collect();
    let worth = near.len() > 1 && rows.iter().any(|r| gap(r) > FAR);
    if worth { near } else { Vec::new() }
}

fn header(page: &mut Page, dir: &Path, study: &Study) {
    let Study { table, cells, published, reference, sources, .. } = study;
    let mut versions: Vec<&str> = cells.iter().map(|c| c.run.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let images: Vec<usize> = table.rows.iter().map(|r| r.test_images).collect();
    let images = match images.first() {
        Some(first) if images.iter().all(|n| n == first) => {
            format!("{} in split test (PublicTest + PrivateTest where both are there)", count(*first))
        }
        _ => "differing numbers in split test: see the verdicts".to_owned(),
    };
    let seconds: f64 = cells.iter().map(|c| c.run.seconds).sum();
    let published = if published.is_empty() {
        "no figures to compare with".to_owned()
    } else {
        format!("accuracies of {} models, as the plan gives them", published.len())
    };
    let mut facts = vec![
        ("folder", dir.display().to_string()),
        ("reference", reference.clone()),
        ("images", images),
        ("training time", format!("{} h in all runs together", fixed(seconds / 3600.0, 1))),
        ("version", format!("bionic-cpu {}", versions.join(", "))),
        ("published", published),
        ("results", format!("{RESULTS} and {TABLE} in the folder have every figure in full precision")),
        (
            "verdicts",
            format!(
                "rest on the paired t-test of test accuracy, corrected by Holm's procedure over the table at {LEVEL}. \
                 With few seeds the exact Wilcoxon and permutation tests cannot reach that level (0.0625 with five)."
            ),
        ),
    ];
    facts.extend(sources.iter().map(|(name, f)| ("trained on", format!("{name} (fingerprint {f})"))));
    page.facts(&facts);
}

/// `mean ± sd` in percent.
fn spread(d: &Description, factor: f64, decimals: usize) -> String {
    match d.sd {
        Some(sd) => format!("{} \u{b1} {}", fixed(factor * d.mean, decimals), fixed(factor * sd, decimals)),
        None => fixed(factor * d.mean, decimals),
    }
}

fn more(n: usize) -> String {
    if n > ROWS { format!(" (the first {ROWS} of {n} models)") } else { String::new() }
}

fn scores(page: &mut Page, table: &Table) {
    let row = |r: &Row| {
        let cells = [
            r.model.clone(),
            r.seeds.len().to_string(),
            spread(&r.test.accuracy, 100.0, 2),
            interval(&r.test.accuracy, 100.0, 2),
            or_none(r.public.as_ref().map(|m| spread(&m.accuracy, 100.0, 2))),
            or_none(r.private.as_ref().map(|m| spread(&m.accuracy, 100.0, 2))),
            spread(&r.test.macro_f1, 1.0, 3),
            or_none(r.test.roc_auc.as_ref().map(|d| spread(d, 1.0, 3))),
        ];
        cells.map(Cell::from).to_vec()
    };
    let rows: Vec<Vec<Cell>> = table.rows.iter().take(ROWS).map(row).collect();
    page.table(
        &format!("Scores, mean \u{b1} sd over seeds; accuracies in %{}", more(table.rows.len())),
        "lrrrrrrr",
        &["model", "seeds", "test", "95 % interval", "PublicTest", "PrivateTest", "macro F1", "ROC-AUC"],
        &rows,
    );
    let size = |r: &Row| {
        let cells = [
            r.model.clone(),
            count(r.parameters.round() as usize),
            count(r.synapses.round() as usize),
            fixed(r.epochs, 0),
            fixed(r.seconds / 60.0, 1),
            or_none(r.published.map(|p| percent(p, 2))),
        ];
        cells.map(Cell::from).to_vec()
    };
    let rows: Vec<Vec<Cell>> = table.rows.iter().take(ROWS).map(size).collect();
    page.table(
        &format!("Sizes (means over seeds), and accuracy on test as published{}", more(table.rows.len())),
        "lrrrrr",
        &["model", "parameters", "synapses", "epochs", "minutes", "published, %"],
        &rows,
    );
}

fn tests(page: &mut Page, table: &Table) {
    let mut numbers = Numbers::new("verdicts", &[&["model"], &comparison::NUMBERS[..], &["verdict"]].concat());
    let (mut verdicts, mut tests): (Vec<Vec<Cell>>, Vec<Vec<Cell>>) = (Vec::new(), Vec::new());
    for r in table.rows.iter().filter(|r| r.model != table.reference) {
        let d = r.differences.as_ref().map(|d| &d.test_accuracy);
        numbers.texts([vec![r.model.clone()], comparison::numbers(d).to_vec(), vec![r.verdict.clone()]].concat());
        let published = or_none(r.published_difference.map(|p| signed(100.0 * p, 2)));
        let [mean, interval] = comparison::mean(d);
        verdicts.push([r.model.clone(), mean, interval, published, r.verdict.clone()].map(Cell::from).to_vec());
        let name = [r.model.clone()].into_iter();
        tests.push(name.chain(comparison::tests(d)).map(Cell::from).collect());
    }
    verdicts.truncate(ROWS);
    tests.truncate(ROWS);
    let reference = &table.reference;
    let more = more(table.rows.len());
    page.table(
        &format!("Difference in test accuracy to {reference}, percentage points, and what it is worth{more}"),
        "lrrrl",
        &[&["model"], &comparison::MEAN[..], &["published", "verdict"]].concat(),
        &verdicts,
    );
    page.table(
        &format!("Tests of these differences, paired by seed{more}"),
        "lrrrrrrrr",
        &[&["model"], &comparison::TESTS[..]].concat(),
        &tests,
    );
    page.paragraph(&format!(
        "published: the difference between the published figures of the model and of the reference. {} g: Cohen's d of the \
         paired differences with Hedges' correction.",
        detectable_note()
    ));
    page.keep(numbers);
}

fn runs(page: &mut Page, dir: &Path, cells: &[CellResult], beside: bool) {
    let rows: Vec<Vec<Cell>> = cells
        .iter()
        .take(ROWS)
        .map(|c| {
            let folder = run_folder(dir, c).filter(|f| f.is_dir());
            let name = format!("{}-s{}", c.model, c.run.seed);
            let path = match &folder {
                Some(f) if f.join("report.html").is_file() => Some(format!("./{name}/report.html")),
                Some(_) => Some(format!("./{name}/")),
                None => None,
            };
            let text = if folder.is_some() { name } else { format!("{name} (folder is gone)") };
            let run = Cell { text, path: path.filter(|_| beside) };
            let rest = [
                percent(c.test.accuracy, 2),
                or_none(c.private.as_ref().map(|s| percent(s.accuracy, 2))),
                fixed(c.test.macro_f1, 3),
                format!("{} of {}", c.run.best_epoch, c.run.epochs),
                fixed(c.run.seconds / 60.0, 1),
            ];
            [run].into_iter().chain(rest.map(Cell::from)).collect()
        })
        .collect();
    let more = if cells.len() > ROWS { format!(" (the first {ROWS} of {})", cells.len()) } else { String::new() };
    page.table(
        &format!("Runs, each in a folder of this name in the study's{more}"),
        "lrrrrr",
        &["run", "test accuracy, %", "PrivateTest, %", "macro F1", "best epoch", "minutes"],
        &rows,
    );
}
