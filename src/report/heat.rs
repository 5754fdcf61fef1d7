//! Parts of heat maps: cells with numbers, and the bar that explains the colours.

use super::axes::ticks;
use super::colour::{Rgb, heat};
use super::svg::{Anchor, Face, GRID, INK, NOTE, Svg};
use super::text::fixed;

/// Which part of the colours a value gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colours {
    /// Value of the lightest colour.
    pub low: f64,
    /// Value of the darkest colour.
    pub high: f64,
    /// Proportional to the square root, for values that spread over magnitudes.
    pub root: bool,
}

impl Colours {
    fn part(&self, value: f64) -> f64 {
        let span = self.high - self.low;
        let part = if span > 0.0 { (value - self.low) / span } else { 0.0 };
        if self.root { part.max(0.0).sqrt() } else { part }
    }

    /// Colour of a value.
    pub(super) fn of(&self, value: f64) -> Rgb {
        heat(self.part(value))
    }

    /// A vertical bar of all colours from `top` down over `height` px, with ticks and, above it, what is measured.
    pub(super) fn bar(&self, svg: &mut Svg, x: f64, top: f64, height: f64, name: &[&str]) {
        const STRIPES: usize = 64;
        const WIDTH: f64 = 14.0;
        let stripe = height / STRIPES as f64;
        for i in 0..STRIPES {
            let colour = heat((i as f64 + 0.5) / STRIPES as f64);
            let y = top + height - stripe * (i + 1) as f64;
            // Overlapping, so that no background shines through between stripes.
            svg.rect(x, y, WIDTH, stripe + if i == 0 { 0.0 } else { 0.6 }, &format!("fill=\"{}\"", colour.hex()));
        }
        svg.rect(x, top, WIDTH, height, &format!("fill=\"none\" stroke=\"{INK}\" stroke-width=\"0.6\""));
        let t = ticks(self.low, self.high, 5);
        let mut free_below = f64::INFINITY;
        for (&v, label) in t.values.iter().zip(t.labels()) {
            let y = top + height * (1.0 - self.part(v));
            if y > free_below {
                continue;
            }
            svg.line((x + WIDTH, y), (x + WIDTH + 4.0, y), &format!("stroke=\"{INK}\" stroke-width=\"0.6\""));
            svg.text(x + WIDTH + 7.0, y + 3.8, Anchor::Start, NOTE, &label);
            free_below = y - 14.0;
        }
        for (i, line) in name.iter().enumerate() {
            svg.text(x, top - 10.0 - 13.0 * (name.len() - 1 - i) as f64, Anchor::Start, NOTE, line);
        }
    }
}

/// A cell with its value in the middle, as far as there is room; `decimals` of the value are shown.
pub(super) fn cell(svg: &mut Svg, at: (f64, f64), size: (f64, f64), colour: Rgb, text: &[(f64, &str)]) {
    svg.rect(at.0, at.1, size.0, size.1, &format!("fill=\"{}\" stroke=\"{GRID}\" stroke-width=\"0.5\"", colour.hex()));
    let height: f64 = text.iter().map(|(size, _)| size * 1.15).sum();
    let mut y = at.1 + (size.1 - height) / 2.0;
    for (i, (px, line)) in text.iter().enumerate() {
        y += px * 1.15;
        let face = Face { size: *px, fill: colour.ink(), bold: i == 0 && text.len() > 1 };
        svg.text(at.0 + size.0 / 2.0, y - px * 0.25, Anchor::Middle, face, line);
    }
}

/// `value` as short as a small cell needs it: three digits, and `<` where something would look like nothing.
pub(super) fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v < 0.05 => "<.1".to_owned(),
        v if v < 9.95 => fixed(v, 1).trim_start_matches('0').to_owned(),
        v => fixed(v, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cells_hold_three_digits() {
        let texts = [0.0, 0.01, 0.06, 0.5, 1.0, 9.9, 9.96, 99.6, 100.0].map(short);
        assert_eq!(texts, ["0", "<.1", ".1", ".5", "1.0", "9.9", "10", "100", "100"]);
    }

    #[test]
    fn colours_grow_with_the_value_or_its_root() {
        let (plain, root) = (Colours { low: 0.0, high: 4.0, root: false }, Colours { low: 0.0, high: 4.0, root: true });
        assert_eq!((plain.of(1.0), root.of(1.0)), (heat(0.25), heat(0.5)));
        assert_eq!(Colours { low: 0.0, high: 0.0, root: false }.of(0.0), heat(0.0));
    }
}
