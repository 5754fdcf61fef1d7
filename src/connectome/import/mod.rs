//! Connectomes from files: which importer takes a path, and the table of them all.

mod cell_types;
mod cells;
mod plain;
mod table;
mod wiring;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::table::Table;
use self::wiring::{Repeats, Wiring};
use super::{Connectome, column};
use crate::config;
use crate::error::{Error, Result};
use crate::input;

/// Longest `about.toml`, bytes: it is a few lines.
const MAX_ABOUT_BYTES: u64 = 1 << 16;
/// Tables of a folder that are looked into for the two of a connectome, at most.
const MAX_TABLES: usize = 256;

/// One way of keeping a connectome in files.
pub struct Importer {
    /// Name, one word.
    pub name: &'static str,
    /// What it reads, one line.
    pub doc: &'static str,
    /// True if it takes this path.
    pub accepts: fn(&Path) -> bool,
    /// The files to read at this path.
    tables: fn(&Path) -> Result<Tables>,
}

/// All importers; the first that accepts a path reads it.
pub const IMPORTERS: &[Importer] = &[
    Importer {
        name: "folder",
        doc: "folder with neurons.csv (id, layer, cell_type, class, x_um, depth_um, z_um) and connections.csv (pre, \
              post, n_synapses), the form of the measured V1 column and of run folders",
        accepts: |path| named(path, "neurons").is_some() && named(path, "connections").is_some(),
        tables: folder_tables,
    },
    Importer {
        name: "cave",
        doc: "folder with a synapse table (pre_pt_root_id, post_pt_root_id) and a cell-type table (pt_root_id, \
              cell_type) under any name, as CAVE exports them, .csv or .csv.gz",
        accepts: Path::is_dir,
        tables: cave_tables,
    },
    Importer {
        name: "edges",
        doc: "edge list (pre, post[, n_synapses]; source, target, weight; ...) with <name>_neurons.csv or neurons.csv \
              beside it",
        accepts: Path::is_file,
        tables: edge_tables,
    },
];

/// The files of a connectome.
struct Tables {
    neurons: PathBuf,
    wiring: PathBuf,
    /// Statistical connections for the pairs whose state is unknown.
    imputed: PathBuf,
    repeats: Repeats,
}

/// The wiring that a configuration names: the embedded column, a path, or `SYNAPSES.csv,NEURONS.csv`; thinned to pairs of
/// enough synapses, then rewired where a null wiring is asked for.
///
/// # Errors
/// A path that no importer accepts, and whatever is wrong in its files (exit code 3).
pub fn load(config: &config::Connectome) -> Result<Connectome> {
    let connectome = every_synapse(config)?.with_min_synapses(config.min_synapses);
    if connectome.synapses.is_empty() {
        return Err(Error::input(
            &connectome.origin,
            format!("no pair of neurons is joined by {} or more synapses", config.min_synapses),
            "lower connectome.min_synapses",
        ));
    }
    connectome.rewired(&config.null, config.null_seed)
}

/// The wiring before `min_synapses`.
fn every_synapse(config: &config::Connectome) -> Result<Connectome> {
    if config.source == "column" {
        if config.completed {
            return Err(Error::usage(
                "connectome.completed = true: the embedded column has nothing to complete",
                "leave it false, or name a folder that has imputed_connections.csv",
            ));
        }
        return Ok(column::generate(config.seed));
    }
    let path = Path::new(&config.source);
    let tables = match config.source.split_once(',') {
        Some((wiring, neurons)) if !path.exists() => pair_tables(Path::new(wiring), Path::new(neurons)),
        _ => {
            fs::metadata(path).map_err(|e| Error::io(path, "looking for the connectome", &e))?;
            let Some(importer) = IMPORTERS.iter().find(|i| (i.accepts)(path)) else {
                return Err(Error::input(path.display(), "neither a file nor a folder", "name a folder of tables"));
            };
            (importer.tables)(path)?
        }
    };
    read(&tables, config.completed, path)
}

/// Reads back the folder that [`write_folder`](super::write_folder) wrote, to the same connectome.
///
/// # Errors
/// Whatever is wrong in its files (exit code 3).
pub fn read_folder(path: &Path) -> Result<Connectome> {
    read(&folder_tables(path)?, false, path)
}

/// What to say where the wiring joins two laminae by nothing: the projection between them would be empty.
pub fn empty_projection(pre_lamina: &str, post_lamina: &str, origin: &str) -> Error {
    Error::input(
        origin,
        format!("no synapse leads from {pre_lamina} to {post_lamina}"),
        "leave a lamina out (column.laminae), lower connectome.min_synapses or take another connectome",
    )
}

fn read(tables: &Tables, completed: bool, path: &Path) -> Result<Connectome> {
    let cells = cells::read(&tables.neurons, wiring::names_root_ids(&tables.wiring)?)?;
    let own = if completed { None } else { plain::read(&tables.wiring, &cells) };
    let synapses = match own {
        Some(synapses) => synapses,
        None => {
            let mut wiring = Wiring::default();
            wiring.read(&tables.wiring, &cells, tables.repeats)?;
            if completed {
                wiring.read(&tables.imputed, &cells, Repeats::Refused)?;
            }
            wiring.build(&tables.wiring, cells.len())?
        }
    };
    let mut origin = format!("measured: {}", path.display());
    let (known_pairs, inferred) = (cells.known_pairs, cells.inferred_laminae);
    if inferred > 0 {
        origin += &format!(" (laminae of {inferred} of {} neurons by type or depth)", cells.len());
    }
    let mut connectome = Connectome { origin, neurons: cells.into_neurons(), synapses, known_pairs };
    about(&path.join("about.toml"), &mut connectome)?;
    if completed {
        connectome.origin = format!("completed: {}", path.display());
    }
    Ok(connectome)
}

/// Takes origin and known pairs from `about.toml`, if there is one.
fn about(path: &Path, connectome: &mut Connectome) -> Result<()> {
    if let Err(e) = fs::metadata(path)
        && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    {
        return Ok(());
    }
    let wrong = |what: String| Error::input(path.display(), what, "remove the file; the tables do without it");
    let text = String::from_utf8(input::read(path, MAX_ABOUT_BYTES)?).map_err(|_| wrong("not UTF-8 text".into()))?;
    let values: toml::Table = text.parse().map_err(|e: toml::de::Error| wrong(e.message().to_string()))?;
    if let Some(origin) = values.get("origin") {
        let text = origin.as_str().ok_or_else(|| wrong("`origin` is not a text".to_string()))?;
        connectome.origin = text.to_string();
    }
    if let Some(known) = values.get("known_pairs") {
        let known =
            known.as_float().or_else(|| known.as_integer().map(|v| v as f64)).filter(|v| (0.0..=1.0).contains(v));
        connectome.known_pairs = Some(known.ok_or_else(|| wrong("`known_pairs` is not in 0 to 1".to_string()))?);
    }
    Ok(())
}

/// `<folder>/<stem>.csv` or `.csv.gz`, if it exists.
fn named(folder: &Path, stem: &str) -> Option<PathBuf> {
    ["csv", "csv.gz"].iter().map(|end| folder.join(format!("{stem}.{end}"))).find(|path| path.is_file())
}

/// Path of a table, for the message if it is absent.
fn named_or_plain(folder: &Path, stem: &str) -> PathBuf {
    named(folder, stem).unwrap_or_else(|| folder.join(format!("{stem}.csv")))
}

fn folder_tables(folder: &Path) -> Result<Tables> {
    let [neurons, wiring, imputed] =
        ["neurons", "connections", "imputed_connections"].map(|stem| named_or_plain(folder, stem));
    Ok(Tables { neurons, wiring, imputed, repeats: Repeats::Refused })
}

/// The one table of synapses and the one of neurons in a folder, told by their headers.
fn cave_tables(folder: &Path) -> Result<Tables> {
    let list = fs::read_dir(folder).map_err(|e| Error::io(folder, "listing", &e))?;
    let mut paths = Vec::new();
    for entry in list {
        let path = entry.map_err(|e| Error::io(folder, "listing", &e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let imputed = name.starts_with("imputed_connections");
        if path.is_file() && !imputed && (name.ends_with(".csv") || name.ends_with(".csv.gz")) {
            paths.push(path);
        }
        if paths.len() > MAX_TABLES {
            let what = format!("more than {MAX_TABLES} tables in one folder");
            return Err(Error::input(folder.display(), what, "name the two files: SYNAPSES.csv,NEURONS.csv"));
        }
    }
    paths.sort();
    let (mut wiring, mut neurons) = (Vec::new(), Vec::new());
    for path in paths {
        let table = Table::open(&path)?;
        if wiring::describes_connections(&table) {
            wiring.push(path);
        } else if cells::describes_neurons(&table) {
            neurons.push(path);
        }
    }
    let one = |list: &mut Vec<PathBuf>, what: &str| match list.len() {
        1 => Ok(list.remove(0)),
        0 => {
            let what = format!("neither neurons.csv with connections.csv nor, as CAVE exports it, a table of {what}");
            Err(Error::input(
                folder.display(),
                what,
                "`connectome --help` shows the columns; or name the two files: A.csv,B.csv",
            ))
        }
        _ => {
            let names = list.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
            let what = format!("several tables of {what}: {names}");
            Err(Error::input(folder.display(), what, "name the two files: SYNAPSES.csv,NEURONS.csv"))
        }
    };
    let wiring = one(&mut wiring, "connections (pre_pt_root_id, post_pt_root_id)")?;
    Ok(pair_tables(&wiring, &one(&mut neurons, "neurons (pt_root_id, cell_type)")?))
}

fn pair_tables(wiring: &Path, neurons: &Path) -> Tables {
    let folder = wiring.parent().unwrap_or(Path::new("."));
    let imputed = named_or_plain(folder, "imputed_connections");
    Tables { neurons: neurons.to_path_buf(), wiring: wiring.to_path_buf(), imputed, repeats: Repeats::Added }
}

fn edge_tables(path: &Path) -> Result<Tables> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let beside = format!("{stem}_neurons");
    let Some(neurons) = named(folder, &beside).or_else(|| named(folder, "neurons")) else {
        let what = format!("no {beside}.csv or neurons.csv beside it");
        return Err(Error::input(path.display(), what, "write a table of neurons: id, lamina, polarity, cell_type"));
    };
    Ok(Tables { repeats: Repeats::AsTheTableSays, ..pair_tables(path, &neurons) })
}

#[cfg(test)]
mod tests;
