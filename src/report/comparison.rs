//! A difference and its tests, as columns of numbers and as cells of a table.

use super::numbers::Maybe;
use super::text::{fixed, interval, or_none, percent, signed};
use crate::statistics::probability;
use crate::study::Difference;

/// Columns of the numbers.
pub(super) const NUMBERS: [&str; 10] =
    ["pairs", "difference", "low", "high", "t_p", "holm_p", "detectable", "wilcoxon_p", "permutation_p", "hedges_g"];
/// Headers of the mean and its interval.
pub(super) const MEAN: [&str; 2] = ["mean", "95 % interval"];
/// Headers of the tests.
pub(super) const TESTS: [&str; 8] = [
    "pairs",
    "sd, points",
    "p (t)",
    "p (t, Holm)",
    "detectable, points",
    "p (Wilcoxon)",
    "p (permutation)",
    "effect g",
];

/// [`NUMBERS`] of a difference; of none, no pairs and empty cells.
pub(super) fn numbers(d: Option<&Difference>) -> [String; 10] {
    let c = d.map(|d| &d.comparison);
    let of = |figure: Option<f64>| Maybe(figure).to_string();
    let end = |i: usize| of(c.and_then(|c| c.difference.interval).map(|ends| ends[i]));
    [
        c.map_or(0, |c| c.difference.n).to_string(),
        of(c.map(|c| c.difference.mean)),
        end(0),
        end(1),
        of(c.and_then(|c| c.t_test).map(|t| t.p)),
        of(d.and_then(|d| d.holm_p)),
        of(d.and_then(|d| d.detectable)),
        of(c.and_then(|c| c.wilcoxon).map(|w| w.p)),
        of(c.and_then(|c| c.permutation_p)),
        of(c.and_then(|c| c.effect)),
    ]
}

/// [`MEAN`] of a difference.
pub(super) fn mean(d: Option<&Difference>) -> [String; 2] {
    let found = d.map(|d| &d.comparison.difference);
    [or_none(found.map(|d| signed(100.0 * d.mean, 2))), or_none(found.map(|d| interval(d, 100.0, 2)))]
}

/// [`TESTS`] of a difference.
pub(super) fn tests(d: Option<&Difference>) -> [String; 8] {
    let c = d.map(|d| &d.comparison);
    [
        c.map_or(0, |c| c.difference.n).to_string(),
        or_none(c.and_then(|c| c.difference.sd).map(|sd| percent(sd, 2))),
        or_none(c.and_then(|c| c.t_test).map(|t| probability(t.p, 3))),
        or_none(d.and_then(|d| d.holm_p).map(|p| probability(p, 3))),
        or_none(d.and_then(|d| d.detectable).map(|size| percent(size, 2))),
        or_none(c.and_then(|c| c.wilcoxon).map(|w| fixed(w.p, 4))),
        or_none(c.and_then(|c| c.permutation_p).map(|p| fixed(p, 4))),
        or_none(c.and_then(|c| c.effect).map(|g| signed(g, 2))),
    ]
}
