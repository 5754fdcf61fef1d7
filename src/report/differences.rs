//! What each model of a study gains or loses against the reference, paired by seed.

use super::axes::{range, widened};
use super::colour::SERIES;
use super::comparison;
use super::numbers::{Maybe, Numbers};
use super::page::Page;
use super::rows::{Rows, Words};
use super::study::{MODELS, NEAR, near};
use super::svg::{Anchor, NOTE, PLAIN, Svg};
use super::text::signed;
use crate::statistics::{LEVEL, probability};
use crate::study::{Row, Table};

/// Appends the plot, if there is a difference.
pub(super) fn append(page: &mut Page, table: &Table) {
    let reference = &table.reference;
    let mut numbers =
        Numbers::new("differences", &["model", "pairs", "mean", "low", "high", "holm_p", "published_difference"]);
    let all: Vec<&Row> = table.rows.iter().filter(|r| r.model != *reference).collect();
    for r in &all {
        let d = r.differences.as_ref().map(|d| &d.test_accuracy);
        let [pairs, mean, low, high, _, holm_p, ..] = comparison::numbers(d);
        numbers.row(&[&r.model, &pairs, &mean, &low, &high, &holm_p, &Maybe(r.published_difference)]);
    }
    let rows: Vec<&Row> = all.iter().filter(|r| r.differences.is_some()).take(MODELS).copied().collect();
    if rows.is_empty() {
        page.paragraph(&format!("No model has a seed in common with {reference}."));
        page.keep(numbers);
        return;
    }
    let title = format!("Difference in accuracy to {reference}");
    let mut plots = vec![plot(&title, &rows, reference)];
    let near = near(table, &rows);
    if !near.is_empty() {
        plots.push(plot(&format!("{title}: models within {NEAR} points"), &near, reference));
    }
    let published = rows.iter().any(|r| r.published_difference.is_some());
    let more = if all.len() > MODELS { format!(" The first {MODELS} of {} models.", all.len()) } else { String::new() };
    let figures = if published { " Diamonds: the same difference between published figures." } else { "" };
    let detail = if near.is_empty() { String::new() } else { format!(" Below: those within {NEAR} points, enlarged.") };
    page.figure(
        &plots,
        &format!(
            "Mean difference in test accuracy to {reference} over the seeds that both have, with its 95 % interval (without \
             an end where it goes on beyond the border); dark where the paired t-test tells it from 0 after Holm's \
             correction over the table.{figures}{detail}{more}"
        ),
        numbers,
    );
}

/// Bars with intervals, one row for each model that has a difference.
fn plot(title: &str, rows: &[&Row], reference: &str) -> Svg {
    let of = |r: &Row| r.differences.as_ref().map(|d| d.test_accuracy.comparison.difference);
    // An interval of two seeds may be wider than everything else: it ends at the border.
    let means = rows.iter().filter_map(|r| of(r).map(|d| d.mean));
    let reach = 2.5 * means.fold(0.01, |m: f64, v| m.max(v.abs()));
    let values = rows.iter().flat_map(|r| {
        let d = of(r);
        let ends = d.and_then(|d| d.interval).into_iter().flatten().map(|v| v.clamp(-reach, reach));
        let published = r.published_difference.filter(|v| v.abs() <= reach);
        ends.chain(d.map(|d| d.mean)).chain(published).chain([0.0]).collect::<Vec<_>>()
    });
    let (low, high) = range(values).unwrap_or((0.0, 0.0));
    let (low, high) = widened(100.0 * low, 100.0 * high, 8);
    let told = rows.iter().filter(|r| is_told(r)).count();
    let description = format!(
        "{} models against {reference}; a difference is shown for {told} (p below {LEVEL} after Holm's correction).",
        rows.len()
    );
    let axis = format!("accuracy minus that of {reference} (percentage points)");
    let words = Words { title, description: &description, axis: &axis };
    let names: Vec<String> = rows.iter().map(|r| r.model.clone()).collect();
    let mut plot = Rows::new(&words, &names, (low, high), 44.0, 168.0);
    let differs = format!("differs (p < {LEVEL})");
    let tested = rows.iter().all(|r| r.differences.as_ref().is_some_and(|d| d.test_accuracy.holm_p.is_some()));
    let noise = if tested { "no difference shown" } else { "no difference shown, or too few seeds" };
    let mut legend = vec![(0, differs.as_str()), (1, noise), (2, "95 % interval")];
    if rows.iter().any(|r| r.published_difference.is_some()) {
        legend.push((3, "published"));
    }
    let bar = |svg: &mut Svg, x: f64, y: f64, width: f64, told: bool| {
        let fill = if told { SERIES[0] } else { "#d9e6ef" };
        svg.rect(x, y - 7.0, width, 14.0, &format!("fill=\"{fill}\" stroke=\"#222\" stroke-width=\"0.6\""));
    };
    let line = "stroke=\"#222\" stroke-width=\"1.3\"";
    let left = plot.area.left;
    plot.svg.legend(left, 13.0, &legend, |svg, (x, y), kind| match kind {
        0 => bar(svg, x, y, 22.0, true),
        1 => bar(svg, x, y, 22.0, false),
        2 => {
            svg.line((x, y), (x + 22.0, y), line);
            svg.line((x, y - 4.0), (x, y + 4.0), line);
            svg.line((x + 22.0, y - 4.0), (x + 22.0, y + 4.0), line);
        }
        _ => Rows::diamond(svg, (x + 11.0, y)),
    });
    let side = plot.area.right + 10.0;
    plot.svg.text(side, 34.0, Anchor::Start, NOTE, "points");
    plot.svg.text(side + 64.0, 34.0, Anchor::Start, NOTE, "p (t, Holm)");
    for (i, row) in rows.iter().enumerate() {
        let y = plot.middle(i);
        let Some(d) = of(row) else { continue };
        let (zero, end) = (plot.x.at(0.0), plot.x.at(100.0 * d.mean));
        bar(&mut plot.svg, zero.min(end), y, (end - zero).abs(), is_told(row));
        if let Some(ends) = d.interval {
            plot.whisker(y, ends.map(|v| 100.0 * v), line);
        }
        plot.published(row.published_difference, y);
        plot.svg.text(side, y + 4.5, Anchor::Start, PLAIN, &signed(100.0 * d.mean, 2));
        let p = row.differences.as_ref().and_then(|d| d.test_accuracy.holm_p);
        let p = p.map_or_else(|| "\u{2013}".to_owned(), |p| probability(p, 3));
        plot.svg.text(side + 64.0, y + 4.5, Anchor::Start, PLAIN, &p);
    }
    plot.svg
}

/// True if the difference is told from noise.
fn is_told(row: &Row) -> bool {
    row.differences.as_ref().and_then(|d| d.test_accuracy.holm_p).is_some_and(|p| p < LEVEL)
}
