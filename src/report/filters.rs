//! The filters of the first convolution, before and after training.

use super::axes::{Area, ticks};
use super::colour::grey;
use super::numbers::Numbers;
use super::page::Page;
use super::svg::{Anchor, HEAD, INK, NOTE, Svg};
use super::text::fixed;
use crate::model::Tensor;
use crate::train::Trained;

/// Most filters and most squares that are drawn.
const FILTERS: usize = 64;
const SQUARES: usize = 8_000;
/// Filters in a row.
const PER_ROW: usize = 16;

/// Appends the section about filters, if the network begins with a convolution somewhere; its weights were `before`.
pub(super) fn append(page: &mut Page, trained: &Trained, before: &[f32]) {
    let network = &trained.network;
    let first =
        network.tensors().iter().find(|t| network.layers()[t.layer].name() == "conv" && t.spec.shape.len() == 4);
    let Some(tensor) = first else { return };
    let [c_out, c_in, k, _] = tensor.spec.shape[..] else { return };
    page.section("Filters of the first convolution");
    let (was, is) = (&before[tensor.range.clone()], &trained.weights[tensor.range.clone()]);
    let mut numbers = Numbers::new("filters", &["filter", "channel", "row", "column", "before", "after"]);
    for (i, (a, b)) in was.iter().zip(is).enumerate() {
        let place = [i / (c_in * k * k), i / (k * k) % c_in, i / k % k, i % k];
        numbers.row(&[&(place[0] + 1), &(place[1] + 1), &(place[2] + 1), &(place[3] + 1), a, b]);
    }
    let shown = c_out.min(FILTERS).min((SQUARES / (2 * k * k)).max(1));
    let svg = picture(tensor, was, is, [shown, c_in, k]);
    let more = if shown < c_out { format!(" The first {shown} of {c_out} filters.") } else { String::new() };
    let channel = if c_in > 1 { " Only their first input channel is drawn." } else { "" };
    page.figure(
        &[svg],
        &format!(
            "{} of {k} x {k} pixels, before training and at the best epoch, on one scale of grey: black inhibits, white \
             excites, middle grey is 0.{more}{channel}",
            if c_out == 1 { "1 filter".to_owned() } else { format!("{c_out} filters") }
        ),
        numbers,
    );
}

/// Rows of filters, learned above initial; `[filters drawn, input channels, side]`.
fn picture(tensor: &Tensor, was: &[f32], is: &[f32], [shown, c_in, k]: [usize; 3]) -> Svg {
    let largest = |values: &[f32]| values.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
    let high = f64::from(largest(was).max(largest(is))).max(1e-12);
    let per_row = shown.min(PER_ROW);
    let (left, gap) = (8.0, 9.0);
    let side = ((940.0 - 110.0 - left) / per_row as f64 - gap).clamp(16.0, 76.0);
    let rows = shown.div_ceil(per_row);
    let block = 26.0 + rows as f64 * (side + 22.0);
    let width = left + per_row as f64 * (side + gap) + 96.0;
    let title = format!("Filters of {}", tensor.spec.name);
    let description = format!(
        "{shown} filters of {k} by {k} pixels after training, and the same before; weights reach {} in size.",
        fixed(high, 3)
    );
    let mut svg = Svg::new(width, (2.0 * block).max(150.0), &title, &description);
    let square = side / k as f64;
    for (b, (name, values)) in [("best epoch", is), ("before training", was)].into_iter().enumerate() {
        let top = block * b as f64;
        svg.text(left, top + 14.0, Anchor::Start, HEAD, name);
        for f in 0..shown {
            let x = left + (side + gap) * (f % per_row) as f64;
            let y = top + 22.0 + (side + 22.0) * (f / per_row) as f64;
            for i in 0..k * k {
                let colour = grey(0.5 + 0.5 * f64::from(values[f * c_in * k * k + i]) / high);
                let at = (x + square * (i % k) as f64, y + square * (i / k) as f64);
                // A little larger, so that no background shines through.
                svg.rect(at.0, at.1, square + 0.3, square + 0.3, &format!("fill=\"{}\"", colour.hex()));
            }
            svg.rect(x, y, side, side, &format!("fill=\"none\" stroke=\"{INK}\" stroke-width=\"0.6\""));
            svg.text(x + side / 2.0, y + side + 13.0, Anchor::Middle, NOTE, &(f + 1).to_string());
        }
    }
    let bar = Area { left: width - 84.0, top: 30.0, right: width - 70.0, bottom: 130.0 };
    let scale = bar.up((-high, high));
    for i in 0..50 {
        let y = bar.bottom - 2.0 * f64::from(i + 1);
        let overlap = if i == 0 { 0.0 } else { 0.6 };
        svg.rect(bar.left, y, 14.0, 2.0 + overlap, &format!("fill=\"{}\"", grey((f64::from(i) + 0.5) / 50.0).hex()));
    }
    svg.rect(bar.left, bar.top, 14.0, 100.0, &format!("fill=\"none\" stroke=\"{INK}\" stroke-width=\"0.6\""));
    let t = ticks(-high, high, 5);
    for (&v, label) in t.values.iter().zip(t.labels()) {
        let y = scale.at(v);
        svg.line((bar.right, y), (bar.right + 4.0, y), &format!("stroke=\"{INK}\" stroke-width=\"0.6\""));
        svg.text(bar.right + 7.0, y + 3.8, Anchor::Start, NOTE, &label);
    }
    svg.text(bar.left, 14.0, Anchor::Start, NOTE, "weight");
    svg
}
