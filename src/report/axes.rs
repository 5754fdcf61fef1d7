//! Scales, ticks and the frame of a plot.

use super::svg::{Anchor, GRID, INK, NOTE, PLAIN, Svg};
use super::text::fixed;

/// From values to pixels, linear.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Value at the first pixel.
    pub low: f64,
    /// Value at the last pixel.
    pub high: f64,
    /// First pixel.
    pub from: f64,
    /// Last pixel; before the first one for an axis that points up.
    pub to: f64,
}

impl Scale {
    /// Pixel of a value; a value beyond the ends stays at them.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = (value - self.low) / (self.high - self.low);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// Ticks at equal steps of 1, 2 or 5 times a power of ten.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ticks {
    /// Where they are, ascending.
    pub values: Vec<f64>,
    /// Digits after the point that tell them apart.
    pub decimals: usize,
}

impl Ticks {
    /// The labels, in order.
    pub(super) fn labels(&self) -> Vec<String> {
        self.values.iter().map(|&v| fixed(v, self.decimals)).collect()
    }
}

/// The smallest step of 1, 2 or 5 times a power of ten that cuts `span` into at most `pieces`.
fn step(span: f64, pieces: usize) -> f64 {
    let rough = span / pieces.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

/// Ticks from `low` to `high`, at least one and at most `pieces + 1`. An interval without length has the one tick `low`.
pub(super) fn ticks(low: f64, high: f64, pieces: usize) -> Ticks {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return Ticks { values: vec![low], decimals: 2 };
    }
    let step = step(span, pieces);
    let slack = 1e-6 * step;
    let first = ((low - slack) / step).ceil();
    let last = ((high + slack) / step).floor();
    if last < first {
        // A step longer than the interval may miss it.
        return ticks(low, high, pieces + 1);
    }
    let values = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
    let decimals = (-(step * (1.0 + 1e-9)).log10().floor()).clamp(0.0, 9.0) as usize;
    Ticks { values, decimals }
}

/// The interval from `low` to `high`, widened to whole ticks and never without length.
pub(super) fn widened(low: f64, high: f64, pieces: usize) -> (f64, f64) {
    let (low, high) = if low.is_finite() && high.is_finite() { (low.min(high), high.max(low)) } else { (0.0, 1.0) };
    let span = high - low;
    if span <= 1e-12 * low.abs().max(high.abs()) || span == 0.0 {
        let half = if low == 0.0 { 0.5 } else { 0.1 * low.abs() };
        return widened(low - half, high + half, pieces);
    }
    let step = step(span, pieces);
    ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step)
}

/// Least and greatest finite value; `None` without any.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|v| v.is_finite()).fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((v.min(low), v.max(high))),
    })
}

/// A power of ten for an axis whose values are tiny or huge: what they are multiplied by, and how the axis says so.
pub(super) fn unit(largest: f64) -> (f64, &'static str) {
    match largest.abs() {
        v if v <= 0.0 || !v.is_finite() => (1.0, ""),
        v if v < 2e-5 => (1e6, " \u{d7} 10\u{207b}\u{2076}"),
        v if v < 2e-2 => (1e3, " \u{d7} 10\u{207b}\u{b3}"),
        v if v >= 2e6 => (1e-6, " \u{d7} 10\u{2076}"),
        _ => (1.0, ""),
    }
}

/// The rectangle in which values are drawn, px.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    /// Left side.
    pub left: f64,
    /// Upper side.
    pub top: f64,
    /// Right side.
    pub right: f64,
    /// Lower side.
    pub bottom: f64,
}

impl Area {
    /// Scale along the lower side.
    pub(super) fn across(&self, (low, high): (f64, f64)) -> Scale {
        Scale { low, high, from: self.left, to: self.right }
    }

    /// Scale along the left side, pointing up.
    pub(super) fn up(&self, (low, high): (f64, f64)) -> Scale {
        Scale { low, high, from: self.bottom, to: self.top }
    }

    /// The axis along the lower side: line, ticks, their labels and the name of what is measured, with its unit.
    pub(super) fn x_axis(&self, svg: &mut Svg, scale: Scale, ticks: &Ticks, name: &str) {
        svg.line((self.left, self.bottom), (self.right, self.bottom), &format!("stroke=\"{INK}\""));
        for (&v, label) in ticks.values.iter().zip(ticks.labels()) {
            let x = scale.at(v);
            svg.line((x, self.bottom), (x, self.bottom + 4.0), &format!("stroke=\"{INK}\""));
            svg.text(x, self.bottom + 16.0, Anchor::Middle, NOTE, &label);
        }
        let middle = (self.left + self.right) / 2.0;
        svg.text(middle, self.bottom + 33.0, Anchor::Middle, PLAIN, name);
    }

    /// The axis along the left side: grid lines across the area, labels, and the name of what is measured, turned, its
    /// base line `room` px left of the area.
    pub(super) fn y_axis(&self, svg: &mut Svg, scale: Scale, ticks: &Ticks, name: &str, room: f64) {
        for (&v, label) in ticks.values.iter().zip(ticks.labels()) {
            let y = scale.at(v);
            svg.line((self.left, y), (self.right, y), &format!("stroke=\"{GRID}\""));
            svg.text(self.left - 7.0, y + 3.8, Anchor::End, NOTE, &label);
        }
        let middle = (self.top + self.bottom) / 2.0;
        svg.turned(self.left - room, middle, -90.0, Anchor::Middle, PLAIN, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_at_steps_of_1_2_or_5() {
        let t = |low, high, pieces| ticks(low, high, pieces).labels();
        assert_eq!(t(0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(t(1.0, 48.0, 5), ["10", "20", "30", "40"]);
        assert_eq!(t(-0.3, 0.3, 6), ["−0.3", "−0.2", "−0.1", "0.0", "0.1", "0.2", "0.3"]);
        assert_eq!(t(0.93, 1.78, 5), ["1.0", "1.2", "1.4", "1.6"]);
        assert_eq!(t(0.0, 0.00012, 3), ["0.00000", "0.00005", "0.00010"]);
        assert_eq!(t(0.0, 250_000.0, 5), ["0", "50000", "100000", "150000", "200000", "250000"]);
        assert_eq!(t(3.0, 3.0, 5).len(), 1);
        assert_eq!(ticks(f64::NAN, 1.0, 5).values.len(), 1);
    }

    #[test]
    fn ticks_are_never_too_many_and_always_inside() {
        for i in 1..400 {
            let (low, span, pieces) = (-7.3 + 0.11 * f64::from(i), 0.013 * f64::from(i * i), 1 + (i as usize) % 9);
            let t = ticks(low, low + span, pieces);
            assert!(t.values.len() <= pieces + 1, "{low} {span} {pieces}: {t:?}");
            assert!(t.values.iter().all(|&v| v >= low - 1e-5 * span && v <= low + span * (1.0 + 1e-5)), "{t:?}");
            let (a, b) = widened(low, low + span, pieces);
            assert!(a <= low + 1e-5 * span && b >= low + span - 1e-5 * span && b - a <= 6.0 * span + 1e-9, "{a} {b}");
            let labels = ticks(a, b, pieces + 1).labels();
            let mut different = labels.clone();
            different.dedup();
            assert_eq!(different, labels);
        }
    }

    #[test]
    fn an_interval_without_length_gets_one() {
        let (low, high) = widened(0.0, 0.0, 5);
        assert!((low + 0.6).abs() < 1e-9 && (high - 0.6).abs() < 1e-9);
        let (low, high) = widened(0.25, 0.25, 4);
        assert!(low < 0.25 && high > 0.25);
        assert_eq!(widened(f64::NAN, 1.0, 5), (0.0, 1.0));
        assert_eq!(widened(0.3, 59.77, 6), (0.0, 60.0));
    }

    #[test]
    fn values_beyond_the_ends_stay_at_them() {
        let s = Scale { low: 0.0, high: 10.0, from: 200.0, to: 100.0 };
        assert_eq!([-5.0, 0.0, 5.0, 10.0, 99.0].map(|v| s.at(v)), [200.0, 200.0, 150.0, 100.0, 100.0]);
    }

    #[test]
    fn tiny_values_get_a_power_of_ten() {
        assert_eq!(unit(0.003).0, 1e3);
        assert_eq!(unit(1e-6).0, 1e6);
        assert_eq!(unit(0.5), (1.0, ""));
        assert_eq!(unit(0.0), (1.0, ""));
        assert_eq!(range([f64::NAN, 2.0, -1.0]), Some((-1.0, 2.0)));
        assert_eq!(range([f64::NAN]), None);
    }
}
