//! Plots of one row for each thing that is compared: names at the left, values across.

use super::axes::{Area, Scale, ticks};
use super::svg::{Anchor, GRID, PLAIN, SOFT, Svg, TEXT};
use super::text::{shorten, width_px};

/// Width of the plots, px.
const WIDTH: f64 = 940.0;
/// Height of a row, px.
pub(super) const ROW: f64 = 26.0;

/// A plot whose rows are to be filled.
pub(super) struct Rows {
    /// The picture.
    pub svg: Svg,
    /// Where values are drawn.
    pub area: Area,
    /// From values to pixels across.
    pub x: Scale,
}

/// The words of a plot of rows.
pub(super) struct Words<'a> {
    /// What the picture is.
    pub title: &'a str,
    /// What it shows, in a sentence.
    pub description: &'a str,
    /// What is measured, with its unit.
    pub axis: &'a str,
}

impl Rows {
    /// Names, grid and axis. `range` is that of the values, already widened; `head` px are left above the rows for a legend
    /// and `side` px beside them for texts.
    pub(super) fn new(words: &Words, names: &[String], range: (f64, f64), head: f64, side: f64) -> Self {
        let room = names.iter().map(|n| width_px(n, TEXT)).fold(60.0, f64::max).min(260.0);
        let bottom = head + ROW * names.len() as f64;
        let mut svg = Svg::new(WIDTH, bottom + 44.0, words.title, words.description);
        let area = Area { left: room + 16.0, top: head, right: WIDTH - side.max(14.0), bottom };
        let (x, t) = (area.across(range), ticks(range.0, range.1, 8));
        for (i, name) in names.iter().enumerate() {
            if i % 2 == 1 {
                svg.rect(0.0, head + ROW * i as f64, WIDTH, ROW, "fill=\"#f6f6f6\"");
            }
            svg.text(room + 6.0, head + ROW * i as f64 + 17.5, Anchor::End, PLAIN, &shorten(name, TEXT, room));
        }
        for &v in &t.values {
            svg.line((x.at(v), area.top), (x.at(v), area.bottom), &format!("stroke=\"{GRID}\""));
        }
        if range.0 < 0.0 && range.1 > 0.0 {
            svg.line((x.at(0.0), area.top), (x.at(0.0), area.bottom), &format!("stroke=\"{SOFT}\""));
        }
        area.x_axis(&mut svg, x, &t, words.axis);
        Self { svg, area, x }
    }

    /// Height of the middle of a row, px.
    pub(super) fn middle(&self, row: usize) -> f64 {
        self.area.top + ROW * (row as f64 + 0.5)
    }

    /// An interval as a line with ends, at `y`; an end beyond the border is left out.
    pub(super) fn whisker(&mut self, y: f64, ends: [f64; 2], style: &str) {
        let [a, b] = ends.map(|v| self.x.at(v));
        self.svg.line((a, y), (b, y), style);
        for (v, x) in ends.into_iter().zip([a, b]) {
            if self.shows(v) {
                self.svg.line((x, y - 4.0), (x, y + 4.0), style);
            }
        }
    }

    /// The diamond of a published fraction, if there is one and the axis, in percent, has it.
    pub(super) fn published(&mut self, value: Option<f64>, y: f64) {
        if let Some(v) = value.map(|v| 100.0 * v).filter(|v| self.shows(*v)) {
            let x = self.x.at(v);
            Self::diamond(&mut self.svg, (x, y));
        }
    }

    /// True if the axis has this value.
    fn shows(&self, value: f64) -> bool {
        let slack = 1e-9 * (self.x.high - self.x.low);
        (self.x.low - slack..=self.x.high + slack).contains(&value)
    }

    /// A diamond, the mark of what somebody else has published.
    pub(super) fn diamond(svg: &mut Svg, (x, y): (f64, f64)) {
        let points = [(x - 6.0, y), (x, y - 6.0), (x + 6.0, y), (x, y + 6.0)];
        svg.path(&points, true, "fill=\"#fff\" stroke=\"#222\" stroke-width=\"1.6\"");
    }
}
