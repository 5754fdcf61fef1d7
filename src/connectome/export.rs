//! A connectome as a folder of plain tables, which the importer reads back to the same connectome.

use std::fs;
use std::path::Path;

use super::Connectome;
use crate::error::{Error, Result};
use crate::store::replace;
use crate::table;

/// Writes `neurons.csv`, `connections.csv` and `about.toml` (origin, known pairs) into `folder`, made if absent.
///
/// [`read_folder`](super::read_folder) gives back the same connectome, if it has at least one connection.
/// Each file is written beside its place, synced and renamed, so a reader sees the old one or the whole new one.
///
/// # Errors
/// I/O failures (exit code 4).
pub fn write_folder(connectome: &Connectome, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "making the folder", &e))?;
    let header = ["id", "layer", "cell_type", "class", "x_um", "depth_um", "z_um"];
    let neurons = connectome.neurons.iter().map(|n| {
        let [x, depth, z] = n.position_um.map_or([const { String::new() }; 3], |p| p.map(|v| v.to_string()));
        [n.id.clone(), n.lamina.clone(), n.cell_type.clone(), n.polarity.letter().to_string(), x, depth, z]
    });
    table::write(&folder.join("neurons.csv"), header, neurons)?;

    let id = |i: usize| connectome.neurons[i].id.clone();
    let connections = connectome.synapses.iter().map(|(post, pre, count)| [id(pre), id(post), count.to_string()]);
    table::write(&folder.join("connections.csv"), ["pre", "post", "n_synapses"], connections)?;

    let mut about = toml::Table::new();
    about.insert("origin".to_string(), connectome.origin.clone().into());
    if let Some(known) = connectome.known_pairs {
        about.insert("known_pairs".to_string(), known.into());
    }
    replace(&folder.join("about.toml"), about.to_string().as_bytes())
}
