//! Learning curves of the models of a study, averaged over seeds.

use super::axes::{Area, range, ticks, widened};
use super::colour::SERIES;
use super::lines::epoch_ticks;
use super::numbers::Numbers;
use super::page::Page;
use super::study::{MODELS, run_folder};
use super::svg::{Anchor, HEAD, INK, NOTE, Svg};
use super::text::{fixed, percent, shorten};
use crate::study::{CellResult, Table};
use crate::train::load_metrics;
use std::path::Path;

/// Size of a panel, px.
const PANEL: (f64, f64) = (300.0, 214.0);
/// Most points of a curve.
const POINTS: usize = 200;

/// PublicTest accuracy by epoch over the seeds of a model.
struct Curve {
    /// Mean, least and most over the seeds that came so far; epoch 1 first.
    epochs: Vec<[f64; 3]>,
    /// Runs behind it.
    seeds: usize,
}

/// Appends the plots; runs whose folder is gone are left out, with a word in the page.
pub(super) fn append(page: &mut Page, dir: &Path, table: &Table, cells: &[CellResult], warn: &mut dyn FnMut(&str)) {
    let mut numbers = Numbers::new(
        "learning_curves",
        &["model", "epoch", "seeds", "val_accuracy_mean", "val_accuracy_min", "val_accuracy_max"],
    );
    let mut missing = 0;
    let mut curves: Vec<(&str, Curve)> = Vec::new();
    for row in table.rows.iter().take(MODELS) {
        let mut runs: Vec<Vec<f64>> = Vec::new();
        for cell in cells.iter().filter(|c| c.model == row.model) {
            let read = run_folder(dir, cell).filter(|f| f.is_dir()).map(|f| load_metrics(&f, cell.run.epochs));
            match read {
                Some(Ok(epochs)) => runs.push(epochs.iter().map(|e| e.val_accuracy).collect()),
                Some(Err(e)) => {
                    warn(&format!("no learning curve: {e}"));
                    missing += 1;
                }
                None => missing += 1,
            }
        }
        let longest = runs.iter().map(Vec::len).max().unwrap_or(0);
        let epoch = |i: usize| {
            let values: Vec<f64> = runs.iter().filter_map(|r| r.get(i).copied()).collect();
            let (low, high) = range(values.iter().copied()).unwrap_or((f64::NAN, f64::NAN));
            (values.len(), [values.iter().sum::<f64>() / values.len() as f64, low, high])
        };
        let epochs: Vec<(usize, [f64; 3])> = (0..longest).map(epoch).collect();
        for (i, (n, [mean, low, high])) in epochs.iter().enumerate() {
            numbers.row(&[&row.model, &(i + 1), n, mean, low, high]);
        }
        if longest > 0 {
            curves.push((&row.model, Curve { epochs: epochs.into_iter().map(|e| e.1).collect(), seeds: runs.len() }));
        }
    }
    if missing > 0 {
        page.warning(&format!("{missing} runs are left out: their folders are gone or cannot be read."));
    }
    if curves.is_empty() {
        page.keep(numbers);
        return;
    }
    let all = curves.iter().flat_map(|(_, c)| c.epochs.iter().flatten().map(|v| 100.0 * v));
    let (low, high) = range(all).unwrap_or((0.0, 100.0));
    let scale = (widened(low, high, 5), curves.iter().map(|(_, c)| c.epochs.len()).max().unwrap_or(2).max(2) as f64);
    let reference = curves.iter().find(|(model, _)| *model == table.reference).map(|(_, c)| c);
    let panels: Vec<Svg> = curves
        .iter()
        .map(|(model, curve)| panel(model, curve, reference.filter(|_| *model != table.reference), scale))
        .collect();
    let more = if table.rows.len() > MODELS {
        format!(" The first {MODELS} of {} models.", table.rows.len())
    } else {
        String::new()
    };
    page.figure(
        &panels,
        &format!(
            "Accuracy on PublicTest by epoch, mean over seeds, shaded from the lowest to the highest seed; dashed: {}. A run \
             that stopped early counts until it did.{more}",
            table.reference
        ),
        numbers,
    );
}

fn panel(model: &str, curve: &Curve, reference: Option<&Curve>, ((low, high), epochs): ((f64, f64), f64)) -> Svg {
    let last = curve.epochs.last().map_or(f64::NAN, |e| e[0]);
    let description = format!(
        "Mean of {} seeds over {} epochs; {} percent at the end.",
        curve.seeds,
        curve.epochs.len(),
        percent(last, 1)
    );
    let mut svg = Svg::new(PANEL.0, PANEL.1, &format!("Learning curve of {model}"), &description);
    let area = Area { left: 48.0, top: 40.0, right: PANEL.0 - 10.0, bottom: PANEL.1 - 40.0 };
    svg.text(area.left, 13.0, Anchor::Start, HEAD, &shorten(model, HEAD.size * 1.05, PANEL.0 - area.left));
    let seeds = if curve.seeds == 1 { "1 seed".to_owned() } else { format!("{} seeds", curve.seeds) };
    svg.text(area.left, 29.0, Anchor::Start, NOTE, &format!("{seeds}, last epoch {} %", fixed(100.0 * last, 1)));
    let (x, y) = (area.across((1.0, epochs)), area.up((low, high)));
    area.y_axis(&mut svg, y, &ticks(low, high, 5), "accuracy (%)", 34.0);
    area.x_axis(&mut svg, x, &epoch_ticks(epochs), "epoch");
    let points = |c: &Curve, k: usize| -> Vec<(f64, f64)> {
        let stride = c.epochs.len().div_ceil(POINTS).max(1);
        let kept = (0..c.epochs.len()).filter(|i| i % stride == 0 || i + 1 == c.epochs.len());
        kept.map(|i| (x.at(i as f64 + 1.0), y.at(100.0 * c.epochs[i][k]))).collect()
    };
    let band: Vec<(f64, f64)> = points(curve, 1).into_iter().chain(points(curve, 2).into_iter().rev()).collect();
    svg.path(&band, true, "fill=\"#cfe3f1\"");
    if let Some(reference) = reference {
        svg.path(
            &points(reference, 0),
            false,
            "fill=\"none\" stroke=\"#777\" stroke-width=\"1.3\" stroke-dasharray=\"5 3\"",
        );
    }
    let mean = points(curve, 0);
    svg.path(&mean, false, &format!("fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"", SERIES[0]));
    if let [only] = mean[..] {
        svg.dot(only, 3.0, &format!("fill=\"{}\"", SERIES[0]));
    }
    svg.line((area.left, area.bottom), (area.right, area.bottom), &format!("stroke=\"{INK}\""));
    svg
}
