//! A small writer of SVG: shapes, text, and what a screen reader needs.
//!
//! Own code and no plotting library: `plotters` (0.3, SVG backend) puts marks on whole pixels, measures text by guess
//! where it has no font, knows neither titles nor descriptions, and has none of the plots made here (heat maps with
//! numbers in their cells, bars with intervals), so that as much would be left to write.
//!
//! Styles are attributes written in this module's callers; every text goes through [`escape`]. A picture carries its own
//! fonts and colours and reads the same outside of the page.

use super::text::{escape, width_px};
use std::fmt::Write;

/// Size of plain text, px.
pub(super) const TEXT: f64 = 13.0;
/// Size of small text, px.
pub(super) const SMALL: f64 = 11.5;
/// Colour of text and axes.
pub(super) const INK: &str = "#222";
/// Colour of secondary text.
pub(super) const SOFT: &str = "#595959";
/// Colour of grid lines.
pub(super) const GRID: &str = "#e2e2e2";

/// Which point of a text stands at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The left end.
    Start,
    /// The middle.
    Middle,
    /// The right end.
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Face {
    /// Size, px.
    pub size: f64,
    /// Colour.
    pub fill: &'static str,
    /// Set in bold.
    pub bold: bool,
}

/// Plain text.
pub(super) const PLAIN: Face = Face { size: TEXT, fill: INK, bold: false };
/// Tick labels and notes.
pub(super) const NOTE: Face = Face { size: SMALL, fill: SOFT, bold: false };
/// Titles of panels.
pub(super) const HEAD: Face = Face { size: TEXT, fill: INK, bold: true };

/// A picture in the making; coordinates are px from the upper left corner.
pub(super) struct Svg {
    width: f64,
    height: f64,
    title: String,
    description: String,
    body: String,
}

impl Svg {
    /// An empty picture; `title` names it, `description` says in words what it shows.
    pub(super) fn new(width: f64, height: f64, title: &str, description: &str) -> Self {
        let (title, description) = (title.to_owned(), description.to_owned());
        Self { width, height, title, description, body: String::new() }
    }

    /// Width, px.
    pub(super) fn width(&self) -> f64 {
        self.width
    }

    /// Appends an element; writing to a string cannot fail.
    fn put(&mut self, element: std::fmt::Arguments) {
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// A rectangle; one without area is left out.
    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, style: &str) {
        if width > 0.0 && height > 0.0 {
            let [x, y, width, height] = [x, y, width, height].map(px);
            self.put(format_args!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {style}/>"));
        }
    }

    /// A line between two points.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(px);
        self.put(format_args!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" {style}/>"));
    }

    /// A dot.
    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, style: &str) {
        let [x, y, r] = [at.0, at.1, radius].map(px);
        self.put(format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" {style}/>"));
    }

    /// A line through points; `closed` returns to the first. Points that are no numbers interrupt it.
    pub(super) fn path(&mut self, points: &[(f64, f64)], closed: bool, style: &str) {
        let mut d = String::new();
        let mut pen_up = true;
        for &(x, y) in points {
            if !(x.is_finite() && y.is_finite()) {
                pen_up = true;
                continue;
            }
            let _ = write!(d, "{}{} {}", if pen_up { 'M' } else { 'L' }, px(x), px(y));
            pen_up = false;
        }
        if d.is_empty() {
            return;
        }
        let end = if closed { "Z" } else { "" };
        self.put(format_args!("<path d=\"{d}{end}\" {style}/>"));
    }

    /// A text on its base line.
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, face: Face, text: &str) {
        self.turned(x, y, 0.0, anchor, face, text);
    }

    /// A text turned by `degrees` clockwise about its position; an empty one is left out.
    pub(super) fn turned(&mut self, x: f64, y: f64, degrees: f64, anchor: Anchor, face: Face, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut style = String::new();
        match anchor {
            Anchor::Start => {}
            Anchor::Middle => style.push_str(" text-anchor=\"middle\""),
            Anchor::End => style.push_str(" text-anchor=\"end\""),
        }
        if face.size != TEXT {
            let _ = write!(style, " font-size=\"{}\"", px(face.size));
        }
        if face.fill != INK {
            let _ = write!(style, " fill=\"{}\"", face.fill);
        }
        if face.bold {
            style.push_str(" font-weight=\"600\"");
        }
        let (x, y) = (px(x), px(y));
        if degrees != 0.0 {
            let _ = write!(style, " transform=\"rotate({} {x} {y})\"", px(degrees));
        }
        self.put(format_args!("<text x=\"{x}\" y=\"{y}\"{style}>{}</text>", escape(text)));
    }

    /// Swatches with their names in rows from `(x, y)` on, `y` the base line of the first; gives the base line below the
    /// last row. `swatch` draws 22 px wide at the point that it is given, the middle of its left side.
    pub(super) fn legend<T>(
        &mut self,
        x: f64,
        y: f64,
        entries: &[(T, &str)],
        swatch: impl Fn(&mut Self, (f64, f64), &T),
    ) -> f64 {
        let (mut at, mut row) = (x, y);
        for (mark, name) in entries {
            let width = 28.0 + width_px(name, TEXT) + 14.0;
            if at > x && at + width > self.width {
                (at, row) = (x, row + 18.0);
            }
            swatch(self, (at, row - 4.0), mark);
            self.text(at + 28.0, row, Anchor::Start, PLAIN, name);
            at += width;
        }
        row + 18.0
    }

    /// The element; `id` is unique in the page.
    pub(super) fn finish(&self, id: &str) -> String {
        let (width, height) = (px(self.width), px(self.height));
        let (id, title, description) = (escape(id), escape(&self.title), escape(&self.description));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
             viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"{TEXT}\" fill=\"{INK}\">\n\
             <title id=\"{id}-t\">{title}</title>\n<desc id=\"{id}-d\">{description}</desc>\n{}</svg>\n",
            self.body
        )
    }
}

/// A coordinate with at most two digits after the point.
fn px(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!([1.0, 0.5, -0.001, 12.346, 100.0].map(px), ["1", "0.5", "0", "12.35", "100"]);
    }

    #[test]
    fn a_picture_is_xml_with_title_description_and_role() {
        let mut svg = Svg::new(100.0, 50.0, "a < b", "\"c\" & d");
        svg.rect(1.0, 2.0, 3.0, 4.0, "fill=\"#fff\"");
        svg.rect(1.0, 2.0, 0.0, 4.0, "fill=\"#fff\"");
        svg.path(&[(0.0, 0.0), (1.0, 1.0), (f64::NAN, 2.0), (3.0, 3.0)], false, "fill=\"none\"");
        svg.path(&[(f64::NAN, 2.0)], true, "fill=\"none\"");
        svg.turned(5.0, 6.0, -90.0, Anchor::End, NOTE, "<script>");
        svg.text(5.0, 6.0, Anchor::End, NOTE, "");
        let text = svg.finish("p1");
        let parsed = roxmltree::Document::parse(&text).unwrap();
        let root = parsed.root_element();
        assert_eq!(root.attribute("role"), Some("img"));
        let find = |name: &str| root.children().filter(|n| n.has_tag_name(name)).collect::<Vec<_>>();
        let named: Vec<_> = root.attribute("aria-labelledby").unwrap().split(' ').collect();
        assert_eq!(named, [find("title")[0].attribute("id").unwrap(), find("desc")[0].attribute("id").unwrap()]);
        assert_eq!(find("title")[0].text(), Some("a < b"));
        assert_eq!(find("desc")[0].text(), Some("\"c\" & d"));
        assert_eq!(find("text").iter().map(|t| t.text()).collect::<Vec<_>>(), [Some("<script>")]);
        assert_eq!(find("text")[0].attribute("transform"), Some("rotate(-90 5 6)"));
        assert_eq!(find("rect").len(), 1, "a rectangle without area is left out");
        assert_eq!(find("path").iter().map(|p| p.attribute("d").unwrap()).collect::<Vec<_>>(), ["M0 0L1 1M3 3"]);
    }

    #[test]
    fn a_legend_goes_on_in_the_next_row() {
        let mut svg = Svg::new(200.0, 100.0, "t", "d");
        let names = ["one", "two", "three", "four", "five"];
        let entries: Vec<((), &str)> = names.iter().map(|n| ((), *n)).collect();
        let below = svg.legend(0.0, 12.0, &entries, |_, _, ()| {});
        assert!(below >= 12.0 + 2.0 * 18.0, "{below}");
        let parsed = svg.finish("p");
        let parsed = roxmltree::Document::parse(&parsed).unwrap();
        let starts = parsed.descendants().filter(|n| n.has_tag_name("text")).map(|n| {
            let x: f64 = n.attribute("x").unwrap().parse().unwrap();
            x + width_px(n.text().unwrap(), TEXT)
        });
        assert!(starts.into_iter().all(|end| end <= 200.0));
    }
}
