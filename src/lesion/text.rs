//! What came out as aligned text.

use super::{Across, Controls, Effect, Lesion, Match, Report};
use crate::data::EXPRESSIONS;
use crate::statistics::{Description, probability};

/// Lesions in the text at most; beyond, those that cost most are shown.
const MOST: usize = 60;
/// Of many lesions, so many are shown.
const SHOWN: usize = 20;
/// What the table tells.
const CHANGES: &str = "change of accuracy and of recall by class while these cells are silent, percentage points\n";

impl Report {
    /// The report as aligned text.
    pub fn to_text(&self) -> String {
        let Self { intact, population, .. } = self;
        let mut text = format!("epoch {}, split {}: {} images\n", self.epoch, self.split, self.images);
        text += &scores("intact", intact);
        text += &format!(
            "the network has {} excitatory neurons and {} inhibitory cells\n\n",
            population.excitatory, population.inhibitory
        );
        text += CHANGES;
        let lesions: Vec<Line> = self.lesions.iter().map(|effect| Line { effect, over_runs: None }).collect();
        text += &table_and_notes(&lesions);
        text += &taken_up(self.taken_up);
        text + &format!("\n{}\n{}", self.files[0].display(), self.files[1].display())
    }
}

impl Across {
    /// The means over the runs of `reports` as aligned text.
    pub fn to_text(&self, reports: &[Report]) -> String {
        let mut text = String::new();
        for r in reports {
            let run = r.files[0].parent().unwrap_or(&r.files[0]).display();
            text += &format!("{run}: epoch {}, split {}: {} images, ", r.epoch, r.split, r.images);
            text += &scores("intact", &r.intact);
        }
        text += &scores(&format!("mean of {} runs", self.runs), &self.intact);
        text += "\n";
        text += CHANGES;
        text += "all are means over the runs, draw by draw, for a draw is of the same cells in each; change: ± sd over the runs\n";
        let lines = self.lesions.iter();
        let lines = lines.map(|l| Line { effect: &l.mean, over_runs: Some(&l.accuracy_change_over_runs) });
        text += &table_and_notes(&lines.collect::<Vec<_>>());
        if !self.left_out.is_empty() {
            text += &format!("left out, for not all runs have it with the same cells: {}\n", self.left_out.join(", "));
        }
        text += &taken_up(reports.iter().map(|r| r.taken_up).sum());
        text + "\nlesions.csv and tuning.csv in the folder of each run"
    }
}

fn taken_up(scores: usize) -> String {
    if scores > 0 { format!("{scores} of the scores are those that lesions.csv had\n") } else { String::new() }
}

/// Scores on a line.
fn scores(of: &str, row: &Lesion) -> String {
    let auc = row.roc_auc.map_or_else(|| "-".to_owned(), |a| format!("{a:.4}"));
    format!("{of}: accuracy {:.2} %   macro F1 {:.4}   ROC-AUC {auc}\n", 100.0 * row.accuracy, row.macro_f1)
}

/// What a line of the table shows.
struct Line<'a> {
    effect: &'a Effect,
    /// Change of accuracy over several runs.
    over_runs: Option<&'a Description>,
}

/// The table, what its columns are, cells without effect, and how to read p.
fn table_and_notes(lesions: &[Line]) -> String {
    let there = |kind: &Option<Match>| lesions.iter().any(|l| l.effect.controls.iter().any(|c| c.matched == *kind));
    let columns: Vec<_> = [None, Some(Match::Polarity), Some(Match::Lamina)].into_iter().filter(there).collect();
    let mut text: String = columns.iter().map(|kind| legend(*kind)).collect();
    text.push('\n');
    let shown = costliest(lesions);
    text += &table(&shown, &columns);
    if shown.len() < lesions.len() {
        text += &format!("{} lesions in all, those shown cost most\n", lesions.len());
    }
    text + &notes(lesions)
}

/// Cells without effect, and how to read p.
fn notes(lesions: &[Line]) -> String {
    let mut text = String::new();
    let absent = lesions.iter().filter_map(|l| l.effect.lesion.as_ref()).filter(|l| l.without_effect > 0);
    let absent: Vec<String> =
        absent.map(|l| format!("{} of {} cells of {}", l.without_effect, l.selected, l.name)).collect();
    if !absent.is_empty() {
        text += &format!("not in the network, so without effect: {}\n", absent.join(", "));
    }
    if lesions.iter().any(|l| l.effect.lesion.is_some() && !l.effect.controls.is_empty()) {
        text += "p: two-sided, by rank among the draws, not corrected for the number of lesions; ";
        text += "-: it takes all cells of its kind";
        let several = lesions.iter().any(|l| l.over_runs.is_some());
        text += if several { ", or the runs drew different cells\n" } else { "\n" };
        let most = lesions.iter().flat_map(|l| &l.effect.controls).map(|c| c.repeats).max().unwrap_or(0);
        text += &format!("the least p of {most} draws is {:.4}\n", (2.0 / (most + 1) as f64).min(1.0));
    }
    text
}

/// All lesions in their order, or of many those that cost most.
fn costliest<'a>(lesions: &'a [Line]) -> Vec<&'a Line<'a>> {
    let mut shown: Vec<&Line> = lesions.iter().collect();
    if shown.len() > MOST {
        let change = |l: &Line| l.effect.accuracy_change().unwrap_or(0.0);
        shown.sort_by(|a, b| change(a).total_cmp(&change(b)));
        shown.truncate(SHOWN);
    }
    shown
}

/// What a kind of draws is.
fn legend(kind: Option<Match>) -> &'static str {
    match kind {
        None => "random: mean ± sd of the draws\n",
        Some(Match::Polarity) => "random: as many random cells of the same polarity, mean ± sd of the draws\n",
        Some(Match::Lamina) => "in lamina: as many random cells of the same polarity and lamina\n",
    }
}

fn table(shown: &[&Line], columns: &[Option<Match>]) -> String {
    let width = shown.iter().map(|l| l.effect.name.chars().count()).max().unwrap_or(0).max(6);
    let of_change = if shown.iter().any(|l| l.over_runs.is_some()) { 14 } else { 7 };
    let mut text = format!("{:width$} {:>5} {:>4} {:>8} {:>of_change$}", "lesion", "E", "I", "accuracy", "change");
    for kind in columns {
        let name = if *kind == Some(Match::Lamina) { "in lamina" } else { "random" };
        text += &format!(" {name:>14} {:>10}", if kind.is_some() { "p" } else { "" });
    }
    EXPRESSIONS.iter().for_each(|class| text += &format!(" {class:>8}"));
    text.push('\n');
    for line in shown {
        text += &row(line, columns, width, of_change);
        text.push('\n');
    }
    text
}

/// A row of the table, whose first column is `width` wide and that of the change `of_change`.
fn row(Line { effect, over_runs }: &Line, columns: &[Option<Match>], width: usize, of_change: usize) -> String {
    let (name, lesion) = (&effect.name, effect.lesion.as_ref());
    let mut text = match lesion {
        Some(l) => format!("{name:width$} {:>5} {:>4} {:>7.2}%", l.excitatory, l.inhibitory, 100.0 * l.accuracy),
        None => format!("{name:width$} {:19}", ""),
    };
    let sd = over_runs.and_then(|d| d.sd);
    // Of draws alone, how far the runs agree in their mean.
    let change = lesion.map(|l| spread(l.accuracy_change, sd)).or(over_runs.map(|d| spread(d.mean, sd)));
    text += &format!(" {:>of_change$}", change.unwrap_or_default());
    for kind in columns {
        let controls = effect.controls.iter().find(|c| c.matched == *kind);
        let none = if lesion.is_some_and(|l| l.excitatory + l.inhibitory > 0) { "-" } else { "" };
        let [change, p] = controls.map_or([none.to_owned(), String::new()], |c| {
            [spread(c.accuracy_change_mean, c.accuracy_change_sd), verdict(c)]
        });
        text += &format!(" {change:>14} {p:>10}");
    }
    // Of draws alone, their mean.
    let of_draws = effect.controls.first().map_or(&[][..], |c| &c.recall_change_mean);
    let recall = lesion.map_or(of_draws, |l| &l.recall_change);
    recall.iter().for_each(|r| text += &format!(" {:>+8.1}", 100.0 * r));
    text
}

/// Mean and deviation, in percentage points.
fn spread(mean: f64, sd: Option<f64>) -> String {
    let mean = format!("{:+.2}", 100.0 * mean);
    sd.map_or(mean.clone(), |sd| format!("{mean} ± {:.2}", 100.0 * sd))
}

/// Whether the lesion costs more or less than the draws, and how far out it is.
fn verdict(c: &Controls) -> String {
    c.told().map_or_else(String::new, |(side, p)| format!("{side} {}", probability(p, 3)))
}
