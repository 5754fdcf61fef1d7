//! What came out as aligned text.

use super::{Effect, Match, Report};
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
        let drawn = self.lesions.iter().any(|e| e.controls.is_some());
        if drawn {
            let kind = match self.matched {
                Match::Polarity => "polarity",
                Match::Lamina => "polarity and lamina",
            };
            text += &format!("random: as many of the network's cells, of the same {kind}, mean ± sd of all draws\n");
        }
        text.push('\n');
        let mut shown: Vec<&Effect> = self.lesions.iter().collect();
        let many = shown.len() > MOST;
        if many {
            let change = |e: &Effect| e.lesion.as_ref().map_or(0.0, |l| l.accuracy_change);
            shown.sort_by(|a, b| change(a).total_cmp(&change(b)));
            shown.truncate(SHOWN);
        }
        text += &self.table(&shown, drawn);
        if many {
            text += &format!("{} lesions in all, those shown cost most\n", self.lesions.len());
        }
        text += &self.notes();
        text += &format!("\n{}\n{}", self.files[0].display(), self.files[1].display());
        text
    }

    fn table(&self, shown: &[&Effect], drawn: bool) -> String {
        let width = shown.iter().map(|e| e.name.chars().count()).max().unwrap_or(0).max(6);
        let mut text = format!("{:width$} {:>5} {:>4} {:>8} {:>7}", "lesion", "E", "I", "accuracy", "change");
        if drawn {
            text += &format!(" {:>14} {:>12}", "random", "than random");
        }
        EXPRESSIONS.iter().for_each(|class| text += &format!(" {class:>8}"));
        text.push('\n');
        for e in shown {
            // Only draws: their mean stands in the place of the lesion.
            let cells = e
                .lesion
                .as_ref()
                .map_or([String::new(), String::new()], |l| [l.excitatory.to_string(), l.inhibitory.to_string()]);
            text += &format!("{:width$} {:>5} {:>4}", e.name, cells[0], cells[1]);
            text += &match &e.lesion {
                Some(l) => format!(" {:>7.2}% {:>+7.2}", 100.0 * l.accuracy, 100.0 * l.accuracy_change),
                None => format!(" {:>8} {:>7}", "", ""),
            };
            if drawn {
                text += &format!(" {:>14} {:>12}", random(e), verdict(e));
            }
            let recall = match (&e.lesion, &e.controls) {
                (Some(l), _) => l.recall_change.as_slice(),
                (None, Some(c)) => c.recall_change_mean.as_slice(),
                (None, None) => &[],
            };
            recall.iter().for_each(|r| text += &format!(" {:>+8.1}", 100.0 * r));
            text.push('\n');
        }
        text
    }

    /// Cells without effect, and controls that are none.
    fn notes(&self) -> String {
        let mut text = String::new();
        let absent = self.lesions.iter().filter_map(|e| e.lesion.as_ref()).filter(|l| l.without_effect > 0);
        let absent: Vec<String> =
            absent.map(|l| format!("{} of {} cells of {}", l.without_effect, l.selected, l.name)).collect();
        if !absent.is_empty() {
            text += &format!("not in the network, so without effect: {}\n", absent.join(", "));
        }
        if !self.exhausted.is_empty() {
            text += &format!(
                "no comparison: {} take all cells of their kind, every draw would be the lesion itself\n",
                self.exhausted.join(", ")
            );
        }
        if self.lesions.iter().filter(|e| e.controls.is_some()).count() > 1 {
            text += "p is one-sided, by rank among the draws, and not corrected for the number of lesions\n";
        }
        text
    }
}

/// Mean and deviation of the draws.
fn random(e: &Effect) -> String {
    let points = |v: f64| format!("{:+.2}", 100.0 * v);
    e.controls.as_ref().map_or_else(String::new, |c| match c.accuracy_change_sd {
        Some(sd) => format!("{} ± {:.2}", points(c.accuracy_change_mean), 100.0 * sd),
        None => points(c.accuracy_change_mean),
    })
}

/// On which side of the draws the lesion lies, and how far out.
fn verdict(e: &Effect) -> String {
    let (Some(lesion), Some(c)) = (&e.lesion, &e.controls) else { return String::new() };
    let (Some(more), Some(less)) = (c.p_more, c.p_less) else { return String::new() };
    if lesion.accuracy_change < c.accuracy_change_mean {
        format!("more p {more:.3}")
    } else {
        format!("less p {less:.3}")
    }
}
