//! Accuracy of the models of a study, every seed a dot.

use super::axes::{range, widened};
use super::colour::SERIES;
use super::numbers::Numbers;
use super::page::Page;
use super::rows::{Rows, Words};
use super::study::{MODELS, NEAR, near};
use super::svg::{Anchor, NOTE, PLAIN, Svg};
use super::text::{count, fixed, percent};
use crate::study::{CellResult, Row, Table};

/// Appends the plot.
pub(super) fn append(page: &mut Page, table: &Table, cells: &[CellResult]) {
    let mut numbers = Numbers::new("model_accuracy", &["model", "seed", "split", "accuracy"]);
    for c in cells {
        let splits = [("test", Some(&c.test)), ("public", c.public.as_ref()), ("private", c.private.as_ref())];
        for (split, scores) in splits.into_iter().filter_map(|(name, s)| Some((name, s?))) {
            numbers.row(&[&c.model, &c.run.seed, &split, &scores.accuracy]);
        }
    }
    let rows: Vec<&Row> = table.rows.iter().take(MODELS).collect();
    let title = "Accuracy of every model and seed";
    let mut plots = vec![plot(title, &rows, cells)];
    let near = near(table, &rows);
    if !near.is_empty() {
        plots.push(plot(&format!("{title}: models within {NEAR} points of {}", table.reference), &near, cells));
    }
    let published = rows.iter().any(|r| r.published.is_some());
    let more = if table.rows.len() > MODELS {
        format!(" The first {MODELS} of {} models.", table.rows.len())
    } else {
        String::new()
    };
    let figures = if published { " Diamonds: figures that others have published." } else { "" };
    let detail = if near.is_empty() {
        String::new()
    } else {
        format!(" Below: those within {NEAR} points of {}, enlarged.", table.reference)
    };
    page.figure(
        &plots,
        &format!(
            "Accuracy on split test of each model, every seed a dot, with the mean and its 95 % interval (Student's t, from two \
             seeds on).{figures}{detail}{more}"
        ),
        numbers,
    );
}

/// Dots, means and intervals, one row for each model.
fn plot(title: &str, rows: &[&Row], cells: &[CellResult]) -> Svg {
    let names: Vec<String> = rows.iter().map(|r| r.model.clone()).collect();
    let of = |r: &Row| cells.iter().filter(|c| c.model == r.model).map(|c| c.test.accuracy).collect::<Vec<f64>>();
    let values = rows.iter().flat_map(|r| {
        let ends = r.test.accuracy.interval.into_iter().flatten();
        of(r).into_iter().chain(ends).collect::<Vec<_>>()
    });
    let (low, high) = range(values).unwrap_or((0.0, 1.0));
    // Published figures widen the axis, but not without bound.
    let reach = 1.5 * (high - low).max(0.02);
    let published = rows.iter().filter_map(|r| r.published).filter(|p| (low - reach..=high + reach).contains(p));
    let (low, high) = range(published.chain([low, high])).unwrap_or((low, high));
    let (low, high) = widened(100.0 * low.max(0.0), 100.0 * high.min(1.0), 8);
    let best = rows.iter().max_by(|a, b| a.test.accuracy.mean.total_cmp(&b.test.accuracy.mean));
    let description = best.map_or_else(String::new, |b| {
        format!(
            "{} models; {} has the highest mean, {} percent.",
            rows.len(),
            b.model,
            percent(b.test.accuracy.mean, 2)
        )
    });
    let images = rows.first().map_or(0, |r| r.test_images);
    let axis = format!("accuracy on test, {} images (%)", count(images));
    let words = Words { title, description: &description, axis: &axis };
    let mut plot = Rows::new(&words, &names, (low, high), 44.0, 132.0);
    let interval = format!("stroke=\"{}\" stroke-width=\"2\"", SERIES[0]);
    let mean = |svg: &mut Svg, (x, y): (f64, f64)| {
        svg.rect(x - 2.0, y - 8.0, 4.0, 16.0, &format!("fill=\"{}\"", SERIES[0]));
    };
    let dot = "fill=\"#fff\" fill-opacity=\"0.75\" stroke=\"#222\" stroke-width=\"1.1\"";
    let left = plot.area.left;
    let published = rows.iter().any(|r| r.published.is_some());
    let mut legend = vec![(0, "one seed"), (1, "mean and 95 % interval")];
    if published {
        legend.push((2, "published"));
    }
    plot.svg.legend(left, 13.0, &legend, |svg, (x, y), kind| match kind {
        0 => svg.dot((x + 11.0, y), 4.0, dot),
        1 => {
            svg.line((x, y), (x + 22.0, y), &interval);
            mean(svg, (x + 11.0, y));
        }
        _ => Rows::diamond(svg, (x + 11.0, y)),
    });
    let side = plot.area.right + 10.0;
    plot.svg.text(side, 34.0, Anchor::Start, NOTE, "mean \u{b1} sd (%)");
    for (i, row) in rows.iter().enumerate() {
        let y = plot.middle(i);
        let d = &row.test.accuracy;
        if let Some(ends) = d.interval {
            plot.whisker(y, ends.map(|v| 100.0 * v), &interval);
        }
        let at = plot.x.at(100.0 * d.mean);
        mean(&mut plot.svg, (at, y));
        let values = of(row);
        for (k, v) in values.iter().enumerate() {
            // Spread over the row, so that equal ones do not hide each other.
            let off = (k as f64 - (values.len() - 1) as f64 / 2.0) * (9.0 / values.len() as f64);
            let x = plot.x.at(100.0 * v);
            plot.svg.dot((x, y + off), 3.4, dot);
        }
        plot.published(row.published, y);
        let sd = d.sd.map_or_else(String::new, |sd| format!(" \u{b1} {}", fixed(100.0 * sd, 2)));
        plot.svg.text(side, y + 4.5, Anchor::Start, PLAIN, &format!("{}{sd}", percent(d.mean, 2)));
    }
    plot.svg
}
