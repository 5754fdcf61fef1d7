//! The best epoch of a run in the formats of other programs.
//!
//! To add a format: a file with a function from [`Contents`] to its bytes, and its row in [`EXPORTERS`].
//!
//! **Names.** Every array is called as in the run's own weight files: `<position>.<layer>.<tensor>`, position from 0
//! along the network, e.g. `0.conv.weight`, `9.column.L4->L2/3`, `10.dense.bias`. Running statistics of batch norm
//! (`mean`, `var`) are among them.
//!
//! **Order.** Dense arrays are row-major, outermost first: `weight` of `dense` and of a dense projection
//! `(N_post, N_pre)`, of `conv` `(C_out, C_in, K, K)`. Pixels and features are channels, rows, columns. Arrays that hold
//! values at synapses only are written sparse, CSR: row = postsynaptic neuron, column = presynaptic neuron, columns
//! ascending within a row; a stored value may be 0. Nothing is densified, except in ONNX, which has no operator for a
//! sparse product. `B` of a projection `A->B` are its rows; ` I` marks the inhibitory cells of a lamina.
//!
//! **Values** are the run's, 32-bit floats, bit for bit.

mod contents;
mod mtx;
mod npz;
mod onnx;
mod safetensors;

pub use contents::{Array, Contents, Layout};

use crate::error::{Error, Result};
use crate::store;
use crate::train::load_best;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One format.
pub struct Exporter {
    /// Name on the command line, also the ending of the default path.
    pub name: &'static str,
    /// What it writes, one line.
    pub doc: &'static str,
    /// Makes the files.
    pub write: fn(&Contents) -> Result<Files>,
}

/// What an exporter makes.
pub enum Files {
    /// One file.
    One(Vec<u8>),
    /// A folder.
    Folder {
        /// Name and content of each file.
        files: Vec<(String, Vec<u8>)>,
        /// Whether a file of that name comes from an earlier export, and may be replaced.
        ours: fn(&str) -> bool,
    },
}

/// Every format.
pub const EXPORTERS: &[Exporter] = &[
    Exporter { name: "safetensors", doc: safetensors::DOC, write: safetensors::write },
    Exporter { name: "npz", doc: npz::DOC, write: npz::write },
    Exporter { name: "mtx", doc: mtx::DOC, write: mtx::write },
    Exporter { name: "onnx", doc: onnx::DOC, write: onnx::write },
];

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// Name of the format.
    pub format: &'static str,
    /// File or folder.
    pub path: PathBuf,
    /// Epoch of the run, from 1.
    pub epoch: usize,
    /// Arrays of the network.
    pub arrays: usize,
    /// Values in them.
    pub values: usize,
    /// Size of all files, bytes.
    pub bytes: usize,
}

/// Writes the best epoch of `run` as `format` to `out` (default: `RUN/<name of RUN>.<format>`). What was there is
/// replaced at once; after an error it is as it was. `warn` is told of damage to the run that did no harm.
///
/// # Errors
/// `State` for a run that cannot be used, `Usage` for an unknown format, a file `out` with another ending than the format's
/// or a layer that the format cannot express, `Io` if the files cannot be written.
pub fn export(run: &Path, format: &str, out: Option<&Path>, warn: &mut dyn FnMut(&str)) -> Result<Exported> {
    let exporter = exporter(format)?;
    let trained = load_best(run, warn)?;
    let contents = Contents::of(&trained);
    let files = (exporter.write)(&contents)?;
    let path = match out {
        Some(path) => path.to_owned(),
        None => default_path(run, exporter.name)?,
    };
    let bytes = match &files {
        Files::One(bytes) => bytes.len(),
        Files::Folder { files, .. } => files.iter().map(|(_, bytes)| bytes.len()).sum(),
    };
    match files {
        Files::One(bytes) => {
            if let Some(out) = out {
                store::refuse_other_kind(out, exporter.name)?;
            }
            store::replace(&path, &bytes)
        }
        Files::Folder { files, ours } => store::replace_folder(&path, &files, ours),
    }?;
    let values = contents.arrays.iter().map(|a| a.values.len()).sum();
    Ok(Exported { format: exporter.name, path, epoch: trained.epoch, arrays: contents.arrays.len(), values, bytes })
}

fn exporter(name: &str) -> Result<&'static Exporter> {
    EXPORTERS.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = EXPORTERS.iter().map(|e| e.name).collect();
        Error::usage(format!("unknown export format \"{name}\""), crate::config::one_of(name, &names))
    })
}

/// `RUN/<name of RUN>.<ending>`.
fn default_path(run: &Path, ending: &str) -> Result<PathBuf> {
    let whole = run.canonicalize().map_err(|e| Error::io(run, "looking for the run", &e))?;
    let name = whole.file_name().unwrap_or("run".as_ref()).to_string_lossy();
    Ok(run.join(format!("{name}.{ending}")))
}
