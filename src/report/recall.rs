//! Mean recall of each class by the models of a study.

use super::heat::{Colours, cell};
use super::numbers::{Maybe, Numbers};
use super::page::Page;
use super::rows::ROW;
use super::study::MODELS;
use super::svg::{Anchor, PLAIN, Svg, TEXT};
use super::text::{fixed, percent, shorten, width_px};
use crate::study::Table;

/// Appends the plot.
pub(super) fn append(page: &mut Page, table: &Table) {
    let mut numbers = Numbers::new("model_recall", &["model", "class", "n", "mean", "sd"]);
    for r in &table.rows {
        for (class, d) in table.classes.iter().zip(&r.test.recall) {
            numbers.row(&[&r.model, class, &d.n, &d.mean, &Maybe(d.sd)]);
        }
    }
    let rows = &table.rows[..table.rows.len().min(MODELS)];
    let room = rows.iter().map(|r| width_px(&r.model, TEXT)).fold(60.0, f64::max).min(260.0);
    let n = table.classes.len().max(1) as f64;
    let (left, top) = (room + 14.0, 30.0);
    let width = ((940.0 - left - 90.0) / n).clamp(40.0, 92.0);
    let height = ROW * rows.len() as f64;
    let description =
        format!("{} models by {} classes, mean recall over seeds in percent.", table.rows.len(), table.classes.len());
    let mut svg =
        Svg::new(left + width * n + 116.0, top + height.max(110.0) + 8.0, "Recall by model and class", &description);
    for (k, class) in table.classes.iter().enumerate() {
        let name = shorten(class, TEXT, width - 4.0);
        svg.text(left + width * (k as f64 + 0.5), top - 9.0, Anchor::Middle, PLAIN, &name);
    }
    let colours = Colours { low: 0.0, high: 1.0, root: false };
    for (i, r) in rows.iter().enumerate() {
        let y = top + ROW * i as f64;
        svg.text(room + 6.0, y + 17.5, Anchor::End, PLAIN, &shorten(&r.model, TEXT, room));
        for (k, d) in r.test.recall.iter().enumerate() {
            let sd = d.sd.map_or_else(String::new, |sd| format!(" \u{b1} {}", fixed(100.0 * sd, 1)));
            let text = format!("{}{sd}", percent(d.mean, 1));
            let text = if width_px(&text, 11.5) > width { percent(d.mean, 1) } else { text };
            cell(&mut svg, (left + width * k as f64, y), (width, ROW), colours.of(d.mean), &[(11.5, &text)]);
        }
    }
    let in_percent = Colours { low: 0.0, high: 100.0, root: false };
    in_percent.bar(&mut svg, left + width * n + 22.0, top, height.clamp(110.0, 260.0), &["recall (%)"]);
    let more = if table.rows.len() > MODELS {
        format!(" The first {MODELS} of {} models.", table.rows.len())
    } else {
        String::new()
    };
    page.figure(
        &[svg],
        &format!(
            "Percent of the images of each class (split test) that are taken for it, mean \u{b1} sd over seeds.{more}"
        ),
        numbers,
    );
}
