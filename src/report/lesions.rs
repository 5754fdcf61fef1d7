//! What a trained network loses while some of its neurons are silent, from the run's `lesions.csv`.

use super::axes::{range, widened};
use super::colour::{SERIES, change};
use super::heat::cell;
use super::numbers::{Maybe, Numbers};
use super::page::Page;
use super::rows::{ROW, Rows, Words};
use super::svg::{Anchor, NOTE, PLAIN, Svg, TEXT};
use super::text::{count, fixed, shorten, signed, width_px};
use crate::data::EXPRESSIONS;
use crate::error::Result;
use crate::lesion::{Controls, Effect, Kind, LESIONS, Lesion, Match, effects, read_lesions};
use std::path::Path;

/// Most lesions in a plot.
const ROWS: usize = 40;

/// Columns of the numbers behind the plot of accuracy.
const COLUMNS: [&str; 22] = [
    "name",
    "excitatory",
    "inhibitory",
    "without_effect",
    "accuracy_change",
    "macro_f1_change",
    "lost",
    "gained",
    "random_draws",
    "random_change_mean",
    "random_change_sd",
    "random_change_min",
    "random_change_max",
    "random_p_more",
    "random_p_less",
    "random_in_lamina_draws",
    "random_in_lamina_change_mean",
    "random_in_lamina_change_sd",
    "random_in_lamina_change_min",
    "random_in_lamina_change_max",
    "random_in_lamina_p_more",
    "random_in_lamina_p_less",
];

/// Appends the section about lesions, if the run has any of the weights with this fingerprint; those of other weights are
/// told to `warn`.
///
/// # Errors
/// Those of reading the table.
pub(super) fn append(page: &mut Page, run: &Path, weights: &str, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let path = run.join(LESIONS);
    if !path.exists() {
        return Ok(());
    }
    let all = read_lesions(&path)?;
    let rows: Vec<Lesion> = all.iter().filter(|l| l.weights == weights).cloned().collect();
    if rows.len() < all.len() {
        let stale = all.len() - rows.len();
        warn(&format!("{}: {stale} rows are of other weights than the best epoch's: left out", path.display()));
    }
    let (all, mut sets) = (rows.len(), sets(rows).into_iter());
    let Some(rows) = sets.next() else { return Ok(()) };
    let (first, others) = (&rows[0], all - rows.len());
    let intact = rows.iter().find(|l| l.kind == Kind::Intact).map_or(f64::NAN, |l| l.accuracy);
    let effects = effects(&rows);
    page.section("Lesions");
    page.paragraph(&format!(
        "Accuracy and recall on split {} ({} images) while neurons of the trained network are silent; nothing is trained \
         again. Intact accuracy {} %. Random: as many neurons of the same polarity, drawn from all that the network has \
         (anywhere) or lamina by lamina (in the lamina). The file {LESIONS} in the run has every draw.",
        first.split,
        count(first.images),
        fixed(100.0 * intact, 2),
    ));
    if others > 0 {
        page.warning(&format!("{others} rows of {LESIONS} are of other images or another split, and are not drawn."));
    }
    let mut shown: Vec<&Effect> = effects.iter().filter(|e| acts(e)).collect();
    let (acting, without) = (shown.len(), effects.len() - shown.len());
    if shown.len() > ROWS {
        let size = |e: &Effect| e.lesion.as_ref().map_or(0.0, |l| l.accuracy_change.abs());
        shown.sort_by(|a, b| size(b).total_cmp(&size(a)));
        shown.truncate(ROWS);
    }
    let mut more = String::new();
    if acting > ROWS {
        more += &format!(" The {ROWS} lesions of {acting} that change accuracy most.");
    }
    if without > 0 {
        more += &format!(" Left out, because the network lacks their neurons: {without}.");
    }
    if shown.is_empty() {
        page.paragraph(&more);
        return Ok(());
    }
    let names: Vec<String> = shown.iter().map(|e| label(e)).collect();
    accuracy(page, &effects, &shown, &names, &more);
    recall(page, &effects, &shown, &names, &more);
    Ok(())
}

/// `rows` by split and images, for a page shows one set; those of which there is a lesion, in the order of the first.
pub(super) fn sets(rows: Vec<Lesion>) -> Vec<Vec<Lesion>> {
    let mut sets: Vec<Vec<Lesion>> = Vec::new();
    for row in rows {
        match sets.iter_mut().find(|set| set[0].is_of(&row)) {
            Some(set) => set.push(row),
            None => sets.push(vec![row]),
        }
    }
    sets.retain(|set| set.iter().any(|l| l.kind != Kind::Intact));
    sets
}

/// Whether it silences anything: neurons that the network does not have change nothing.
pub(super) fn acts(e: &Effect) -> bool {
    e.lesion.as_ref().is_none_or(|l| l.excitatory + l.inhibitory > 0)
}

/// Controls of a lesion: drawn anywhere (or draws without a lesion), and in the lamina.
pub(super) fn controls(e: &Effect) -> [Option<&Controls>; 2] {
    let in_lamina = |c: &&Controls| c.matched == Some(Match::Lamina);
    [e.controls.iter().find(|c| !in_lamina(c)), e.controls.iter().find(in_lamina)]
}

/// Name and number of silenced neurons.
pub(super) fn label(e: &Effect) -> String {
    match &e.lesion {
        Some(l) => format!("{} ({})", e.name, count(l.excitatory + l.inhibitory)),
        None => e.name.clone(),
    }
}

fn accuracy(page: &mut Page, all: &[Effect], shown: &[&Effect], names: &[String], more: &str) {
    let mut numbers = Numbers::new("lesion_accuracy", &COLUMNS);
    for e in all {
        let l = e.lesion.as_ref();
        let [a, b] = controls(e).map(|c| {
            (
                Maybe(c.map(|c| c.repeats)),
                [
                    Maybe(c.map(|c| c.accuracy_change_mean)),
                    Maybe(c.and_then(|c| c.accuracy_change_sd)),
                    Maybe(c.map(|c| c.accuracy_change_range[0])),
                    Maybe(c.map(|c| c.accuracy_change_range[1])),
                    Maybe(c.and_then(|c| c.p_more)),
                    Maybe(c.and_then(|c| c.p_less)),
                ],
            )
        });
        let mut row: Vec<&dyn std::fmt::Display> = vec![&e.name];
        let counts = [l.map(|l| l.excitatory), l.map(|l| l.inhibitory), l.map(|l| l.without_effect)].map(Maybe);
        let changes = [l.map(|l| l.accuracy_change), l.map(|l| l.macro_f1_change)].map(Maybe);
        let images = [l.map(|l| l.lost), l.map(|l| l.gained)].map(Maybe);
        row.extend(counts.iter().map(|v| v as &dyn std::fmt::Display));
        row.extend(changes.iter().map(|v| v as &dyn std::fmt::Display));
        row.extend(images.iter().map(|v| v as &dyn std::fmt::Display));
        for (draws, values) in [&a, &b] {
            row.push(draws);
            row.extend(values.iter().map(|v| v as &dyn std::fmt::Display));
        }
        numbers.row(&row);
    }
    let values = shown.iter().flat_map(|e| {
        let drawn = e.controls.iter().flat_map(|c| c.accuracy_change_range);
        e.lesion.iter().map(|l| l.accuracy_change).chain(drawn).collect::<Vec<_>>()
    });
    let (low, high) = range(values.chain([0.0])).unwrap_or((0.0, 0.0));
    let worst = shown.iter().filter_map(|e| Some((e.lesion.as_ref()?.accuracy_change, &e.name)));
    let description = worst.min_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(
        || "Changes of accuracy by random lesions.".to_owned(),
        |(c, name)| format!("Of {} lesions, {name} costs most: {} points of accuracy.", all.len(), fixed(100.0 * c, 2)),
    );
    let words = Words {
        title: "Change of accuracy by lesion",
        description: &description,
        axis: "change of accuracy (percentage points)",
    };
    let mut plot = Rows::new(&words, names, widened(100.0 * low, 100.0 * high, 8), 44.0, 272.0);
    let random = "stroke=\"#222\" stroke-width=\"1.3\"";
    let means = ["#fff", "#888"].map(|fill| format!("fill=\"{fill}\" stroke=\"#222\" stroke-width=\"1.3\""));
    let bar = |svg: &mut Svg, x: f64, y: f64, width: f64| {
        svg.rect(x, y, width, 12.0, &format!("fill=\"{}\" stroke=\"#222\" stroke-width=\"0.5\"", SERIES[5]));
    };
    let left = plot.area.left;
    let kinds: Vec<usize> = (0..2).filter(|&k| shown.iter().any(|e| controls(e)[k].is_some())).collect();
    let mut legend = vec![(None, "lesion")];
    let names = ["random, anywhere: mean, least and most", "random, in the lamina"];
    legend.extend(kinds.iter().map(|&k| (Some(k), names[k])));
    plot.svg.legend(left, 13.0, &legend, |svg, (x, y), kind| match kind {
        None => bar(svg, x, y - 6.0, 22.0),
        Some(k) => {
            svg.line((x, y), (x + 22.0, y), random);
            svg.dot((x + 11.0, y), 4.0, &means[*k]);
        }
    });
    let side = plot.area.right + 10.0;
    let column = |k: usize| side + 66.0 + 98.0 * k as f64;
    plot.svg.text(side, 34.0, Anchor::Start, NOTE, "points");
    for &k in &kinds {
        plot.svg.text(column(k), 34.0, Anchor::Start, NOTE, ["p, anywhere", "p, in the lamina"][k]);
    }
    for (i, e) in shown.iter().enumerate() {
        let y = plot.middle(i);
        if let Some(l) = &e.lesion {
            let (zero, end) = (plot.x.at(0.0), plot.x.at(100.0 * l.accuracy_change));
            bar(&mut plot.svg, zero.min(end), y - 6.0, (end - zero).abs());
            plot.svg.text(side, y + 4.5, Anchor::Start, PLAIN, &signed(100.0 * l.accuracy_change, 2));
        }
        for (k, c) in controls(e).into_iter().enumerate() {
            let Some(c) = c else { continue };
            // Side by side where there are both.
            let at = if kinds.len() == 2 { y + [-5.0, 5.0][k] } else { y };
            plot.whisker(at, c.accuracy_change_range.map(|v| 100.0 * v), random);
            plot.svg.dot((plot.x.at(100.0 * c.accuracy_change_mean), at), 3.5, &means[k]);
            let text = c.told().map_or_else(String::new, |(side, p)| format!("{} {side}", fixed(p, 3)));
            plot.svg.text(column(k), y + 4.5, Anchor::Start, PLAIN, &text);
        }
    }
    page.figure(
        &[plot.svg],
        &format!(
            "Change of accuracy while the named neurons (in brackets: how many of them the network has) are silent, beside \
             random neurons. p: that the lesion costs as much as random neurons (more, less: what it costs beside them), \
             two-sided, by rank among the draws, not corrected for the number of lesions.{more}"
        ),
        numbers,
    );
}

fn recall(page: &mut Page, all: &[Effect], shown: &[&Effect], names: &[String], more: &str) {
    let header = ["name", "class", "recall_change", "random_change_mean", "random_in_lamina_change_mean"];
    let mut numbers = Numbers::new("lesion_recall", &header);
    for e in all {
        for (k, class) in EXPRESSIONS.iter().enumerate() {
            let [anywhere, in_lamina] = controls(e).map(|c| Maybe(c.map(|c| c.recall_change_mean[k])));
            let change = Maybe(e.lesion.as_ref().map(|l| l.recall_change[k]));
            numbers.row(&[&e.name, class, &change, &anywhere, &in_lamina]);
        }
    }
    let of = |e: &Effect, k: usize| e.lesion.as_ref().map(|l| 100.0 * l.recall_change[k]);
    let largest = shown
        .iter()
        .flat_map(|e| (0..EXPRESSIONS.len()).filter_map(|k| of(e, k)))
        .fold(0.0, |m: f64, v| m.max(v.abs()));
    let shown: Vec<(&String, &&Effect)> = names.iter().zip(shown).filter(|(_, e)| e.lesion.is_some()).collect();
    if shown.is_empty() {
        page.keep(numbers);
        return;
    }
    let room = names.iter().map(|n| width_px(n, TEXT)).fold(60.0, f64::max).min(260.0);
    let (left, top, width) = (room + 14.0, 30.0, 84.0);
    let description = format!(
        "{} lesions by {} classes; the largest change of recall is {} points.",
        shown.len(),
        EXPRESSIONS.len(),
        fixed(largest, 1)
    );
    let height = top + ROW * shown.len() as f64 + 6.0;
    let mut svg = Svg::new(
        left + width * EXPRESSIONS.len() as f64 + 8.0,
        height,
        "Change of recall by lesion and class",
        &description,
    );
    for (k, class) in EXPRESSIONS.iter().enumerate() {
        svg.text(left + width * (k as f64 + 0.5), top - 9.0, Anchor::Middle, PLAIN, class);
    }
    for (i, (name, e)) in shown.iter().enumerate() {
        let y = top + ROW * i as f64;
        svg.text(room + 6.0, y + 17.5, Anchor::End, PLAIN, &shorten(name, TEXT, room));
        for k in 0..EXPRESSIONS.len() {
            let value = of(e, k).unwrap_or(0.0);
            let text = signed(value, 1);
            let at = (left + width * k as f64, y);
            cell(&mut svg, at, (width, ROW), change(value / largest.max(1e-9)), &[(TEXT, &text)]);
        }
    }
    page.figure(
        &[svg],
        &format!(
            "Change of the recall of each class, percentage points: brown is lost, green is gained, full colour at {} \
             points.{more}",
            fixed(largest, 1)
        ),
        numbers,
    );
}
