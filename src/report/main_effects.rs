//! Main effects of the factors of a study.

use super::numbers::{Maybe, Numbers};
use super::page::{Cell, Page};
use super::study::{interval, or_none};
use super::text::{percent, signed};
use crate::statistics::probability;
use crate::study::{MainEffect, Table};

/// Appends the table, where models combine factors.
pub(super) fn append(page: &mut Page, table: &Table) {
    if table.main_effects.is_empty() {
        return;
    }
    let header =
        ["factor", "level", "against", "pairs_of_models", "pairs", "difference", "low", "high", "t_p", "holm_p"];
    let mut numbers = Numbers::new("main_effects", &[&header[..], &["detectable", "hedges_g", "verdict"]].concat());
    let mut row = |effect: &MainEffect| {
        let d = &effect.differences.test_accuracy;
        let (found, t) = (&d.comparison.difference, d.comparison.t_test.map(|t| t.p));
        numbers.row(&[
            &effect.factor,
            &effect.level,
            &effect.against,
            &effect.pairs_of_models,
            &found.n,
            &found.mean,
            &Maybe(found.interval.map(|ends| ends[0])),
            &Maybe(found.interval.map(|ends| ends[1])),
            &Maybe(t),
            &Maybe(d.holm_p),
            &Maybe(d.detectable),
            &Maybe(d.comparison.effect),
            &effect.verdict,
        ]);
        let cells = [
            effect.name(),
            effect.pairs_of_models.to_string(),
            found.n.to_string(),
            signed(100.0 * found.mean, 2),
            interval(found, 100.0, 2),
            or_none(t.map(|p| probability(p, 3))),
            or_none(d.holm_p.map(|p| probability(p, 3))),
            or_none(d.detectable.map(|size| percent(size, 2))),
            effect.verdict.clone(),
        ];
        cells.map(Cell::from).to_vec()
    };
    let rows: Vec<Vec<Cell>> = table.main_effects.iter().map(&mut row).collect();
    page.table(
        "Main effects on test accuracy, percentage points: each level beside the first one of its factor, over all models \
         that differ in nothing else",
        "lrrrrrrrl",
        &[
            "level",
            "pairs of models",
            "pairs",
            "mean",
            "95 % interval",
            "p (t)",
            "p (t, Holm)",
            "detectable, points",
            "verdict",
        ],
        &rows,
    );
    page.keep(numbers);
}
