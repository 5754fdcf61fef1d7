//! Neurons from a table: which column says what, and what follows from the rest where a column is missing.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::cell_types;
use super::table::Table;
use crate::connectome::Neuron;
use crate::error::{Error, Result};

/// Columns that name the type, best first.
const TYPE: &[&str] = &["cell_type", "type", "cell_type_manual", "cell_type_auto", "mtype"];
/// Columns that may tell polarity; the first that does is believed.
const CLASS: &[&str] = &[
    "class",
    "polarity",
    "ei",
    "cell_class",
    "classification_system",
    "broad_type",
    "coarse_cell_type_manual",
    "coarse_cell_type_auto",
];
/// Columns of the identifier if the connections speak of root ids.
const ROOT_ID: &[&str] = &["pt_root_id", "root_id", "bodyid", "id", "neuron_id", "node_id"];
/// Columns of the identifier otherwise.
const PLAIN_ID: &[&str] = &["id", "neuron_id", "neuron", "node_id", "bodyid", "root_id", "pt_root_id"];
/// Voxels of the MICrONS volume in a micrometre (4 x 4 x 40 nm).
const VOXELS_PER_UM: [f32; 3] = [250.0, 250.0, 25.0];

/// The neurons of one table.
pub(super) struct Cells {
    /// Neurons in the order of the table.
    pub(super) neurons: Vec<Neuron>,
    /// Index of each identifier.
    pub(super) index: HashMap<String, usize>,
    /// Identifiers of rows that are no usable neurons: not valid, no neuron, or of unsure type and class.
    pub(super) left_out: HashSet<String>,
    /// Part of the ordered pairs whose state is known, if the table says.
    pub(super) known_pairs: Option<f64>,
}

/// True if a table with this header describes neurons.
pub(super) fn describes_neurons(table: &Table) -> bool {
    let typed = table.column(TYPE).or(table.column(CLASS)).is_some();
    typed && table.column(ROOT_ID).is_some()
}

/// Reads the neurons of `path`; `root_ids` if the connections name root ids, not plain ids.
///
/// # Errors
/// A table without identifiers or without type and class; an empty or repeated identifier; a neuron whose polarity
/// follows from nothing; a position that is not finite or incomplete.
pub(super) fn read(path: &Path, root_ids: bool) -> Result<Cells> {
    let mut table = Table::open(path)?;
    let id = table.require("the identifier", if root_ids { ROOT_ID } else { PLAIN_ID })?;
    let cell_type = table.column(TYPE);
    let classes = table.columns(CLASS);
    if cell_type.is_none() && classes.is_empty() {
        table.require("the cell type or class", TYPE)?;
    }
    let lamina = table.column(&["lamina", "layer"]);
    let (valid, known) = (table.column(&["valid"]), table.column(&["out_known_pairs"]));
    let positions = Positions::of(&table);
    let mut cells = Cells { neurons: Vec::new(), index: HashMap::new(), left_out: HashSet::new(), known_pairs: None };
    let mut known_sums: Vec<u64> = Vec::new();
    let mut raw = Vec::new();
    while table.next_row()? {
        let name = table.field(id).to_string();
        // CAVE writes root 0 where a nucleus has no segment.
        let no_segment = name == "0" && table.name(id) == "pt_root_id";
        if no_segment || table.invalid(valid) {
            cells.left_out.insert(name);
            continue;
        }
        if name.is_empty() {
            return Err(table.fault(format!("`{}` is empty", table.name(id)), "give every neuron an identifier"));
        }
        let written = cell_type.map_or("", |c| table.field(c));
        let (type_name, type_polarity, type_lamina) = cell_types::of_type(written);
        let class = classes.iter().find_map(|&c| cell_types::polarity(table.field(c)));
        let Some(polarity) = class.or(type_polarity) else {
            let unsure = written.to_lowercase().starts_with("unsure");
            let labels = classes.iter().chain(cell_type.iter());
            let no_neuron = labels.clone().any(|&c| cell_types::is_no_neuron(table.field(c)));
            if no_neuron || unsure {
                cells.left_out.insert(name);
                continue;
            }
            let found = labels.map(|&c| format!("`{}` = `{}`", table.name(c), table.field(c))).collect::<Vec<_>>();
            let what = format!("the polarity of neuron {name} does not follow from {}", found.join(", "));
            return Err(table.fault(what, "add a column `class` of E and I"));
        };
        let position = positions.read(&table)?;
        let depth = positions.depth(&table)?;
        let of_table = lamina.map(|c| table.field(c)).filter(|name| !name.is_empty());
        let lamina = match of_table {
            Some(name) => cell_types::lamina(name),
            None => type_lamina.or(depth.map(cell_types::lamina_at)).unwrap_or("all").to_string(),
        };
        let cell_type = match type_name {
            "" => polarity.letter().to_string(),
            name if name.eq_ignore_ascii_case("unsure") => format!("Unsure {}", polarity.letter()),
            name => name.to_string(),
        };
        if cells.index.insert(name.clone(), cells.neurons.len()).is_some() {
            return Err(table.fault(format!("neuron {name} is listed twice"), "keep one row for each neuron"));
        }
        if let Some(count) = known.and_then(|c| table.field(c).parse().ok()) {
            known_sums.push(count);
        }
        raw.push(position);
        cells.neurons.push(Neuron { id: name, cell_type, lamina, polarity, position_um: None });
    }
    if cells.neurons.is_empty() {
        return Err(Error::input(path.display(), "no row is a usable neuron", "check the columns of type and class"));
    }
    positions.in_micrometres(&mut raw);
    cells.neurons.iter_mut().zip(raw).for_each(|(n, position)| n.position_um = position);
    cells.known_pairs = known_pairs(&known_sums, cells.neurons.len());
    Ok(cells)
}

/// Known pairs among `n` neurons over all, from the number that each neuron has with the whole data set (of which at
/// most `n - 1` are among these neurons).
fn known_pairs(counts: &[u64], n: usize) -> Option<f64> {
    let others = n.saturating_sub(1) as u64;
    let sum: u64 = counts.iter().map(|&c| c.min(others)).sum();
    (counts.len() == n && others > 0).then(|| sum as f64 / (n as f64 * others as f64))
}

/// Where a table keeps positions.
enum Positions {
    /// Nowhere; the depth alone may be known.
    Unknown(Option<usize>),
    /// Three columns in micrometres; the second is the depth if it is called so.
    Micrometres([usize; 3], bool),
    /// Three columns in nanometres or voxels.
    Split([usize; 3], Option<usize>),
    /// One column `[x, y, z]` or `[x y z]` in nanometres or voxels.
    List(usize, Option<usize>),
}

impl Positions {
    fn of(table: &Table) -> Self {
        let three = |names: [&[&str]; 3]| match names.map(|n| table.column(n)) {
            [Some(x), Some(y), Some(z)] => Some([x, y, z]),
            _ => None,
        };
        let depth = table.column(&["depth_um"]);
        if let Some(columns) = three([&["x_um"], &["depth_um", "y_um"], &["z_um"]]) {
            Self::Micrometres(columns, depth.is_some())
        } else if let Some(columns) = three([&["pt_position_x"], &["pt_position_y"], &["pt_position_z"]]) {
            Self::Split(columns, depth)
        } else if let Some(column) = table.column(&["pt_position"]) {
            Self::List(column, depth)
        } else {
            Self::Unknown(depth)
        }
    }

    /// Position of this row in the unit of the table.
    fn read(&self, table: &Table) -> Result<Option<[f32; 3]>> {
        let found = match self {
            Self::Unknown(_) => return Ok(None),
            Self::Micrometres(columns, _) | Self::Split(columns, _) => {
                [table.number(columns[0])?, table.number(columns[1])?, table.number(columns[2])?]
            }
            Self::List(column, _) => return list(table, *column),
        };
        match found {
            [Some(x), Some(y), Some(z)] => Ok(Some([x, y, z])),
            [None, None, None] => Ok(None),
            _ => Err(table.fault("only a part of the position is given", "give all three coordinates or none")),
        }
    }

    /// Depth below the pia of this row, if the table has it.
    fn depth(&self, table: &Table) -> Result<Option<f32>> {
        match *self {
            Self::Micrometres(columns, true) => table.number(columns[1]),
            Self::Unknown(Some(c)) | Self::Split(_, Some(c)) | Self::List(_, Some(c)) => table.number(c),
            _ => Ok(None),
        }
    }

    /// Turns nanometres or voxels into micrometres. CAVE writes either without saying which: the volume is less than
    /// 40,000 sections deep, so a larger z means nanometres.
    fn in_micrometres(&self, positions: &mut [Option<[f32; 3]>]) {
        if matches!(self, Self::Unknown(_) | Self::Micrometres(..)) {
            return;
        }
        let nanometres = positions.iter().flatten().any(|p| p[2] > 40_000.0);
        let per_um = if nanometres { [1000.0; 3] } else { VOXELS_PER_UM };
        for p in positions.iter_mut().flatten() {
            *p = std::array::from_fn(|i| p[i] / per_um[i]);
        }
    }
}

/// The three numbers of a field `[1, 2, 3]` or `[1 2 3]`.
fn list(table: &Table, column: usize) -> Result<Option<[f32; 3]>> {
    let text = table.field(column).trim_matches(|c| matches!(c, '[' | ']' | '(' | ')' | ' '));
    if text.is_empty() {
        return Ok(None);
    }
    let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
    let numbers: Vec<f32> = parts.filter_map(|part| part.parse().ok()).filter(|v: &f32| v.is_finite()).collect();
    let count = text.split([',', ' ']).filter(|part| !part.is_empty()).count();
    match (numbers.as_slice(), count) {
        (&[x, y, z], 3) => Ok(Some([x, y, z])),
        _ => {
            let what = format!("`{}` is `{}`, expected three finite numbers", table.name(column), table.field(column));
            Err(table.fault(what, "write it as [x, y, z] or leave it empty"))
        }
    }
}
