//! What each model of a study is: the settings in which it differs from the reference.

use super::page::{Cell, Page};
use super::study::{ROWS, run_folder};
use crate::config::Config;
use crate::study::{CellResult, Table, only_moved};
use crate::train::{deciding_differences, load_config, place_differences, with_seed_of};
use std::collections::BTreeMap;
use std::path::Path;

/// Appends the table; nothing where no run of the reference is left. `sources` tell what has only moved.
pub(super) fn append(
    page: &mut Page,
    dir: &Path,
    table: &Table,
    cells: &[CellResult],
    sources: &BTreeMap<String, String>,
) {
    let config = |model: &str| -> Option<Config> {
        let runs = cells.iter().filter(|c| c.model == model);
        runs.filter_map(|c| run_folder(dir, c)).find_map(|run| load_config(&run).ok())
    };
    let Some(reference) = config(&table.reference) else { return };
    let told = |model: &str| {
        let Some(own) = config(model) else { return "its run folders are gone".to_owned() };
        let own = with_seed_of(&reference, &own);
        let differences = deciding_differences(&reference, &own).unwrap_or_default().into_iter();
        let moved = only_moved(&mut sources.clone(), &reference, &own).unwrap_or(false);
        let places = if moved { Vec::new() } else { place_differences(&reference, &own) };
        let settings = differences.chain(places).map(|d| match d.values {
            Some([reference, own]) => format!("{} = {own} ({reference})", d.key),
            None => format!("{} is another", d.key),
        });
        settings.collect::<Vec<_>>().join("; ")
    };
    let others = table.rows.iter().map(|r| &r.model).filter(|model| **model != table.reference).take(ROWS);
    let rows: Vec<Vec<Cell>> = others.map(|model| [model.clone(), told(model)].map(Cell::from).to_vec()).collect();
    page.table(
        &format!("Settings of each model that are not those of {}, whose own stand in brackets", table.reference),
        "ll",
        &["model", "settings"],
        &rows,
    );
}
