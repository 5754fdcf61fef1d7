//! What the models of a study lose while neurons are silent, over the runs of each that have lesions.

use super::colour::change;
use super::heat::cell;
use super::lesions;
use super::numbers::{Maybe, Numbers};
use super::page::Page;
use super::rows::ROW;
use super::study::{MODELS, run_folder};
use super::svg::{Anchor, PLAIN, Svg, TEXT};
use super::text::{count, fixed, shorten, signed, width_px};
use crate::lesion::{Across, Kind, LESIONS, Lesion, OverRuns, across, read_lesions};
use crate::study::{CellResult, Table};
use std::fmt::Display;
use std::path::Path;

/// Most lesions in the plot, and most models.
const LESIONS_SHOWN: usize = 40;
const MODELS_SHOWN: usize = 8;

/// Columns of the numbers behind the plot.
const COLUMNS: [&str; 14] = [
    "model",
    "name",
    "runs",
    "excitatory",
    "inhibitory",
    "accuracy_change_mean",
    "accuracy_change_sd",
    "macro_f1_change_mean",
    "random_change_mean",
    "random_p_more",
    "random_p_less",
    "random_in_lamina_change_mean",
    "random_in_lamina_p_more",
    "random_in_lamina_p_less",
];

/// Appends the section, if a run of the study has lesions of what the study scored; `warn` is told of others, and of tables
/// that cannot be read.
pub(super) fn append(page: &mut Page, dir: &Path, table: &Table, cells: &[CellResult], warn: &mut dyn FnMut(&str)) {
    let mut scored: Option<(String, usize)> = None;
    let mut models: Vec<(&str, Across)> = Vec::new();
    for model in table.rows.iter().take(MODELS).map(|row| row.model.as_str()) {
        let mut runs: Vec<Vec<Lesion>> = Vec::new();
        for cell in cells.iter().filter(|c| c.model == model) {
            let Some(path) = run_folder(dir, cell).map(|run| run.join(LESIONS)).filter(|path| path.is_file()) else {
                continue;
            };
            let sets = match read_lesions(&path) {
                Ok(rows) => lesions::sets(rows),
                Err(e) => {
                    warn(&format!("no lesions: {e}"));
                    continue;
                }
            };
            let split = |set: &[Lesion]| (set[0].split.clone(), set[0].images);
            let is_shown = |set: &Vec<Lesion>| {
                scored.as_ref().is_none_or(|scored| *scored == split(set))
                    && set.iter().any(|l| l.kind == Kind::Intact && scored_alike(l, cell))
            };
            let Some(set) = sets.into_iter().find(is_shown) else {
                warn(&format!("{}: nothing of the split shown that scored as in the study: left out", path.display()));
                continue;
            };
            scored.get_or_insert_with(|| split(&set));
            runs.push(set);
        }
        if !runs.is_empty() {
            let found = across(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if !found.left_out.is_empty() {
                let left_out = found.left_out.join(", ");
                warn(&format!(
                    "model {model}: lesions left out, for not all its runs have them with the same cells: {left_out}"
                ));
            }
            models.push((model, found));
        }
    }
    models.retain(|(_, found)| !found.lesions.is_empty());
    if let Some((split, images)) = scored.filter(|_| !models.is_empty()) {
        page.section("Lesions");
        page.paragraph(&format!(
            "Accuracy on split {split} ({} images) while neurons of the trained networks are silent; nothing is trained \
             again. Over the runs of a model that have a {LESIONS}, draw by draw, of the lesions that all of these have; \
             {LESIONS} in each has every score.",
            count(images)
        ));
        plot(page, &models, table.rows.len());
    }
}

/// Whether the intact network of some lesions scored as it did for the study, on as many images.
fn scored_alike(intact: &Lesion, cell: &CellResult) -> bool {
    let scores = match intact.split.as_str() {
        "public" => cell.public.as_ref(),
        "private" => cell.private.as_ref(),
        _ => Some(&cell.test),
    };
    scores.is_some_and(|s| s.images == intact.images && (s.accuracy - intact.accuracy).abs() < 1e-9)
}

/// The lesion of a model with this selector.
fn of<'a>(model: &'a Across, selector: &str) -> Option<&'a OverRuns> {
    model.lesions.iter().find(|l| l.mean.selector == selector)
}

fn plot(page: &mut Page, models: &[(&str, Across)], of_models: usize) {
    let mut numbers = Numbers::new("model_lesions", &COLUMNS);
    for (model, found) in models {
        found.lesions.iter().for_each(|l| write(&mut numbers, model, found.runs, l));
    }
    let shown = &models[..models.len().min(MODELS_SHOWN)];
    // Selector and label of each lesion, in the order of the first model that has it, and its largest change. Silencing
    // neurons that the network does not have changes nothing.
    let mut all: Vec<(&str, String, f64)> = Vec::new();
    for OverRuns { mean, accuracy_change_over_runs: over } in shown.iter().flat_map(|(_, found)| &found.lesions) {
        match all.iter_mut().find(|(selector, ..)| *selector == mean.selector) {
            Some((.., most)) => *most = over.mean.abs().max(*most),
            None if lesions::acts(mean) => all.push((&mean.selector, lesions::label(mean), over.mean.abs())),
            None => {}
        }
    }
    let of_all = all.len();
    if of_all == 0 {
        page.keep(numbers);
        return;
    }
    if of_all > LESIONS_SHOWN {
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        all.truncate(LESIONS_SHOWN);
    }
    let largest = all.iter().fold(0.0, |most: f64, l| most.max(l.2));
    let room = all.iter().map(|(_, label, _)| width_px(label, TEXT)).fold(60.0, f64::max).min(260.0);
    let (left, top) = (room + 14.0, 30.0);
    let width = ((940.0 - left) / shown.len() as f64).clamp(80.0, 170.0);
    let description = format!(
        "{of_all} lesions of {} models; the largest mean change is {} points of accuracy.",
        shown.len(),
        fixed(100.0 * largest, 2)
    );
    let (right, bottom) = (left + width * shown.len() as f64 + 8.0, top + ROW * all.len() as f64 + 6.0);
    let mut svg = Svg::new(right, bottom, "Change of accuracy by lesion and model", &description);
    for (k, (model, found)) in shown.iter().enumerate() {
        let runs = format!(" ({})", found.runs);
        let name = shorten(model, TEXT, width - 6.0 - width_px(&runs, TEXT)) + &runs;
        svg.text(left + width * (k as f64 + 0.5), top - 9.0, Anchor::Middle, PLAIN, &name);
    }
    for (i, (selector, label, _)) in all.iter().enumerate() {
        let y = top + ROW * i as f64;
        svg.text(room + 6.0, y + 17.5, Anchor::End, PLAIN, &shorten(label, TEXT, room));
        for (k, (_, found)) in shown.iter().enumerate() {
            let Some(over) = of(found, selector).map(|l| &l.accuracy_change_over_runs) else { continue };
            let sd = over.sd.map_or_else(String::new, |sd| format!(" \u{b1} {}", fixed(100.0 * sd, 2)));
            let text = signed(100.0 * over.mean, 2) + &sd;
            let text = if width_px(&text, TEXT) > width - 4.0 { signed(100.0 * over.mean, 2) } else { text };
            let at = (left + width * k as f64, y);
            cell(&mut svg, at, (width, ROW), change(over.mean / largest.max(1e-9)), &[(TEXT, &text)]);
        }
    }
    let mut more = String::new();
    if of_all > all.len() {
        more += &format!(" The {} lesions of {of_all} that change accuracy most.", all.len());
    }
    if models.len() > shown.len() || of_models > MODELS {
        more += &format!(" The first {} models that have lesions, of {of_models} in the study.", shown.len());
    }
    page.figure(
        &[svg],
        &format!(
            "Change of accuracy, percentage points, while the named neurons are silent (in brackets: how many of them the \
             network has): mean \u{b1} sd over the runs of each model (in brackets: how many). Brown is lost, green is \
             gained, full colour at {} points. What random neurons cost is in the numbers.{more}",
            fixed(100.0 * largest, 2)
        ),
        numbers,
    );
}

/// A lesion of a model as a row of the numbers.
fn write(
    numbers: &mut Numbers,
    model: &str,
    runs: usize,
    OverRuns { mean, accuracy_change_over_runs: over }: &OverRuns,
) {
    let lesion = mean.lesion.as_ref();
    let [anywhere, in_lamina] = lesions::controls(mean)
        .map(|c| [c.map(|c| c.accuracy_change_mean), c.and_then(|c| c.p_more), c.and_then(|c| c.p_less)].map(Maybe));
    let counts = [lesion.map(|l| l.excitatory), lesion.map(|l| l.inhibitory)].map(Maybe);
    let (sd, macro_f1) = (Maybe(over.sd), Maybe(lesion.map(|l| l.macro_f1_change)));
    let mut row: Vec<&dyn Display> =
        vec![&model, &mean.name, &runs, &counts[0], &counts[1], &over.mean, &sd, &macro_f1];
    row.extend(anywhere.iter().chain(&in_lamina).map(|v| v as &dyn Display));
    numbers.row(&row);
}
