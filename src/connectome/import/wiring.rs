//! Connections from a table: one row per pair of neurons with a count, or one row per synapse.

use std::collections::HashMap;
use std::path::Path;

use super::cells::Cells;
use super::table::Table;
use crate::connectome::Synapses;
use crate::error::{Error, Result};
use crate::table::shown;

/// Columns of the presynaptic neuron.
const PRE: &[&str] =
    &["pre", "pre_pt_root_id", "pre_root_id", "pre_id", "bodyid_pre", "source", "pre_node_id", "source_node_id"];
/// Columns of the postsynaptic neuron, in the same order.
const POST: &[&str] =
    &["post", "post_pt_root_id", "post_root_id", "post_id", "bodyid_post", "target", "post_node_id", "target_node_id"];
/// Columns of the number of synapses; in each row the first that is not empty counts. `n_synapses_est` comes before
/// `n_synapses_min`: the estimate from the summed size, and the lower bound where no size is known.
const COUNT: &[&str] =
    &["n_synapses", "n_synapses_est", "n_synapses_min", "n_syn", "nsyns", "syn_count", "count", "weight"];

/// What a second row of the same pair means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    /// The table is wrong.
    Refused,
    /// More synapses.
    Added,
    /// More synapses if the rows are synapses (no count) or parts of a pair (FlyWire's `neuropil`), else an error.
    AsTheTableSays,
}

/// True if a table with this header describes connections.
pub(super) fn describes_connections(table: &Table) -> bool {
    table.column(PRE).is_some() && table.column(POST).is_some()
}

/// True if the connections of `path` name root ids or segment ids, not plain ids.
pub(super) fn names_root_ids(path: &Path) -> Result<bool> {
    let table = Table::open(path)?;
    let name = table.name(table.require("the presynaptic neuron", PRE)?);
    Ok(name.contains("root_id") || name.contains("bodyid"))
}

/// Connections collected from one or several tables: synapses of each pair `(post, pre)` and the line of its first.
#[derive(Default)]
pub(super) struct Wiring {
    pairs: HashMap<(u32, u32), (u32, u32)>,
}

impl Wiring {
    /// Adds the rows of `path`. Rows whose `valid` is false and rows that touch a neuron left out of `cells` are
    /// passed over.
    ///
    /// # Errors
    /// Missing columns, an unknown neuron, a count that is no positive integer, a pair twice where `repeats`
    /// refuses it.
    pub(super) fn read(&mut self, path: &Path, cells: &Cells, repeats: Repeats) -> Result<()> {
        let mut table = Table::open(path)?;
        table.refuse_repeats()?;
        let pre = table.require("the presynaptic neuron", PRE)?;
        let post = table.require("the postsynaptic neuron", POST)?;
        let (counts, valid) = (table.columns(COUNT), table.column(&["valid"]));
        let refused = match repeats {
            Repeats::Refused => true,
            Repeats::Added => false,
            Repeats::AsTheTableSays => !counts.is_empty() && table.column(&["neuropil"]).is_none(),
        };
        while table.next_row()? {
            if table.invalid(valid) {
                continue;
            }
            let (Some(i), Some(j)) = (neuron(&table, cells, post)?, neuron(&table, cells, pre)?) else { continue };
            let count = count(&table, &counts)?;
            // Below 2^32: a line has a byte, and the longest table fewer bytes than that.
            let line = table.line() as u32;
            match self.pairs.get_mut(&(i, j)) {
                None => {
                    self.pairs.insert((i, j), (count, line));
                }
                Some((_, first)) if refused => {
                    let what = format!(
                        "pre {}, post {} are joined already (line {first})",
                        shown(table.field(pre)),
                        shown(table.field(post))
                    );
                    return Err(table.fault(what, "keep one row for each pair, with the number of synapses"));
                }
                Some((sum, _)) => {
                    *sum = sum
                        .checked_add(count)
                        .ok_or_else(|| table.fault("the synapses of this pair pass 2^32", "correct the counts"))?;
                }
            }
        }
        Ok(())
    }

    /// The mask over `n` neurons.
    ///
    /// # Errors
    /// No connection at all, or too many.
    pub(super) fn build(self, path: &Path, n: usize) -> Result<Synapses> {
        if self.pairs.is_empty() {
            let remedy = "check that both tables are of the same cells and the same materialization";
            return Err(Error::input(path.display(), "no connection among the listed neurons", remedy));
        }
        let connections = self.pairs.into_iter().map(|((post, pre), (count, _))| (post as usize, pre as usize, count));
        Synapses::from_connections(n, n, connections)
            .map_err(|e| Error::input(path.display(), e.to_string(), "take a smaller part of the data"))
    }
}

/// Index of the neuron named in `column`; `None` if it was left out.
fn neuron(table: &Table, cells: &Cells, column: usize) -> Result<Option<u32>> {
    let id = table.field(column);
    if let Some(found) = cells.find(id) {
        return Ok(found);
    }
    let floating = id.parse::<u64>().is_err() && id.parse::<f64>().is_ok();
    let remedy = if floating {
        "the identifier went through floating point and lost digits: export it as an integer"
    } else {
        "keep the synapses among listed neurons only; root ids must be of the same materialization in both tables"
    };
    let what = format!("`{}` names neuron `{}`, which no row of the neuron table has", table.name(column), shown(id));
    Err(table.fault(what, remedy))
}

/// Synapses of this row: the first field of `columns` that is not empty, 1 if there is none.
fn count(table: &Table, columns: &[usize]) -> Result<u32> {
    let Some(&column) = columns.iter().find(|&&c| !table.field(c).is_empty()) else { return Ok(1) };
    let text = table.field(column);
    // pandas writes integers as `3.0` once a column had a gap.
    match text.strip_suffix(".0").unwrap_or(text).parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => {
            let what = format!("`{}` is `{}`, expected a positive integer", table.name(column), shown(text));
            Err(table.fault(what, "count the synapses of the pair, or leave the row out"))
        }
    }
}
