//! How well a run classifies: table, confusion matrix, bars by class, reliability.

use super::axes::{Area, ticks};
use super::colour::{BEFORE, SERIES, THREE};
use super::heat::{Colours, cell};
use super::numbers::Numbers;
use super::page::{Cell, Page};
use super::svg::{Anchor, INK, NOTE, PLAIN, SOFT, Svg};
use super::text::{count, fixed, percent};
use crate::data::EXPRESSIONS;
use crate::eval::{Classified, Evaluation};
use crate::kernels::calibration::{Calibration, calibration};
use crate::kernels::scores::Scores;

/// Bins of the reliability diagram, as in Guo et al. 2017.
const BINS: usize = 15;

/// Appends the section about the scores of `classified`, which come from the images of `source`.
pub(super) fn append(page: &mut Page, classified: &Classified, source: &str) {
    let evaluation = classified.evaluation();
    let name = split_name(&evaluation);
    page.section(&format!("Scores on {name}"));
    page.paragraph(&format!("{} images of {source}, by the weights of the best epoch.", count(evaluation.scores.n)));
    summary(page, &evaluation);
    confusion(page, &evaluation.scores, &name);
    classes(page, &evaluation.scores, &name);
    let c = calibration(&classified.probabilities, &classified.labels, EXPRESSIONS.len(), BINS);
    reliability(page, &c, evaluation.scores.n, &name);
}

/// What a split is called in a text.
fn split_name(evaluation: &Evaluation) -> String {
    if evaluation.parts.is_none() {
        return name_of(&evaluation.split).to_owned();
    }
    evaluation.each_part().map(|p| name_of(p.split)).collect::<Vec<_>>().join(" + ")
}

fn name_of(split: &str) -> &'static str {
    match split {
        "public" => "PublicTest",
        "private" => "PrivateTest",
        _ => "Training",
    }
}

fn summary(page: &mut Page, evaluation: &Evaluation) {
    let whole = (split_name(evaluation), &evaluation.scores);
    // One part is the whole.
    let several = evaluation.each_part().count() > 1;
    let parts = evaluation.each_part().filter(|_| several).map(|p| (name_of(p.split).to_owned(), &p.scores));
    let mut numbers = Numbers::new("scores", &["split", "n", "accuracy", "macro_f1", "roc_auc"]);
    let mut rows = Vec::new();
    for (name, s) in [whole].into_iter().chain(parts) {
        numbers.row(&[&name, &s.n, &s.accuracy, &s.macro_f1, &super::numbers::Maybe(s.roc_auc)]);
        let auc = s.roc_auc.map_or_else(|| "\u{2013}".to_owned(), |a| fixed(a, 4));
        let cells = [name, count(s.n), format!("{} %", percent(s.accuracy, 2)), fixed(s.macro_f1, 4), auc];
        rows.push(cells.map(Cell::from).to_vec());
    }
    page.table("Scores", "lrrrr", &["split", "images", "accuracy", "macro F1", "ROC-AUC"], &rows);
    page.keep(numbers);
}

fn confusion(page: &mut Page, scores: &Scores, split: &str) {
    let names: Vec<&str> = scores.per_class.iter().map(|c| c.name.as_str()).collect();
    let mut numbers = Numbers::new("confusion", &["true", "predicted", "n", "part_of_true"]);
    let (width, height, left, top) = (84.0, 44.0, 118.0, 58.0);
    let side = names.len() as f64;
    let correct: usize = (0..names.len()).map(|k| scores.confusion[k][k]).sum();
    let description = format!(
        "{} of {} images are classified correctly. Each row is a true class; its cells give the percent of its images \
         taken for each class, and their number.",
        count(correct),
        count(scores.n)
    );
    let title = format!("Confusion matrix on {split}");
    let mut svg = Svg::new(left + width * side + 124.0, top + height * side + 8.0, &title, &description);
    let colours = Colours { low: 0.0, high: 1.0, root: false };
    svg.text(left + width * side / 2.0, 16.0, Anchor::Middle, PLAIN, "predicted class");
    svg.turned(14.0, top + height * side / 2.0, -90.0, Anchor::Middle, PLAIN, "true class (images)");
    for (row, name) in names.iter().enumerate() {
        let n = scores.per_class[row].n;
        let y = top + height * row as f64;
        svg.text(left + width * (row as f64 + 0.5), top - 9.0, Anchor::Middle, PLAIN, name);
        svg.text(left - 8.0, y + height / 2.0 - 2.0, Anchor::End, PLAIN, name);
        svg.text(left - 8.0, y + height / 2.0 + 12.0, Anchor::End, NOTE, &count(n));
        for (column, other) in names.iter().enumerate() {
            let hits = scores.confusion[row][column];
            let part = hits as f64 / n.max(1) as f64;
            numbers.row(&[name, other, &hits, &part]);
            let (big, small) = (format!("{} %", percent(part, 1)), count(hits));
            let x = left + width * column as f64;
            cell(&mut svg, (x, y), (width, height), colours.of(part), &[(13.5, &big), (11.5, &small)]);
        }
    }
    let in_percent = Colours { low: 0.0, high: 100.0, root: false };
    in_percent.bar(&mut svg, left + width * side + 26.0, top, height * side, &["% of true class"]);
    page.figure(
        &[svg],
        &format!(
            "Confusion matrix on {split}: percent of each true class (rows add up to 100 %), and number of images."
        ),
        numbers,
    );
}

fn classes(page: &mut Page, scores: &Scores, split: &str) {
    let mut numbers = Numbers::new("per_class", &["class", "n", "precision", "recall", "f1"]);
    for c in &scores.per_class {
        numbers.row(&[&c.name, &c.n, &c.precision, &c.recall, &c.f1]);
    }
    let mean = |of: fn(&crate::kernels::scores::ClassScore) -> f64| {
        scores.per_class.iter().map(of).sum::<f64>() / scores.per_class.len().max(1) as f64
    };
    let means = [mean(|c| c.precision), mean(|c| c.recall), mean(|c| c.f1)];
    numbers.row(&[&"mean", &scores.n, &means[0], &means[1], &means[2]]);
    let images = |n| format!("{} images", count(n));
    let named = scores.per_class.iter().map(|c| (c.name.clone(), images(c.n), [c.precision, c.recall, c.f1]));
    let groups: Vec<_> = named.chain([("mean".to_owned(), "of all classes".to_owned(), means)]).collect();
    let best = groups.iter().max_by(|a, b| a.2[2].total_cmp(&b.2[2])).map_or("", |g| &g.0);
    let title = format!("Precision, recall and F1 by class on {split}");
    let description = format!("Bars from 0 to 1 for each class and their mean; the class with the best F1 is {best}.");
    let mut svg = Svg::new(940.0, 320.0, &title, &description);
    let entries: Vec<(&str, &str)> = THREE.into_iter().zip(["precision", "recall", "F1"]).collect();
    let area = Area { left: 56.0, top: 44.0, right: 934.0, bottom: 272.0 };
    svg.legend(area.left, 13.0, &entries, |svg, (x, y), fill| bar(svg, x, y - 5.0, 22.0, 10.0, fill));
    let y = area.up((0.0, 1.0));
    area.y_axis(&mut svg, y, &ticks(0.0, 1.0, 5), "score", 40.0);
    let group = (area.right - area.left) / groups.len() as f64;
    let width = (group * 0.27).min(34.0);
    for (g, (name, n, values)) in groups.iter().enumerate() {
        let middle = area.left + group * (g as f64 + 0.5);
        for (k, value) in values.iter().enumerate() {
            let x = middle + width * (k as f64 - 1.5);
            bar(&mut svg, x, y.at(*value), width, area.bottom - y.at(*value), THREE[k]);
            svg.text(x + width / 2.0, y.at(*value) - 4.0, Anchor::Middle, NOTE, &fixed(*value, 2));
        }
        svg.text(middle, area.bottom + 17.0, Anchor::Middle, PLAIN, name);
        svg.text(middle, area.bottom + 32.0, Anchor::Middle, NOTE, n);
    }
    svg.line((area.left, area.bottom), (area.right, area.bottom), &format!("stroke=\"{INK}\""));
    page.figure(&[svg], &format!("{title}. The mean weighs all classes alike (macro average)."), numbers);
}

/// A bar with a thin outline, so that light ones stand out on paper.
fn bar(svg: &mut Svg, x: f64, y: f64, width: f64, height: f64, fill: &str) {
    svg.rect(x, y, width, height, &format!("fill=\"{fill}\" stroke=\"{INK}\" stroke-width=\"0.5\""));
}

fn reliability(page: &mut Page, c: &Calibration, n: usize, split: &str) {
    let mut numbers = Numbers::new("reliability", &["low", "high", "n", "mean_confidence", "accuracy"]);
    for b in &c.bins {
        numbers.row(&[&b.low, &b.high, &b.n, &b.confidence, &b.accuracy]);
    }
    let error = percent(c.error, 2);
    let title = format!("Reliability on {split}");
    let description = format!(
        "Accuracy against confidence in {BINS} bins. Expected calibration error {error} percent; mean confidence {} \
         percent, accuracy {} percent.",
        percent(c.confidence, 1),
        percent(c.accuracy, 1)
    );
    let mut svg = Svg::new(560.0, 520.0, &title, &description);
    let area = Area { left: 62.0, top: 44.0, right: 420.0, bottom: 372.0 };
    let unit = (0.0, 100.0);
    let (x, y) = (area.across(unit), area.up(unit));
    area.y_axis(&mut svg, y, &ticks(0.0, 100.0, 5), "accuracy (%)", 44.0);
    for b in c.bins.iter().filter(|b| b.n > 0) {
        let (left, right) = (x.at(100.0 * b.low) + 1.0, x.at(100.0 * b.high) - 1.0);
        let top = y.at(100.0 * b.accuracy);
        bar(&mut svg, left, top, right - left, area.bottom - top, SERIES[5]);
        // Where the bar would end if confidence were right.
        let expected = y.at(100.0 * b.confidence);
        svg.line((left, expected), (right, expected), &format!("stroke=\"{}\" stroke-width=\"2.4\"", SERIES[1]));
    }
    let diagonal = format!("stroke=\"{SOFT}\" stroke-dasharray=\"4 3\"");
    svg.line((area.left, area.bottom), (area.right, area.top), &diagonal);
    svg.line((area.left, area.bottom), (area.right, area.bottom), &format!("stroke=\"{INK}\""));
    let entries = [(0, "accuracy"), (1, "mean confidence"), (2, "perfect")];
    svg.legend(area.left, 13.0, &entries, |svg, (left, middle), kind| match kind {
        0 => bar(svg, left, middle - 5.0, 22.0, 10.0, SERIES[5]),
        1 => svg.line((left, middle), (left + 22.0, middle), &format!("stroke=\"{}\" stroke-width=\"2.4\"", SERIES[1])),
        _ => svg.line((left, middle), (left + 22.0, middle), &diagonal),
    });
    let facts = [
        ("ECE", format!("{error} %")),
        ("accuracy", format!("{} %", percent(c.accuracy, 2))),
        ("confidence", format!("{} %", percent(c.confidence, 2))),
    ];
    for (i, (name, value)) in facts.iter().enumerate() {
        let row = area.top + 14.0 + 36.0 * i as f64;
        svg.text(area.right + 20.0, row, Anchor::Start, NOTE, name);
        svg.text(area.right + 20.0, row + 15.0, Anchor::Start, PLAIN, value);
    }
    // How many images each bin has, under the same axis.
    let below = Area { left: area.left, top: area.bottom + 16.0, right: area.right, bottom: 478.0 };
    let most = c.bins.iter().map(|b| b.n as f64 / n.max(1) as f64).fold(0.0, f64::max);
    let (_, high) = super::axes::widened(0.0, 100.0 * most, 3);
    let share = below.up((0.0, high));
    below.y_axis(&mut svg, share, &ticks(0.0, high, 3), "images (%)", 44.0);
    for b in &c.bins {
        let (left, right) = (x.at(100.0 * b.low) + 1.0, x.at(100.0 * b.high) - 1.0);
        let top = share.at(100.0 * b.n as f64 / n.max(1) as f64);
        bar(&mut svg, left, top, right - left, below.bottom - top, BEFORE);
    }
    below.x_axis(&mut svg, x, &ticks(0.0, 100.0, 5), "confidence: probability of the most probable class (%)");
    page.figure(
        &[svg],
        &format!(
            "{title}: accuracy of the images in {BINS} equally wide bins of confidence, above the part of the images in \
             each. The expected calibration error (ECE; Guo et al. 2017) is the mean gap between accuracy and mean \
             confidence of a bin, weighted by its images."
        ),
        numbers,
    );
}
