//! Which neurons: by cell type, lamina, polarity and identifier, and one by one or group by group.

use crate::config::{nearest, one_of};
use crate::connectome::{Connectome, Neuron, Polarity};
use crate::error::{Error, Result};
use crate::input;
use crate::table::{Form, Rows};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// How a file of identifiers is read.
const FORM: Form = Form {
    max_bytes: 16 << 20,
    no_columns: "write one identifier per line, or a column `id`",
    bad_row: "correct the row, or write one identifier per line",
};

/// A choice of neurons: conditions narrow it, several values of one condition widen it. Without conditions, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Any of these cell types; empty = any type.
    pub cell_types: Vec<String>,
    /// Any of these laminae; empty = any lamina.
    pub laminae: Vec<String>,
    /// This polarity.
    pub polarity: Option<Polarity>,
    /// Any of these identifiers; empty = any neuron.
    pub ids: Vec<String>,
}

/// What a selection is cut into, each part a lesion of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Each {
    /// The cells of each type.
    CellType,
    /// The cells of each lamina.
    Lamina,
    /// The cells of each polarity.
    Polarity,
    /// Each cell alone.
    Neuron,
}

/// Named neurons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What a reader calls them: `4P`, `BC in L4`.
    pub name: String,
    /// The conditions, the same text for the same selection: `cell-type=BC; lamina=L4`.
    pub selector: String,
    /// Their indices in the connectome, ascending.
    pub neurons: Vec<usize>,
}

impl Selection {
    /// True if it has no condition.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// The neurons of `connectome` that meet every condition.
    ///
    /// # Errors
    /// `Usage` for a type, lamina or identifier that the connectome lacks, with the nearest that it has, and for
    /// conditions that no neuron meets together.
    pub fn target(&self, connectome: &Connectome) -> Result<Target> {
        let types = names(connectome, |n| &n.cell_type);
        known("cell type", &self.cell_types, &types)?;
        known("lamina", &self.laminae, &connectome.laminae())?;
        let index: HashMap<&str, usize> = connectome.neurons.iter().zip(0..).map(|(n, i)| (n.id.as_str(), i)).collect();
        let mut by_id = BTreeSet::new();
        for id in &self.ids {
            by_id.insert(*index.get(id.as_str()).ok_or_else(|| unknown_id(id, connectome))?);
        }
        let any = |values: &[String], value: &String| values.is_empty() || values.contains(value);
        let meets = |i: &usize| {
            let n = &connectome.neurons[*i];
            any(&self.cell_types, &n.cell_type)
                && any(&self.laminae, &n.lamina)
                && self.polarity.is_none_or(|p| n.polarity == p)
                && (self.ids.is_empty() || by_id.contains(i))
        };
        let neurons: Vec<usize> = (0..connectome.neurons.len()).filter(meets).collect();
        if neurons.is_empty() {
            let what = format!("no neuron meets all conditions: {}", self.selector());
            return Err(Error::usage(what, "leave one of them out; `connectome inspect` counts types by lamina"));
        }
        Ok(Target { name: self.name(), selector: self.selector(), neurons })
    }

    /// Its parts, in the order of the connectome: types by name, excitatory ones first; laminae from the pia down.
    ///
    /// # Errors
    /// As [`Selection::target`].
    pub fn parts(&self, connectome: &Connectome, each: Each) -> Result<Vec<Target>> {
        let all = self.target(connectome)?;
        let cells = || all.neurons.iter().map(|&i| &connectome.neurons[i]);
        let narrowed: Vec<Self> = match each {
            Each::CellType => {
                let types: BTreeSet<(Polarity, &str)> = cells().map(|n| (n.polarity, n.cell_type.as_str())).collect();
                let mut types: Vec<&str> = types.into_iter().map(|(_, name)| name).collect();
                // A type of both polarities is one part.
                let mut seen = BTreeSet::new();
                types.retain(|name| seen.insert(*name));
                types.iter().map(|name| Self { cell_types: vec![name.to_string()], ..self.clone() }).collect()
            }
            Each::Lamina => {
                let there = |name: &String| cells().any(|n| n.lamina == *name);
                let laminae = connectome.laminae().into_iter().filter(there);
                laminae.map(|name| Self { laminae: vec![name], ..self.clone() }).collect()
            }
            Each::Polarity => {
                let both = [Polarity::Excitatory, Polarity::Inhibitory];
                let there = both.into_iter().filter(|p| cells().any(|n| n.polarity == *p));
                there.map(|p| Self { polarity: Some(p), ..self.clone() }).collect()
            }
            Each::Neuron => {
                let one = |&i: &usize| {
                    let n = &connectome.neurons[i];
                    let alone = Self { ids: vec![n.id.clone()], ..Self::default() };
                    let name = format!("{} ({}, {})", alone.name(), n.cell_type, n.lamina);
                    Target { name, selector: alone.selector(), neurons: vec![i] }
                };
                return Ok(all.neurons.iter().map(one).collect());
            }
        };
        narrowed.iter().map(|part| part.target(connectome)).collect()
    }

    /// What a reader calls it.
    fn name(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.polarity.map(|p| polarity_name(p).to_owned()));
        if !self.cell_types.is_empty() {
            words.push(sorted(&self.cell_types).join("+"));
        }
        match self.ids.as_slice() {
            [] => {}
            [id] => words.push(format!("neuron {id}")),
            ids => words.push(format!("{} neurons", sorted(ids).len())),
        }
        let laminae = sorted(&self.laminae).join("+");
        match (words.is_empty(), laminae.is_empty()) {
            (true, true) => "all".to_owned(),
            (true, false) => laminae,
            (false, true) => words.join(" "),
            (false, false) => format!("{} in {laminae}", words.join(" ")),
        }
    }

    /// Its conditions as text; many identifiers are told apart by a hash.
    pub(super) fn selector(&self) -> String {
        let mut parts = Vec::new();
        if !self.cell_types.is_empty() {
            parts.push(format!("cell-type={}", sorted(&self.cell_types).join(",")));
        }
        if !self.laminae.is_empty() {
            parts.push(format!("lamina={}", sorted(&self.laminae).join(",")));
        }
        parts.extend(self.polarity.map(|p| format!("polarity={}", p.letter())));
        match sorted(&self.ids).as_slice() {
            [] => {}
            [id] => parts.push(format!("id={id}")),
            ids => parts.push(format!("ids={}:{:016x}", ids.len(), xxh3_64(ids.join("\n").as_bytes()))),
        }
        if parts.is_empty() { "all".to_owned() } else { parts.join("; ") }
    }
}

fn polarity_name(p: Polarity) -> &'static str {
    match p {
        Polarity::Excitatory => "excitatory",
        Polarity::Inhibitory => "inhibitory",
    }
}

/// Sorted, each once.
fn sorted(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The distinct names that `of` gives, sorted.
fn names(connectome: &Connectome, of: impl Fn(&Neuron) -> &String) -> Vec<String> {
    connectome.neurons.iter().map(of).collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

fn known(what: &str, wanted: &[String], known: &[String]) -> Result<()> {
    match wanted.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(Error::usage(format!("the run's connectome has no {what} \"{name}\""), one_of(name, &known)))
        }
    }
}

fn unknown_id(id: &str, connectome: &Connectome) -> Error {
    let hint = nearest(id, connectome.neurons.iter().map(|n| n.id.as_str()));
    let n = connectome.neurons.len();
    let what = format!("the run's connectome has no neuron \"{id}\"");
    Error::usage(what, format!("{hint}connectome/neurons.csv in the run's folder lists all {n} in its column `id`"))
}

/// Identifiers from `text`: if it is a file, those in its column `id` (a CSV table such as `tuning.csv`) or, without such
/// a header, all its words; else `text` itself, separated by commas.
///
/// # Errors
/// `Input` for a file that is too long, no text, or without identifiers; `Usage` if `text` has none.
pub fn ids(text: &str) -> Result<Vec<String>> {
    let path = Path::new(text);
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    if !path.is_file() {
        let found = words(text);
        let nothing = || Error::usage("no identifier given", "name identifiers separated by commas, or a file of them");
        return if found.is_empty() { Err(nothing()) } else { Ok(found) };
    }
    let wrong = |what: String| Error::input(path.display(), what, FORM.no_columns);
    let bytes = input::read(path, FORM.max_bytes)?;
    let text = str::from_utf8(&bytes).map_err(|e| wrong(format!("not UTF-8 text: {e}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_id = |name: &str| name.trim().trim_matches('"').eq_ignore_ascii_case("id");
    let header = text.split(['\r', '\n']).find(|line| !line.is_empty()).unwrap_or_default();
    let table = header.split(',').any(is_id).then(|| Rows::new(path, text.as_bytes(), &FORM)).transpose()?;
    let column = table.as_ref().and_then(|rows| rows.names().iter().position(|name| is_id(name)));
    let found = match (table, column) {
        (Some(mut rows), Some(column)) => {
            let mut ids = Vec::new();
            while rows.advance()? {
                ids.extend(Some(rows.field(column).trim()).filter(|id| !id.is_empty()).map(str::to_owned));
            }
            ids
        }
        _ => words(text),
    };
    if found.is_empty() { Err(wrong("no identifier in it".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectome::Synapses;

    /// Two laminae and L1; `odd` are a type of both polarities.
    fn connectome() -> Connectome {
        let cells = [
            ("10", "4P", "L4", "E"),
            ("11", "4P", "L4", "E"),
            ("12", "BC", "L4", "I"),
            ("13", "BC", "L5", "I"),
            ("14", "5P-IT", "L5", "E"),
            ("15", "odd", "L5", "E"),
            ("16", "odd", "L1", "I"),
        ];
        let neurons = cells.map(|(id, cell_type, lamina, polarity)| Neuron {
            id: id.into(),
            cell_type: cell_type.into(),
            lamina: lamina.into(),
            polarity: if polarity == "E" { Polarity::Excitatory } else { Polarity::Inhibitory },
            position_um: None,
        });
        let synapses = Synapses::all_to_all(7, 7, true);
        Connectome { origin: "seven".into(), neurons: neurons.to_vec(), synapses, known_pairs: None }
    }

    fn list(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| v.to_string()).collect()
    }

    fn select(types: &[&str], laminae: &[&str], polarity: Option<Polarity>, ids: &[&str]) -> Selection {
        Selection { cell_types: list(types), laminae: list(laminae), polarity, ids: list(ids) }
    }

    #[test]
    fn conditions_are_joined_by_and_their_values_by_or() {
        let c = connectome();
        let i = Some(Polarity::Inhibitory);
        for (selection, neurons, name, selector) in [
            (select(&[], &[], None, &[]), vec![0, 1, 2, 3, 4, 5, 6], "all", "all"),
            (select(&["BC"], &[], None, &[]), vec![2, 3], "BC", "cell-type=BC"),
            (select(&["BC"], &["L4"], None, &[]), vec![2], "BC in L4", "cell-type=BC; lamina=L4"),
            (select(&["BC", "4P"], &["L4"], None, &[]), vec![0, 1, 2], "4P+BC in L4", "cell-type=4P,BC; lamina=L4"),
            (select(&[], &["L5", "L1"], i, &[]), vec![3, 6], "inhibitory in L1+L5", "lamina=L1,L5; polarity=I"),
            (select(&["odd"], &[], i, &[]), vec![6], "inhibitory odd", "cell-type=odd; polarity=I"),
            (select(&[], &[], None, &["14"]), vec![4], "neuron 14", "id=14"),
        ] {
            let target = selection.target(&c).unwrap();
            assert_eq!((target.neurons, target.name.as_str(), target.selector.as_str()), (neurons, name, selector));
        }
        let many = |ids: &[&str]| select(&[], &[], None, ids).target(&c).unwrap();
        let (a, b) = (many(&["14", "10"]), many(&["10", "14", "10"]));
        assert_eq!((a.neurons.as_slice(), a.name.as_str()), (&[0, 4][..], "2 neurons"));
        assert_eq!(a, b, "the order does not matter");
        assert_ne!(a.selector, many(&["14", "11"]).selector);
    }

    #[test]
    fn what_the_connectome_lacks_is_named_with_the_nearest() {
        let c = connectome();
        for (selection, parts) in [
            (select(&["4p"], &[], None, &[]), ["no cell type \"4p\"", "did you mean `4P`?", "4P, 5P-IT, BC, odd"]),
            (select(&[], &["L6"], None, &[]), ["no lamina \"L6\"", "did you mean `L", "L1, L4, L5"]),
            (select(&[], &[], None, &["140"]), ["no neuron \"140\"", "did you mean `14`?", "lists all 7"]),
            (select(&["4P"], &["L5"], None, &[]), ["no neuron meets all", "cell-type=4P; lamina=L5", "leave one"]),
        ] {
            let error = selection.target(&c).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(parts.iter().all(|p| error.to_string().contains(p)), "{error}");
        }
    }

    #[test]
    fn parts_cover_the_selection_once() {
        let c = connectome();
        let everything = Selection::default();
        let names = |selection: &Selection, each| {
            selection.parts(&c, each).unwrap().into_iter().map(|t| t.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&everything, Each::CellType), ["4P", "5P-IT", "odd", "BC"]);
        assert_eq!(names(&everything, Each::Lamina), ["L1", "L4", "L5"]);
        assert_eq!(names(&everything, Each::Polarity), ["excitatory", "inhibitory"]);
        assert_eq!(names(&select(&[], &["L5"], None, &[]), Each::CellType), ["5P-IT in L5", "odd in L5", "BC in L5"]);
        assert_eq!(names(&select(&["BC"], &[], None, &[]), Each::Neuron), ["neuron 12 (BC, L4)", "neuron 13 (BC, L5)"]);
        for each in [Each::CellType, Each::Lamina, Each::Polarity, Each::Neuron] {
            let parts = everything.parts(&c, each).unwrap();
            let mut all: Vec<usize> = parts.into_iter().flat_map(|t| t.neurons).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4, 5, 6], "{each:?}");
        }
    }

    #[test]
    fn identifiers_come_from_the_flag_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            ids(path.to_str().unwrap())
        };
        assert_eq!(ids("14, 15,,16").unwrap(), ["14", "15", "16"]);
        assert_eq!(read("14\n15 16,17\r\n").unwrap(), ["14", "15", "16", "17"]);
        assert_eq!(read("x,id,y\n1,\"a b\",2\n3,c,4\n").unwrap(), ["a b", "c"]);
        assert_eq!(read("\"x, y\", ID \n1, 7\n3,8 \n").unwrap(), ["7", "8"]);
        assert_eq!(read("\u{feff}\r\nid,x,x,,\r\n7,1,2,,\r\n,1,2,,\r\n").unwrap(), ["7"]);
        assert_eq!(ids(" , ").unwrap_err().exit_code(), 2);
        for (text, part) in [("", "no identifier"), ("id\n", "no identifier"), ("id,x\n1\n", "line 2: 1 fields")] {
            let error = read(text).unwrap_err();
            assert!(error.exit_code() == 3 && error.to_string().contains(part), "{error}");
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(ids(path.to_str().unwrap()).unwrap_err().to_string().contains("UTF-8"));
    }
}
