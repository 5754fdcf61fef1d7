//! What a difference is worth, in plain words.

use super::Difference;
use crate::statistics::{LEVEL, MIN_PAIRS, probability};

/// How a difference is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Of a fraction: in points of percent.
    Points,
    /// As it is.
    Plain,
}

/// One sentence on the difference of a model to `reference`: told, none shown, or too few seeds to tell.
pub(super) fn verdict(difference: Option<&Difference>, reference: &str, unit: Unit) -> String {
    let Some(d) = difference else { return format!("no seed in common with {reference}") };
    let found = &d.comparison.difference;
    if found.n < MIN_PAIRS {
        return format!("too few seeds to tell ({} of at least {MIN_PAIRS})", found.n);
    }
    match d.holm_p {
        // No spread: there is no t-test, or nothing to test.
        _ if found.sd == Some(0.0) && found.mean == 0.0 => format!("equal to {reference} with every seed"),
        None => format!("{} with every seed; no spread, no test", apart(found.mean, reference, unit)),
        Some(p) if p < LEVEL => format!("{} ({} after Holm)", apart(found.mean, reference, unit), equation(p)),
        Some(p) => format!("no difference shown ({} after Holm)", equation(p)),
    }
}

/// `1.01 points below full`.
fn apart(mean: f64, reference: &str, unit: Unit) -> String {
    let side = if mean < 0.0 { "below" } else { "above" };
    match unit {
        Unit::Points => format!("{:.2} points {side} {reference}", 100.0 * mean.abs()),
        Unit::Plain => format!("{:.4} {side} {reference}", mean.abs()),
    }
}

/// `p = 0.003` or `p < 0.001`.
fn equation(p: f64) -> String {
    let text = probability(p, 3);
    if text.starts_with('<') { format!("p {text}") } else { format!("p = {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::compare;

    fn difference(ours: &[f64], theirs: &[f64], holm_p: Option<f64>) -> Difference {
        Difference { comparison: compare(ours, theirs).unwrap(), holm_p, detectable: None }
    }

    #[test]
    fn every_case_has_its_words() {
        let theirs = [0.61, 0.60, 0.62, 0.63, 0.60];
        let below = [0.60, 0.591, 0.61, 0.62, 0.5895];
        let of = |d: Difference, unit| verdict(Some(&d), "full", unit);
        assert_eq!(
            of(difference(&below, &theirs, Some(0.003)), Unit::Points),
            "0.99 points below full (p = 0.003 after Holm)"
        );
        assert_eq!(
            of(difference(&theirs, &below, Some(0.0003)), Unit::Plain),
            "0.0099 above full (p < 0.001 after Holm)"
        );
        assert_eq!(
            of(difference(&below, &theirs, Some(0.05)), Unit::Points),
            "no difference shown (p = 0.050 after Holm)"
        );
        assert_eq!(of(difference(&theirs, &theirs, Some(1.0)), Unit::Points), "equal to full with every seed");
        let shifted = [0.51, 0.50, 0.52];
        assert_eq!(
            of(difference(&shifted, &theirs[..3], None), Unit::Points),
            "10.00 points below full with every seed; no spread, no test"
        );
        assert_eq!(
            of(difference(&below[..2], &theirs[..2], None), Unit::Points),
            "too few seeds to tell (2 of at least 3)"
        );
        assert_eq!(verdict(None, "full", Unit::Points), "no seed in common with full");
    }
}
