//! A plot of lines over epochs.

use super::axes::{Area, range, ticks, unit, widened};
use super::colour::{DASHES, SERIES};
use super::svg::{Anchor, NOTE, SOFT, Svg};

/// Most points of a line: more would be finer than a pixel and only lengthen the page.
const POINTS: usize = 600;

/// Width and height of a plot, px: two side by side.
pub(super) const HALF: (f64, f64) = (460.0, 300.0);

/// A series of values over epochs.
pub(super) struct Line<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Value of epoch 1, 2, ...
    pub values: Vec<f64>,
    /// Colour and dashes, an index of [`SERIES`].
    pub style: usize,
}

/// The words of a plot.
pub(super) struct Words<'a> {
    /// What the picture is.
    pub title: &'a str,
    /// What it shows, in a sentence.
    pub description: &'a str,
    /// What is measured, with its unit.
    pub y: &'a str,
}

/// Draws `lines` over epochs; `best` is marked; `from_zero` starts the upward axis at 0.
pub(super) fn over_epochs(words: &Words, lines: &[Line], best: Option<usize>, from_zero: bool) -> Svg {
    let mut svg = Svg::new(HALF.0, HALF.1, words.title, words.description);
    let area = Area { left: 64.0, top: 44.0, right: HALF.0 - 14.0, bottom: HALF.1 - 42.0 };
    let entries: Vec<(usize, &str)> = lines.iter().map(|l| (l.style, l.name)).collect();
    svg.legend(area.left, 13.0, &entries, |svg, (x, y), &style| svg.line((x, y), (x + 22.0, y), &stroke(style)));
    let (low, high) = range(lines.iter().flat_map(|l| l.values.iter().copied())).unwrap_or((0.0, 1.0));
    let (low, high) = widened(if from_zero { 0.0 } else { low }, high, 5);
    let (factor, power) = unit(low.abs().max(high.abs()));
    let (low, high) = (low * factor, high * factor);
    let y = area.up((low, high));
    area.y_axis(&mut svg, y, &ticks(low, high, 6), &format!("{}{power}", words.y), 50.0);
    let epochs = lines.iter().map(|l| l.values.len()).max().unwrap_or(0).max(2) as f64;
    let x = area.across((1.0, epochs));
    area.x_axis(&mut svg, x, &epoch_ticks(epochs), "epoch");
    if let Some(best) = best {
        let at = x.at(best as f64);
        svg.line((at, area.top), (at, area.bottom), &format!("stroke=\"{SOFT}\" stroke-dasharray=\"1.5 2.5\""));
        let anchor = match (at - area.left) / (area.right - area.left) {
            part if part < 0.15 => Anchor::Start,
            part if part > 0.85 => Anchor::End,
            _ => Anchor::Middle,
        };
        svg.text(at, area.top - 6.0, anchor, NOTE, &format!("best epoch {best}"));
    }
    for line in lines {
        let points: Vec<(f64, f64)> = thinned(line.values.len())
            .map(|i| {
                (
                    x.at(i as f64 + 1.0),
                    if line.values[i].is_finite() { y.at(line.values[i] * factor) } else { f64::NAN },
                )
            })
            .collect();
        if let [only] = points[..] {
            svg.dot(only, 3.0, &format!("fill=\"{}\"", SERIES[line.style % SERIES.len()]));
        }
        svg.path(&points, false, &format!("fill=\"none\" {}", stroke(line.style)));
    }
    svg
}

/// Ticks at whole epochs.
pub(super) fn epoch_ticks(epochs: f64) -> super::axes::Ticks {
    let mut t = ticks(1.0, epochs, 6);
    t.values.retain(|v| v.fract() == 0.0);
    t.decimals = 0;
    if t.values.first() != Some(&1.0) && t.values.first().is_some_and(|&first| first > 0.12 * epochs) {
        t.values.insert(0, 1.0);
    }
    t
}

/// Indices of at most about [`POINTS`] of `n` values, the first and the last among them.
fn thinned(n: usize) -> impl Iterator<Item = usize> {
    let stride = n.div_ceil(POINTS).max(1);
    (0..n).filter(move |i| i % stride == 0 || i + 1 == n)
}

fn stroke(style: usize) -> String {
    let (colour, dashes) = (SERIES[style % SERIES.len()], DASHES[style % DASHES.len()]);
    let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
    format!("stroke=\"{colour}\" stroke-width=\"1.8\"{dashes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words = Words { title: "t", description: "d", y: "loss" };

    fn drawn(values: Vec<f64>) -> String {
        over_epochs(&WORDS, &[Line { name: "train", values, style: 0 }], Some(1), false).finish("p")
    }

    #[test]
    fn one_epoch_and_no_number_are_drawn_too() {
        assert!(drawn(vec![1.0]).contains("<circle"));
        for values in [vec![], vec![f64::NAN, f64::NAN], vec![1.0, f64::INFINITY, 2.0], vec![0.0; 5]] {
            let text = drawn(values);
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(roxmltree::Document::parse(&text).is_ok());
        }
    }

    #[test]
    fn many_epochs_do_not_lengthen_the_page() {
        let kept: Vec<usize> = thinned(100_000).collect();
        assert!(kept.len() <= POINTS + 1 && kept[0] == 0 && kept[kept.len() - 1] == 99_999);
        assert_eq!(thinned(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(drawn((0..100_000).map(f64::from).collect()).len() < 20_000);
    }

    #[test]
    fn epochs_are_whole() {
        assert_eq!(epoch_ticks(2.0).labels(), ["1", "2"]);
        assert_eq!(epoch_ticks(4.0).labels(), ["1", "2", "3", "4"]);
        assert_eq!(epoch_ticks(48.0).labels(), ["1", "10", "20", "30", "40"]);
    }
}
