//! What came out as aligned text.

use super::{Controls, Effect, Match, Report};
use crate::data::EXPRESSIONS;

/// Lesions in the text at most; beyond, those that cost most are shown.
const MOST: usize = 60;
/// Of many lesions, so many are shown.
const SHOWN: usize = 20;

impl Report {
    /// The report as aligned text.
    pub fn to_text(&self) -> String {
        let Self { intact, population, .. } = self;
        let auc = intact.roc_auc.map_or_else(|| "-".to_owned(), |a| format!("{a:.4}"));
        let mut text = format!("epoch {}, split {}: {} images\n", self.epoch, self.split, self.images);
        text += &format!(
            "intact: accuracy {:.2} %   macro F1 {:.4}   ROC-AUC {auc}\n",
            100.0 * intact.accuracy,
            intact.macro_f1
        );
        text += &format!(
            "the network has {} excitatory neurons and {} inhibitory cells\n\n",
            population.excitatory, population.inhibitory
        );
        text += "change of accuracy and of recall by class while these cells are silent, percentage points\n";
        let columns = self.columns();
        columns.iter().for_each(|kind| text += legend(*kind));
        text.push('\n');
        let mut shown: Vec<&Effect> = self.lesions.iter().collect();
        let many = shown.len() > MOST;
        if many {
            let change = |e: &Effect| e.lesion.as_ref().map_or(0.0, |l| l.accuracy_change);
            shown.sort_by(|a, b| change(a).total_cmp(&change(b)));
            shown.truncate(SHOWN);
        }
        text += &table(&shown, &columns);
        if many {
            text += &format!("{} lesions in all, those shown cost most\n", self.lesions.len());
        }
        text += &self.notes();
        if self.taken_up > 0 {
            text += &format!("{} of the scores are those that lesions.csv had\n", self.taken_up);
        }
        text += &format!("\n{}\n{}", self.files[0].display(), self.files[1].display());
        text
    }

    /// Kinds of draws that there are.
    fn columns(&self) -> Vec<Option<Match>> {
        let kinds = [None, Some(Match::Polarity), Some(Match::Lamina)];
        let there = |kind: &Option<Match>| self.lesions.iter().any(|e| e.controls.iter().any(|c| c.matched == *kind));
        kinds.into_iter().filter(there).collect()
    }

    /// Cells without effect, and how to read p.
    fn notes(&self) -> String {
        let mut text = String::new();
        let absent = self.lesions.iter().filter_map(|e| e.lesion.as_ref()).filter(|l| l.without_effect > 0);
        let absent: Vec<String> =
            absent.map(|l| format!("{} of {} cells of {}", l.without_effect, l.selected, l.name)).collect();
        if !absent.is_empty() {
            text += &format!("not in the network, so without effect: {}\n", absent.join(", "));
        }
        if self.lesions.iter().any(|e| e.lesion.is_some() && !e.controls.is_empty()) {
            text += "p: two-sided, by rank among the draws, not corrected for the number of lesions; ";
            text += "-: it takes all cells of its kind\n";
            let most = self.lesions.iter().flat_map(|e| &e.controls).map(|c| c.repeats).max().unwrap_or(0);
            text += &format!("the least p of {most} draws is {:.4}\n", (2.0 / (most + 1) as f64).min(1.0));
        }
        text
    }
}

/// What a kind of draws is.
fn legend(kind: Option<Match>) -> &'static str {
    match kind {
        None => "random: mean ± sd of the draws\n",
        Some(Match::Polarity) => "random: as many random cells of the same polarity, mean ± sd of the draws\n",
        Some(Match::Lamina) => "in lamina: as many random cells of the same polarity and lamina\n",
    }
}

fn table(shown: &[&Effect], columns: &[Option<Match>]) -> String {
    let width = shown.iter().map(|e| e.name.chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!("{:width$} {:>5} {:>4} {:>8} {:>7}", "lesion", "E", "I", "accuracy", "change");
    for kind in columns {
        let name = if *kind == Some(Match::Lamina) { "in lamina" } else { "random" };
        text += &format!(" {name:>14} {:>10}", if kind.is_some() { "p" } else { "" });
    }
    EXPRESSIONS.iter().for_each(|class| text += &format!(" {class:>8}"));
    text.push('\n');
    for e in shown {
        match &e.lesion {
            Some(l) => {
                text += &format!("{:width$} {:>5} {:>4}", e.name, l.excitatory, l.inhibitory);
                text += &format!(" {:>7.2}% {:>+7.2}", 100.0 * l.accuracy, 100.0 * l.accuracy_change);
            }
            None => text += &format!("{:width$} {:>27}", e.name, ""),
        }
        for kind in columns {
            let controls = e.controls.iter().find(|c| c.matched == *kind);
            let none = if e.lesion.as_ref().is_some_and(|l| l.excitatory + l.inhibitory > 0) { "-" } else { "" };
            let [change, p] = controls.map_or([none.to_owned(), String::new()], |c| [spread(c), verdict(c)]);
            text += &format!(" {change:>14} {p:>10}");
        }
        // Of draws alone, their mean.
        let recall = match (&e.lesion, e.controls.first()) {
            (Some(l), _) => l.recall_change.as_slice(),
            (None, Some(c)) => c.recall_change_mean.as_slice(),
            (None, None) => &[],
        };
        recall.iter().for_each(|r| text += &format!(" {:>+8.1}", 100.0 * r));
        text.push('\n');
    }
    text
}

/// Mean and deviation of draws.
fn spread(c: &Controls) -> String {
    let mean = format!("{:+.2}", 100.0 * c.accuracy_change_mean);
    c.accuracy_change_sd.map_or(mean.clone(), |sd| format!("{mean} ± {:.2}", 100.0 * sd))
}

/// Whether the lesion costs more or less than the draws, and how far out it is.
fn verdict(c: &Controls) -> String {
    c.told().map_or_else(String::new, |(side, p)| format!("{side} {p:.3}"))
}
