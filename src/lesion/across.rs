//! The same lesions in several runs, which differ in their seeds.
//!
//! Each lesion is averaged over the runs, and so is each draw of random neurons: its neurons are the same in all runs, for they
//! depend on the seed of the draws and on which neurons the network has. The lesion is ranked among the draws as in a single
//! run, which tells whether its neurons are out of the ordinary in these networks, taken together. How far networks that were
//! trained anew agree is told by the spread of the change over the runs. (A test over runs against the mean of the draws would
//! find any set of neurons significant, given runs enough.)

use super::controls::{Effect, Match, effects};
use super::row::{Kind, Lesion};
use super::subject::no_column;
use super::{LESIONS, Report, Request, Step, TUNING, earlier, lesion};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::statistics::{Description, describe};
use crate::store;
use crate::train::{deciding_differences, load_best, with_seed_of};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What several runs have in common.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Across {
    /// Runs.
    pub runs: usize,
    /// The networks as they were trained: the mean of their scores; `lost` and `gained` are sums, here and below.
    pub intact: Lesion,
    /// The lesions that all runs have, of the same neurons, in the order of the first run.
    pub lesions: Vec<OverRuns>,
    /// Selectors of the lesions that only some runs have, or of other neurons.
    pub left_out: Vec<String>,
}

/// A lesion in several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OverRuns {
    /// Means over the runs, of the lesion and of each draw; p by the rank of the one among the others.
    #[serde(flatten)]
    pub mean: Effect,
    /// Change of accuracy from run to run, as a fraction; of draws alone that of their mean.
    pub accuracy_change_over_runs: Description,
}

/// [`lesion`] of each of `runs`, in their order; `observer` is told which and how far it is.
///
/// # Errors
/// Before any work: those of loading a run, `Usage` for two runs of the same weights, one without a column or a selection
/// without a cell in it, `Input` and `Io` for tables that cannot be read or replaced; then those of [`lesion`].
pub fn lesions(
    runs: &[PathBuf],
    request: &Request,
    observer: &mut (dyn FnMut(usize, Step) + Send),
    warn: &mut dyn FnMut(&str),
) -> Result<Vec<Report>> {
    if runs.len() > 1 {
        let mut seen: Vec<Seen> = Vec::new();
        for run in runs {
            let trained = load_best(run, &mut |_| ())?;
            let (Some(_), Some(connectome)) = (trained.network.column(), &trained.connectome) else {
                return Err(no_column(&trained.config).at(run.display()));
            };
            request.selection.target(connectome).map_err(|e| e.at(run.display()))?;
            earlier(&run.join(LESIONS))?;
            let wiring = connectome.fingerprint();
            let now = Seen { run, weights: store::fingerprint(&trained.weights), wiring, config: trained.config };
            compare(&seen, &now, warn)?;
            seen.push(now);
        }
        let mut tables = runs.iter().flat_map(|run| [LESIONS, TUNING].map(|table| run.join(table)));
        tables.try_for_each(|table| store::check_replaceable(&table))?;
    }
    let mut reports: Vec<Report> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let report = lesion(run, request, &mut |step| observer(i, step), warn)?;
        if reports.first().is_some_and(|first| first.scored != report.scored) {
            warn(&format!("{} was scored on other images than {}", run.display(), runs[0].display()));
        }
        reports.push(report);
    }
    Ok(reports)
}

/// A run and what tells it from others.
struct Seen<'a> {
    run: &'a Path,
    /// Fingerprint of the weights.
    weights: u64,
    /// Fingerprint of the connectome.
    wiring: u64,
    config: Config,
}

/// Refuses a run that was `seen`, and tells of what makes it no repetition of the first.
fn compare(seen: &[Seen], now: &Seen, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let Some(first) = seen.first() else { return Ok(()) };
    let run = now.run.display();
    if let Some(other) = seen.iter().find(|other| other.weights == now.weights) {
        return Err(Error::usage(
            format!("{} and {run} hold the same weights", other.run.display()),
            "name each run once: only networks that were trained anew tell more than one",
        ));
    }
    if let Some(other) = seen.iter().find(|other| other.config.seed == now.config.seed) {
        warn(&format!("{run} has the seed of {}: they are not independent", other.run.display()));
    }
    let config = with_seed_of(&first.config, &now.config);
    let differences = deciding_differences(&first.config, &config)?;
    let first_run = first.run.display();
    if !differences.is_empty() {
        warn(&format!("{run} was trained otherwise than {first_run}: {}", config::listed(&differences)));
    } else if now.wiring != first.wiring && config.connectome.null == "none" {
        warn(&format!("{run} was trained with another wiring than {first_run}"));
    }
    Ok(())
}

/// Rows that are of one lesion, or of its draws of one kind.
type Group<'a> = (&'a str, Kind, Option<Match>);

fn group(row: &Lesion) -> Group<'_> {
    (&row.selector, row.kind, row.matched)
}

fn grouped(rows: &[Lesion]) -> BTreeMap<Group<'_>, Vec<&Lesion>> {
    let mut groups: BTreeMap<Group, Vec<&Lesion>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(group(row)).or_default().push(row));
    groups
}

/// Which draw each row is, and what it silences.
fn cells<'a>(rows: &'a [&Lesion]) -> impl Iterator<Item = (usize, &'a str)> {
    rows.iter().map(|row| (row.repeat, row.ids.as_str()))
}

/// The means over `runs`: the rows of each, those of the intact network among them, all of one split.
///
/// # Panics
/// If there is no run, or one without its intact network.
pub fn across(runs: &[&[Lesion]]) -> Across {
    assert!(!runs.is_empty(), "means need a run");
    let (groups, of_each): (Vec<_>, Vec<_>) = runs.iter().map(|rows| (grouped(rows), effects(rows))).unzip();
    let mut means = Vec::new();
    let mut done = BTreeSet::new();
    for group in runs[0].iter().filter(|row| row.kind != Kind::Intact).map(group).filter(|&group| done.insert(group)) {
        let of_runs: Option<Vec<&Vec<&Lesion>>> = groups.iter().map(|groups| groups.get(&group)).collect();
        // All draws of a kind or none: those that two runs happen to have in common are no random ones.
        let Some(of_runs) = of_runs.filter(|of| of.iter().all(|rows| cells(rows).eq(cells(of[0])))) else { continue };
        means.extend((0..of_runs[0].len()).map(|i| mean(&of_runs.iter().map(|rows| rows[i]).collect::<Vec<_>>())));
    }
    let lesions: Vec<OverRuns> = effects(&means).into_iter().filter_map(|mean| over_runs(mean, &of_each)).collect();
    let kept: BTreeSet<&str> = lesions.iter().map(|l| l.mean.selector.as_str()).collect();
    let all: BTreeSet<&str> = of_each.iter().flatten().map(|e| e.selector.as_str()).collect();
    let left_out = all.difference(&kept).map(|s| (*s).to_owned()).collect();
    let intact = runs.iter().map(|rows| rows.iter().find(|row| row.kind == Kind::Intact));
    let Some(intact) = intact.collect::<Option<Vec<_>>>() else { panic!("a run lacks its intact network") };
    Across { runs: runs.len(), intact: mean(&intact), lesions, left_out }
}

/// With the change from run to run; none for a lesion of which the runs have nothing but draws in common.
fn over_runs(mean: Effect, of_each: &[Vec<Effect>]) -> Option<OverRuns> {
    let of_run = |effects: &Vec<Effect>| {
        let effect = effects.iter().find(|e| e.selector == mean.selector)?;
        effect.accuracy_change().filter(|_| effect.lesion.is_some() == mean.lesion.is_some())
    };
    let changes: Vec<f64> = of_each.iter().map(of_run).collect::<Option<_>>()?;
    Some(OverRuns { accuracy_change_over_runs: describe(&changes)?, mean })
}

/// The mean of rows of the same neurons in several runs.
fn mean(rows: &[&Lesion]) -> Lesion {
    let n = rows.len() as f64;
    // Rounded, so that means of as many images are equal whatever they are sums of: ties count in the rank.
    let round = |mean: f64| (mean * 1e12).round() / 1e12;
    let of = |value: fn(&Lesion) -> f64| round(rows.iter().map(|r| value(r)).sum::<f64>() / n);
    let some = |value: fn(&Lesion) -> Option<f64>| Some(rows.iter().map(|r| value(r)).sum::<Option<f64>>()? / n);
    let classes = |values: fn(&Lesion) -> &[f64]| {
        (0..values(rows[0]).len()).map(|k| rows.iter().map(|r| values(r)[k]).sum::<f64>() / n).collect()
    };
    Lesion {
        accuracy: of(|r| r.accuracy),
        accuracy_change: of(|r| r.accuracy_change),
        macro_f1: of(|r| r.macro_f1),
        macro_f1_change: of(|r| r.macro_f1_change),
        roc_auc: some(|r| r.roc_auc),
        roc_auc_change: some(|r| r.roc_auc_change),
        lost: rows.iter().map(|r| r.lost).sum(),
        gained: rows.iter().map(|r| r.gained).sum(),
        recall: classes(|r| &r.recall),
        recall_change: classes(|r| &r.recall_change),
        ..rows[0].clone()
    }
}
