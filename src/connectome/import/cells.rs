//! Neurons from a table: which column says what, and what follows from the rest where a column is missing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use super::cell_types;
use super::table::{Table, coordinate};
use crate::connectome::{Neuron, Polarity};
use crate::error::{Error, Result};
use crate::table::shown;

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

/// Cells that any table may list, and bytes of its file that each further one takes at least (6 or more, measured on
/// the smallest real ones): 1 MiB of gzip would else unpack to 463,210 neurons and 160 MiB of memory.
const FREE_CELLS: u64 = 1 << 15;
const MIN_CELL_BYTES: u64 = 8;
/// Laminae of a connectome, at most: each pair of them is a projection and a row of the summary.
const MAX_LAMINAE: usize = 64;
/// Cell types of a connectome, at most.
const MAX_CELL_TYPES: usize = 1 << 14;

/// The neurons of one table.
pub(super) struct Cells {
    /// Usable neurons in the order of the table.
    usable: Vec<Cell>,
    /// Index of each identifier; `None` for rows that are no usable neurons: not valid, no neuron, or of unsure type
    /// and class.
    index: HashMap<Box<str>, Option<u32>>,
    types: Names,
    laminae: Names,
    /// Part of the ordered pairs whose state is known, if the table says.
    pub(super) known_pairs: Option<f64>,
    /// Usable neurons whose lamina follows from type or depth, for the table does not say.
    pub(super) inferred_laminae: usize,
}

/// A neuron without its identifier; each name is kept once.
struct Cell {
    /// Index into the cell types.
    cell_type: usize,
    /// Index into the laminae.
    lamina: usize,
    polarity: Polarity,
    position_um: Option<[f32; 3]>,
}

impl Cells {
    fn new() -> Self {
        let names = |what, most| Names { what, most, list: Vec::new(), index: HashMap::new() };
        let (types, laminae) = (names("cell types", MAX_CELL_TYPES), names("laminae", MAX_LAMINAE));
        Self { usable: Vec::new(), index: HashMap::new(), types, laminae, known_pairs: None, inferred_laminae: 0 }
    }

    /// Number of usable neurons.
    pub(super) fn len(&self) -> usize {
        self.usable.len()
    }

    /// Index of a neuron, `Some(None)` if its row was left out, `None` if no row has this identifier.
    pub(super) fn find(&self, id: &str) -> Option<Option<u32>> {
        self.index.get(id).copied()
    }

    /// Identifier and index of each usable neuron, in no order.
    pub(super) fn usable(&self) -> impl Iterator<Item = (&str, u32)> {
        self.index.iter().filter_map(|(id, &at)| Some((&**id, at?)))
    }

    /// The neurons in the order of the table.
    pub(super) fn into_neurons(self) -> Vec<Neuron> {
        let neuron = |cell: &Cell| Neuron {
            id: String::new(),
            cell_type: self.types.list[cell.cell_type].clone(),
            lamina: self.laminae.list[cell.lamina].clone(),
            polarity: cell.polarity,
            position_um: cell.position_um,
        };
        let mut neurons: Vec<Neuron> = self.usable.iter().map(neuron).collect();
        for (id, at) in self.index {
            if let Some(at) = at {
                neurons[at as usize].id = id.into();
            }
        }
        neurons
    }
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
/// follows from nothing; a position that is not finite or incomplete; more cells, laminae or types than the bounds.
pub(super) fn read(path: &Path, root_ids: bool) -> Result<Cells> {
    let mut table = Table::open(path)?;
    let columns = Columns::of(&table, root_ids)?;
    let most = FREE_CELLS + table.file_bytes() / MIN_CELL_BYTES;
    let mut cells = Cells::new();
    let mut known = Known::default();
    while table.next_row()? {
        let id = table.name_in(columns.id)?;
        match columns.cell(&table, &mut cells)? {
            None => {
                cells.index.entry(id.into()).or_insert(None);
            }
            Some(cell) => {
                // Below 2^32: the longest table has fewer rows than that.
                if let Some(Some(_)) = cells.index.insert(id.into(), Some(cells.usable.len() as u32)) {
                    return Err(table.fault(format!("neuron {id} is listed twice"), "keep one row for each neuron"));
                }
                known.note(&table, columns.known)?;
                cells.usable.push(cell);
            }
        }
        if cells.index.len() as u64 > most {
            let what = format!("more than {most} cells in a file of {} bytes", table.file_bytes());
            return Err(table.fault(what, "unpack it and look inside; a plain table may list more"));
        }
    }
    if cells.usable.is_empty() {
        return Err(Error::input(path.display(), "no row is a usable neuron", "check the columns of type and class"));
    }
    columns.positions.in_micrometres(&mut cells.usable);
    cells.known_pairs = known_pairs(&known.counts, cells.usable.len());
    Ok(cells)
}

/// Distinct names of one kind, no more than `most`.
struct Names {
    what: &'static str,
    most: usize,
    list: Vec<String>,
    index: HashMap<String, usize>,
}

impl Names {
    /// Index of `name` in the list, where it is added if it is new.
    fn note(&mut self, table: &Table, name: &str) -> Result<usize> {
        if let Some(&at) = self.index.get(name) {
            return Ok(at);
        }
        let at = self.list.len();
        if at == self.most {
            let remedy = "is this the right column? give several cells the same name";
            return Err(table.fault(format!("`{name}` is one more than {} {}", self.most, self.what), remedy));
        }
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), at);
        Ok(at)
    }
}

/// Which column says what.
struct Columns {
    id: usize,
    cell_type: Option<usize>,
    classes: Vec<usize>,
    lamina: Option<usize>,
    valid: Option<usize>,
    known: Option<usize>,
    positions: Positions,
}

impl Columns {
    fn of(table: &Table, root_ids: bool) -> Result<Self> {
        table.refuse_repeats()?;
        let (cell_type, classes) = (table.column(TYPE), table.columns(CLASS));
        let id = table.require("the identifier", if root_ids { ROOT_ID } else { PLAIN_ID })?;
        if cell_type.is_none() && classes.is_empty() {
            table.require("the cell type or class", TYPE)?;
        }
        Ok(Self {
            id,
            cell_type,
            classes,
            lamina: table.column(&["lamina", "layer"]),
            valid: table.column(&["valid"]),
            known: table.column(&["out_known_pairs"]),
            positions: Positions::of(table),
        })
    }

    /// The neuron of this row, its names noted in `cells`; `None` if it is left out.
    fn cell(&self, table: &Table, cells: &mut Cells) -> Result<Option<Cell>> {
        // CAVE writes root 0 where a nucleus has no segment.
        let no_segment = table.field(self.id) == "0" && table.name(self.id) == "pt_root_id";
        if no_segment || table.invalid(self.valid) {
            return Ok(None);
        }
        if table.field(self.id).is_empty() {
            let what = format!("`{}` is empty", table.name(self.id));
            return Err(table.fault(what, "give every neuron an identifier"));
        }
        let written = self.cell_type.map_or(Ok(""), |c| table.name_in(c))?;
        let (type_name, type_polarity, type_lamina) = cell_types::of_type(written);
        let Some(polarity) = self.polarity(table, written, type_polarity)? else { return Ok(None) };
        let position_um = self.positions.read(table)?;
        let depth = self.positions.depth(table)?;
        let told = self.lamina.map_or(Ok(""), |c| table.name_in(c))?;
        let inferred = type_lamina.or(depth.map(cell_types::lamina_at)).filter(|_| told.is_empty());
        cells.inferred_laminae += usize::from(inferred.is_some());
        let lamina = match told {
            "" => inferred.unwrap_or("all"),
            name => cell_types::lamina(name),
        };
        let cell_type = match type_name {
            "" => polarity.letter().into(),
            name if name.eq_ignore_ascii_case("unsure") => format!("Unsure {}", polarity.letter()).into(),
            name => Cow::from(name),
        };
        let (lamina, cell_type) = (cells.laminae.note(table, lamina)?, cells.types.note(table, &cell_type)?);
        Ok(Some(Cell { cell_type, lamina, polarity, position_um }))
    }

    /// Polarity of this row: of its class or else of its type; `None` if it is no neuron or of unsure type.
    fn polarity(&self, table: &Table, written: &str, of_type: Option<Polarity>) -> Result<Option<Polarity>> {
        let class = self.classes.iter().find_map(|&c| cell_types::polarity(table.field(c)));
        if let Some(polarity) = class.or(of_type) {
            return Ok(Some(polarity));
        }
        let labels = self.classes.iter().chain(self.cell_type.iter());
        let no_neuron = labels.clone().any(|&c| cell_types::is_no_neuron(table.field(c)));
        if no_neuron || cell_types::without_prefix(written, "unsure").is_some() {
            return Ok(None);
        }
        let found = labels.map(|&c| format!("`{}` = `{}`", table.name(c), shown(table.field(c))));
        let found = found.collect::<Vec<_>>().join(", ");
        let what = format!("the polarity of neuron {} does not follow from {found}", table.field(self.id));
        Err(table.fault(what, "add a column `class` of E and I"))
    }
}

/// How many pairs each neuron knows, as far as the table says.
#[derive(Default)]
struct Known {
    counts: Vec<u64>,
}

impl Known {
    fn note(&mut self, table: &Table, column: Option<usize>) -> Result<()> {
        let Some(column) = column.filter(|&c| !table.field(c).is_empty()) else { return Ok(()) };
        let text = table.field(column);
        let Ok(count) = text.strip_suffix(".0").unwrap_or(text).parse() else {
            let what = format!("`{}` is `{}`, expected a number of pairs", table.name(column), shown(text));
            return Err(table.fault(what, "correct the field or leave it empty"));
        };
        self.counts.push(count);
        Ok(())
    }
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
    fn in_micrometres(&self, cells: &mut [Cell]) {
        if matches!(self, Self::Unknown(_) | Self::Micrometres(..)) {
            return;
        }
        let nanometres = cells.iter().filter_map(|c| c.position_um).any(|p| p[2] > 40_000.0);
        let per_um = if nanometres { [1000.0; 3] } else { VOXELS_PER_UM };
        for p in cells.iter_mut().filter_map(|c| c.position_um.as_mut()) {
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
    let mut numbers = text.split([',', ' ']).filter(|part| !part.is_empty()).map(coordinate);
    match (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten(), numbers.next()) {
        (Some(x), Some(y), Some(z), None) => Ok(Some([x, y, z])),
        _ => {
            let what =
                format!("`{}` is `{}`, expected three finite numbers", table.name(column), shown(table.field(column)));
            Err(table.fault(what, "write it as [x, y, z] or leave it empty"))
        }
    }
}
