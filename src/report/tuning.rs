//! What the neurons of a trained network respond to, from the run's `tuning.csv`.

use super::heat::{Colours, cell};
use super::numbers::{Maybe, Numbers};
use super::page::Page;
use super::rows::{Rows, Words};
use super::svg::{Anchor, INK, NOTE, PLAIN, Svg, TEXT};
use super::text::{count, fixed, percent, shorten, width_px};
use crate::connectome::Polarity;
use crate::data::EXPRESSIONS;
use crate::error::Result;
use crate::lesion::{TUNING, Tuning, read_tuning};
use std::collections::BTreeMap;
use std::path::Path;

/// Most groups of neurons in a plot.
const GROUPS: usize = 30;
/// The parts at which a spread is cut: whiskers, box, median.
const CUTS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.9];

/// Neurons of one lamina and cell type.
struct Group<'a> {
    name: String,
    neurons: Vec<&'a Tuning>,
}

/// Appends the section about tuning, if the run has the table and it is of the weights with this fingerprint; of others
/// `warn` is told.
///
/// # Errors
/// Those of reading the table.
pub(super) fn append(page: &mut Page, run: &Path, weights: &str, warn: &mut dyn FnMut(&str)) -> Result<()> {
    let path = run.join(TUNING);
    if !path.exists() {
        return Ok(());
    }
    let (found, all) = read_tuning(&path)?;
    if found != weights && !all.is_empty() {
        warn(&format!("{}: is of other weights than the best epoch's: left out", path.display()));
        return Ok(());
    }
    let mut by_kind: BTreeMap<(&str, Polarity, &str), Vec<&Tuning>> = BTreeMap::new();
    for t in &all {
        by_kind.entry((&t.lamina, t.polarity, &t.cell_type)).or_default().push(t);
    }
    let mut groups: Vec<Group> = by_kind
        .into_iter()
        .map(|((lamina, _, cell_type), neurons)| Group { name: format!("{lamina} {cell_type}"), neurons })
        .collect();
    if groups.is_empty() {
        return Ok(());
    }
    let kinds = groups.len();
    if kinds > GROUPS {
        // The largest, in their order.
        let mut sizes: Vec<usize> = groups.iter().map(|g| g.neurons.len()).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        groups.retain(|g| g.neurons.len() >= sizes[GROUPS - 1]);
        groups.truncate(GROUPS);
    }
    let more = if kinds > GROUPS { format!(" The {GROUPS} largest of {kinds} groups.") } else { String::new() };
    page.section("Tuning");
    let silent = all.iter().filter(|t| t.active == 0.0).count();
    page.paragraph(&format!(
        "Responses of {} neurons of the intact network to the images of the lesions; {} are never active. The file \
         {TUNING} in the run has every neuron, by its identifier in the connectome.",
        count(all.len()),
        count(silent)
    ));
    let selectivity = spreads(
        &groups,
        |t| t.selectivity,
        &Words {
            title: "Selectivity for classes by lamina and cell type",
            description: "",
            axis: "selectivity (0 = the same to all classes, 1 = to one alone)",
        },
    );
    let sparseness = spreads(
        &groups,
        |t| t.sparseness,
        &Words {
            title: "Lifetime sparseness by lamina and cell type",
            description: "",
            axis: "lifetime sparseness (0 = the same to all images, 1 = to one alone)",
        },
    );
    let mut numbers =
        Numbers::new("tuning_spread", &["group", "neurons", "measure", "n", "p10", "p25", "p50", "p75", "p90"]);
    for g in &groups {
        for (measure, of) in
            [("selectivity", (|t| t.selectivity) as fn(&Tuning) -> Option<f64>), ("sparseness", |t| t.sparseness)]
        {
            let values = sorted(&g.neurons, of);
            let cut = |k: usize| Maybe(at(&values, CUTS[k]));
            numbers.row(&[
                &g.name,
                &g.neurons.len(),
                &measure,
                &values.len(),
                &cut(0),
                &cut(1),
                &cut(2),
                &cut(3),
                &cut(4),
            ]);
        }
    }
    page.figure(
        &[selectivity, sparseness],
        &format!(
            "Spread over the neurons of a group: line from the 10th to the 90th percentile, box from the 25th to the 75th, \
             median. Selectivity as in Morcos et al. 2018, sparseness as in Vinje and Gallant 2000.{more}"
        ),
        numbers,
    );
    preferred(page, &groups, &more);
    Ok(())
}

/// Values of the neurons that have one, ascending.
fn sorted(neurons: &[&Tuning], of: fn(&Tuning) -> Option<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = neurons.iter().filter_map(|t| of(t)).collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The value below which `part` of the sorted `values` lie (nearest rank); `None` without any.
fn at(values: &[f64], part: f64) -> Option<f64> {
    values.get((part * values.len().saturating_sub(1) as f64).round() as usize).copied()
}

/// Boxes with whiskers, one row for each group.
fn spreads(groups: &[Group], of: fn(&Tuning) -> Option<f64>, words: &Words) -> Svg {
    let names: Vec<String> = groups.iter().map(|g| format!("{} ({})", g.name, count(g.neurons.len()))).collect();
    let spread: Vec<Vec<f64>> = groups.iter().map(|g| sorted(&g.neurons, of)).collect();
    let middle = spread.iter().zip(groups).filter_map(|(v, g)| Some((at(v, 0.5)?, &g.name)));
    let description = middle.max_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(
        || "No neuron has a value.".to_owned(),
        |(v, name)| format!("{} groups; {name} has the largest median, {}.", groups.len(), fixed(v, 2)),
    );
    let mut plot = Rows::new(&Words { description: &description, ..*words }, &names, (0.0, 1.0), 8.0, 14.0);
    for (i, values) in spread.iter().enumerate() {
        let y = plot.middle(i);
        let cuts: Vec<f64> = CUTS.iter().filter_map(|&c| at(values, c)).collect();
        let [p10, p25, p50, p75, p90] = cuts[..] else { continue };
        plot.whisker(y, [p10, p90], &format!("stroke=\"{INK}\""));
        let (left, right) = (plot.x.at(p25), plot.x.at(p75));
        plot.svg.rect(
            left,
            y - 7.0,
            (right - left).max(1.0),
            14.0,
            &format!("fill=\"#56b4e9\" stroke=\"{INK}\" stroke-width=\"0.8\""),
        );
        let at = plot.x.at(p50);
        plot.svg.line((at, y - 7.0), (at, y + 7.0), &format!("stroke=\"{INK}\" stroke-width=\"2.4\""));
    }
    plot.svg
}

/// Which class the neurons of each group like best.
fn preferred(page: &mut Page, groups: &[Group], more: &str) {
    let classes: Vec<&str> = EXPRESSIONS.into_iter().chain(["none"]).collect();
    let mut numbers = Numbers::new("preferred_class", &["group", "neurons", "class", "preferring"]);
    let names: Vec<String> = groups.iter().map(|g| format!("{} ({})", g.name, count(g.neurons.len()))).collect();
    let room = names.iter().map(|n| width_px(n, TEXT)).fold(60.0, f64::max).min(260.0);
    let (left, top, width, height) = (room + 14.0, 30.0, 74.0, 26.0);
    let description =
        format!("{} groups of neurons by the class of their largest mean response, in percent.", groups.len());
    let title = "Preferred class by lamina and cell type";
    let below = top + height * groups.len() as f64;
    let mut svg = Svg::new(left + width * classes.len() as f64 + 8.0, below + 8.0, title, &description);
    for (k, class) in classes.iter().enumerate() {
        svg.text(left + width * (k as f64 + 0.5), top - 9.0, Anchor::Middle, if k < 7 { PLAIN } else { NOTE }, class);
    }
    let colours = Colours { low: 0.0, high: 1.0, root: false };
    for (i, (g, name)) in groups.iter().zip(&names).enumerate() {
        let y = top + height * i as f64;
        svg.text(room + 6.0, y + 17.5, Anchor::End, PLAIN, &shorten(name, TEXT, room));
        for (k, class) in classes.iter().enumerate() {
            let likes = |t: &&&Tuning| t.preferred.as_deref().unwrap_or("none") == *class;
            let n = g.neurons.iter().filter(likes).count();
            numbers.row(&[&g.name, &g.neurons.len(), class, &n]);
            let part = n as f64 / g.neurons.len().max(1) as f64;
            let text = if n == 0 { String::new() } else { format!("{} %", percent(part, 0)) };
            cell(&mut svg, (left + width * k as f64, y), (width, height), colours.of(part), &[(TEXT, &text)]);
        }
    }
    page.figure(
        &[svg],
        &format!(
            "Percent of the neurons of each group whose mean response is largest for a class; none: never active.{more}"
        ),
        numbers,
    );
}
