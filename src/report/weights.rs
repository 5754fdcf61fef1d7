//! Weights before and after training, tensor by tensor.

use super::axes::{Area, range, ticks, unit};
use super::colour::{BEFORE, SERIES};
use super::numbers::Numbers;
use super::page::{Cell, Page};
use super::svg::{Anchor, HEAD, INK, NOTE, SOFT, Svg};
use super::text::{count, fixed, percent, shorten};
use crate::model::{Role, Tensor};
use crate::train::Trained;

/// Most bins of a histogram.
const BINS: usize = 48;
/// Most panels; further tensors are in the table and in the CSV files only.
const PANELS: usize = 36;
/// Part of the weights beyond each end of the axis.
const TAIL: f64 = 0.001;
/// Size of a panel, px.
const PANEL: (f64, f64) = (300.0, 196.0);

/// Weights of one tensor before and after training.
struct Change<'a> {
    tensor: &'a Tensor,
    before: &'a [f32],
    after: &'a [f32],
}

/// Spread of weights.
struct Spread {
    mean: f64,
    sd: f64,
}

fn spread(values: &[f32]) -> Spread {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let square = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    Spread { mean, sd: square.sqrt() }
}

impl Change<'_> {
    /// Pearson's correlation of a weight before and after; `None` where one of the two does not vary.
    fn correlation(&self) -> Option<f64> {
        let (a, b) = (spread(self.before), spread(self.after));
        let product = |(x, y): (&f32, &f32)| (f64::from(*x) - a.mean) * (f64::from(*y) - b.mean);
        let mean = self.before.iter().zip(self.after).map(product).sum::<f64>() / self.before.len().max(1) as f64;
        (a.sd > 0.0 && b.sd > 0.0).then(|| mean / (a.sd * b.sd))
    }

    /// Part of the weights that are on the other side of zero now.
    fn crossed(&self) -> f64 {
        let crossed = self.before.iter().zip(self.after).filter(|(a, b)| *a * *b < 0.0).count();
        crossed as f64 / self.before.len().max(1) as f64
    }

    /// Ends of the axis: all but [`TAIL`] of the weights at each end, before and after.
    fn ends(&self) -> (f64, f64) {
        let ends = [self.before, self.after].into_iter().flat_map(|values| {
            let mut sorted: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
            sorted.sort_unstable_by(f32::total_cmp);
            let last = sorted.len().saturating_sub(1) as f64;
            let at = |part: f64| sorted.get((part * last).round() as usize).map_or(f64::NAN, |&v| f64::from(v));
            [at(TAIL), at(1.0 - TAIL)]
        });
        let (low, high) = range(ends).unwrap_or((0.0, 0.0));
        let low = if low > 0.0 && low < 0.5 * high { 0.0 } else { low };
        if high - low > 0.0 { (low, high) } else { (low - 0.5, low + 0.5) }
    }
}

/// Bins for `n` weights: fewer for few, of which each bin would hold one or none.
fn bins_of(n: usize) -> usize {
    ((1.5 * (n as f64).sqrt()) as usize).clamp(8, BINS)
}

/// Part of `values` in each of `bins` bins from `low` to `high`; the end bins hold what lies beyond.
fn histogram(values: &[f32], (low, high): (f64, f64), bins: usize) -> Vec<f64> {
    let mut bins = vec![0usize; bins];
    for &v in values.iter().filter(|v| v.is_finite()) {
        let place = (f64::from(v) - low) / (high - low) * bins.len() as f64;
        let last = bins.len() - 1;
        bins[(place.max(0.0) as usize).min(last)] += 1;
    }
    bins.into_iter().map(|n| n as f64 / values.len().max(1) as f64).collect()
}

/// Appends the section about weights, which were `before`.
pub(super) fn append(page: &mut Page, trained: &Trained, before: &[f32]) {
    page.section("Weights before and after training");
    let network = &trained.network;
    let changes: Vec<Change> = network
        .tensors()
        .iter()
        .filter(|t| t.spec.role == Role::Weight && !t.spec.is_empty())
        .map(|t| Change { tensor: t, before: &before[t.range.clone()], after: &trained.weights[t.range.clone()] })
        .collect();
    let masked: Vec<usize> = network
        .layers()
        .iter()
        .enumerate()
        .flat_map(|(i, layer)| layer.masks().into_iter().map(move |(tensor, _)| network.tensor_index(i, tensor)))
        .collect();
    let is_masked = |t: &Tensor| masked.iter().any(|&i| std::ptr::eq(&raw const network.tensors()[i], t));
    let mut bins = Numbers::new("weight_histograms", &["tensor", "low", "high", "before", "after"]);
    let mut facts = Numbers::new(
        "weights",
        &["tensor", "weights", "mean_before", "sd_before", "mean_after", "sd_after", "correlation", "changed_sign"],
    );
    let (mut panels, mut rows) = (Vec::new(), Vec::new());
    for change in &changes {
        let name = &change.tensor.spec.name;
        let (a, b) = (spread(change.before), spread(change.after));
        let (r, crossed) = (change.correlation(), change.crossed());
        let n = change.after.len();
        facts.row(&[name, &n, &a.mean, &a.sd, &b.mean, &b.sd, &super::numbers::Maybe(r), &crossed]);
        let kind = if is_masked(change.tensor) { "synapses" } else { "weights" };
        let texts = [
            name.clone(),
            format!("{} {kind}", count(n)),
            fixed(a.sd, 4),
            fixed(b.sd, 4),
            fixed(b.mean, 4),
            r.map_or_else(|| "\u{2013}".to_owned(), |r| fixed(r, 2)),
            format!("{} %", percent(crossed, 1)),
        ];
        rows.push(texts.map(Cell::from).to_vec());
        let ends = change.ends();
        let n_bins = bins_of(n);
        let (was, is) = (histogram(change.before, ends, n_bins), histogram(change.after, ends, n_bins));
        for i in 0..n_bins {
            let edge = |i: usize| ends.0 + (ends.1 - ends.0) * i as f64 / n_bins as f64;
            bins.row(&[name, &edge(i), &edge(i + 1), &was[i], &is[i]]);
        }
        if panels.len() < PANELS {
            panels.push(panel(name, &format!("{} {kind}", count(n)), ends, &was, &is, (a.sd, b.sd)));
        }
    }
    let more = if changes.len() > PANELS {
        format!(" The first {PANELS} of {} tensors.", changes.len())
    } else {
        String::new()
    };
    page.figure(
        &panels,
        &format!(
            "Weights before training (filled; drawn again from the seed) and at the best epoch (line), in percent of the \
             tensor's weights in each bin; the end bins hold what lies beyond, at most {} % at each end.{more} \
             Biases, gains and norms are left out.",
            percent(TAIL, 1)
        ),
        bins,
    );
    rows.truncate(4 * PANELS);
    page.table(
        "Spread of the weights; r is the correlation of a weight before and after",
        "lrrrrrr",
        &["tensor", "values", "sd before", "sd after", "mean after", "r", "changed sign"],
        &rows,
    );
    page.keep(facts);
}

/// Two histograms on one another.
fn panel(name: &str, size: &str, ends: (f64, f64), was: &[f64], is: &[f64], sd: (f64, f64)) -> Svg {
    let title = format!("Weights of {name} before and after training");
    let description =
        format!("Two histograms of {size}; standard deviation {} before, {} after.", fixed(sd.0, 4), fixed(sd.1, 4));
    let mut svg = Svg::new(PANEL.0, PANEL.1, &title, &description);
    let area = Area { left: 44.0, top: 40.0, right: PANEL.0 - 10.0, bottom: PANEL.1 - 26.0 };
    svg.text(area.left, 13.0, Anchor::Start, HEAD, &shorten(name, HEAD.size * 1.05, PANEL.0 - area.left));
    svg.text(area.left, 28.0, Anchor::Start, NOTE, size);
    let tallest = was.iter().chain(is).copied().fold(0.0, f64::max);
    let (_, high) = super::axes::widened(0.0, 100.0 * tallest, 4);
    let y = area.up((0.0, high));
    area.y_axis(&mut svg, y, &ticks(0.0, high, 4), "%", 32.0);
    let (factor, power) = unit(ends.0.abs().max(ends.1.abs()));
    let (low, top) = (ends.0 * factor, ends.1 * factor);
    let x = area.across((low, top));
    let edge = |i: usize| x.at(low + (top - low) * i as f64 / was.len() as f64);
    let outline = |bins: &[f64]| {
        let mut points = vec![(area.left, area.bottom)];
        for (i, part) in bins.iter().enumerate() {
            points.extend([(edge(i), y.at(100.0 * part)), (edge(i + 1), y.at(100.0 * part))]);
        }
        points.push((area.right, area.bottom));
        points
    };
    svg.path(&outline(was), true, &format!("fill=\"{BEFORE}\""));
    if low < 0.0 && top > 0.0 {
        svg.line(
            (x.at(0.0), area.top),
            (x.at(0.0), area.bottom),
            &format!("stroke=\"{SOFT}\" stroke-dasharray=\"1.5 2.5\""),
        );
    }
    svg.path(&outline(is), false, &format!("fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"", SERIES[0]));
    svg.line((area.left, area.bottom), (area.right, area.bottom), &format!("stroke=\"{INK}\""));
    let t = ticks(low, top, 4);
    for (&v, label) in t.values.iter().zip(t.labels()) {
        svg.line((x.at(v), area.bottom), (x.at(v), area.bottom + 4.0), &format!("stroke=\"{INK}\""));
        svg.text(x.at(v), area.bottom + 16.0, Anchor::Middle, NOTE, &label);
    }
    if !power.is_empty() {
        svg.text(area.right, 28.0, Anchor::End, NOTE, power.trim());
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_holds_every_weight() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32 / 100.0 - 2.0).chain([f32::MAX, -1e9]).collect();
        let bins = histogram(&values, (-1.0, 1.0), BINS);
        assert!((bins.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(bins[0] > 0.09 && bins[BINS - 1] > 0.5, "what lies beyond is in the end bins");
        assert_eq!(histogram(&[], (0.0, 1.0), 8).iter().sum::<f64>(), 0.0);
        assert_eq!(histogram(&[f32::NAN, 0.5], (0.0, 1.0), 8).iter().sum::<f64>(), 0.5);
    }

    #[test]
    fn spread_and_sign_worked_by_hand() {
        let s = spread(&[1.0, 3.0]);
        assert_eq!((s.mean, s.sd), (2.0, 1.0));
        let network = crate::model::Network::build(&crate::model::presets::preset("baseline").unwrap(), None).unwrap();
        let change = |before, after| Change { tensor: &network.tensors()[0], before, after };
        let opposite = change(&[1.0, -1.0], &[-2.0, 2.0]);
        assert_eq!((opposite.correlation(), opposite.crossed()), (Some(-1.0), 1.0));
        let flat = change(&[0.0, 0.0], &[f32::NAN, 1.0]);
        assert_eq!((flat.correlation(), flat.crossed()), (None, 0.0));
        let (low, high) = flat.ends();
        assert!(low <= 0.0 && high >= 1.0);
        assert_eq!(change(&[2.0], &[2.0]).ends(), (1.5, 2.5));
    }
}
