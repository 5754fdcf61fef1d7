//! Colours that tell things apart for the colour-blind and in grey print.

/// Colours of series, chosen from Okabe and Ito (2008) so that neighbours differ in lightness; lines also differ in
/// [`DASHES`].
pub(super) const SERIES: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9"];
/// Dash patterns of lines, in the order of [`SERIES`].
pub(super) const DASHES: [&str; 6] = ["", "6 3", "2 2.5", "8 3 2 3", "10 3", "4 2"];
/// Dark, middle and light fill for three bars side by side.
pub(super) const THREE: [&str; 3] = ["#004c78", "#d5732b", "#f3d08b"];
/// Fill behind what is measured: what was before, what is expected.
pub(super) const BEFORE: &str = "#c9c9c9";

/// Red, green and blue, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rgb(pub [f64; 3]);

/// The map `viridis` of matplotlib (Smith, van der Walt, 2015) at eleven places, dark end first.
const VIRIDIS: [[f64; 3]; 11] = [
    [68.0, 1.0, 84.0],
    [72.0, 36.0, 117.0],
    [65.0, 68.0, 135.0],
    [53.0, 95.0, 141.0],
    [42.0, 120.0, 142.0],
    [33.0, 145.0, 140.0],
    [34.0, 168.0, 132.0],
    [68.0, 191.0, 112.0],
    [122.0, 209.0, 81.0],
    [189.0, 223.0, 38.0],
    [253.0, 231.0, 37.0],
];

/// Colour of `part` (0 to 1) of the largest value: viridis from its light end to its dark one, so that much is dark on
/// paper; the first tenth fades in from white.
pub(super) fn heat(part: f64) -> Rgb {
    let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 };
    let place = 10.0 * (1.0 - part);
    let below = (place.floor() as usize).min(9);
    let rest = place - below as f64;
    let colour: [f64; 3] = std::array::from_fn(|k| VIRIDIS[below][k] * (1.0 - rest) + VIRIDIS[below + 1][k] * rest);
    let white = (1.0 - 10.0 * part).max(0.0);
    Rgb(colour.map(|c| c + (255.0 - c) * white))
}

/// Brown, white, green (ColorBrewer's BrBG, Brewer 2003), at -1, -1/2, 0, 1/2 and 1.
const CHANGE: [[f64; 3]; 5] =
    [[140.0, 81.0, 10.0], [223.0, 194.0, 125.0], [255.0, 255.0, 255.0], [128.0, 205.0, 193.0], [1.0, 102.0, 94.0]];

/// Colour of a change from -1 (brown) over 0 (white) to 1 (green).
pub(super) fn change(part: f64) -> Rgb {
    let place = 2.0 + 2.0 * if part.is_finite() { part.clamp(-1.0, 1.0) } else { 0.0 };
    let below = (place.floor() as usize).min(3);
    let rest = place - below as f64;
    Rgb(std::array::from_fn(|k| CHANGE[below][k] * (1.0 - rest) + CHANGE[below + 1][k] * rest))
}

/// Grey of `part` from black (0) to white (1).
pub(super) fn grey(part: f64) -> Rgb {
    Rgb([255.0 * if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.5 }; 3])
}

impl Rgb {
    /// As `#rrggbb`.
    pub(super) fn hex(self) -> String {
        let [r, g, b] = self.0.map(|c| c.round().clamp(0.0, 255.0) as u8);
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    /// Relative luminance, 0 to 1 (WCAG 2.1).
    fn luminance(self) -> f64 {
        let linear = |c: f64| {
            let c = c / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = self.0.map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// Black or white, whichever stands out more on this colour.
    pub(super) fn ink(self) -> &'static str {
        if self.luminance() > 0.179 { "#000" } else { "#fff" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_darker_and_text_stands_out_everywhere() {
        let mut last = f64::INFINITY;
        for i in 0..=1000 {
            let colour = heat(f64::from(i) / 1000.0);
            let l = colour.luminance();
            assert!(l <= last, "lighter at {i}");
            last = l;
            let text = if colour.ink() == "#000" { 0.0 } else { 1.0 };
            let contrast = (l.max(text) + 0.05) / (l.min(text) + 0.05);
            assert!(contrast >= 4.5, "contrast {contrast} at {i}");
        }
        assert_eq!((heat(0.0).hex().as_str(), heat(1.0).hex().as_str()), ("#ffffff", "#440154"));
        assert_eq!(heat(f64::NAN), heat(0.0));
        assert_eq!([grey(0.0), grey(1.0)].map(|c| c.hex()), ["#000000", "#ffffff"]);
    }

    #[test]
    fn changes_are_darker_the_larger_they_are_and_text_stands_out() {
        for sign in [-1.0, 1.0] {
            let mut last = f64::INFINITY;
            for i in 0..=200 {
                let colour = change(sign * f64::from(i) / 200.0);
                let l = colour.luminance();
                assert!(l <= last, "lighter at {sign} {i}");
                last = l;
                let text = if colour.ink() == "#000" { 0.0 } else { 1.0 };
                assert!((l.max(text) + 0.05) / (l.min(text) + 0.05) >= 4.5, "contrast at {sign} {i}");
            }
        }
        assert_eq!([change(-1.0), change(0.0), change(1.0)].map(|c| c.hex()), ["#8c510a", "#ffffff", "#01665e"]);
    }

    #[test]
    fn neighbours_differ_in_lightness() {
        let of = |hex: &str| {
            let part = |at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            Rgb([part(1), part(3), part(5)]).luminance()
        };
        for pair in THREE.windows(2) {
            assert!((of(pair[1]) + 0.05) / (of(pair[0]) + 0.05) > 1.8, "{pair:?}");
        }
        assert_eq!(SERIES.len(), DASHES.len());
    }
}
