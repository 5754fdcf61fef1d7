//! A connectome as a folder of plain tables, which the importer reads back to the same connectome.

use std::fs;
use std::path::Path;

use super::Connectome;
use crate::error::{Error, Result};
use crate::{store, table};

const FILES: [&str; 3] = ["neurons.csv", "connections.csv", "about.toml"];

/// Writes `neurons.csv`, `connections.csv` and `about.toml` (origin, known pairs) into `folder`, made if absent. Where it
/// holds a connectome already, a reader sees the three old files or the three new ones, see [`store::replace_folder`].
///
/// [`read_folder`](super::read_folder) gives back the same connectome, if it has at least one connection.
///
/// # Errors
/// `Io` if the folder cannot be written or holds other files.
pub fn write_folder(connectome: &Connectome, folder: &Path) -> Result<()> {
    let header = ["id", "layer", "cell_type", "class", "x_um", "depth_um", "z_um"];
    let neurons = connectome.neurons.iter().map(|n| {
        let [x, depth, z] = n.position_um.map_or([const { String::new() }; 3], |p| p.map(|v| v.to_string()));
        [n.id.clone(), n.lamina.clone(), n.cell_type.clone(), n.polarity.letter().to_string(), x, depth, z]
    });
    let neurons = table::text(header, neurons)?;

    // As `table::text` would, which takes three times as long: a neuron is named once for each of its connections.
    let ids = connectome.neurons.iter().map(|n| table::field(&n.id)).collect::<Result<Vec<_>>>()?;
    let mut connections = b"pre,post,n_synapses\n".to_vec();
    for (post, pre, count) in connectome.synapses.iter() {
        for id in [&ids[pre], &ids[post]] {
            connections.extend_from_slice(id);
            connections.push(b',');
        }
        connections.extend_from_slice(count.to_string().as_bytes());
        connections.push(b'\n');
    }

    let mut about = toml::Table::new();
    about.insert("origin".to_string(), connectome.origin.clone().into());
    if let Some(known) = connectome.known_pairs {
        about.insert("known_pairs".to_string(), known.into());
    }
    let [neurons_csv, connections_csv, about_toml] = FILES.map(str::to_owned);
    let files = [(neurons_csv, neurons), (connections_csv, connections), (about_toml, about.to_string().into_bytes())];
    if store::make_folder(folder)? || store::is_empty_folder(folder) {
        return files.iter().try_for_each(|(name, bytes)| store::replace(&folder.join(name), bytes));
    }
    // Where the name is a link, the folder behind it is replaced.
    let folder = fs::canonicalize(folder).map_err(|e| Error::io(folder, "looking for the folder", &e))?;
    let ours = |name: &str| FILES.iter().any(|file| name == *file || store::is_left_over(name, file));
    store::replace_folder(&folder, &files, ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectome::neurons::examples;

    #[test]
    fn connections_are_written_as_any_table() {
        let folder = tempfile::tempdir().unwrap();
        let mut connectome = examples::random(3);
        for (neuron, id) in connectome.neurons.iter_mut().zip(["a,b", "\"q\"", " ", "x\ny"]) {
            neuron.id = id.to_string();
        }
        write_folder(&connectome, folder.path()).unwrap();
        let id = |i: usize| connectome.neurons[i].id.clone();
        let rows = connectome.synapses.iter().map(|(post, pre, count)| [id(pre), id(post), count.to_string()]);
        let expected = table::text(["pre", "post", "n_synapses"], rows).unwrap();
        assert_eq!(fs::read(folder.path().join("connections.csv")).unwrap(), expected);
    }
}
