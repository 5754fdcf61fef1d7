//! `tuning.csv`: one row per neuron, keyed by the connectome's identifiers.
//!
//! Columns: `id, cell_type, lamina, polarity` (E or I), `x_um, depth_um, z_um` (empty where unknown), `mean, active,
//! preferred, selectivity, sparseness` (see `tuning.rs`; empty where undefined), `mean_<class>` for each class, and, the same
//! in all rows, `split, images` and `weights` (fingerprint of the network's weights).

use super::FORM;
use super::tuning::Tuning;
use crate::connectome::Polarity;
use crate::data::EXPRESSIONS;
use crate::error::Result;
use crate::table::{self, Rows, optional};
use std::path::Path;

const PLACE: [&str; 3] = ["x_um", "depth_um", "z_um"];

fn class_columns() -> impl Iterator<Item = String> {
    EXPRESSIONS.iter().map(|class| format!("mean_{class}"))
}

fn columns() -> Vec<String> {
    let first = ["id", "cell_type", "lamina", "polarity"].into_iter().chain(PLACE);
    let first = first.chain(["mean", "active", "preferred", "selectivity", "sparseness"]).map(str::to_owned);
    first.chain(class_columns()).chain(["split", "images", "weights"].map(str::to_owned)).collect()
}

/// Replaces the table; `[split, images, weights]` are the same in all rows.
pub(super) fn write(path: &Path, rows: &[Tuning], about: &[String; 3]) -> Result<()> {
    let row = |t: &Tuning| {
        let mut cells = vec![t.id.clone(), t.cell_type.clone(), t.lamina.clone(), t.polarity.letter().to_owned()];
        cells.extend((0..3).map(|k| optional(t.position_um.map(|p| p[k]))));
        cells.extend([t.mean.to_string(), t.active.to_string(), optional(t.preferred.as_ref())]);
        cells.extend([optional(t.selectivity), optional(t.sparseness)]);
        cells.extend(t.class_means.iter().map(|m| optional(*m)));
        cells.extend(about.iter().cloned());
        cells
    };
    table::write(path, columns(), rows.iter().map(row))
}

/// The fingerprint of the weights that a run's `tuning.csv` is of (empty if it has no rows), and its rows.
///
/// # Errors
/// `Input` naming the file and the line for anything that `bionic-cpu lesion` would not write; `Io` if reading fails.
pub fn read_tuning(path: &Path) -> Result<(String, Vec<Tuning>)> {
    FORM.read(path, |rows| {
        rows.require(columns())?;
        let mut weights: Option<String> = None;
        let tuning = rows.collect(|row| {
            if weights.get_or_insert_with(|| row.text("weights").to_owned()) != row.text("weights") {
                return Err(row.wrong("weights", "the fingerprint of the rows before"));
            }
            of_row(row)
        })?;
        Ok((weights.unwrap_or_default(), tuning))
    })
}

fn of_row(row: &Rows) -> Result<Tuning> {
    let text = |column: &str| row.text(column).to_owned();
    let [x, depth, z] = PLACE.map(|column| row.optional(column, Rows::number));
    let position_um = match (x?, depth?, z?) {
        (Some(x), Some(depth), Some(z)) => Some([x, depth, z].map(|v| v as f32)),
        _ => None,
    };
    let polarities = [Polarity::Excitatory, Polarity::Inhibitory];
    Ok(Tuning {
        id: text("id"),
        cell_type: text("cell_type"),
        lamina: text("lamina"),
        polarity: row.one_of("polarity", &polarities, |p| p.letter().to_owned())?,
        position_um,
        mean: row.number("mean")?,
        active: row.number("active")?,
        preferred: row.optional("preferred", |row, column| Ok(row.text(column).to_owned()))?,
        selectivity: row.optional("selectivity", Rows::number)?,
        sparseness: row.optional("sparseness", Rows::number)?,
        class_means: class_columns().map(|c| row.optional(&c, Rows::number)).collect::<Result<_>>()?,
    })
}
