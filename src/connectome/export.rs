//! A connectome as a folder of plain tables, which the importer reads back to the same connectome.

use std::fs;
use std::path::Path;

use super::Connectome;
use crate::error::{Error, Result};
use crate::store::replace;

/// Writes `neurons.csv`, `connections.csv` and `about.toml` (origin, known pairs) into `folder`, made if absent.
///
/// [`read_folder`](super::read_folder) gives back the same connectome, if it has at least one connection.
/// Each file is written beside its place, synced and renamed, so a reader sees the old one or the whole new one.
///
/// # Errors
/// I/O failures (exit code 4).
pub fn write_folder(connectome: &Connectome, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "making the folder", &e))?;
    let header = ["id", "layer", "cell_type", "class", "x_um", "depth_um", "z_um"].map(String::from);
    let neurons = connectome.neurons.iter().map(|n| {
        let [x, depth, z] = n.position_um.map_or([const { String::new() }; 3], |p| p.map(|v| v.to_string()));
        [n.id.clone(), n.lamina.clone(), n.cell_type.clone(), n.polarity.letter().to_string(), x, depth, z]
    });
    replace(&folder.join("neurons.csv"), &table(std::iter::once(header).chain(neurons))?)?;

    let id = |i: usize| connectome.neurons[i].id.clone();
    let header = ["pre", "post", "n_synapses"].map(String::from);
    let connections = connectome.synapses.iter().map(|(post, pre, count)| [id(pre), id(post), count.to_string()]);
    replace(&folder.join("connections.csv"), &table(std::iter::once(header).chain(connections))?)?;

    let mut about = toml::Table::new();
    about.insert("origin".to_string(), connectome.origin.clone().into());
    if let Some(known) = connectome.known_pairs {
        about.insert("known_pairs".to_string(), known.into());
    }
    replace(&folder.join("about.toml"), about.to_string().as_bytes())
}

/// The bytes of a CSV table.
fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row).map_err(|e| Error::other(format!("writing a table: {e}"), ""))?;
    }
    writer.into_inner().map_err(|e| Error::other(format!("writing a table: {e}"), ""))
}
